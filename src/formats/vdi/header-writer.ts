/**
 * The header that vdconv writes: as VirtualBox does, with an LCHS geometry that says nothing. Another image's geometry is
 * not taken: VirtualBox then finds what the guest's partitions were made for, which a VHD's or VMDK's need not be.
 */
import { SECTOR } from '../../base/units.ts';
import type { Content } from '../../map/layout.ts';
import { BLOCK_SIZE, HEADER_SIZE_PLUS, Header, LchsGeometry, SIGNATURE, VERSION_1_1 } from './layout.ts';

/** The block map follows the header, which has a sector. */
export const OFFSET_BLOCKS = SECTOR;

export interface DiskValues {
  imageType: number;
  diskSize: number;
  blocks: number;
  offsetData: number;
  comment: string;
  /** Known when all data is. As they are stored. */
  uuids(content: Content | undefined): Pick<Header, 'uuidImage' | 'uuidModify'>;
  /** Of the parent, as they are stored; absent: none. */
  parent: Pick<Header, 'uuidLink' | 'uuidParentModify'> | undefined;
}

const TEXT = '<<< vdconv Virtual Disk Image >>>\n';
const NO_PARENT = { uuidLink: new Uint8Array(16), uuidParentModify: new Uint8Array(16) };

/** UTF-8 and a NUL at least. */
export const MAX_COMMENT_BYTES = Header.fields.comment.size - 1;

export function encodeHeader(values: DiskValues, blocksAllocated: number, content: Content | undefined): Uint8Array {
  const text = new Uint8Array(64);
  text.set(new TextEncoder().encode(TEXT));
  const comment = new Uint8Array(Header.fields.comment.size);
  comment.set(new TextEncoder().encode(values.comment));
  const header = Header.encode({
    text,
    signature: SIGNATURE,
    version: VERSION_1_1,
    headerSize: HEADER_SIZE_PLUS,
    imageType: values.imageType,
    flags: 0,
    comment,
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
    ...values.uuids(content),
    ...(values.parent ?? NO_PARENT),
  });
  const bytes = new Uint8Array(SECTOR);
  bytes.set(header);
  bytes.set(LchsGeometry.encode({ cylinders: 0, heads: 0, sectors: 0, sectorSize: SECTOR }), header.length);
  return bytes;
}
