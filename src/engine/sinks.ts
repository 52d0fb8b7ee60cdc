/** Where the output of the portable engine goes: a new file, a pipe, memory, or nowhere. */
import { VdconvError } from '../base/errors.ts';
import { MiB } from '../base/units.ts';
import type { Piece } from '../map/layout.ts';
import type { Outlet } from './contract.ts';
import { writeFully } from './descriptor.ts';
import { cannotWrite } from './failures.ts';

export interface Out {
  /** Guest bytes, or a prefix. */
  put(offset: number, bytes: Uint8Array): Promise<void>;
  /** The place of a table, met in the order of placement. */
  table(offset: number, length: number): Promise<void>;
  /** Metadata from the writer. */
  piece(piece: Piece): Promise<void>;
}

export const nowhere: Out = { async put() {}, async table() {}, async piece() {} };

/** A regular file: everything is written at its place as it comes. */
export function fileOut(fd: number, name: string): Out {
  const put = (offset: number, bytes: Uint8Array): Promise<void> =>
    writeFully(fd, bytes, offset).catch((cause: unknown) => {
      throw cannotWrite(name, offset, cause);
    });
  return { put, async table() {}, piece: ({ offset, bytes }) => put(offset, bytes) };
}

export function memoryOut(memory: Uint8Array): Out {
  return { ...nowhere, put: async (offset, bytes) => memory.set(bytes, offset) };
}

/** Zeros for the gaps of a stream. */
const ZEROS = new Uint8Array(65536);

/** A pipe: the next byte only, so tables are written when the stream gets to them. */
export class StreamOut implements Out {
  readonly #to: Outlet;
  readonly #name: string;
  readonly #more: (offset: number) => Promise<void>;
  #cursor = 0;
  /** Pieces that came before the stream got to them. */
  readonly #pieces = new Map<number, Uint8Array>();

  /** @param more brings further pieces, as the one at `offset` is needed now; throws when there are none. */
  constructor(to: Outlet, name: string, more: (offset: number) => Promise<void>) {
    this.#to = to;
    this.#name = name;
    this.#more = more;
  }

  async put(offset: number, bytes: Uint8Array): Promise<void> {
    if (offset < this.#cursor) {
      throw new VdconvError('internal', `a stream at ${this.#cursor} cannot go back to ${offset}`);
    }
    while (this.#cursor < offset) {
      await this.#write(ZEROS.subarray(0, Math.min(ZEROS.length, offset - this.#cursor)));
    }
    await this.#write(bytes);
  }

  async table(offset: number, length: number): Promise<void> {
    while (!this.#pieces.has(offset)) {
      await this.#more(offset);
    }
    const bytes = this.#take(offset);
    if (bytes.length !== length) {
      throw new VdconvError('internal', `a table of ${bytes.length} bytes for ${length} at ${offset}`);
    }
    await this.put(offset, bytes);
  }

  async piece({ offset, bytes }: Piece): Promise<void> {
    this.#pieces.set(offset, bytes);
  }

  /** Whether a piece that is still here, or `end`, lies before what is written. */
  hasPassed(end: number): boolean {
    return end < this.#cursor || [...this.#pieces.keys()].some((offset) => offset < this.#cursor);
  }

  /** Writes the pieces that lie before `end`, in order, and zeros up to it. */
  async writeUpTo(end: number): Promise<void> {
    const due = [...this.#pieces.keys()].filter((offset) => offset < end).sort((a, b) => a - b);
    for (const offset of due) {
      await this.put(offset, this.#take(offset));
    }
    await this.put(end, new Uint8Array());
  }

  #take(offset: number): Uint8Array {
    const bytes = this.#pieces.get(offset) ?? new Uint8Array();
    this.#pieces.delete(offset);
    return bytes;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    if ('write' in this.#to) {
      for (let at = 0; at < bytes.length; at += MiB) {
        const piece = bytes.slice(at, at + MiB);
        await this.#to.write(piece);
        this.#cursor += piece.length;
      }
      return;
    }
    const wrote = (n: number): void => {
      this.#cursor += n;
    };
    await writeFully(this.#to.fd, bytes, null, wrote).catch((cause: unknown) => {
      throw cannotWrite(this.#name, this.#cursor, cause);
    });
  }
}
