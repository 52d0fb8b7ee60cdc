import { bitRunEnd, isBitSet } from '../base/bits.ts';
import { divCeil } from '../base/units.ts';
import { BatchBuilder, type BlockMap, type ExtentBatch, Kind } from './extents.ts';

/**
 * The map of a layer: what lies in blocks that differ from the layer below stays, `unallocated` there becoming `zero`
 * (nothing lies below the source); all other blocks are `unallocated`.
 *
 * @param differs one bit a block, least significant first, 1 where the block differs.
 */
export async function* differing(map: BlockMap, differs: Uint8Array, blockSize: number): BlockMap {
  for await (const batch of map) {
    yield* splitBatch(batch, differs, blockSize);
  }
}

function* splitBatch(batch: ExtentBatch, differs: Uint8Array, blockSize: number): Generator<ExtentBatch> {
  const out = new BatchBuilder();
  for (let i = 0; i < batch.count; i += 1) {
    const start = batch.start[i] as number;
    const end = start + (batch.length[i] as number);
    for (let at = start; at < end; ) {
      if (out.full) {
        yield out.take();
      }
      const block = Math.floor(at / blockSize);
      const stop = Math.min(end, bitRunEnd(differs, block, divCeil(end, blockSize)) * blockSize);
      pushPart(out, batch, i, at, stop, isBitSet(differs, block));
      at = stop;
    }
  }
  if (out.count > 0) {
    yield out.take();
  }
}

function pushPart(out: BatchBuilder, batch: ExtentBatch, i: number, at: number, stop: number, differs: boolean): void {
  const kind = batch.kind[i] as Kind;
  if (!differs) {
    out.push(at, stop - at, Kind.unallocated);
    return;
  }
  const cut = at - (batch.start[i] as number);
  const [file, offset, stored] = [batch.file[i] as number, batch.offset[i] as number, batch.stored[i] as number];
  if (kind === Kind.data) {
    out.push(at, stop - at, kind, file, offset + cut);
  } else if (kind === Kind.compressed) {
    out.push(at, stop - at, kind, file, offset, stored, (batch.skip[i] as number) + cut);
  } else {
    out.push(at, stop - at, Kind.zero);
  }
}
