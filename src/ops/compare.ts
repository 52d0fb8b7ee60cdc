/** `compare`: whether two images hold the same virtual disk, whatever their formats. */
import { performance } from 'node:perf_hooks';
import { cancelled, throwIfAborted } from '../base/abort.ts';
import type { Engine } from '../engine/contract.ts';
import { loadEngine } from '../engine/engine.ts';
import { type Chain, openChain } from './chain.ts';
import { nameOf } from './source.ts';
import type { ComparedImage, CompareOptions, CompareResult, ImageSource } from './types.ts';

/**
 * Compares what the guests of two images see. Ranges that both maps call zero are not read. Where one disk is longer, its
 * rest must be zeros; with `strict`, sizes that differ are a difference by themselves. Throws VdconvError as `open` does,
 * `changed` where an image changed meanwhile, `aborted`.
 */
export async function compare(a: ImageSource, b: ImageSource, options: CompareOptions = {}): Promise<CompareResult> {
  const begun = performance.now();
  const { engine } = loadEngine();
  const { allowReferences, allowDevice, forceShare, limits, spool, maxOutput, signal } = options;
  const common = { allowReferences, allowDevice, forceShare, limits, spool, maxOutput, signal };
  try {
    const chainA = await openChain(a, { ...common, format: options.formatA }, engine);
    try {
      const chainB = await openChain(b, { ...common, format: options.formatB }, engine);
      try {
        chainA.limitData(options.maxOutput);
        chainB.limitData(options.maxOutput);
        const found = await compareChains(engine, chainA, chainB, options);
        return {
          ...found,
          a: comparedImage(nameOf(a), chainA),
          b: comparedImage(nameOf(b), chainB),
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
  const side = (chain: Chain) => ({ files: chain.dataFiles, map: chain.padded(0, total) });
  const { firstDifference, bytesRead } = await engine.compare(side(a), side(b), total, {
    signal,
    onProgress: onProgress && ((done) => onProgress({ done, total })),
  });
  throwIfAborted(signal);
  await a.assertUnchanged();
  await b.assertUnchanged();
  return firstDifference === undefined
    ? { identical: true, bytesRead }
    : { identical: false, firstDifference, bytesRead };
}
