/** A block map that is never far ahead of the data that is moved: for a source that is read in one forward pass. */
import { MiB } from '../base/units.ts';
import { clip } from './clip.ts';
import { BatchBuilder, type BlockMap, Kind } from './extents.ts';

/** Guest bytes whose tables are read at a time, and bytes of data a batch. Engines take a handful of batches ahead. */
const STEP = 2 * MiB;

/** @param part the map of a part of the disk; the parts are asked for in order. */
export async function* forwardMap(
  part: (start: number, end: number) => BlockMap,
  start: number,
  end: number,
): BlockMap {
  const out = new BatchBuilder();
  let held = 0;
  for (let at = start; at < end; at += STEP) {
    for await (const batch of part(at, Math.min(end, at + STEP))) {
      for (let i = 0; i < batch.count; i += 1) {
        const from = batch.start[i] as number;
        const length = batch.length[i] as number;
        if (batch.kind[i] === Kind.data || batch.kind[i] === Kind.compressed) {
          held += length;
        }
        clip(out, batch, i, from, from + length);
        if (out.full || held >= STEP) {
          yield out.take();
          held = 0;
        }
      }
    }
  }
  if (out.count > 0) {
    yield out.take();
  }
}
