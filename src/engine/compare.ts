/** The portable engine's comparison of two disks: chunk by chunk, where there is something to compare. */
import { throwIfAborted } from '../base/abort.ts';
import { setBits } from '../base/bits.ts';
import { divCeil, MiB } from '../base/units.ts';
import type { Kind } from '../map/extents.ts';
import { apart } from '../map/paired.ts';
import { loadBlockCodec } from './block-codec.ts';
import { hasBytes, unitsOf } from './chunks.ts';
import type { CompareJobOptions, Comparison, Side } from './contract.ts';
import { GuestChunk } from './guest-chunk.ts';
import { sidesOf } from './sides.ts';

/** How often timers, and with them signals, get a turn. */
const PAUSE_MS = 50;

export async function compareSides(a: Side, b: Side, size: number, options: CompareJobOptions): Promise<Comparison> {
  const { blockSize, signal, onProgress } = options;
  const { files, maps } = sidesOf(a, b);
  const chunk = Math.max(MiB, ...files.map(({ codec }) => codec?.unit ?? 0));
  const codecs = files.some(({ codec }) => codec !== undefined) ? await loadBlockCodec() : undefined;
  const how = { files, codecs, chunk, grain: 1, zerosAreBytes: true, block: 1, origin: 0 };
  const cut = { start: 0, end: size, chunk, give: 'known', zerosAreBytes: true } as const;
  const [chunkA, chunkB] = [new GuestChunk(how), new GuestChunk(how)];
  const [walkA, walkB] = apart(maps).map((map) => unitsOf(map, cut)) as [Units, Units];
  const differs = blockSize === undefined ? undefined : new Uint8Array(divCeil(divCeil(size, blockSize), 8));
  let [bytesRead, paused] = [0, 0];
  try {
    for (;;) {
      const { value: unit } = await walkA.next();
      const { value: other } = await walkB.next();
      if (!unit || !other) {
        onProgress?.(size, size);
        return { bytesRead, ...(differs === undefined ? {} : { differs }) };
      }
      throwIfAborted(signal);
      if (performance.now() - paused > PAUSE_MS) {
        onProgress?.(unit.start, size);
        await new Promise((resolve) => setTimeout(resolve, 0));
        paused = performance.now();
      }
      bytesRead += bytesOf(unit) + bytesOf(other);
      await chunkA.fill(unit);
      await chunkB.fill(other);
      for (const { start, end } of chunkA.regions) {
        const [from, to] = [start - unit.start, end - unit.start];
        const [left, right] = [chunkA.bytes.subarray(from, to), chunkB.bytes.subarray(from, to)];
        if (differs !== undefined && blockSize !== undefined) {
          markDifferences(differs, blockSize, start, left, right);
        } else if (Buffer.compare(left, right) !== 0) {
          return { firstDifference: start + firstDifference(left, right), bytesRead };
        }
      }
    }
  } finally {
    await Promise.all([walkA.return(), walkB.return(), maps.return()]);
  }
}

type Units = ReturnType<typeof unitsOf>;
type Unit = { segments: readonly { kind: Kind; length: number }[] };

function bytesOf({ segments }: Unit): number {
  return segments.reduce((sum, { kind, length }) => sum + (hasBytes(kind) ? length : 0), 0);
}

function markDifferences(bits: Uint8Array, blockSize: number, start: number, a: Uint8Array, b: Uint8Array): void {
  for (let at = 0; at < a.length; ) {
    const block = Math.floor((start + at) / blockSize);
    const end = Math.min(a.length, (block + 1) * blockSize - start);
    if (Buffer.compare(a.subarray(at, end), b.subarray(at, end)) !== 0) {
      setBits(bits, block, block + 1);
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
