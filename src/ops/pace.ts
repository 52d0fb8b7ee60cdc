/** A rate limit as a map operator: extents that hold data are handed on no faster than the rate, whatever moves them. */
import { setTimeout as wait } from 'node:timers/promises';
import { alignDown, KiB, MiB } from '../base/units.ts';
import { clip } from '../map/clip.ts';
import { BatchBuilder, type BlockMap, type ExtentBatch, Kind } from '../map/extents.ts';

/** One rate over any number of maps. Counts guest bytes of kind data and compressed; zeros are free. */
export class Pace {
  readonly #rate: number;
  readonly #signal: AbortSignal | undefined;
  /** Bytes handed on at once: a quarter of a second's, and no more than the engine takes as one unit of work. */
  readonly #piece: number;
  /** When what was handed on so far has had its time, by {@link performance.now}. */
  #free = Number.NEGATIVE_INFINITY;

  /** @param rate bytes per second, on average from the first one on. */
  constructor(rate: number, signal?: AbortSignal) {
    this.#rate = rate;
    this.#signal = signal;
    this.#piece = Math.max(4 * KiB, Math.min(MiB, alignDown(Math.floor(rate / 4), 4 * KiB)));
  }

  /** The same map in smaller batches. A compressed unit is never cut. */
  async *map(map: BlockMap): BlockMap {
    for await (const batch of map) {
      for (let i = 0; i < batch.count; i += 1) {
        const start = batch.start[i] as number;
        const end = start + (batch.length[i] as number);
        const step = batch.kind[i] === Kind.data ? this.#piece : end - start;
        for (let at = start; at < end; at += step) {
          yield* this.#inTime(batch, i, at, Math.min(at + step, end));
        }
      }
    }
  }

  async *#inTime(batch: ExtentBatch, i: number, start: number, end: number): AsyncGenerator<ExtentBatch> {
    const out = new BatchBuilder(1);
    clip(out, batch, i, start, end);
    if (batch.kind[i] === Kind.data || batch.kind[i] === Kind.compressed) {
      const now = performance.now();
      if (this.#free > now) {
        await wait(this.#free - now, undefined, { signal: this.#signal });
      }
      // Idle time is not saved up: a source that was slow does not make a burst of what follows.
      this.#free = Math.max(this.#free, now) + ((end - start) / this.#rate) * 1000;
    }
    yield out.take();
  }
}
