/** The portable engine's digest of a disk: native/core/src/digest.rs says what it is made of. */
import { createHash, type Hash } from 'node:crypto';
import { KiB } from '../base/units.ts';
import type { DigestMethod } from './contract.ts';

const ZEROS = new Uint8Array(64 * KiB);

/** Grows in virtual order. */
export class DiskDigest {
  /** Bytes of a block; 0: the bytes themselves in order. */
  readonly blockSize: number;
  readonly #size: number;
  readonly #outer: Hash = createHash('sha256');
  readonly #zeroBlock: Buffer;
  #done = 0;

  constructor({ blockSize }: DigestMethod, size: number) {
    this.blockSize = blockSize;
    this.#size = size;
    this.#zeroBlock = hashOf(new Uint8Array(Math.min(blockSize, size)));
  }

  /** The next bytes that may differ from zero: whole blocks, but for the disk's last. */
  add(start: number, bytes: Uint8Array): void {
    this.#zerosUpTo(start);
    if (this.blockSize === 0) {
      this.#outer.update(bytes);
    } else {
      for (let at = 0; at < bytes.length; at += this.blockSize) {
        this.#outer.update(hashOf(bytes.subarray(at, at + this.blockSize)));
      }
    }
    this.#done = start + bytes.length;
  }

  finish(): Uint8Array {
    this.#zerosUpTo(this.#size);
    if (this.blockSize > 0) {
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(this.#size));
      this.#outer.update(length);
    }
    return new Uint8Array(this.#outer.digest());
  }

  #zerosUpTo(end: number): void {
    while (this.#done < end) {
      const rest = end - this.#done;
      const step = this.blockSize === 0 ? Math.min(rest, ZEROS.length) : Math.min(rest, this.blockSize);
      if (this.blockSize === 0) {
        this.#outer.update(ZEROS.subarray(0, step));
      } else {
        const whole = step === Math.min(this.blockSize, this.#size);
        this.#outer.update(whole ? this.#zeroBlock : hashOf(new Uint8Array(step)));
      }
      this.#done += step;
    }
  }
}

function hashOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
