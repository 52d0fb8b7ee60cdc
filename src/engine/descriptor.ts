/** Whole reads and writes through an open descriptor. Asynchronous: a pipe may be full for as long as it likes. */
import { read, write } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { errnoOf } from '../io/os-error.ts';

const readPart = promisify(read);
const writeOnce = promisify(write);

/** Node repeats an interrupted write by itself, not a read. */
async function readOnce(...call: [fd: number, bytes: Uint8Array, at: number, length: number, position: number]) {
  for (;;) {
    try {
      return await readPart(...call);
    } catch (cause) {
      if (errnoOf(cause) !== 'EINTR') {
        throw cause;
      }
    }
  }
}

/** Fills `bytes` from `position`; returns how many bytes there were where the file ends before. */
export async function readFully(fd: number, bytes: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await readOnce(fd, bytes, done, bytes.length - done, position + done);
    if (bytesRead === 0) {
      break;
    }
    done += bytesRead;
  }
  return done;
}

/** A descriptor that others share may be one that does not wait: then it is tried again until its reader has taken some. */
async function writeSome(fd: number, bytes: Uint8Array, from: number, position: number | null): Promise<number> {
  for (;;) {
    try {
      return (await writeOnce(fd, bytes, from, bytes.length - from, position)).bytesWritten;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') {
        throw error;
      }
      await wait(2);
    }
  }
}

/**
 * Writes all of `bytes`.
 *
 * @param position null: where the descriptor stands.
 * @param wrote called with the bytes of each part that is out.
 */
export async function writeFully(
  fd: number,
  bytes: Uint8Array,
  position: number | null,
  wrote: (bytes: number) => void = () => {},
): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const at = position === null ? null : position + done;
    const bytesWritten = await writeSome(fd, bytes, done, at);
    if (bytesWritten === 0) {
      throw new Error('failed to write whole buffer');
    }
    done += bytesWritten;
    wrote(bytesWritten);
  }
}
