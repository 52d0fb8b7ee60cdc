import { clip } from './clip.ts';
import { BatchBuilder, type BlockMap, type ExtentBatch } from './extents.ts';

/** The part of a map that lies in [start, end). Nothing is read behind `end`; batches inside pass through uncopied. */
export async function* slice(map: BlockMap, start: number, end: number): BlockMap {
  if (start >= end) {
    return;
  }
  for await (const batch of map) {
    if (batch.count === 0) {
      continue;
    }
    const batchStart = batch.start[0] as number;
    const batchEnd = endOf(batch);
    if (batchStart >= end) {
      return;
    }
    if (batchEnd > start) {
      yield batchStart >= start && batchEnd <= end ? batch : clipAll(batch, start, end);
    }
    if (batchEnd >= end) {
      return;
    }
  }
}

function endOf(batch: ExtentBatch): number {
  const last = batch.count - 1;
  return (batch.start[last] as number) + (batch.length[last] as number);
}

function clipAll(batch: ExtentBatch, start: number, end: number): ExtentBatch {
  const out = new BatchBuilder(batch.count);
  for (let i = 0; i < batch.count; i += 1) {
    clip(out, batch, i, start, end);
  }
  return out.take();
}
