/**
 * A new file that appears under its name only when it is complete: written beside the target under a temporary name,
 * synced, then renamed. Until {@link commit} has succeeded the target's name is as it was.
 */
import { closeSync, constants, fchmodSync, fsync, ftruncate, openSync, write, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { VdconvError } from '../base/errors.ts';
import { KiB } from '../base/units.ts';
import type { FileIdentity } from './file-identity.ts';
import { addUnfinished } from './leftovers.ts';
import { writeError } from './os-error.ts';
import { type DirectorySync, openDirectorySync, publish, removeTemporary } from './publish.ts';
import { resolveTarget, temporaryPath } from './target.ts';

export interface OutputOptions {
  /** Replace an existing target, at the commit. */
  force?: boolean | undefined;
  /** Skip fsync of data and directory. */
  noSync?: boolean | undefined;
}

export interface Output {
  /** The target as the user named it. */
  readonly name: string;
  /** Open for reading and writing; the native engine writes through it. */
  readonly fd: number;
  /** The existing file that the commit will replace. */
  readonly replaces: FileIdentity | undefined;
  /** All of `bytes` at `offset`. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Sets the length; bytes that were never written read as zeros. */
  truncate(size: number): Promise<void>;
  /** fsync of the data, and close: nothing is written any more. On failure the output is discarded. */
  complete(): Promise<void>;
  /**
   * After {@link complete}: rename to the target, fsync of the directory. On failure the output is discarded; where only
   * the last step failed, a file that was replaced is lost and the new one stays.
   */
  publish(): Promise<void>;
  /** After {@link publish}: takes a target that was not there before away again. Never throws. */
  withdraw(): void;
  /**
   * Closes and removes the temporary file, when no write is under way any more (its descriptor number may be reused).
   * May be called again and after it was published; never throws.
   */
  discard(): void;
}

/**
 * Creates the temporary file. Throws `exists` where the target is there and `force` is not set, `write` where the target
 * is no regular file or the directory does not take a file. A target that is a symbolic link stays a link: the file that
 * it leads to is replaced, in that file's directory.
 */
export async function createOutput(target: string, options: OutputOptions = {}): Promise<Output> {
  const resolved = await resolveTarget(target, options.force === true);
  const temporary = temporaryPath(resolved.path);
  const { O_CREAT, O_EXCL, O_RDWR } = constants;
  let fd: number;
  try {
    // Synchronous, so that no moment lies between the file's creation and the note that it must be removed.
    fd = openSync(temporary, O_CREAT | O_EXCL | O_RDWR, resolved.mode ?? 0o666);
    addUnfinished(temporary);
  } catch (cause) {
    throw writeError(target, 'create the file', cause);
  }
  const output = new TemporaryOutput(target, resolved.path, temporary, fd, resolved.replaces, options);
  if (resolved.mode !== undefined) {
    output.keepMode(resolved.mode);
  }
  return output;
}

/**
 * Makes the files of one output appear: all are synced before the first is renamed, and the last is the one that refers to
 * the others. Where a rename fails, the files before it that are new are removed again.
 */
export async function commit(outputs: readonly Output[]): Promise<void> {
  for (const output of outputs) {
    await output.complete();
  }
  const published: Output[] = [];
  try {
    for (const output of outputs) {
      await output.publish();
      published.push(output);
    }
  } catch (error) {
    for (const output of published) {
      output.withdraw();
    }
    throw error;
  }
}

/** Pieces up to this size are written on the spot: a page-cache copy costs less than a trip through the thread pool. */
const SMALL = 64 * KiB;

const writeLarge = promisify(write);
const setLength = promisify(ftruncate);
const syncData = promisify(fsync);

class TemporaryOutput implements Output {
  readonly name: string;
  readonly fd: number;
  readonly replaces: FileIdentity | undefined;
  readonly #path: string;
  readonly #temporary: string;
  readonly #options: OutputOptions;
  #open = true;
  #finished = false;

  constructor(
    name: string,
    path: string,
    temporary: string,
    fd: number,
    replaces: FileIdentity | undefined,
    options: OutputOptions,
  ) {
    this.name = name;
    this.fd = fd;
    this.replaces = replaces;
    this.#path = path;
    this.#temporary = temporary;
    this.#options = options;
  }

  /** The umask narrows the mode of a created file; a replaced file keeps all of its mode. */
  keepMode(mode: number): void {
    try {
      fchmodSync(this.fd, mode);
    } catch (cause) {
      this.discard();
      throw writeError(this.name, 'give the new file the permissions of the one it replaces', cause);
    }
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      done += await this.#writeOnce(offset + done, bytes.subarray(done));
    }
  }

  async truncate(size: number): Promise<void> {
    await setLength(this.fd, size).catch((cause: unknown) => {
      throw writeError(this.name, `set the length to ${size} bytes`, cause);
    });
  }

  async complete(): Promise<void> {
    try {
      if (this.#options.noSync !== true) {
        await syncData(this.fd).catch((cause: unknown) => {
          throw writeError(this.name, 'sync the data to the disk', cause);
        });
      }
      this.#close();
    } catch (error) {
      this.discard();
      throw error;
    }
  }

  async publish(): Promise<void> {
    let directory: DirectorySync | undefined;
    try {
      directory = this.#options.noSync === true ? undefined : await openDirectorySync(this.#path, this.name);
      await publish(this.#temporary, this.#path, this.name, this.#options.force === true);
      this.#finished = true;
      await directory?.sync();
    } catch (error) {
      this.withdraw();
      this.discard();
      throw error;
    } finally {
      await directory?.close();
    }
  }

  withdraw(): void {
    if (this.#finished && this.replaces === undefined) {
      removeTemporary(this.#path);
    }
  }

  discard(): void {
    if (this.#open) {
      try {
        this.#close();
      } catch {
        // The error that led here is the one to tell.
      }
    }
    if (!this.#finished) {
      this.#finished = true;
      removeTemporary(this.#temporary);
    }
  }

  async #writeOnce(offset: number, bytes: Uint8Array): Promise<number> {
    const operation = `write ${bytes.length} bytes at offset ${offset}`;
    let written: number;
    try {
      written =
        bytes.length <= SMALL
          ? writeSync(this.fd, bytes, 0, bytes.length, offset)
          : (await writeLarge(this.fd, bytes, 0, bytes.length, offset)).bytesWritten;
    } catch (cause) {
      throw writeError(this.name, operation, cause, { offset });
    }
    if (written === 0) {
      throw new VdconvError('write', `cannot ${operation}: the system took no byte`, { file: this.name, offset });
    }
    return written;
  }

  /** Network file systems may report a lost write here. */
  #close(): void {
    this.#open = false;
    try {
      closeSync(this.fd);
    } catch (cause) {
      throw writeError(this.name, 'close the file', cause);
    }
  }
}
