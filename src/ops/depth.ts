/** Which layer of a chain decides what the guest sees: the `depth` of `map`. */
import { coalesce } from '../map/coalesce.ts';
import { BatchBuilder, type BlockMap, type Extent, extentAt, Kind } from '../map/extents.ts';
import { overlay } from '../map/overlay.ts';
import type { Layer } from './chain.ts';

/**
 * Answers for places that only move forward. It walks the layers' tables a second time, with the same overlay as the
 * merged map, so a chain's map costs two walks; a single layer's costs one.
 */
export class DepthCursor {
  readonly #walk: AsyncGenerator<Extent>;
  readonly #bottom: number;
  #current: Extent | undefined;

  constructor(layers: readonly Layer[], start: number, end: number) {
    this.#walk = flattened(coalesce(layersFrom(layers, 0, start, end)));
    this.#bottom = layers.length - 1;
  }

  /** The layer at `at`, and where its say ends. What no layer has is the bottom's: nothing lies below it. */
  async layerAt(at: number): Promise<{ depth: number; end: number }> {
    while (this.#current === undefined || this.#current.start + this.#current.length <= at) {
      const { value, done } = await this.#walk.next();
      if (done) {
        return { depth: this.#bottom, end: Number.POSITIVE_INFINITY };
      }
      this.#current = value;
    }
    const { kind, file, start, length } = this.#current;
    return { depth: kind === Kind.data ? file : this.#bottom, end: start + length };
  }

  async close(): Promise<void> {
    await this.#walk.return(undefined);
  }
}

/** A map in which "data of file n" means "layer n decides", with places such that neighbours join. */
function layersFrom(layers: readonly Layer[], index: number, start: number, end: number): BlockMap {
  const own = decided((layers[index] as Layer).image.extents(start, end));
  const belowEnd = Math.min(end, layers[index + 1]?.image.virtualSize ?? 0);
  return belowEnd > start ? overlay(own, layersFrom(layers, index + 1, start, belowEnd), 1) : own;
}

async function* decided(map: BlockMap): BlockMap {
  for await (const batch of map) {
    const out = new BatchBuilder(Math.max(1, batch.count));
    for (let i = 0; i < batch.count; i += 1) {
      const start = batch.start[i] as number;
      const kind = batch.kind[i] === Kind.unallocated ? Kind.unallocated : Kind.data;
      out.push(start, batch.length[i] as number, kind, 0, start);
    }
    yield out.take();
  }
}

async function* flattened(map: BlockMap): AsyncGenerator<Extent> {
  for await (const batch of map) {
    for (let i = 0; i < batch.count; i += 1) {
      yield extentAt(batch, i);
    }
  }
}
