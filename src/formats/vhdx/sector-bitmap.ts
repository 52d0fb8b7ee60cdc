/** [MS-VHDX] §2.4 and §2.5.1.2: which sectors of a partially present block are this layer's. */

import type { BatchBuilder, ExtentBatch } from '../../map/extents.ts';
import { Kind } from '../../map/extents.ts';

/** One bit a sector, least significant first: set where the sector is in this file, clear where it is the parent's. */
export class SectorBitmap {
  readonly #bits: Uint8Array;

  constructor(bits: Uint8Array) {
    this.#bits = bits;
  }

  isPresent(sector: number): boolean {
    return (((this.#bits[Math.floor(sector / 8)] as number) >> (sector % 8)) & 1) === 1;
  }

  /** The first sector after `sector`, or `end`, that is not like it. */
  runEnd(sector: number, end: number): number {
    const present = this.isPresent(sector);
    const same = present ? 0xff : 0;
    let at = sector + 1;
    while (at < end) {
      if (at % 8 === 0 && this.#bits[at / 8] === same) {
        at += 8;
      } else if (this.isPresent(at) === present) {
        at += 1;
      } else {
        return at;
      }
    }
    return end;
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
