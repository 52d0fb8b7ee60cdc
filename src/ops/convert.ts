/** `convert`: one image in, a new one out. */
import { performance } from 'node:perf_hooks';
import type { Engine } from '../engine/contract.ts';
import { loadEngine } from '../engine/engine.ts';
import type { WritePlan } from '../formats/format.ts';
import { cancelled } from './abort.ts';
import { type Chain, openChain } from './chain.ts';
import { checkStream, writeStream } from './convert-stream.ts';
import { checkOptions, type Written } from './copy-job.ts';
import { droppedFrom, notesOf } from './left-behind.ts';
import { STREAM } from './stream-name.ts';
import { planTarget, targetFormat } from './target.ts';
import type { ConvertOptions, ConvertResult } from './types.ts';
import { writeFiles } from './write-files.ts';

/**
 * Converts `source` into a new image.
 *
 * A `target` that is a path appears under its name only when it is complete; on any failure it is as it was. A
 * `WritableStream` gets the bytes that the file would have, at its own speed: it is closed after the last one and aborted
 * on any failure. `raw` goes to it as it is read; every other format is first made in a temporary file in
 * `options.spool`, so it takes that much space and its first byte comes late.
 *
 * Throws VdconvError: `usage`, `exists` or `write` for the target, what `open` throws for the source, `changed` where the
 * source changed meanwhile, `limit`, `aborted`.
 */
export async function convert(
  source: string,
  target: string | WritableStream<Uint8Array>,
  options: ConvertOptions = {},
): Promise<ConvertResult> {
  if (typeof target === 'string') {
    return run(source, target, options, (engine, chain, plan) => writeFiles(engine, chain, plan, target, options));
  }
  checkStream(target);
  try {
    return await run(source, STREAM, options, (engine, chain, plan) =>
      writeStream(engine, chain, plan, target, options),
    );
  } catch (error) {
    // Where it has already failed by itself there is nothing to abort.
    target.abort(error).catch(() => {});
    throw error;
  }
}

async function run(
  source: string,
  target: string,
  options: ConvertOptions,
  write: (engine: Engine, chain: Chain, plan: WritePlan) => Promise<Written>,
): Promise<ConvertResult> {
  const begun = performance.now();
  checkOptions(options);
  const format = targetFormat(target, options);
  const { engine } = loadEngine();
  try {
    const chain = await openChain(source, options, engine);
    try {
      const plan = planTarget(target, chain, options);
      const { size, dataBytes, allocatedSize, siblings = [] } = await write(engine, chain, plan);
      return {
        source: { filename: source, format: chain.top.image.format, virtualSize: chain.virtualSize },
        target: {
          filename: target,
          format: format.name,
          virtualSize: plan.virtualSize,
          fileSize: size,
          allocatedSize,
          siblings: [...siblings],
        },
        dataBytes,
        dropped: droppedFrom(chain, plan),
        notes: notesOf(chain, plan),
        engine: engine.name,
        seconds: (performance.now() - begun) / 1000,
      };
    } catch (error) {
      throw await chain.reasonOf(error);
    } finally {
      await chain.close();
    }
  } catch (error) {
    // Whatever an abort made fail first, the caller asked for it.
    throw options.signal?.aborted ? cancelled(error) : error;
  }
}
