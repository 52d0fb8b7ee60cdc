/** The header that vdconv writes: as VirtualBox does, with an LCHS geometry that says nothing. */
import { SECTOR } from '../../base/units.ts';
import { BLOCK_SIZE, HEADER_SIZE_PLUS, Header, ImageType, LchsGeometry, SIGNATURE, VERSION_1_1 } from './layout.ts';

/** The block map follows the header, which has a sector. */
export const OFFSET_BLOCKS = SECTOR;

export interface DiskValues {
  isStatic: boolean;
  diskSize: number;
  blocks: number;
  offsetData: number;
  /** As they are stored. */
  uuidImage: Uint8Array;
  uuidModify: Uint8Array;
}

const TEXT = '<<< vdconv Virtual Disk Image >>>\n';
const NIL = new Uint8Array(16);

export function encodeHeader(values: DiskValues, blocksAllocated: number): Uint8Array {
  const text = new Uint8Array(64);
  text.set(new TextEncoder().encode(TEXT));
  const header = Header.encode({
    text,
    signature: SIGNATURE,
    version: VERSION_1_1,
    headerSize: HEADER_SIZE_PLUS,
    imageType: values.isStatic ? ImageType.static : ImageType.dynamic,
    flags: 0,
    comment: new Uint8Array(256),
    offsetBlocks: OFFSET_BLOCKS,
    offsetData: values.offsetData,
    legacyCylinders: 0,
    legacyHeads: 0,
    legacySectors: 0,
    sectorSize: SECTOR,
    diskSize: values.diskSize,
    blockSize: BLOCK_SIZE,
    blockExtra: 0,
    blocksInImage: values.blocks,
    blocksAllocated,
    uuidImage: values.uuidImage,
    uuidModify: values.uuidModify,
    uuidLink: NIL,
    uuidParentModify: NIL,
  });
  const bytes = new Uint8Array(SECTOR);
  bytes.set(header);
  bytes.set(LchsGeometry.encode({ cylinders: 0, heads: 0, sectors: 0, sectorSize: SECTOR }), header.length);
  return bytes;
}
