/** A socket from which exactly so many bytes are taken as a message says. */
import type { Socket } from 'node:net';

/** Bytes that may wait; the socket pauses beyond it. */
const ROOM = 1 << 20;

export class SocketBytes {
  readonly #socket: Socket;
  #waiting: Buffer[] = [];
  #length = 0;
  #need = 0;
  #wake: (() => void) | undefined;
  #failure: Error | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (piece: Buffer) => {
      this.#waiting.push(piece);
      this.#length += piece.length;
      if (this.#length >= ROOM && this.#length >= this.#need) {
        socket.pause();
      }
      this.#wake?.();
    });
    socket.on('error', (error) => this.fail(error));
    socket.on('close', () => this.fail(new Error('the connection was closed')));
  }

  /** From now on every wait ends so. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#wake?.();
  }

  /** Throws what the socket failed with. One at a time. */
  async take(length: number): Promise<Buffer> {
    this.#need = length;
    while (this.#length < length) {
      if (this.#failure !== undefined) {
        throw this.#failure;
      }
      this.#socket.resume();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    this.#need = 0;
    this.#length -= length;
    const first = this.#waiting[0];
    if (first !== undefined && first.length >= length) {
      this.#waiting[0] = first.subarray(length);
      if (first.length === length) {
        this.#waiting.shift();
      }
      return first.subarray(0, length);
    }
    const out = Buffer.allocUnsafe(length);
    for (let at = 0; at < length; ) {
      const piece = this.#waiting[0] as Buffer;
      const n = Math.min(piece.length, length - at);
      piece.copy(out, at, 0, n);
      at += n;
      if (n === piece.length) {
        this.#waiting.shift();
      } else {
        this.#waiting[0] = piece.subarray(n);
      }
    }
    return out;
  }
}
