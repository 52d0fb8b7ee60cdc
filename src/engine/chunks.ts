/**
 * Cuts a block map into units of work: aligned chunks of what the map covers, with the extents that matter in them.
 * Chunks without any do not occur, so an empty terabyte costs no more than its extents. Where zeros matter by themselves
 * they come in units of many chunks.
 */
import { VdconvError } from '../base/errors.ts';
import { alignDown } from '../base/units.ts';
import { type BlockMap, type Extent, extentAt, Kind } from '../map/extents.ts';

/** Chunks of a unit without bytes: bounds what is placed at once. */
const LONG = 64;

/** Bytes [start, end) from the map's start on: an aligned chunk, cut at the end, or many without bytes. */
export interface Unit {
  start: number;
  end: number;
  segments: Extent[];
}

export interface Cut {
  /** The part of the virtual disk that the map covers; what comes out counts from `start`. */
  start: number;
  end: number;
  chunk: number;
  /** Which extents matter: those that have bytes, those of which the map says something, or all. */
  give: 'bytes' | 'known' | 'all';
  /** Whether zeros are bytes like others (`-S 0`). */
  zerosAreBytes: boolean;
}

export async function* unitsOf(map: BlockMap, cut: Cut): AsyncGenerator<Unit, void> {
  const { start, end, chunk, zerosAreBytes } = cut;
  let covered = start;
  let segments: Extent[] = [];
  let [unitStart, unitEnd] = [0, 0];
  const unit = (): Unit => ({ start: unitStart, end: Math.min(unitEnd, end - start), segments });
  for await (const batch of map) {
    for (let i = 0; i < batch.count; i += 1) {
      let rest = extentAt(batch, i);
      if (rest.start !== covered || !(rest.length > 0) || rest.length > end - rest.start) {
        const next = `[${rest.start}, +${rest.length}) of [${start}, ${end})`;
        throw new VdconvError('internal', `the block map goes from ${covered} to ${next}`);
      }
      covered += rest.length;
      if (!matters(rest.kind, cut)) {
        continue;
      }
      rest.start -= start;
      while (rest.length > 0) {
        if (segments.length > 0 && rest.start >= unitEnd) {
          yield unit();
          segments = [];
        }
        if (segments.length === 0) {
          unitStart = alignDown(rest.start, chunk);
          const whole = Math.floor((rest.start + rest.length - unitStart) / chunk);
          const long = !zerosAreBytes && !hasBytes(rest.kind);
          unitEnd = unitStart + chunk * (long ? Math.max(1, Math.min(whole, LONG)) : 1);
        }
        const take = Math.min(rest.length, unitEnd - rest.start);
        segments.push({ ...rest, length: take });
        rest = after(rest, take);
      }
    }
  }
  if (covered !== end) {
    throw new VdconvError('internal', `the block map ends at ${covered} of ${end}`);
  }
  if (segments.length > 0) {
    yield unit();
  }
}

export function hasBytes(kind: Kind): boolean {
  return kind === Kind.data || kind === Kind.compressed;
}

function matters(kind: Kind, { give }: Cut): boolean {
  return give === 'all' || hasBytes(kind) || (give === 'known' && kind !== Kind.unallocated);
}

/** What is left of an extent behind its first `length` bytes. */
function after(extent: Extent, length: number): Extent {
  return {
    ...extent,
    start: extent.start + length,
    length: extent.length - length,
    offset: extent.kind === Kind.data ? extent.offset + length : extent.offset,
    skip: extent.kind === Kind.compressed ? extent.skip + length : extent.skip,
  };
}
