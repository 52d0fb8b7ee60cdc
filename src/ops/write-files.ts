/** `convert` into files: each appears under its name only when all of them are complete. */
import { basename, dirname, join } from 'node:path';
import { throwIfAborted } from '../base/abort.ts';
import { escapeText, VdconvError } from '../base/errors.ts';
import type { CopyResult, Engine } from '../engine/contract.ts';
import type { PlanFile, SiblingFile, WritePlan } from '../formats/format.ts';
import { allocatedSizeOfPath, identityOfPath, sameFile } from '../io/file-identity.ts';
import { identityOf } from '../io/file-source.ts';
import { writeError } from '../io/os-error.ts';
import { commit, createOutput, type Output } from '../io/output.ts';
import type { Chain } from './chain.ts';
import { copyJob, type Work, type Written } from './copy-job.ts';

export async function writeFiles(work: Work, target: string): Promise<Written> {
  const { engine, chain, plan, options } = work;
  const files = filesOf(plan, target);
  for (const { path } of files) {
    await refuseSameFile(chain, path);
  }
  const outputs: Output[] = [];
  try {
    for (const { path } of files) {
      outputs.push(await createOutput(path, { force: options.force, noSync: options.noSync }));
    }
    const written: CopyResult[] = [];
    for (const [i, { file }] of files.entries()) {
      const output = outputs[i] as Output;
      const job = copyJob(work, file, written.at(-1));
      const result = await engine.copy({ ...job, sink: { kind: 'file', fd: output.fd, name: output.name } });
      await output.truncate(result.size);
      if (plan.preallocation === 'falloc') {
        reserve(engine, output, result.size);
      }
      written.push(result);
    }
    await chain.assertUnchanged();
    throwIfAborted(options.signal);
    await commit(outputs);
    return {
      digest: written.at(-1)?.digest,
      size: sum(written.map(({ size }) => size)),
      dataBytes: sum(written.map(({ dataBytes }) => dataBytes)),
      allocatedSize: await allocatedSizeOf(files.map(({ path }) => path)),
      siblings: files.slice(0, -1).map(({ path }) => path),
    };
  } finally {
    for (const output of outputs) {
      // What was published stays.
      output.discard();
    }
  }
}

/** Files with their paths, in the order in which they are written: the one that the user named is the last. */
function filesOf(plan: WritePlan, target: string): { path: string; file: PlanFile }[] {
  const beside = ({ name }: SiblingFile) => (name.startsWith('/') ? name : join(dirname(target), name));
  const siblings = (plan.siblings ?? []).map((file) => ({ path: beside(file), file }));
  const twice = siblings.find(({ path }) => path === join(dirname(target), basename(target)));
  if (twice !== undefined) {
    throw new VdconvError('usage', 'would be written twice, as the image and as a part of it', { file: twice.path });
  }
  return [...siblings, { path: target, file: plan }];
}

function reserve(engine: Engine, output: Output, size: number): void {
  try {
    if (engine.allocate(output.fd, size)) {
      return;
    }
  } catch (cause) {
    throw writeError(output.name, `reserve ${size} bytes`, cause);
  }
  throw new VdconvError('unsupported', `space cannot be reserved (${engine.name} engine)`, {
    file: output.name,
    hint: 'choose preallocation=full, which writes the zeros',
  });
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

/** The files are in place: what cannot be looked at now is no failure. */
async function allocatedSizeOf(paths: readonly string[]): Promise<number | null> {
  const sizes = await Promise.all(paths.map(allocatedSizeOfPath));
  return sizes.includes(undefined) ? null : sum(sizes as number[]);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}
