import type { BlockMap } from './extents.ts';

/** The same extents `by` bytes earlier on the disk: a range of it as a disk of its own. */
export async function* shift(map: BlockMap, by: number): BlockMap {
  for await (const batch of map) {
    if (by === 0) {
      yield batch;
      continue;
    }
    const start = new Float64Array(batch.count);
    for (let i = 0; i < batch.count; i += 1) {
      start[i] = (batch.start[i] as number) - by;
    }
    yield { ...batch, start };
  }
}
