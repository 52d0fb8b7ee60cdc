/**
 * A layer whose tables may be damaged: where its block map cannot be had, the range is lost and the map goes on behind it.
 * Lost ranges are data of a file of their own, which hides what lower layers have there.
 */
import { VdconvError } from '../base/errors.ts';
import { alignDown, divCeil, KiB } from '../base/units.ts';
import type { Image } from '../formats/format.ts';
import type { ByteSource } from '../io/types.ts';
import { BatchBuilder, type BlockMap, type ExtentBatch, Kind } from '../map/extents.ts';
import { isLoss } from './lost.ts';

/** Why ranges of one layer are lost, by the guest byte at which each begins. */
export class Reasons {
  readonly #starts: number[] = [];
  readonly #why: string[] = [];

  add(start: number, why: string): void {
    const i = this.#behind(start);
    if (this.#starts[i - 1] !== start) {
      this.#starts.splice(i, 0, start);
      this.#why.splice(i, 0, why);
    }
  }

  /** Of the range that begins at `start` or before. */
  at(start: number): string {
    return this.#why[this.#behind(start) - 1] ?? '';
  }

  /** Index of the first range that begins behind `start`. */
  #behind(start: number): number {
    let [low, high] = [0, this.#starts.length];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      [low, high] = (this.#starts[middle] as number) <= start ? [middle + 1, high] : [low, middle];
    }
    return low;
  }
}

export interface SalvagedLayer {
  source: ByteSource;
  /** Its last data file stands for what is lost; nothing is ever read from it. */
  image: Image;
  reasons: Reasons;
}

/** What is tried by itself around a damage, where blocks are not smaller: a file may end inside a large one. */
const UNIT = 64 * KiB;

export function salvagedLayer(source: ByteSource, image: Image): SalvagedLayer {
  const reasons = new Reasons();
  const lost = image.dataFiles.length;
  const unit = Math.min(image.facts.blockSize || UNIT, UNIT);
  return {
    source,
    reasons,
    image: {
      ...image,
      dataFiles: [...image.dataFiles, { source: nothing(source.name) }],
      extents: (start, end) => salvagedMap(image, { start, end, unit, lost }, reasons),
    },
  };
}

/** What stands for lost ranges is never read: whoever does has taken the map without its salvage. */
function nothing(name: string): ByteSource {
  return {
    name,
    size: 0,
    async read() {
      throw new VdconvError('internal', 'a lost range was read', { file: name });
    },
    async close() {},
  };
}

interface Walk {
  start: number;
  end: number;
  /** The least range that is tried by itself, and given up. */
  unit: number;
  /** Index of the file of lost ranges. */
  lost: number;
}

/** A failure says how far the map came, not how far the damage goes: ever smaller ranges are tried, then larger ones. */
async function* salvagedMap(image: Image, { start, end, unit, lost }: Walk, reasons: Reasons): BlockMap {
  let at = start;
  let window = Number.POSITIVE_INFINITY;
  while (at < end) {
    const to = Math.min(end, alignDown(at, unit) + window);
    let why: string | undefined;
    try {
      for await (const batch of image.extents(at, to)) {
        yield batch;
        at = endOf(batch) ?? at;
      }
    } catch (error) {
      if (!isLoss(error)) {
        throw error;
      }
      why = error.message;
    }
    if (why === undefined) {
      window *= 2;
    } else if (to - alignDown(at, unit) > unit) {
      window = Math.max(unit, alignDown((to - at) / 2, unit));
    } else {
      const behind = await endOfDamage(image, at, end, unit, why);
      reasons.add(at, why);
      yield only(at, behind, lost);
      at = behind;
      window = unit;
    }
  }
}

/** One broken table fails for each of its units with the same words: its end is found by bisection. */
async function endOfDamage(image: Image, at: number, end: number, unit: number, why: string): Promise<number> {
  const base = alignDown(at, unit);
  const units = divCeil(end - base, unit);
  const fails = async (index: number): Promise<boolean> => {
    const from = base + index * unit;
    try {
      for await (const _ of image.extents(from, Math.min(end, from + unit))) {
        // What matters is whether it can be had.
      }
      return false;
    } catch (error) {
      if (!isLoss(error)) {
        throw error;
      }
      return error.message === why;
    }
  };
  let known = 0;
  let step = 1;
  while (known + step < units && (await fails(known + step))) {
    known += step;
    step *= 2;
  }
  let other = Math.min(known + step, units);
  while (other - known > 1) {
    const middle = Math.floor((known + other) / 2);
    if (await fails(middle)) {
      known = middle;
    } else {
      other = middle;
    }
  }
  return Math.min(end, base + other * unit);
}

function endOf({ count, start, length }: ExtentBatch): number | undefined {
  return count === 0 ? undefined : (start[count - 1] as number) + (length[count - 1] as number);
}

/** Data of the lost file at its own guest offset: neighbours join, and a part of it still knows where it is. */
function only(start: number, end: number, lost: number): ExtentBatch {
  const batch = new BatchBuilder(1);
  batch.push(start, end - start, Kind.data, lost, start);
  return batch.take();
}
