/** `convert`: one image in, a new one out. */
import { performance } from 'node:perf_hooks';
import { escapeText, VdconvError } from '../base/errors.ts';
import type { Engine } from '../engine/contract.ts';
import { loadEngine } from '../engine/engine.ts';
import type { WritePlan } from '../formats/format.ts';
import { identityOfPath, sameFile } from '../io/file-identity.ts';
import { identityOf, openFileSource } from '../io/file-source.ts';
import { createOutput } from '../io/output.ts';
import { cancelled, throwIfAborted } from './abort.ts';
import { type Chain, openChain } from './chain.ts';
import { checkStream, STREAM, writeStream } from './convert-stream.ts';
import { checkOptions, copyJob, type Written } from './copy-job.ts';
import { planTarget, targetFormat } from './target.ts';
import type { ConvertOptions, ConvertResult } from './types.ts';

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
    return run(source, target, options, (engine, chain, plan) => writeFile(engine, chain, plan, target, options));
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
      const plan = planTarget(target, chain.virtualSize, options);
      const { size, dataBytes, allocatedSize } = await write(engine, chain, plan);
      return {
        source: { filename: source, format: chain.top.image.format, virtualSize: chain.virtualSize },
        target: {
          filename: target,
          format: format.name,
          virtualSize: plan.virtualSize,
          fileSize: size,
          allocatedSize,
        },
        dataBytes,
        notes: [...notesOf(chain), ...plan.notes],
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

async function writeFile(
  engine: Engine,
  chain: Chain,
  plan: WritePlan,
  target: string,
  options: ConvertOptions,
): Promise<Written> {
  await refuseSameFile(chain, target);
  const output = await createOutput(target, { force: options.force, noSync: options.noSync });
  try {
    const { size, dataBytes } = await engine.copy({
      ...copyJob(chain, plan, options),
      sink: { kind: 'file', fd: output.fd, name: target },
    });
    await chain.assertUnchanged();
    await output.truncate(size);
    throwIfAborted(options.signal);
    await output.commit();
    return { size, dataBytes, allocatedSize: await allocatedSizeOf(target) };
  } finally {
    // After a commit this does nothing.
    output.discard();
  }
}

/** Renaming over a file that is being read would lose nothing, but the user meant something else. */
async function refuseSameFile(chain: Chain, target: string): Promise<void> {
  const there = await identityOfPath(target);
  const files = chain.layers.flatMap(({ source, image }) => [source, ...image.dataFiles.map((f) => f.source)]);
  const same = files.find((file) => {
    const identity = identityOf(file);
    return there !== undefined && identity !== undefined && sameFile(identity, there);
  });
  if (same !== undefined) {
    throw new VdconvError('usage', `is the same file as the source ${escapeText(same.name)}`, { file: target });
  }
}

/** What the conversion leaves behind, and what the user should know of the source. */
function notesOf(chain: Chain): string[] {
  const notes = chain.layers.flatMap(({ source, image }) =>
    image.facts.warnings.map((warning) => `${escapeText(source.name)}: ${warning}`),
  );
  const { snapshots } = chain.top.image.facts;
  if (snapshots.length > 0) {
    const what = snapshots.length === 1 ? '1 internal snapshot is' : `${snapshots.length} internal snapshots are`;
    notes.push(`${what} not carried over: only the current state of the disk is converted`);
  }
  return notes;
}

async function allocatedSizeOf(path: string): Promise<number | null> {
  const file = await openFileSource(path);
  await file.close();
  return file.allocatedSize;
}
