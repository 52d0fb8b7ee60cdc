/**
 * A stream as a source, in constant memory: whoever reads forward, roughly, finds everything. The last part of what came
 * is kept, and tables beyond that, as many as were asked for lately.
 */
import { VdconvError } from '../base/errors.ts';
import { alignDown, KiB, MiB, TiB } from '../base/units.ts';
import type { ByteStream } from './byte-stream.ts';
import type { ByteSource } from './types.ts';

/** What is kept: more than the engine and the block map are ever ahead of the data that is being moved. */
const WINDOW = 32 * MiB;
/** Tables are kept by pages of this size, so many of them; and as much of what lies before the first byte of data. */
const PAGE = 64 * KiB;
const PAGES = 256;
const FRONT = PAGES * PAGE;

/** Stands for the size where only the end of the stream will tell. */
const UNKNOWN = 64 * TiB;

/** @param size bytes, where it is known; more or fewer are an error. */
export function forwardSource(stream: ByteStream, size?: number): ByteSource {
  return new ForwardSource(stream, size);
}

class ForwardSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly forwardOnly = true;
  readonly #stream: ByteStream;
  readonly #sizeKnown: boolean;
  readonly #window = new Uint8Array(WINDOW);
  /** Bytes that came; the last of them are in the window, each at its offset modulo the window's size. */
  #end = 0;
  #ended = false;
  /** A read of the stream that is under way: one at a time. */
  #coming: Promise<void> | undefined;
  readonly #pages = new Map<number, Uint8Array>();
  #dataBegan = false;

  constructor(stream: ByteStream, size: number | undefined) {
    this.name = stream.name;
    this.size = size ?? UNKNOWN;
    this.#stream = stream;
    this.#sizeKnown = size !== undefined;
  }

  async read(offset: number, length: number, what: string): Promise<Uint8Array> {
    const bytes = await this.readUpTo(offset, length, what);
    if (bytes.length < length) {
      throw this.#truncated(what, length, offset);
    }
    return bytes;
  }

  /** Fewer bytes than asked for where the stream ends before. */
  async readUpTo(offset: number, length: number, what: string): Promise<Uint8Array> {
    if (length > WINDOW / 2) {
      throw this.#lost(`${what} of ${length} bytes`, offset);
    }
    const isTable = what !== 'guest data';
    const kept = isTable ? this.#fromPages(offset, length) : undefined;
    if (kept !== undefined) {
      return kept;
    }
    await this.#arrive(offset + length);
    if (!isTable && !this.#dataBegan) {
      // Tables that lie in front and are asked for later.
      this.#dataBegan = true;
      await this.#keep(0, Math.min(offset, FRONT));
    }
    const bytes = this.#copy(offset, Math.max(0, Math.min(length, this.#end - offset)), what);
    if (isTable) {
      await this.#keep(offset, length);
    }
    return bytes;
  }

  /** Waits until [0, end) came, or all that there is. */
  async #arrive(end: number): Promise<void> {
    while (this.#end < end && !this.#ended) {
      this.#coming ??= this.#next().finally(() => {
        this.#coming = undefined;
      });
      await this.#coming;
    }
  }

  async #next(): Promise<void> {
    const piece = await this.#stream.next();
    if (piece === undefined) {
      this.#ended = true;
      return;
    }
    if (this.#sizeKnown && this.#end + piece.length > this.size) {
      throw new VdconvError('usage', `the stream goes on after the ${this.size} bytes that were said`, {
        file: this.name,
      });
    }
    for (let from = 0; from < piece.length; ) {
      const to = this.#end % WINDOW;
      const n = Math.min(piece.length - from, WINDOW - to);
      this.#window.set(piece.subarray(from, from + n), to);
      this.#end += n;
      from += n;
    }
  }

  #copy(offset: number, length: number, what: string): Uint8Array {
    if (offset < this.#end - WINDOW) {
      throw this.#lost(what, offset);
    }
    const bytes = new Uint8Array(length);
    const at = offset % WINDOW;
    const first = Math.min(length, WINDOW - at);
    bytes.set(this.#window.subarray(at, at + first));
    bytes.set(this.#window.subarray(0, length - first), first);
    return bytes;
  }

  #lost(what: string, offset: number): VdconvError {
    return new VdconvError(
      'unsupported',
      `${what} at offset ${offset} is needed when the stream is at ${this.#end} already`,
      {
        file: this.name,
        offset,
        hint: 'add --spool DIR to keep the stream in a temporary file',
      },
    );
  }

  #fromPages(offset: number, length: number): Uint8Array | undefined {
    const bytes = new Uint8Array(length);
    for (let at = offset; at < offset + length; ) {
      const start = alignDown(at, PAGE);
      const page = this.#pages.get(start);
      const n = Math.min(offset + length, start + PAGE) - at;
      if (page === undefined || page.length < at - start + n) {
        return undefined;
      }
      // Asked for lately: the last to go.
      this.#pages.delete(start);
      this.#pages.set(start, page);
      bytes.set(page.subarray(at - start, at - start + n), at - offset);
      at += n;
    }
    return bytes;
  }

  /** Whole pages: a reader that asks for a part of a table asks for the next part later. */
  async #keep(offset: number, length: number): Promise<void> {
    for (let start = alignDown(offset, PAGE); start < offset + length; start += PAGE) {
      await this.#arrive(start + PAGE);
      const n = Math.min(PAGE, this.#end - start);
      if (start >= this.#end - WINDOW && n > 0) {
        this.#pages.set(start, this.#copy(start, n, 'a table'));
      }
      const [oldest] = this.#pages.keys();
      if (this.#pages.size > PAGES && oldest !== undefined) {
        this.#pages.delete(oldest);
      }
    }
  }

  /** Takes the rest, so that whoever writes it is not told of a closed pipe. A size that was said must be the size. */
  async finish(): Promise<void> {
    while (!this.#ended) {
      await this.#arrive(this.#end + 1);
    }
    if (this.#sizeKnown && this.#end < this.size) {
      throw this.#truncated('the disk', this.size - this.#end, this.#end);
    }
  }

  #truncated(what: string, length: number, offset: number): VdconvError {
    const message = `${what} needs ${length} bytes at offset ${offset}, the stream ended at ${this.#end}`;
    return new VdconvError('truncated', message, { file: this.name, field: what, offset });
  }

  close(): Promise<void> {
    return this.#stream.close();
  }
}
