/** The portable engine's comparison of two disks: chunk by chunk, where either map has bytes. */
import { divCeil, MiB } from '../base/units.ts';
import type { BlockMap } from '../map/extents.ts';
import { loadBlockCodec } from './block-codec.ts';
import { type Unit, unitsOf } from './chunks.ts';
import type { CompareJobOptions, Comparison, Side } from './contract.ts';
import { cancelled } from './failures.ts';
import { GuestChunk } from './guest-chunk.ts';

/** How often timers, and with them signals, get a turn. */
const PAUSE_MS = 50;

export async function compareSides(a: Side, b: Side, size: number, options: CompareJobOptions): Promise<Comparison> {
  const { blockSize, signal, onProgress } = options;
  const units = [...a.files, ...b.files].map(({ codec }) => codec?.unit ?? 0);
  const chunkBytes = Math.max(MiB, ...units);
  const walks = await Promise.all([a, b].map((side) => openWalk(side, size, chunkBytes)));
  const [walkA, walkB] = walks as [Walk, Walk];
  const differs = blockSize === undefined ? undefined : new Uint8Array(divCeil(divCeil(size, blockSize), 8));
  let [bytesRead, paused] = [0, 0];
  try {
    for (;;) {
      const start = Math.min(walkA.start, walkB.start);
      if (start === Number.POSITIVE_INFINITY) {
        onProgress?.(size, size);
        return { bytesRead, ...(differs === undefined ? {} : { differs }) };
      }
      if (signal?.aborted) {
        throw cancelled(signal);
      }
      if (performance.now() - paused > PAUSE_MS) {
        onProgress?.(start, size);
        await new Promise((resolve) => setTimeout(resolve, 0));
        paused = performance.now();
      }
      const length = Math.min(chunkBytes, size - start);
      const [left, right] = [await walkA.take(start, length), await walkB.take(start, length)];
      bytesRead = walkA.bytesRead + walkB.bytesRead;
      if (differs !== undefined && blockSize !== undefined) {
        markDifferences(differs, blockSize, start, left, right);
      } else if (Buffer.compare(left, right) !== 0) {
        return { firstDifference: start + firstDifference(left, right), bytesRead };
      }
    }
  } finally {
    await Promise.all([walkA.close(), walkB.close()]);
  }
}

interface Walk {
  /** Where the next chunk with bytes begins; infinite at the end. */
  readonly start: number;
  /** Guest bytes that were read so far. */
  readonly bytesRead: number;
  /** The guest's bytes at `start`, a chunk's beginning: zeros without a read where the map has none. Then the next is met. */
  take(start: number, length: number): Promise<Uint8Array>;
  close(): Promise<unknown>;
}

async function openWalk({ files, map }: Side, size: number, chunkBytes: number): Promise<Walk> {
  const codecs = files.some(({ codec }) => codec !== undefined) ? await loadBlockCodec() : undefined;
  const chunk = new GuestChunk({
    files,
    codecs,
    chunk: chunkBytes,
    grain: 1,
    zerosAreBytes: false,
    block: 1,
    origin: 0,
  });
  const units = unitsOf(map as BlockMap, {
    start: 0,
    end: size,
    chunk: chunkBytes,
    give: 'bytes',
    zerosAreBytes: false,
  });
  let next: IteratorResult<Unit, void> = await units.next();
  let bytesRead = 0;
  return {
    get bytesRead() {
      return bytesRead;
    },
    get start() {
      return next.done ? Number.POSITIVE_INFINITY : next.value.start;
    },
    async take(start, length) {
      if (next.done || next.value.start !== start) {
        return zeros(length);
      }
      bytesRead += next.value.segments.reduce((sum, segment) => sum + segment.length, 0);
      await chunk.fill(next.value);
      const bytes = chunk.bytes.subarray(0, length);
      let filled = 0;
      for (const region of chunk.regions) {
        bytes.fill(0, filled, region.start - start);
        filled = region.end - start;
      }
      bytes.fill(0, filled);
      next = await units.next();
      return bytes;
    },
    close: () => units.return(undefined),
  };
}

function markDifferences(bits: Uint8Array, blockSize: number, start: number, a: Uint8Array, b: Uint8Array): void {
  for (let at = 0; at < a.length; ) {
    const block = Math.floor((start + at) / blockSize);
    const end = Math.min(a.length, (block + 1) * blockSize - start);
    if (Buffer.compare(a.subarray(at, end), b.subarray(at, end)) !== 0) {
      const i = Math.floor(block / 8);
      bits[i] = (bits[i] as number) | (1 << (block % 8));
    }
    at = end;
  }
}

function firstDifference(a: Uint8Array, b: Uint8Array): number {
  let i = 0;
  while (a[i] === b[i]) {
    i += 1;
  }
  return i;
}

let zeroBytes = new Uint8Array(0);

function zeros(length: number): Uint8Array {
  if (zeroBytes.length < length) {
    zeroBytes = new Uint8Array(length);
  }
  return zeroBytes.subarray(0, length);
}
