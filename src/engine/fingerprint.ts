/**
 * What a disk holds, in 16 bytes that do not depend on how it was read: the sum of one contribution a block of 64 KiB.
 * native/core/src/fingerprint.rs is the same function and says more; native/core/tests/fingerprint holds both.
 */
import { KiB } from '../base/units.ts';

/** Bytes of the disk that make one contribution; the last one goes on with zeros. */
export const FINGERPRINT_BLOCK = 64 * KiB;
const WORDS = FINGERPRINT_BLOCK / 4;
const LANES = 64;
const P = 0x9e3779b1;
const PRIMES = [0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f, 0x165667b1] as const;

export class Fingerprint {
  readonly #sum = new Uint32Array(4);
  readonly #lanes = new Int32Array(LANES);
  /** A block that is no whole number of words, or not so aligned. */
  readonly #copy = new Uint8Array(FINGERPRINT_BLOCK);

  /** Adds what block number `index` contributes: nothing where it is all zeros. */
  add(index: number, block: Uint8Array): void {
    const words = this.#wordsOf(block);
    if (words.every((word) => word === 0)) {
      return;
    }
    hashLanes(words, this.#lanes);
    const word: [number, number, number, number] = [...PRIMES];
    for (const [lane, value] of this.#lanes.entries()) {
      const i = lane % 4;
      word[i] = Math.imul(rotl((word[i] as number) ^ value, 13), P);
    }
    for (const [i, value] of mixed(word, index).entries()) {
      this.#sum[i] = (this.#sum[i] as number) + value;
    }
  }

  /** Adds the fingerprint of another part of the disk. */
  merge(part: Uint8Array): void {
    const view = new DataView(part.buffer, part.byteOffset, 16);
    for (let i = 0; i < 4; i += 1) {
      this.#sum[i] = (this.#sum[i] as number) + view.getUint32(4 * i, true);
    }
  }

  /** 16 bytes: four words, little-endian. */
  bytes(): Uint8Array {
    const out = new Uint8Array(16);
    const view = new DataView(out.buffer);
    for (const [i, word] of this.#sum.entries()) {
      view.setUint32(4 * i, word, true);
    }
    return out;
  }

  #wordsOf(block: Uint8Array): Int32Array {
    if (block.length === FINGERPRINT_BLOCK && block.byteOffset % 4 === 0) {
      return new Int32Array(block.buffer, block.byteOffset, WORDS);
    }
    this.#copy.fill(0);
    this.#copy.set(block);
    return new Int32Array(this.#copy.buffer);
  }
}

function rotl(x: number, n: number): number {
  return (x << n) | (x >>> (32 - n));
}

/** Each lane takes every 64th word. Eight lanes at a time in variables: 4 times as fast as all of them in an array. */
function hashLanes(words: Int32Array, lanes: Int32Array): void {
  for (let first = 0; first < LANES; first += 8) {
    let a = Math.imul(first + 1, P);
    let b = Math.imul(first + 2, P);
    let c = Math.imul(first + 3, P);
    let d = Math.imul(first + 4, P);
    let e = Math.imul(first + 5, P);
    let f = Math.imul(first + 6, P);
    let g = Math.imul(first + 7, P);
    let h = Math.imul(first + 8, P);
    for (let i = first; i < WORDS; i += LANES) {
      a = Math.imul(rotl(a ^ (words[i] as number), 15), P);
      b = Math.imul(rotl(b ^ (words[i + 1] as number), 15), P);
      c = Math.imul(rotl(c ^ (words[i + 2] as number), 15), P);
      d = Math.imul(rotl(d ^ (words[i + 3] as number), 15), P);
      e = Math.imul(rotl(e ^ (words[i + 4] as number), 15), P);
      f = Math.imul(rotl(f ^ (words[i + 5] as number), 15), P);
      g = Math.imul(rotl(g ^ (words[i + 6] as number), 15), P);
      h = Math.imul(rotl(h ^ (words[i + 7] as number), 15), P);
    }
    lanes.set([a, b, c, d, e, f, g, h], first);
  }
}

/** Every bit of a hash and of its block's number into every bit of the contribution. */
function mixed([a, b, c, d]: [number, number, number, number], index: number): number[] {
  a ^= index;
  b ^= Math.floor(index / 2 ** 32);
  for (let round = 0; round < 4; round += 1) {
    a = Math.imul(a ^ rotl(d, 7), PRIMES[0]);
    b = Math.imul(b ^ rotl(a, 11), PRIMES[1]);
    c = Math.imul(c ^ rotl(b, 17), PRIMES[2]);
    d = Math.imul(d ^ rotl(c, 23), PRIMES[3]);
  }
  return [a ^ (a >>> 15), b ^ (b >>> 15), c ^ (c >>> 15), d ^ (d >>> 15)];
}
