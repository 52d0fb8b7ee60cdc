/** The portable engine's one loop: unit by unit, bytes in, zeros found, blocks coded and placed, bytes out. */
import { VdconvError } from '../base/errors.ts';
import { divCeil, isPowerOfTwo, MiB } from '../base/units.ts';
import type { DataFile } from '../map/data-file.ts';
import type { BlockMap } from '../map/extents.ts';
import type { Layout } from '../map/layout.ts';
import type { AllocationLog } from './allocation-log.ts';
import { BlockEncoder } from './block-encoder.ts';
import { BlockPlaces } from './block-places.ts';
import { unitsOf } from './chunks.ts';
import type { CopyOptions } from './contract.ts';
import { cancelled } from './failures.ts';
import { GuestChunk } from './guest-chunk.ts';
import { Ops } from './ops.ts';
import type { Out } from './sinks.ts';
import { findRuns, type Span } from './zeros.ts';
import { loadZlib } from './zlib.ts';

export interface Move {
  files: readonly DataFile[];
  map: BlockMap;
  /** The part of the virtual disk that the map covers; [0, size) but for reads. */
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
}

export interface Moved {
  hostEnd: number;
  dataBytes: number;
}

const LARGEST_CHUNK = 16 * MiB;
/** How often timers, and with them signals and progress, get a turn. */
const PAUSE_MS = 50;

export async function move(job: Move): Promise<Moved> {
  const { layout, out, options, bits } = job;
  const { signal, zeroGranularity = 4096 } = options;
  const { codec, blockSize } = layout;
  const chunkBytes = chunkFor(job, zeroGranularity);
  const coded = codec !== undefined || job.files.some((file) => file.codec !== undefined);
  const zlib = coded ? await loadZlib() : undefined;
  const encoder = codec && zlib && new BlockEncoder(zlib, codec, blockSize, chunkBytes);
  const chunk = new GuestChunk({
    files: job.files,
    zlib,
    chunk: chunkBytes,
    grain: Math.max(1, zeroGranularity, encoder === undefined ? 1 : blockSize),
    block: encoder === undefined ? 1 : blockSize,
    floor: job.start,
  });
  const places = new BlockPlaces(layout, job.log);
  const ops = new Ops();
  const cut = { start: job.start, end: job.end, chunk: chunkBytes, zeros: zeroGranularity === 0 };
  let dataBytes = 0;
  let paused = performance.now();
  throwIfAborted(signal);
  for await (const unit of unitsOf(job.map, cut)) {
    throwIfAborted(signal);
    await chunk.fill(unit);
    const runs: Span[] = [];
    for (const { start, end } of chunk.regions) {
      findRuns(chunk.bytes, start - unit.start, end - unit.start, zeroGranularity, unit.start, runs);
    }
    dataBytes += lengthWithin(runs, unit.end);
    if (encoder === undefined) {
      for (const run of runs) {
        places.plainRun(run, unit.start, ops);
      }
    } else {
      for (const block of encoder.encode(chunk.bytes, unit.start, runs)) {
        places.encodedBlock(block, unit.start, ops);
      }
    }
    if (bits !== undefined) {
      markStored(bits, runs, blockSize);
    }
    await carryOut(ops, out, chunk.bytes, encoder?.bytes);
    await job.placed();
    if (performance.now() - paused > PAUSE_MS) {
      options.onProgress?.(unit.end - job.start, job.end - job.start);
      await new Promise((resolve) => setTimeout(resolve, 0));
      paused = performance.now();
    }
  }
  throwIfAborted(signal);
  const hostEnd = places.finish(job.end, ops);
  await carryOut(ops, out, chunk.bytes, undefined);
  options.onProgress?.(job.end - job.start, job.end - job.start);
  return { hostEnd, dataBytes };
}

/** The unit of work, raised to the largest block that is coded as a whole, on either side. */
function chunkFor({ files, layout, options }: Move, granularity: number): number {
  const asked = options.chunkBytes ?? MiB;
  const fits = granularity === 0 || (isPowerOfTwo(granularity) && granularity >= 512 && granularity <= asked);
  if (!isPowerOfTwo(asked) || !fits) {
    throw new VdconvError('internal', 'chunk and zero granularity must be powers of two, the chunk the larger');
  }
  const units = files.map(({ codec }) => codec?.unit ?? 0);
  const chunk = Math.max(asked, layout.codec === undefined ? 0 : layout.blockSize, ...units);
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

function markStored(bits: Uint8Array, runs: readonly Span[], blockSize: number): void {
  for (const { start, end } of runs) {
    const behind = divCeil(end, blockSize);
    for (let block = Math.floor(start / blockSize); block < behind; block += 1) {
      const i = Math.floor(block / 8);
      bits[i] = (bits[i] as number) | (1 << (block % 8));
    }
  }
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw cancelled(signal);
  }
}
