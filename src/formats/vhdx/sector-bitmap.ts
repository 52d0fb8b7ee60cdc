/** [MS-VHDX] §2.4 and §2.5.1.2: which sectors of a partially present block are this layer's. */
import { bitRunEnd, isBitSet } from '../../base/bits.ts';
import type { BatchBuilder, ExtentBatch } from '../../map/extents.ts';
import { Kind } from '../../map/extents.ts';

/** One bit a sector, least significant first: set where the sector is in this file, clear where it is the parent's. */
export class SectorBitmap {
  readonly #bits: Uint8Array;

  constructor(bits: Uint8Array) {
    this.#bits = bits;
  }

  isPresent(sector: number): boolean {
    return isBitSet(this.#bits, sector);
  }

  /** The first sector after `sector`, or `end`, that is not like it. */
  runEnd(sector: number, end: number): number {
    return bitRunEnd(this.#bits, sector, end);
  }
}

/** A partially present block, or the part [from, to) of it, as guest addresses. */
export interface PartialBlock {
  start: number;
  /** File offset of its first byte. */
  offset: number;
  from: number;
  to: number;
  sectorSize: number;
}

/** Pushes the runs of a block to `out`, and gives batches as they fill; the last stays in `out`. */
export function* partialExtents(block: PartialBlock, bitmap: SectorBitmap, out: BatchBuilder): Generator<ExtentBatch> {
  const { start, offset, from, to, sectorSize } = block;
  const end = Math.ceil((to - start) / sectorSize);
  for (let sector = Math.floor((from - start) / sectorSize); sector < end; ) {
    if (out.full) {
      yield out.take();
    }
    const next = bitmap.runEnd(sector, end);
    const runFrom = Math.max(from, start + sector * sectorSize);
    const runTo = Math.min(to, start + next * sectorSize);
    if (bitmap.isPresent(sector)) {
      out.push(runFrom, runTo - runFrom, Kind.data, 0, offset + (runFrom - start));
    } else {
      out.push(runFrom, runTo - runFrom, Kind.unallocated);
    }
    sector = next;
  }
}
