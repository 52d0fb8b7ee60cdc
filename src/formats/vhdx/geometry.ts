/** [MS-VHDX] §2.5: how many entries the BAT of a disk has, and which entry is whose. */
import { divCeil } from '../../base/units.ts';
import { CHUNK_SECTORS } from './layout.ts';

export interface Geometry {
  virtualSize: number;
  blockSize: number;
  logicalSectorSize: number;
  hasParent: boolean;
}

/** Payload blocks that share a sector bitmap block: after so many entries one for their bitmap follows. */
export function chunkRatio({ blockSize, logicalSectorSize }: Geometry): number {
  return (CHUNK_SECTORS * logicalSectorSize) / blockSize;
}

export function payloadBlocks({ virtualSize, blockSize }: Geometry): number {
  return divCeil(virtualSize, blockSize);
}

/** Index of the entry of payload block `block`. */
export function payloadEntry(block: number, ratio: number): number {
  return block + Math.floor(block / ratio);
}

/** Index of the entry of the bitmap of chunk `chunk`. */
export function bitmapEntry(chunk: number, ratio: number): number {
  return chunk * (ratio + 1) + ratio;
}

/** Entries up to the last one that is needed: without a parent no bitmap is, so the last chunk has no entry for one. */
export function batEntries(geometry: Geometry): number {
  const blocks = payloadBlocks(geometry);
  const ratio = chunkRatio(geometry);
  if (blocks === 0) {
    return 0;
  }
  return geometry.hasParent ? divCeil(blocks, ratio) * (ratio + 1) : payloadEntry(blocks - 1, ratio) + 1;
}
