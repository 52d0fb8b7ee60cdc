/** Units and alignment. Byte counts are plain numbers, exact to 2^53; larger ones are refused where they are read. */
import { VdconvError } from './errors.ts';

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;
export const TiB = 1024 * GiB;

/** The sector of every format but VHDX with a 4096-byte logical sector. */
export const SECTOR = 512;

/** A count of 512-byte sectors; {@link sectorsToBytes} is the only way from it to bytes. */
export type Sectors = number & { readonly __unit?: 'sectors' };

export function sectorsToBytes(sectors: Sectors): number {
  return sectors * SECTOR;
}

export function isPowerOfTwo(n: number): boolean {
  // Compared as a power: log2(2^49 + 1) itself rounds to 49.
  return Number.isSafeInteger(n) && n > 0 && 2 ** Math.round(Math.log2(n)) === n;
}

/** `n` rounded up to a multiple of `unit` (any positive integer). */
export function alignUp(n: number, unit: number): number {
  return divCeil(n, unit) * unit;
}

/** `n` rounded down to a multiple of `unit`. */
export function alignDown(n: number, unit: number): number {
  return n - (n % unit);
}

export function isAligned(n: number, unit: number): boolean {
  return n % unit === 0;
}

/** The least number of `unit`s that hold `n`. Exact for safe integers: no floating division decides the result. */
export function divCeil(n: number, unit: number): number {
  const rest = n % unit;
  return (n - rest) / unit + (rest === 0 ? 0 : 1);
}

const SUFFIX: Record<string, number> = { '': 1, k: KiB, m: MiB, g: GiB, t: TiB };

/** Reads `64k`, `1M`, `512`, `2GiB`: 1024-based, as qemu-img does. Throws `usage` naming `what`. */
export function parseSize(text: string, what: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:b|([kmgt])(?:i?b)?)?$/i.exec(text.trim());
  const size = match ? Number(match[1]) * (SUFFIX[(match[2] ?? '').toLowerCase()] ?? Number.NaN) : Number.NaN;
  if (!Number.isSafeInteger(size)) {
    throw new VdconvError('usage', `${what}: '${text}' is not a size; write 65536, 64k, 1M, 2G or 1T (1024-based)`);
  }
  return size;
}

/** `1.5 GiB`, `64 KiB`, `512 B`: for people, never parsed again. */
export function formatSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let unit = 0;
  let n = bytes;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit += 1;
  }
  return `${Number(n.toPrecision(n < 100 ? 3 : 4))} ${units[unit]}`;
}
