/** `measure`: how large an output will be, by the pipeline and the writers that would write it. */
import { allBits, setBits } from '../base/bits.ts';
import { divCeil } from '../base/units.ts';
import type { CopyResult, Engine } from '../engine/contract.ts';
import { loadEngine } from '../engine/engine.ts';
import type { PlanFile, WritePlan } from '../formats/format.ts';
import { type BlockMap, Kind } from '../map/extents.ts';
import { type Allocation, Placed } from '../map/layout.ts';
import { blocksThatDiffer } from './base.ts';
import { openChain } from './chain.ts';
import { withBase } from './convert.ts';
import { checkOptions, copyJob, type Work } from './copy-job.ts';
import { emptyDisk } from './empty-disk.ts';
import { planTarget, targetFormat } from './target.ts';
import type { ImageSource, Measurement, MeasureOptions } from './types.ts';

/** Stands for the target: only the length of its name may matter to a format. */
const TARGET = 'image';

/**
 * The bytes that `convert` with the same options would write, all files of the image together. The source is read and,
 * where asked for, compressed, as a conversion would do it; with `fast` every extent that its metadata does not call zero
 * counts as data, and a compressed output as a plain one. Without a source: for an empty disk of `options.size` bytes.
 * Throws VdconvError as `convert` does, but for the target.
 */
export async function measure(source: ImageSource | undefined, options: MeasureOptions = {}): Promise<Measurement> {
  checkOptions(options);
  targetFormat(TARGET, options);
  const { engine } = loadEngine();
  return withBase(TARGET, options, engine, async (base) => {
    const chain = source === undefined ? emptyDisk(options.size) : await openChain(source, options, engine);
    try {
      chain.limitData(options.maxOutput);
      const plan = planTarget(TARGET, chain, options, base?.image);
      const differs = base && (await blocksThatDiffer(engine, chain, base.chain, plan, options));
      const work: Work = { engine, chain, plan, options, differs };
      const fullyAllocated = largest(engine, plan);
      const required = options.fast === true ? await fromMap(work) : await fromContent(work);
      await chain.assertUnchanged();
      return { required, fullyAllocated: Math.max(required, fullyAllocated), exact: options.fast !== true };
    } catch (error) {
      throw await chain.reasonOf(error);
    } finally {
      await chain.close();
    }
  });
}

const filesOf = (plan: WritePlan): PlanFile[] => [...(plan.siblings ?? []), plan];

/** A conversion without a place to write to. */
async function fromContent(work: Work): Promise<number> {
  let size = 0;
  let before: CopyResult | undefined;
  for (const file of filesOf(work.plan)) {
    before = await work.engine.copy({ ...copyJob(work, file, before), sink: { kind: 'scan' } });
    size += before.size;
  }
  return size;
}

/** Placement over what the map says, without a look at the content. */
async function fromMap(work: Work): Promise<number> {
  let size = 0;
  let before: Uint8Array | undefined;
  for (const file of filesOf(work.plan)) {
    const stored = await occupied(copyJob(work, file).map, blocksOf(file, work.plan), file.layout.blockSize);
    size += sizeWith(work.engine, file, work.plan, stored, before);
    before = stored;
  }
  return size;
}

function largest(engine: Engine, plan: WritePlan): number {
  let size = 0;
  let before: Uint8Array | undefined;
  for (const file of filesOf(plan)) {
    const blocks = blocksOf(file, plan);
    const stored = allBits(blocks);
    size += sizeWith(engine, file, plan, stored, before);
    before = stored;
  }
  return size;
}

/** The file's length if just these blocks are stored, plain. */
function sizeWith(engine: Engine, file: PlanFile, plan: WritePlan, stored: Uint8Array, before?: Uint8Array): number {
  if (file.largest !== undefined) {
    return file.largest;
  }
  const { layout } = file;
  const writer = file.writer();
  let hostEnd = layout.dataStart + rangeOf(file, plan);
  if (layout.kind === 'blocks') {
    const places = engine.replay(layout, stored);
    let step = places.next();
    for (; !step.done; step = places.next()) {
      writer.add(tablesOf(step.value));
    }
    hostEnd = step.value;
  }
  return writer.finish(hostEnd, before === undefined ? {} : { stored: before }).size;
}

/**
 * Of an allocation, the places of tables: they decide how long a file is, and what lies in them does not. A disk of a TiB
 * has 16 million clusters, which would cost a second to write down.
 */
function tablesOf(entries: Allocation): Allocation {
  const kept = Array.from({ length: entries.count }, (_, i) => i).filter(
    (i) => entries.kind[i] === Placed.table || entries.kind[i] === Placed.side,
  );
  const pick = (column: ArrayLike<number>) => kept.map((i) => column[i] as number);
  return {
    count: kept.length,
    kind: Uint8Array.from(pick(entries.kind)),
    index: Float64Array.from(pick(entries.index)),
    blocks: Float64Array.from(pick(entries.blocks)),
    offset: Float64Array.from(pick(entries.offset)),
    stored: Uint32Array.from(pick(entries.stored)),
  };
}

function rangeOf({ range }: PlanFile, { virtualSize }: WritePlan): number {
  return range === undefined ? virtualSize : range.end - range.start;
}

function blocksOf(file: PlanFile, plan: WritePlan): number {
  return divCeil(rangeOf(file, plan), file.layout.blockSize);
}

/** One bit a block, least significant first: 1 where a map has bytes. */
async function occupied(map: BlockMap, blocks: number, blockSize: number): Promise<Uint8Array> {
  const bits = new Uint8Array(divCeil(blocks, 8));
  for await (const batch of map) {
    for (let i = 0; i < batch.count; i += 1) {
      if (batch.kind[i] === Kind.data || batch.kind[i] === Kind.compressed) {
        const start = batch.start[i] as number;
        const behind = divCeil(start + (batch.length[i] as number), blockSize);
        setBits(bits, Math.floor(start / blockSize), behind);
      }
    }
  }
  return bits;
}
