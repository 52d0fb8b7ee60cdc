/** `convert`: one image in, a new one out. */
import { performance } from 'node:perf_hooks';
import type { Engine } from '../engine/contract.ts';
import { loadEngine } from '../engine/engine.ts';
import type { WritePlan } from '../formats/format.ts';
import { cancelled } from './abort.ts';
import { type Chain, openChain } from './chain.ts';
import { writeStream } from './convert-stream.ts';
import { checkOptions, type Written } from './copy-job.ts';
import { droppedFrom, notesOf } from './left-behind.ts';
import { openOutlet, type StreamTarget } from './outlet.ts';
import { STREAM } from './stream-name.ts';
import { planTarget, targetFormat } from './target.ts';
import type { ConvertOptions, ConvertResult } from './types.ts';
import { writeFiles } from './write-files.ts';

/**
 * Converts `source` into a new image.
 *
 * A `target` that is a path appears under its name only when it is complete; on any failure it is as it was. A
 * `WritableStream` gets the bytes that the file would have, at its own speed: it is closed after the last one and aborted
 * on any failure. A descriptor gets them too and stays open. Formats whose tables precede their data take two passes over
 * the source; compressed qcow2 is first made in a temporary file in `options.spool`.
 *
 * Throws VdconvError: `usage`, `exists` or `write` for the target, what `open` throws for the source, `changed` where the
 * source changed meanwhile, `limit`, `aborted`.
 */
export async function convert(
  source: string,
  target: string | StreamTarget,
  options: ConvertOptions = {},
): Promise<ConvertResult> {
  if (typeof target === 'string') {
    return run(source, target, options, (engine, chain, plan) => writeFiles(engine, chain, plan, target, options));
  }
  const outlet = openOutlet(target, options.signal);
  try {
    return await run(source, STREAM, options, async (engine, chain, plan) => {
      const written = await writeStream(engine, chain, plan, outlet.to, options);
      await outlet.close();
      return written;
    });
  } catch (error) {
    outlet.abort(error);
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
      const { size, dataBytes, allocatedSize, siblings = [], notes = [] } = await write(engine, chain, plan);
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
        notes: [...notesOf(chain, plan), ...notes],
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
