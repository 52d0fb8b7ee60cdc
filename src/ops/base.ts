/** `-B`: the image that the output is to lie over. */
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { VdconvError } from '../base/errors.ts';
import type { Engine } from '../engine/contract.ts';
import type { BaseImage, WritePlan } from '../formats/format.ts';
import { formatNamed } from '../formats/registry.ts';
import { identityOf } from '../io/file-source.ts';
import { type Chain, openChain } from './chain.ts';
import type { OpenOptions, TargetOptions } from './types.ts';

/** An opened base: what writers need to know of it, and its chain to compare with. Close the chain. */
export interface Base {
  image: BaseImage;
  chain: Chain;
}

export async function openBase(
  path: string,
  target: string,
  options: Pick<TargetOptions, 'baseFormat'> & Omit<OpenOptions, 'format' | 'snapshot'>,
  engine: Engine,
): Promise<Base> {
  const { baseFormat, allowReferences, allowDevice, forceShare, limits, signal } = options;
  const format = baseFormat === undefined ? undefined : formatNamed(baseFormat, 'base format').name;
  const chain = await openChain(path, { format, allowReferences, allowDevice, forceShare, limits, signal }, engine);
  const { source, image } = chain.top;
  if (source.wrapped !== undefined) {
    await chain.close();
    const what = `is compressed with ${source.wrapped.kind}; nothing that reads the output could read it`;
    throw new VdconvError('usage', what, { file: path, hint: 'decompress it first' });
  }
  return {
    chain,
    image: {
      name: isAbsolute(path) ? path : relative(resolve(dirname(target)), resolve(path)),
      path: resolve(path),
      format: image.format,
      virtualSize: image.virtualSize,
      lineage: image.lineage,
      metadata: image.metadata ?? {},
      changed: Number((identityOf(source)?.mtimeNs ?? 0n) / 1_000_000_000n),
      facts: image.facts,
    },
  };
}

/** One bit a block of the plan's layout, 1 where the disk of `chain` is not the base's. Behind its end a disk is zeros. */
export async function blocksThatDiffer(
  engine: Engine,
  chain: Chain,
  base: Chain,
  { layout, virtualSize }: WritePlan,
  options: { threads?: number | undefined; signal?: AbortSignal | undefined },
): Promise<Uint8Array> {
  const side = (of: Chain) => ({ files: of.dataFiles, map: of.padded(0, virtualSize) });
  const { differs } = await engine.compare(side(chain), side(base), virtualSize, {
    threads: options.threads,
    signal: options.signal,
    blockSize: layout.blockSize,
  });
  if (differs === undefined) {
    throw new VdconvError('internal', 'the engine compared blocks and tells of none');
  }
  return differs;
}
