/** `compare`: whether two images hold the same virtual disk, whatever their formats. */
import { performance } from 'node:perf_hooks';
import type { Engine } from '../engine/contract.ts';
import { loadEngine } from '../engine/engine.ts';
import { type BlockMap, Kind } from '../map/extents.ts';
import { cancelled, throwIfAborted, unlessAborted } from './abort.ts';
import { type Chain, openChain } from './chain.ts';
import { PIECE } from './pieces.ts';
import type { ComparedImage, CompareOptions, CompareResult } from './types.ts';

/**
 * Compares what the guests of two images see. Ranges that both maps call zero are not read. Where one disk is longer, its
 * rest must be zeros; with `strict`, sizes that differ are a difference by themselves. Throws VdconvError as `open` does,
 * `changed` where an image changed meanwhile, `aborted`.
 */
export async function compare(a: string, b: string, options: CompareOptions = {}): Promise<CompareResult> {
  const begun = performance.now();
  const { engine } = loadEngine();
  const { allowReferences, allowDevice, forceShare, signal } = options;
  const common = { allowReferences, allowDevice, forceShare, signal };
  try {
    const chainA = await openChain(a, { ...common, format: options.formatA }, engine);
    try {
      const chainB = await openChain(b, { ...common, format: options.formatB }, engine);
      try {
        const found = await compareChains(engine, chainA, chainB, options);
        return {
          ...found,
          a: comparedImage(a, chainA),
          b: comparedImage(b, chainB),
          seconds: (performance.now() - begun) / 1000,
        };
      } finally {
        await chainB.close();
      }
    } finally {
      await chainA.close();
    }
  } catch (error) {
    throw signal?.aborted ? cancelled(error) : error;
  }
}

function comparedImage(filename: string, { top, virtualSize }: Chain): ComparedImage {
  return { filename, format: top.image.format, virtualSize };
}

async function compareChains(
  engine: Engine,
  a: Chain,
  b: Chain,
  { strict, signal, onProgress }: CompareOptions,
): Promise<Pick<CompareResult, 'identical' | 'firstDifference' | 'bytesRead'>> {
  if (strict === true && a.virtualSize !== b.virtualSize) {
    return { identical: false, bytesRead: 0 };
  }
  const total = Math.max(a.virtualSize, b.virtualSize);
  let bytesRead = 0;
  for await (const { start, inA, inB } of windows(a, b)) {
    throwIfAborted(signal);
    onProgress?.({ done: start, total });
    const reads = Promise.all([window(engine, a, start, inA), window(engine, b, start, inB)]);
    const [bytesA, bytesB] = await unlessAborted(signal, reads);
    bytesRead += bytesA.length + bytesB.length;
    const at = differsAt(bytesA, bytesB);
    if (at !== undefined) {
      return { identical: false, firstDifference: start + at, bytesRead };
    }
  }
  await a.assertUnchanged();
  await b.assertUnchanged();
  onProgress?.({ done: total, total });
  return { identical: true, bytesRead };
}

/** The bytes at `start`, none where the map says that there are only zeros. */
async function window(engine: Engine, chain: Chain, start: number, holdsData: boolean): Promise<Uint8Array> {
  return holdsData ? chain.read(engine, start, Math.min(PIECE, chain.virtualSize - start)) : new Uint8Array(0);
}

/** Index of the first byte that differs; behind its end, either side has zeros. */
function differsAt(a: Uint8Array, b: Uint8Array): number | undefined {
  const shorter = Math.min(a.length, b.length);
  const rest = a.length > b.length ? a : b;
  if (Buffer.compare(a.subarray(0, shorter), b.subarray(0, shorter)) === 0 && isZero(rest.subarray(shorter))) {
    return undefined;
  }
  for (let i = 0; ; i += 1) {
    if ((a[i] ?? 0) !== (b[i] ?? 0)) {
      return i;
    }
  }
}

const ZEROS = new Uint8Array(PIECE);

function isZero(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes, ZEROS.subarray(0, bytes.length)) === 0;
}

/** Every window of {@link PIECE} bytes in which either map has data, in order. */
async function* windows(a: Chain, b: Chain): AsyncGenerator<{ start: number; inA: boolean; inB: boolean }> {
  const walks = [a, b].map((chain) => occupied(chain.extents(0, chain.virtualSize))) as [Walk, Walk];
  try {
    let [atA, atB] = [await step(walks[0]), await step(walks[1])];
    while (Math.min(atA, atB) < Number.POSITIVE_INFINITY) {
      const start = Math.min(atA, atB);
      const [inA, inB] = [atA === start, atB === start];
      yield { start, inA, inB };
      atA = inA ? await step(walks[0]) : atA;
      atB = inB ? await step(walks[1]) : atB;
    }
  } finally {
    await Promise.all(walks.map((walk) => walk.return(undefined)));
  }
}

type Walk = AsyncGenerator<number, undefined, undefined>;

async function step(walk: Walk): Promise<number> {
  const { value } = await walk.next();
  return value ?? Number.POSITIVE_INFINITY;
}

async function* occupied(map: BlockMap): Walk {
  let next = 0;
  for await (const batch of map) {
    for (let i = 0; i < batch.count; i += 1) {
      if (batch.kind[i] !== Kind.data && batch.kind[i] !== Kind.compressed) {
        continue;
      }
      const start = batch.start[i] as number;
      const end = start + (batch.length[i] as number);
      for (next = Math.max(next, start - (start % PIECE)); next < end; next += PIECE) {
        yield next;
      }
    }
  }
  return undefined;
}
