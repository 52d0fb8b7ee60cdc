/** What all subformats have in common: the footer. */
import type { Content } from '../../map/layout.ts';
import { sealed } from './checksum.ts';
import type { Geometry } from './geometry.ts';
import { FEATURE_RESERVED, FOOTER_COOKIE, Footer, VERSION_1 } from './layout.ts';

export interface DiskValues {
  virtualSize: number;
  geometry: Geometry;
  timeStamp: number;
  /** Known when all data is. */
  uniqueId(content: Content | undefined): Uint8Array;
}

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
  { virtualSize, geometry, timeStamp, uniqueId }: DiskValues,
  { diskType, dataOffset }: { diskType: number; dataOffset: bigint },
  content: Content | undefined,
): Uint8Array {
  const footer = Footer.encode({
    cookie: Uint8Array.from(FOOTER_COOKIE),
    features: FEATURE_RESERVED,
    fileFormatVersion: VERSION_1,
    dataOffset,
    timeStamp,
    ...CREATOR,
    originalSize: BigInt(virtualSize),
    currentSize: virtualSize,
    ...geometry,
    diskType,
    checksum: 0,
    uniqueId: uniqueId(content),
    savedState: 0,
  });
  return sealed(footer, Footer.fields.checksum.offset);
}
