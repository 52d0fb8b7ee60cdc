/** The portable engine's one loop: unit by unit, bytes in, zeros found, blocks coded and placed, bytes out. */
import { throwIfAborted } from '../base/abort.ts';
import { setBits } from '../base/bits.ts';
import { VdconvError } from '../base/errors.ts';
import { isPowerOfTwo, MiB } from '../base/units.ts';
import type { DataFile } from '../map/data-file.ts';
import type { BlockMap } from '../map/extents.ts';
import type { Layout } from '../map/layout.ts';
import type { AllocationLog } from './allocation-log.ts';
import { loadBlockCodec } from './block-codec.ts';
import { BlockEncoder } from './block-encoder.ts';
import { BlockPlaces } from './block-places.ts';
import { type Cut, type Unit, unitsOf } from './chunks.ts';
import type { CopyOptions } from './contract.ts';
import type { DiskDigest } from './digest.ts';
import { FINGERPRINT_BLOCK, type Fingerprint } from './fingerprint.ts';
import { GuestChunk } from './guest-chunk.ts';
import { Ops } from './ops.ts';
import type { Out } from './sinks.ts';
import { blocksOf, notesZeros, placeZeros, zeroBlocksOf } from './zero-blocks.ts';
import { findRuns, pushRun, type Span } from './zeros.ts';

export interface Move {
  files: readonly DataFile[];
  map: BlockMap;
  /** The part of the virtual disk that the map covers; the output begins at its start. */
  start: number;
  end: number;
  layout: Layout;
  out: Out;
  options: CopyOptions;
  log: AllocationLog;
  /** Called often: the log may have entries. */
  placed(): Promise<void>;
  /** One bit a block, to be set where it is stored. */
  bits?: Uint8Array | undefined;
  fingerprint?: Fingerprint | undefined;
  digest?: DiskDigest | undefined;
}

export interface Moved {
  hostEnd: number;
  dataBytes: number;
}

const LARGEST_CHUNK = 16 * MiB;
/** How often timers, and with them signals and progress, get a turn. */
const PAUSE_MS = 50;

export async function move(job: Move): Promise<Moved> {
  const { layout, out, options, bits, fingerprint, digest } = job;
  const { signal, zeroGranularity: asked = 4096 } = options;
  const { codec, blockSize } = layout;
  // A longer piece would store blocks that the layer below has.
  const zeroGranularity = layout.explicitZeros ? Math.min(asked, blockSize) : asked;
  const chunkBytes = chunkFor(job, zeroGranularity);
  const coded = codec !== undefined || job.files.some((file) => file.codec !== undefined);
  const codecs = coded ? await loadBlockCodec() : undefined;
  const encoder = codec && codecs && new BlockEncoder(codecs, codec, blockSize, chunkBytes);
  const wholeBlock = encoder === undefined ? 1 : blockSize;
  const chunk = new GuestChunk({
    files: job.files,
    codecs,
    chunk: chunkBytes,
    grain: Math.max(wholeBlock, zeroGranularity, wholeFor(job)),
    zerosAreBytes: zeroGranularity === 0,
    block: wholeBlock,
    origin: job.start,
  });
  const places = new BlockPlaces(layout, job.log);
  const ops = new Ops();
  const size = job.end - job.start;
  const cut = {
    start: job.start,
    end: job.end,
    chunk: chunkBytes,
    give: givenOf(job),
    zerosAreBytes: zeroGranularity === 0,
  };
  let dataBytes = 0;
  let paused = performance.now();
  throwIfAborted(signal);
  for await (const unit of unitsOf(job.map, cut)) {
    throwIfAborted(signal);
    await chunk.fill(unit);
    const runs = runsOf(chunk, unit, zeroGranularity);
    const zeros = notesZeros(layout) ? zeroBlocksOf(unit, runs, blockSize) : [];
    if (fingerprint !== undefined) {
      chunk.addTo(fingerprint, unit);
    }
    for (const { start, end } of digest === undefined ? [] : chunk.regions) {
      digest?.add(start, chunk.bytes.subarray(start - unit.start, Math.min(end, unit.end) - unit.start));
    }
    dataBytes += lengthWithin(runs, unit.end);
    if (bits !== undefined) {
      const stored = runs.map((run) => blocksOf(run, blockSize));
      markStored(bits, layout.storeAll ? [...stored, ...zeros] : stored);
    }
    if (encoder === undefined) {
      for (const run of runs) {
        placeZeros(places, zeros, run.start / blockSize, ops);
        places.plainRun(run, unit.start, ops);
      }
    } else {
      for (const block of encoder.encode(chunk.bytes, unit.start, runs)) {
        placeZeros(places, zeros, block.number, ops);
        places.encodedBlock(block, unit.start, ops);
      }
    }
    placeZeros(places, zeros, Number.POSITIVE_INFINITY, ops);
    await carryOut(ops, out, chunk.bytes, encoder?.bytes);
    await job.placed();
    if (performance.now() - paused > PAUSE_MS) {
      options.onProgress?.(unit.end, size);
      await new Promise((resolve) => setTimeout(resolve, 0));
      paused = performance.now();
    }
  }
  throwIfAborted(signal);
  const hostEnd = places.finish(size, ops);
  await carryOut(ops, out, chunk.bytes, undefined);
  options.onProgress?.(size, size);
  return { hostEnd, dataBytes };
}

/** Which extents matter. */
function givenOf({ layout, options }: Move): Cut['give'] {
  if (notesZeros(layout)) {
    return layout.explicitZeros ? 'known' : 'all';
  }
  return options.zeroGranularity === 0 ? 'all' : 'bytes';
}

/** What is not zero (granularity 0: all that came). */
function runsOf(chunk: GuestChunk, unit: Unit, granularity: number): Span[] {
  const runs: Span[] = [];
  if (granularity === 0) {
    for (const { start, length } of unit.segments) {
      pushRun(runs, start, start + length);
    }
    return runs;
  }
  for (const { start, end } of chunk.regions) {
    findRuns(chunk.bytes, start - unit.start, end - unit.start, granularity, unit.start, runs);
  }
  return runs;
}

/** What is hashed as a whole. */
function wholeFor({ fingerprint, digest }: Move): number {
  return Math.max(1, fingerprint === undefined ? 1 : FINGERPRINT_BLOCK, digest?.blockSize ?? 1);
}

/** The unit of work, raised to the largest block that is coded as a whole, on either side. */
function chunkFor(job: Move, granularity: number): number {
  const { files, layout, options } = job;
  const asked = options.chunkBytes ?? MiB;
  const fits = granularity === 0 || (isPowerOfTwo(granularity) && granularity >= 512 && granularity <= asked);
  if (!isPowerOfTwo(asked) || !fits) {
    throw new VdconvError('internal', 'chunk and zero granularity must be powers of two, the chunk the larger');
  }
  const units = files.map(({ codec }) => codec?.unit ?? 0);
  const chunk = Math.max(asked, layout.codec === undefined ? 0 : layout.blockSize, wholeFor(job), ...units);
  if (!isPowerOfTwo(chunk) || chunk > LARGEST_CHUNK) {
    throw new VdconvError('internal', `a chunk of ${chunk} bytes`);
  }
  return chunk;
}

/** Writes in the order of placement, and empties the list. */
async function carryOut(ops: Ops, out: Out, chunk: Uint8Array, encoded: Uint8Array | undefined): Promise<void> {
  for (const { offset, length, from, at } of ops.list) {
    if (from === 'writer') {
      await out.table(offset, length);
    } else if (from === 'fill') {
      await out.put(offset, new Uint8Array(length).fill(at));
    } else {
      const bytes = from === 'encoded' && encoded !== undefined ? encoded : chunk;
      await out.put(offset, bytes.subarray(at, at + length));
    }
  }
  ops.clear();
}

/** Bytes of the runs before `end`: a block to be compressed goes on behind the end of the disk. */
function lengthWithin(runs: readonly Span[], end: number): number {
  return runs.reduce((sum, run) => sum + Math.min(run.end, end) - Math.min(run.start, end), 0);
}

/** @param blocks spans of block numbers. */
function markStored(bits: Uint8Array, blocks: readonly Span[]): void {
  for (const { start, end } of blocks) {
    setBits(bits, start, end);
  }
}
