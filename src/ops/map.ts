/** `map`: where each byte of the virtual disk lies. */

import { throwIfAborted } from '../base/abort.ts';
import { loadEngine } from '../engine/engine.ts';
import { coalesce } from '../map/coalesce.ts';
import { type Extent, extentAt, Kind } from '../map/extents.ts';
import { type Chain, openChain } from './chain.ts';
import { DepthCursor } from './depth.ts';
import type { ImageSource, MapEntry, OpenOptions } from './types.ts';

/**
 * The extents of an image's virtual disk, its layers merged: in order, without gaps, neighbours that say the same thing
 * joined. Streamed: the image is opened at the first step and closed after the last one or when the loop is left, and no
 * more than a few thousand extents are in memory. Throws VdconvError as `open` does, `changed` at the end where the
 * image changed meanwhile, `aborted`.
 */
export async function* map(source: ImageSource, options: OpenOptions = {}): AsyncGenerator<MapEntry, void, undefined> {
  const chain = await openChain(source, options, loadEngine().engine);
  try {
    yield* entriesOf(chain, 0, chain.virtualSize, options.signal);
    await chain.assertUnchanged();
  } finally {
    await chain.close();
  }
}

/** The entries of [start, end), which lies within the disk. */
export async function* entriesOf(
  chain: Chain,
  start: number,
  end: number,
  signal?: AbortSignal,
): AsyncGenerator<MapEntry, void, undefined> {
  throwIfAborted(signal);
  if (start === end) {
    return;
  }
  const depths = chain.layers.length > 1 ? new DepthCursor(chain.layers, start, end) : undefined;
  try {
    for await (const batch of coalesce(chain.extents(start, end))) {
      throwIfAborted(signal);
      for (let i = 0; i < batch.count; i += 1) {
        const extent = extentAt(batch, i);
        const stop = extent.start + extent.length;
        for (let at = extent.start; at < stop; ) {
          const { depth, end: until } = depths === undefined ? SINGLE : await depths.layerAt(at);
          const next = Math.min(stop, until);
          yield entryOf(chain, extent, at, next, depth);
          at = next;
        }
      }
    }
  } finally {
    await depths?.close();
  }
}

const SINGLE = { depth: 0, end: Number.POSITIVE_INFINITY };

const NAMES = {
  [Kind.unallocated]: 'unallocated',
  [Kind.zero]: 'zero',
  [Kind.data]: 'data',
  [Kind.compressed]: 'compressed',
} as const;

/** The part of an extent that lies in [start, end). */
function entryOf({ dataFiles }: Chain, extent: Extent, start: number, end: number, depth: number): MapEntry {
  const { kind, offset } = extent;
  const cut = start - extent.start;
  const entry: MapEntry = { start, length: end - start, kind: NAMES[kind], depth };
  const { source, codec } = dataFiles[extent.file] ?? {};
  if (kind === Kind.data) {
    return { ...entry, file: source?.name ?? '', offset: offset + cut };
  }
  if (kind === Kind.compressed) {
    const { stored: storedLength, skip } = extent;
    const how = codec === undefined ? {} : { codec: codec.name, framing: codec.framing };
    return { ...entry, file: source?.name ?? '', offset, storedLength, skip: skip + cut, ...how };
  }
  return entry;
}
