import { BatchBuilder, type BlockMap, type Kind } from './extents.ts';

/**
 * A map of [start, end) that is one extent, or none where the range is empty.
 *
 * @param offset of guest byte `start` in data file `file`, for `data`.
 */
export async function* uniform(
  start: number,
  end: number,
  kind: Exclude<Kind, typeof Kind.compressed>,
  file = 0,
  offset = 0,
): BlockMap {
  if (start < end) {
    const out = new BatchBuilder(1);
    out.push(start, end - start, kind, file, offset);
    yield out.take();
  }
}
