/** Mutations of an image: mostly of the numbers in its metadata, which are what readers believe. */
import type { Random } from '../random.ts';

/** Bytes [start, end) of an image that its reader looked at before any guest data. */
export interface Region {
  start: number;
  end: number;
}

export interface Mutation {
  bytes: Uint8Array;
  /** What was done, for the report. */
  how: string;
}

/** What programs get wrong: ends of ranges, powers of two and their neighbours. */
const INTERESTING: readonly bigint[] = [
  0n,
  1n,
  2n,
  511n,
  512n,
  513n,
  65535n,
  65536n,
  (1n << 31n) - 1n,
  1n << 31n,
  (1n << 32n) - 1n,
  1n << 32n,
  (1n << 53n) - 1n,
  1n << 53n,
  (1n << 62n) + 512n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 1n,
];

/** One to four mutations of a copy of `seed`. */
export function mutate(seed: Uint8Array, regions: readonly Region[], random: Random): Mutation {
  let bytes: Uint8Array = Uint8Array.from(seed);
  const steps: string[] = [];
  for (let count = 1 + random.below(4); count > 0; count -= 1) {
    const chosen = regions[random.below(regions.length)] as Region;
    const region = { start: Math.min(chosen.start, bytes.length), end: Math.min(chosen.end, bytes.length) };
    if (random.below(12) === 0) {
      bytes = resized(bytes, random, steps);
    } else if (region.end > region.start) {
      changeWithin(bytes, region, random, steps);
    }
  }
  return { bytes, how: steps.join('; ') };
}

function changeWithin(bytes: Uint8Array, region: Region, random: Random, steps: string[]): void {
  switch (random.below(6)) {
    case 0: {
      const at = region.start + random.below(region.end - region.start);
      const bit = random.below(8);
      bytes[at] = (bytes[at] as number) ^ (1 << bit);
      steps.push(`bit ${bit} of byte ${at}`);
      break;
    }
    case 1: {
      // One part of the metadata where another was: tables that are each other's, headers twice.
      const length = Math.min(512, region.end - region.start);
      const from = region.start + random.below(region.end - region.start - length + 1);
      const to = random.below(Math.max(1, bytes.length - length));
      bytes.copyWithin(to, from, from + length);
      steps.push(`${length} bytes from ${from} to ${to}`);
      break;
    }
    default:
      changeNumber(bytes, region, random, steps);
  }
}

function changeNumber(bytes: Uint8Array, { start, end }: Region, random: Random, steps: string[]): void {
  const size = [1, 2, 4, 8][random.below(4)] as 1 | 2 | 4 | 8;
  const places = Math.floor((end - start) / size);
  if (places === 0) {
    return;
  }
  const at = start + random.below(places) * size;
  const little = random.below(2) === 0;
  const old = number(bytes, at, size, little);
  const value = BigInt.asUintN(size * 8, newNumber(old, bytes.length, random));
  for (let i = 0; i < size; i += 1) {
    const shift = BigInt(8 * (little ? i : size - 1 - i));
    bytes[at + i] = Number((value >> shift) & 0xffn);
  }
  steps.push(`u${size * 8}${little ? 'le' : 'be'} at ${at}: ${old} -> ${value}`);
}

function newNumber(old: bigint, fileSize: number, random: Random): bigint {
  switch (random.below(5)) {
    case 0:
      return old + BigInt(random.below(5) - 2);
    case 1:
      return random.below(2) === 0 ? old * 2n : old / 2n;
    case 2:
      return BigInt(fileSize) + BigInt(random.below(3) - 1) * 512n;
    case 3:
      return BigInt(random.below(fileSize + 1)) & ~511n;
    default:
      return INTERESTING[random.below(INTERESTING.length)] as bigint;
  }
}

function number(bytes: Uint8Array, at: number, size: number, little: boolean): bigint {
  let value = 0n;
  for (let i = 0; i < size; i += 1) {
    value = (value << 8n) | BigInt(bytes[at + (little ? size - 1 - i : i)] as number);
  }
  return value;
}

function resized(bytes: Uint8Array, random: Random, steps: string[]): Uint8Array {
  const length = random.below(3) === 0 ? bytes.length + 1 + random.below(70000) : random.below(bytes.length + 1);
  steps.push(`length ${bytes.length} -> ${length}`);
  const out = new Uint8Array(length);
  out.set(bytes.subarray(0, length));
  return out;
}
