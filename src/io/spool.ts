/** A temporary file without a name: what cannot be written in order is written here first. */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, ftruncateSync, openSync, read, unlinkSync, write } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { VdconvError } from '../base/errors.ts';
import { formatSize } from '../base/units.ts';
import { readError, writeError } from './os-error.ts';

export interface Spool {
  /** Open for reading and writing; its space is given back when it is closed, whatever ends the process. */
  readonly fd: number;
  /** The directory, for messages. */
  readonly name: string;
  truncate(size: number): void;
  /** All of `bytes` at `offset`. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Exactly `length` bytes at `offset`. */
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): void;
}

const readAt = promisify(read);
const writeAt = promisify(write);

/** Throws `write` where the directory takes no file. @param directory default: the system's for temporary files. */
export function createSpool(directory: string = tmpdir()): Spool {
  const { O_CREAT, O_EXCL, O_RDWR } = constants;
  const path = join(directory, `.vdconv-${randomBytes(6).toString('hex')}`);
  let fd: number;
  try {
    fd = openSync(path, O_CREAT | O_EXCL | O_RDWR, 0o600);
    unlinkSync(path);
  } catch (cause) {
    throw writeError(directory, 'create a temporary file', cause);
  }
  return {
    fd,
    name: directory,
    truncate(size) {
      try {
        ftruncateSync(fd, size);
      } catch (cause) {
        throw writeError(directory, `set the length of a temporary file to ${size} bytes`, cause);
      }
    },
    async write(offset, bytes) {
      for (let done = 0; done < bytes.length; ) {
        const put = writeAt(fd, bytes, done, bytes.length - done, offset + done);
        const { bytesWritten } = await put.catch((cause: unknown) => {
          throw writeError(directory, `write a temporary file, after ${formatSize(offset + done)} of it`, cause, {
            offset,
            hint: 'name a directory with more space with --spool=DIR',
          });
        });
        done += bytesWritten;
      }
    },
    async read(offset, length) {
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length; ) {
        const got = await readAt(fd, bytes, done, length - done, offset + done).catch((cause: unknown) => {
          throw readError(directory, 'read a temporary file', cause, { offset });
        });
        if (got.bytesRead === 0) {
          throw new VdconvError('internal', `a temporary file ends at ${offset + done}`, { file: directory });
        }
        done += got.bytesRead;
      }
      return bytes;
    },
    close: () => closeSync(fd),
  };
}
