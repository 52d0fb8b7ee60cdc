import { clip } from './clip.ts';
import { BATCH, BatchBuilder, type BlockMap, type ExtentBatch, Kind } from './extents.ts';

/**
 * A child layer over its parent: where the child is `unallocated` the parent shows. The child alone decides where the
 * result begins and ends; where the parent has ended the result stays `unallocated`.
 *
 * A chain is built from the bottom, overlay(top, overlay(middle, base)): the other way round, base would show behind
 * the end of a shorter middle, which the guest never sees.
 *
 * @param fileOffset the number of the child's data files: the parent's come behind them in the joined list.
 */
export async function* overlay(
  child: BlockMap,
  parent: BlockMap,
  fileOffset: number,
  capacity: number = BATCH,
): BlockMap {
  const out = new BatchBuilder(capacity);
  const below = new Cursor(parent);
  try {
    for await (const batch of child) {
      for (let i = 0; i < batch.count; i += 1) {
        let at = batch.start[i] as number;
        const end = at + (batch.length[i] as number);
        if (batch.kind[i] !== Kind.unallocated) {
          if (out.full) {
            yield out.take();
          }
          clip(out, batch, i, at, end);
          continue;
        }
        while (at < end) {
          if (out.full) {
            yield out.take();
          }
          while (!below.skipTo(at)) {
            await below.fetch();
          }
          const stop = Math.min(end, below.end);
          if (below.batch === undefined) {
            out.push(at, stop - at, Kind.unallocated);
          } else {
            clip(out, below.batch, below.index, at, stop, fileOffset);
          }
          at = stop;
        }
      }
      // Handed on with each batch of the child, so that a consumer starts before a sparse disk was walked to its end.
      if (out.count > 0) {
        yield out.take();
      }
    }
  } finally {
    await below.close();
  }
}

/** One place in a map that is walked forward only, a batch at a time. */
class Cursor {
  readonly #iterator: AsyncIterator<ExtentBatch>;
  #ended = false;
  /** The batch that holds the current extent; undefined before the first and after the last. */
  batch: ExtentBatch | undefined;
  index = 0;
  /** Where the current extent ends; infinity after the last one. */
  end = Number.NEGATIVE_INFINITY;

  constructor(map: BlockMap) {
    this.#iterator = map[Symbol.asyncIterator]();
  }

  /** Moves to the first extent that ends behind `at`. False: the batch has none, {@link fetch} the next one. */
  skipTo(at: number): boolean {
    while (this.end <= at) {
      this.index += 1;
      if (this.batch === undefined || this.index >= this.batch.count) {
        return false;
      }
      this.#measure(this.batch);
    }
    return true;
  }

  async fetch(): Promise<void> {
    do {
      const next = await this.#iterator.next();
      if (next.done === true) {
        this.#ended = true;
        this.batch = undefined;
        this.end = Number.POSITIVE_INFINITY;
        return;
      }
      this.batch = next.value;
    } while (this.batch.count === 0);
    this.index = 0;
    this.#measure(this.batch);
  }

  async close(): Promise<void> {
    if (!this.#ended) {
      await this.#iterator.return?.();
    }
  }

  #measure(batch: ExtentBatch): void {
    this.end = (batch.start[this.index] as number) + (batch.length[this.index] as number);
  }
}
