/** What both subformats that vdconv writes have in common: the footer. */
import { SECTOR } from '../../base/units.ts';
import { sealed } from './checksum.ts';
import { geometryOf, MAX_GEOMETRY } from './geometry.ts';
import { FEATURE_RESERVED, FOOTER_COOKIE, Footer, VERSION_1 } from './layout.ts';

export interface DiskValues {
  virtualSize: number;
  /** The largest geometry instead of the disk's own. */
  forceSize: boolean;
  uniqueId: Uint8Array;
}

/** The second in which a file was made is not part of its content: always 2000-01-01. */
const TIME_STAMP = 0;

const ascii = (text: string) => new TextEncoder().encode(text);

/**
 * Hyper-V's creator: the one whose `currentSize` every version of every reader believes. An own name makes qemu before
 * version 8 cut the disk to its geometry.
 */
const CREATOR = {
  creatorApplication: ascii('win '),
  /** 6.3, Windows Server 2012 R2. */
  creatorVersion: 0x00060003,
  creatorHostOS: ascii('Wi2k'),
};

export function encodeFooter(
  { virtualSize, forceSize, uniqueId }: DiskValues,
  { diskType, dataOffset }: { diskType: number; dataOffset: bigint },
): Uint8Array {
  const footer = Footer.encode({
    cookie: Uint8Array.from(FOOTER_COOKIE),
    features: FEATURE_RESERVED,
    fileFormatVersion: VERSION_1,
    dataOffset,
    timeStamp: TIME_STAMP,
    ...CREATOR,
    originalSize: BigInt(virtualSize),
    currentSize: virtualSize,
    ...(forceSize ? MAX_GEOMETRY : geometryOf(virtualSize / SECTOR)),
    diskType,
    checksum: 0,
    uniqueId,
    savedState: 0,
  });
  return sealed(footer, Footer.fields.checksum.offset);
}
