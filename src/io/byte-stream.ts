/** Bytes that come once and in order: a pipe, a socket, a stream of the caller's. */
import { createReadStream, fstatSync } from 'node:fs';
import { Socket } from 'node:net';
import { unlessAborted } from '../base/abort.ts';
import { VdconvError } from '../base/errors.ts';
import { readError } from './os-error.ts';

/** What a stream is made of. Leaving its loop early gives up the rest. */
export type Chunks = AsyncIterable<Uint8Array>;

/** Pieces of at most this size: what a pipe holds at most, and cheap to copy into place. */
const PIECE = 1 << 20;

/**
 * What comes through a descriptor, which is closed at the end. Sockets and pipes are waited for as Node waits for any: a
 * read that nobody answers occupies no thread and can be given up.
 */
export function descriptorChunks(fd: number): Chunks {
  const stat = fstatSync(fd);
  return stat.isFIFO() || stat.isSocket()
    ? new Socket({ fd, readable: true, writable: false })
    : createReadStream('', { fd, highWaterMark: PIECE });
}

/** A stream that can be looked into before it is read. */
export class ByteStream {
  readonly name: string;
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #signal: AbortSignal | undefined;
  /** What was looked at and not yet read. */
  #held: Uint8Array[] = [];
  #at = 0;

  constructor(chunks: Chunks, name: string, signal?: AbortSignal) {
    this.name = name;
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#signal = signal;
  }

  /** Bytes read so far. */
  get at(): number {
    return this.#at;
  }

  /** The next bytes, `length` of them or all that there are. They are still to be read. */
  async peek(length: number): Promise<Uint8Array> {
    let there = this.#held.reduce((sum, piece) => sum + piece.length, 0);
    while (there < length) {
      const piece = await this.#take();
      if (piece === undefined) {
        break;
      }
      this.#held.push(piece);
      there += piece.length;
    }
    const whole = this.#held.length === 1 ? (this.#held[0] as Uint8Array) : Buffer.concat(this.#held);
    this.#held = whole.length === 0 ? [] : [whole];
    return whole.subarray(0, length);
  }

  /** The next bytes, at least one; undefined at the end. */
  async next(): Promise<Uint8Array | undefined> {
    const piece = this.#held.shift() ?? (await this.#take());
    this.#at += piece?.length ?? 0;
    return piece;
  }

  async *rest(): AsyncGenerator<Uint8Array, void> {
    for (let piece = await this.next(); piece !== undefined; piece = await this.next()) {
      yield piece;
    }
  }

  async close(): Promise<void> {
    // Not waited for: a source that is stuck would keep whoever gives it up.
    this.#chunks.return?.()?.catch(() => {});
  }

  async #take(): Promise<Uint8Array | undefined> {
    for (;;) {
      const step = await unlessAborted(this.#signal, this.#chunks.next()).catch((cause: unknown) => {
        throw cause instanceof VdconvError
          ? cause
          : readError(this.name, 'read the stream', cause, { offset: this.#at });
      });
      if (step.done) {
        return undefined;
      }
      if (step.value.length > 0) {
        return step.value;
      }
    }
  }
}
