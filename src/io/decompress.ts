/** Decompresses a stream: gzip, xz, zstd, bzip2, each with the concatenations that its own program reads. */
import { type ErrorCode, showNumber, VdconvError } from '../base/errors.ts';
import { KiB } from '../base/units.ts';
import { type Codecs, loadCodecs } from './codecs.ts';
import type { Wrapping } from './wrapping.ts';

/** What a decoder takes at most, native/codecs/src: `xz -9` and `zstd --ultra -22` stay within it. */
const LIMITS: Partial<Record<Wrapping, string>> = {
  xz: 'dictionary of more than 64 MiB',
  zstd: 'window of more than 128 MiB',
};

/** Large enough that calls cost nothing, small enough for any cache. */
const PIECE = 256 * KiB;

/**
 * What the bytes of `chunks` decompress to, in pieces that the caller may keep. All members, streams and frames are read,
 * and their checksums verified. Throws `corrupt`, `truncated`, `limit` (it needs too much memory) or `unsupported`, with
 * the offset in the compressed bytes: not where the damage is, but where it was seen.
 *
 * @param name the compressed file's, for messages.
 */
export async function* decompress(
  kind: Wrapping,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  name?: string,
): AsyncGenerator<Uint8Array> {
  const stream = new Decompression(await loadCodecs(), kind, name);
  try {
    for await (const chunk of chunks) {
      yield* stream.push(chunk, false);
    }
    yield* stream.push(new Uint8Array(), true);
  } finally {
    stream.close();
  }
}

class Decompression {
  readonly #codecs: Codecs;
  readonly #decoder: InstanceType<Codecs['FileDecoder']>;
  readonly #kind: Wrapping;
  readonly #name: string | undefined;
  /** Of the compressed bytes. */
  #offset = 0;
  #trapped = false;
  /** What is handed out next: small chunks share an allocation. */
  #room = new Uint8Array();

  constructor(codecs: Codecs, kind: Wrapping, name: string | undefined) {
    this.#codecs = codecs;
    this.#decoder = new codecs.FileDecoder(kind);
    this.#kind = kind;
    this.#name = name;
  }

  /** @param last nothing follows `input`. */
  *push(input: Uint8Array, last: boolean): Generator<Uint8Array> {
    const { OutputFull, InputEnd, End } = this.#codecs.Status;
    let rest = input;
    for (let status: number = OutputFull; status === OutputFull || (last && status === InputEnd); ) {
      if (this.#room.length === 0) {
        this.#room = new Uint8Array(PIECE);
      }
      status = this.#step(rest, this.#room, last);
      const { consumed, produced } = this.#decoder;
      this.#offset += consumed;
      rest = rest.subarray(consumed);
      if (produced > 0) {
        const piece = this.#room.subarray(0, produced);
        this.#room = this.#room.subarray(produced);
        yield piece;
      }
      if (status !== End && status !== OutputFull && status !== InputEnd) {
        throw this.#failure(status);
      }
    }
  }

  close(): void {
    // What trapped is borrowed for ever, and its memory lost.
    if (!this.#trapped) {
      this.#decoder.free();
    }
  }

  #step(input: Uint8Array, output: Uint8Array, last: boolean): number {
    try {
      return this.#decoder.push(input, output, last);
    } catch (cause) {
      this.#trapped = true;
      throw this.#error('corrupt', 'is damaged', cause);
    }
  }

  #failure(status: number): VdconvError {
    const { BadData, BadSum, NoMemory, TooLarge, Trailing, Truncated, Unsupported } = this.#codecs.Status;
    switch (status) {
      case BadData:
        return this.#error('corrupt', 'is damaged');
      case BadSum:
        return this.#error('corrupt', 'does not have the content that its checksum says');
      case Trailing:
        return this.#error('corrupt', 'is followed by bytes that belong to none');
      case Truncated:
        return this.#error('truncated', 'is cut off');
      case TooLarge:
        return this.#error('limit', `needs a ${LIMITS[this.#kind]}`);
      case NoMemory:
        return this.#error('limit', 'needs more memory than there is');
      case Unsupported:
        return this.#error('unsupported', 'needs a dictionary or filters that vdconv does not have');
      default:
        return this.#error('internal', `gives status ${status}`);
    }
  }

  #error(code: ErrorCode, what: string, cause?: unknown): VdconvError {
    const message = `the ${this.#kind} stream ${what} (seen at offset ${showNumber(this.#offset)} of the compressed bytes)`;
    return new VdconvError(code, message, { file: this.#name, offset: this.#offset, cause });
  }
}
