/** `digest`: one value that follows from the bytes of a virtual disk, whatever format holds them. */
import { performance } from 'node:perf_hooks';
import { cancelled } from '../base/abort.ts';
import { MiB } from '../base/units.ts';
import { loadEngine } from '../engine/engine.ts';
import { FLAT } from '../map/flat.ts';
import type { Layout } from '../map/layout.ts';
import { openChain } from './chain.ts';
import { DEFAULT_DIGEST, digestMethod, hex } from './digest-method.ts';
import type { DigestOptions, DigestResult } from './types.ts';

/** Nothing is stored, and the bits of a scan are few. */
const NOWHERE: Layout = { ...FLAT, blockSize: 16 * MiB };

/**
 * The digest of an image's virtual disk, its layers merged. `sha256` is SHA-256 of the disk's bytes, as sha256sum of a raw
 * copy gives it, and takes one thread. `blkhash-sha256/SIZE` hashes blocks of SIZE by all threads and never reads zeros.
 * Throws VdconvError as `open` does, `changed` where the image changed meanwhile, `aborted`.
 */
export async function digest(path: string, options: DigestOptions = {}): Promise<DigestResult> {
  const begun = performance.now();
  const algorithm = options.algorithm ?? DEFAULT_DIGEST;
  const method = digestMethod(algorithm);
  const { engine } = loadEngine();
  const { threads, signal, onProgress } = options;
  try {
    const chain = await openChain(path, options, engine);
    try {
      chain.limitData(options.maxOutput);
      const { virtualSize } = chain;
      const result = await engine.copy({
        files: chain.dataFiles,
        map: chain.extents(0, virtualSize),
        virtualSize,
        layout: NOWHERE,
        sink: { kind: 'scan' },
        digest: method,
        options: { threads, signal, onProgress: onProgress && ((done, total) => onProgress({ done, total })) },
      });
      await chain.assertUnchanged();
      return {
        filename: path,
        format: chain.top.image.format,
        virtualSize,
        algorithm,
        digest: hex(result.digest),
        seconds: (performance.now() - begun) / 1000,
      };
    } catch (error) {
      throw await chain.reasonOf(error);
    } finally {
      await chain.close();
    }
  } catch (error) {
    throw signal?.aborted ? cancelled(error) : error;
  }
}
