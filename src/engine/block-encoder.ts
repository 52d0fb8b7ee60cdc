/** Compresses the blocks of a chunk that are not all zeros, back to back in one buffer. */
import { alignUp, divCeil } from '../base/units.ts';
import type { TargetCodec } from '../map/layout.ts';
import type { BlockCodec } from './block-codec.ts';
import { encodeBlock, encodedBound } from './codec.ts';
import type { Span } from './zeros.ts';

export interface EncodedBlock {
  number: number;
  /** Stored length; 0: plain, from the chunk. */
  stored: number;
  /** With the zeros up to the next stored block. */
  padded: number;
  /** Index into the encoder's bytes. */
  at: number;
}

export class BlockEncoder {
  readonly bytes: Uint8Array;
  readonly #codecs: BlockCodec;
  readonly #codec: TargetCodec;
  readonly #blockSize: number;

  constructor(codecs: BlockCodec, codec: TargetCodec, blockSize: number, chunk: number) {
    this.#codecs = codecs;
    this.#codec = codec;
    this.#blockSize = blockSize;
    this.bytes = new Uint8Array((chunk / blockSize) * alignUp(encodedBound(codec, blockSize), codec.packing));
  }

  /** @param base guest byte at which `chunk` begins. */
  encode(chunk: Uint8Array, base: number, runs: readonly Span[]): EncodedBlock[] {
    const size = this.#blockSize;
    const blocks: EncodedBlock[] = [];
    let at = 0;
    let next = 0;
    for (const { start, end } of runs) {
      next = Math.max(next, Math.floor(start / size));
      for (const behind = divCeil(end, size); next < behind; next += 1) {
        const guest = next * size;
        const block = chunk.subarray(guest - base, guest - base + size);
        const stored = encodeBlock(this.#codecs, this.#codec, guest, block, this.bytes.subarray(at));
        const padded = alignUp(stored, this.#codec.packing);
        this.bytes.fill(0, at + stored, at + padded);
        blocks.push({ number: next, stored, padded, at });
        at += padded;
      }
    }
    return blocks;
  }
}
