/** `convert`: one image in, a new one out. */
import { performance } from 'node:perf_hooks';
import { cancelled } from '../base/abort.ts';
import type { Engine } from '../engine/contract.ts';
import { loadEngine } from '../engine/engine.ts';
import type { BaseImage, WritePlan } from '../formats/format.ts';
import { type Base, blocksThatDiffer, openBase } from './base.ts';
import { type Chain, openChain } from './chain.ts';
import { writeStream } from './convert-stream.ts';
import { checkOptions, type Work, type Written } from './copy-job.ts';
import { hex } from './digest-method.ts';
import { droppedFrom, notesOf } from './left-behind.ts';
import { openOutlet, type StreamTarget } from './outlet.ts';
import { nameOf } from './source.ts';
import { STREAM } from './stream-name.ts';
import { planTarget, takesOnePass, targetFormat } from './target.ts';
import type { ConvertOptions, ConvertResult, ImageSource } from './types.ts';
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
  source: ImageSource,
  target: string | StreamTarget,
  options: ConvertOptions = {},
): Promise<ConvertResult> {
  if (typeof target === 'string') {
    return run(source, target, options, (work) => writeFiles(work, target));
  }
  const outlet = openOutlet(target, options.signal);
  try {
    return await run(source, STREAM, options, async (work) => {
      const written = await writeStream(work, outlet.to);
      await outlet.close();
      return written;
    });
  } catch (error) {
    outlet.abort(error);
    throw error;
  }
}

async function run(
  source: ImageSource,
  target: string,
  options: ConvertOptions,
  write: Production['write'],
): Promise<ConvertResult> {
  checkOptions(options);
  targetFormat(target, options);
  const { engine } = loadEngine();
  return withBase(target, options, engine, async (base) => {
    const once = base === undefined && takesOnePass(target, options);
    const chain = await openChain(source, options, engine, once);
    try {
      chain.limitData(options.maxOutput);
      const differs = base && ((plan: WritePlan) => blocksThatDiffer(engine, chain, base.chain, plan, options));
      return await produce({
        engine,
        chain,
        source: nameOf(source),
        target,
        options,
        base: base?.image,
        differs,
        write,
      });
    } finally {
      await chain.close();
    }
  });
}

/** Runs `work` with the base open, if there is one; an abort is what the caller sees, whatever it made fail first. */
export async function withBase<T>(
  target: string,
  options: Pick<
    ConvertOptions,
    'base' | 'baseFormat' | 'allowReferences' | 'allowDevice' | 'forceShare' | 'limits' | 'signal'
  >,
  engine: Engine,
  work: (base: Base | undefined) => Promise<T>,
): Promise<T> {
  let base: Base | undefined;
  try {
    base = options.base === undefined ? undefined : await openBase(options.base, target, options, engine);
    const result = await work(base);
    await base?.chain.assertUnchanged();
    return result;
  } catch (error) {
    throw options.signal?.aborted ? cancelled(error) : error;
  } finally {
    await base?.chain.close();
  }
}

interface Production {
  engine: Engine;
  chain: Chain;
  source: string;
  target: string;
  options: ConvertOptions;
  base: BaseImage | undefined;
  /** With a base: which blocks of the plan's layout are other than the base's. */
  differs: ((plan: WritePlan) => Promise<Uint8Array>) | undefined;
  write: (work: Work) => Promise<Written>;
}

/** A new image of an opened disk. */
export async function produce({
  engine,
  chain,
  source,
  target,
  options,
  base,
  differs,
  write,
}: Production): Promise<ConvertResult> {
  const begun = performance.now();
  try {
    const plan = planTarget(target, chain, options, base);
    const work = { engine, chain, plan, options, differs: await differs?.(plan) };
    const { size, dataBytes, allocatedSize, digest, siblings = [], notes = [] } = await write(work);
    return {
      source: { filename: source, format: chain.top.image.format, virtualSize: chain.virtualSize },
      target: {
        filename: target,
        format: targetFormat(target, options).name,
        virtualSize: plan.virtualSize,
        fileSize: size,
        allocatedSize,
        siblings: [...siblings],
      },
      dataBytes,
      ...(digest === undefined ? {} : { digest: { algorithm: options.digest ?? '', digest: hex(digest) } }),
      salvaged: [...chain.lost],
      dropped: droppedFrom(chain, plan),
      notes: [...notesOf(chain, plan, options.snapshot), ...notes],
      engine: engine.name,
      seconds: (performance.now() - begun) / 1000,
    };
  } catch (error) {
    throw await chain.reasonOf(error);
  }
}
