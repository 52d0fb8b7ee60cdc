/** `convert`: one image in, a new one out. */
import { performance } from 'node:perf_hooks';
import { escapeText, VdconvError } from '../base/errors.ts';
import { isPowerOfTwo, MiB } from '../base/units.ts';
import type { CopyOptions, Engine } from '../engine/contract.ts';
import { loadEngine } from '../engine/engine.ts';
import type { WritePlan } from '../formats/format.ts';
import { identityOfPath, sameFile } from '../io/file-identity.ts';
import { identityOf, openFileSource } from '../io/file-source.ts';
import { createOutput } from '../io/output.ts';
import { type BlockMap, Kind } from '../map/extents.ts';
import { uniform } from '../map/uniform.ts';
import { type Chain, openChain } from './chain.ts';
import { planTarget, targetFormat } from './target.ts';
import type { ConvertOptions, ConvertResult } from './types.ts';

/**
 * Converts `source` into a new image `target`. The target appears under its name only when it is complete; on any
 * failure it is as it was. Throws VdconvError; see {@link ErrorCode} for what its code says.
 */
export async function convert(source: string, target: string, options: ConvertOptions = {}): Promise<ConvertResult> {
  const begun = performance.now();
  checkOptions(options);
  const format = targetFormat(target, options);
  const { engine } = loadEngine();
  try {
    const chain = await openChain(source, options, engine);
    try {
      await refuseSameFile(chain, target);
      const plan = planTarget(target, chain.virtualSize, options);
      const { output, size, dataBytes } = await write(engine, chain, plan, target, options);
      return {
        source: { filename: source, format: chain.top.image.format, virtualSize: chain.virtualSize },
        target: {
          filename: target,
          format: format.name,
          virtualSize: plan.virtualSize,
          fileSize: size,
          allocatedSize: await allocatedSize(output.name),
        },
        dataBytes,
        notes: [...notesOf(chain), ...plan.notes],
        engine: engine.name,
        seconds: (performance.now() - begun) / 1000,
      };
    } finally {
      await chain.close();
    }
  } catch (error) {
    // Whatever an abort made fail first, the caller asked for it.
    throw options.signal?.aborted ? cancelled(error) : error;
  }
}

function cancelled(cause: unknown): VdconvError {
  return cause instanceof VdconvError && cause.code === 'aborted'
    ? cause
    : new VdconvError('aborted', 'cancelled', { cause });
}

async function write(engine: Engine, chain: Chain, plan: WritePlan, target: string, options: ConvertOptions) {
  const output = await createOutput(target, { force: options.force, noSync: options.noSync });
  try {
    const { size, dataBytes } = await engine.copy({
      files: chain.dataFiles,
      map: padded(chain, plan.virtualSize),
      virtualSize: plan.virtualSize,
      layout: plan.layout,
      sink: { kind: 'file', fd: output.fd, name: target },
      writer: plan.writer(),
      options: copyOptions(options),
    });
    await chain.assertUnchanged();
    await output.truncate(size);
    options.signal?.throwIfAborted();
    await output.commit();
    return { output, size, dataBytes };
  } finally {
    // After a commit this does nothing.
    output.discard();
  }
}

/** The guest's bytes, and zeros up to the size that the target's unit forces. */
async function* padded(chain: Chain, virtualSize: number): BlockMap {
  yield* chain.extents(0, chain.virtualSize);
  if (virtualSize > chain.virtualSize) {
    yield* uniform(chain.virtualSize, virtualSize, Kind.zero);
  }
}

function copyOptions(options: ConvertOptions): CopyOptions {
  const { onProgress } = options;
  return {
    threads: options.threads,
    zeroGranularity: options.zeroGranularity,
    signal: options.signal,
    onProgress: onProgress && ((done, total) => onProgress({ done, total })),
  };
}

function checkOptions({ threads, zeroGranularity }: ConvertOptions): void {
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= 64)) {
    throw new VdconvError('usage', `${threads} threads: must be a whole number from 1 to 64`);
  }
  const fits = (n: number) => n === 0 || (isPowerOfTwo(n) && n >= 512 && n <= MiB);
  if (zeroGranularity !== undefined && !fits(zeroGranularity)) {
    throw new VdconvError('usage', `zero granularity ${zeroGranularity}: must be 0 or a power of two from 512 to 1M`);
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

async function allocatedSize(path: string): Promise<number | null> {
  const file = await openFileSource(path);
  await file.close();
  return file.allocatedSize;
}
