/**
 * Cuts a block map into units of work: aligned chunks of the virtual disk, with the extents that have bytes in them.
 * Chunks without bytes do not occur, so an empty terabyte costs no more than its extents.
 */
import { VdconvError } from '../base/errors.ts';
import { alignDown } from '../base/units.ts';
import { type BlockMap, type Extent, extentAt, Kind } from '../map/extents.ts';

/** Guest bytes [start, end): an aligned chunk, cut at the end of the disk. */
export interface Unit {
  start: number;
  end: number;
  segments: Extent[];
}

export interface Cut {
  /** The part of the virtual disk that the map covers. */
  start: number;
  end: number;
  chunk: number;
  /** Give out zeros too: they are stored. */
  zeros: boolean;
}

export async function* unitsOf(map: BlockMap, { start, end, chunk, zeros }: Cut): AsyncGenerator<Unit, void> {
  let covered = start;
  let segments: Extent[] = [];
  let chunkEnd = 0;
  const unit = (): Unit => ({ start: chunkEnd - chunk, end: Math.min(chunkEnd, end), segments });
  for await (const batch of map) {
    for (let i = 0; i < batch.count; i += 1) {
      let rest = extentAt(batch, i);
      if (rest.start !== covered || !(rest.length > 0) || rest.length > end - rest.start) {
        const next = `[${rest.start}, +${rest.length}) of [${start}, ${end})`;
        throw new VdconvError('internal', `the block map goes from ${covered} to ${next}`);
      }
      covered += rest.length;
      if (!zeros && rest.kind !== Kind.data && rest.kind !== Kind.compressed) {
        continue;
      }
      while (rest.length > 0) {
        if (segments.length > 0 && rest.start >= chunkEnd) {
          yield unit();
          segments = [];
        }
        if (segments.length === 0) {
          chunkEnd = alignDown(rest.start, chunk) + chunk;
        }
        const take = Math.min(rest.length, chunkEnd - rest.start);
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
