import { BATCH, BatchBuilder, type BlockMap, type Kind } from './extents.ts';

/**
 * Merges neighbours that say the same thing, across batches too: what comes out does not depend on how the map was cut
 * into batches. Compressed extents stay as they are. A batch is handed on when the next extent cannot join its last.
 */
export async function* coalesce(map: BlockMap, capacity: number = BATCH): BlockMap {
  const out = new BatchBuilder(capacity);
  for await (const batch of map) {
    for (let i = 0; i < batch.count; i += 1) {
      const start = batch.start[i] as number;
      const kind = batch.kind[i] as Kind;
      const file = batch.file[i] as number;
      const offset = batch.offset[i] as number;
      if (out.full && !out.continues(start, kind, file, offset)) {
        yield out.take();
      }
      out.push(
        start,
        batch.length[i] as number,
        kind,
        file,
        offset,
        batch.stored[i] as number,
        batch.skip[i] as number,
      );
    }
  }
  if (out.count > 0) {
    yield out.take();
  }
}
