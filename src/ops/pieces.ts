/** Bytes that are read in order, a piece at a time: for streams, and wherever a whole disk passes through JavaScript. */

import { cancelled } from '../base/abort.ts';
import { MiB } from '../base/units.ts';

/** What one read takes: large enough that a read's fixed cost vanishes, small beside the memory that the engine has. */
export const PIECE = 2 * MiB;

export interface Pieces {
  start: number;
  end: number;
  /** Exactly `length` bytes at `offset`, in a buffer that nobody else keeps. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Before the stream says that it is complete; throws where it must not. */
  finish?(): Promise<void>;
}

/**
 * A byte stream that reads the next piece when its reader wants more and has taken the one before: nothing is read
 * ahead. A failure or an abort errors the stream.
 */
export function pieceStream({ start, end, read, finish }: Pieces, signal?: AbortSignal): ReadableStream<Uint8Array> {
  let at = start;
  let stop = () => {};
  return new ReadableStream({
    type: 'bytes',
    start(controller) {
      const abort = () => controller.error(cancelled(signal?.reason));
      stop = () => signal?.removeEventListener('abort', abort);
      signal?.addEventListener('abort', abort, { once: true });
      if (signal?.aborted) {
        abort();
      }
    },
    async pull(controller) {
      if (at < end) {
        const bytes = await read(at, Math.min(PIECE, end - at));
        at += bytes.length;
        if (signal?.aborted !== true) {
          controller.enqueue(bytes);
        }
        return;
      }
      await finish?.();
      stop();
      if (signal?.aborted !== true) {
        controller.close();
        // A reader that brought its own buffer gets it back empty.
        controller.byobRequest?.respond(0);
      }
    },
    cancel() {
      stop();
    },
  });
}
