/** Rows of bits, one a block or a sector, least significant first. Behind its end a row is clear. */
import { divCeil } from './units.ts';

export function isBitSet(bits: Uint8Array, index: number): boolean {
  return (((bits[Math.floor(index / 8)] ?? 0) >> (index % 8)) & 1) === 1;
}

/** Sets the bits [start, end), which lie within the row. */
export function setBits(bits: Uint8Array, start: number, end: number): void {
  for (let index = start; index < end; index += 1) {
    const at = Math.floor(index / 8);
    bits[at] = (bits[at] as number) | (1 << (index % 8));
  }
}

/** A row of `count` bits that are all set; what is left of its last byte is clear. */
export function allBits(count: number): Uint8Array {
  const bits = new Uint8Array(divCeil(count, 8)).fill(0xff);
  if (count % 8 !== 0) {
    bits[bits.length - 1] = 2 ** (count % 8) - 1;
  }
  return bits;
}

/** The first bit behind `index`, up to `end`, that is not as it is. Whole bytes at a time where they are all alike. */
export function bitRunEnd(bits: Uint8Array, index: number, end: number): number {
  const set = isBitSet(bits, index);
  const alike = set ? 0xff : 0;
  let at = index + 1;
  while (at < end && isBitSet(bits, at) === set) {
    at += at % 8 === 0 && (bits[at / 8] ?? 0) === alike ? 8 : 1;
  }
  return Math.min(at, end);
}
