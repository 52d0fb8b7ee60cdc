/** A regular file as a byte source. */
import { constants, promises as fs } from 'node:fs';
import { showNumber, VdconvError } from '../base/errors.ts';
import { difference, type FileIdentity, identityFromStat, specialKind } from './file-identity.ts';
import { errnoOf, readError } from './os-error.ts';
import type { ByteSource } from './types.ts';

export interface FileSourceOptions {
  /** Where the file has data: the engine's knowledge of holes. Absent: the source cannot tell. */
  dataRuns?: ((fd: number, start: number, end: number, max: number) => Float64Array | undefined) | undefined;
  /** Fail where the last part of the path is a symbolic link. */
  noFollow?: boolean | undefined;
}

export interface FileSource extends ByteSource {
  readonly fd: number;
  /** As it was when the file was opened. */
  readonly identity: FileIdentity;
  /** Bytes that the file takes on disk. */
  readonly allocatedSize: number;
}

/**
 * Opens a regular file for reading. Throws `read` where the system refuses or the path is a directory, `unsupported`
 * for devices, pipes and sockets. Never hangs on a pipe without a writer.
 */
export async function openFileSource(path: string, options: FileSourceOptions = {}): Promise<FileSource> {
  const handle = await openForReading(path, options.noFollow === true);
  try {
    const stat = await handle.stat({ bigint: true });
    const special = specialKind(stat);
    if (special !== undefined) {
      throw notAFile(path, special);
    }
    if (stat.size > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new VdconvError('limit', `has ${stat.size} bytes; vdconv takes files of less than 2^53`, { file: path });
    }
    return new OpenFile(path, handle, identityFromStat(stat), Number(stat.blocks) * STAT_BLOCK, options.dataRuns);
  } catch (error) {
    await handle.close().catch(() => {});
    throw error;
  }
}

/** Throws `changed` when the file is not what it was when it was opened. Sources other than files cannot tell. */
export async function assertUnchanged(source: ByteSource): Promise<void> {
  if (source instanceof OpenFile) {
    await source.assertUnchanged();
  }
}

/** The file behind a source; undefined for sources that are not files. */
export function identityOf(source: ByteSource): FileIdentity | undefined {
  return source instanceof OpenFile ? source.identity : undefined;
}

/** What `st_blocks` counts, whatever the file system's own block is. */
const STAT_BLOCK = 512;

class OpenFile implements FileSource {
  readonly name: string;
  readonly fd: number;
  readonly size: number;
  readonly identity: FileIdentity;
  readonly allocatedSize: number;
  readonly dataRuns?: (start: number, end: number, max: number) => Float64Array;
  readonly #handle: fs.FileHandle;

  constructor(
    name: string,
    handle: fs.FileHandle,
    identity: FileIdentity,
    allocatedSize: number,
    runs: FileSourceOptions['dataRuns'],
  ) {
    this.name = name;
    this.fd = handle.fd;
    this.size = Number(identity.size);
    this.identity = identity;
    this.allocatedSize = allocatedSize;
    this.#handle = handle;
    if (runs !== undefined) {
      this.dataRuns = (start, end, max) => runs(this.fd, start, end, max) ?? Float64Array.of(start, end);
    }
  }

  async read(offset: number, length: number, what: string): Promise<Uint8Array> {
    // Checked before the buffer is allocated: `length` may come from the image.
    if (offset + length > this.size) {
      throw this.#truncated(offset, length, what, this.size);
    }
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const got = await this.#readOnce(bytes, done, offset + done);
      if (got === 0) {
        await this.assertUnchanged();
        throw this.#truncated(offset, length, what, offset + done);
      }
      done += got;
    }
    return bytes;
  }

  async assertUnchanged(): Promise<void> {
    const now = await this.#handle.stat({ bigint: true }).catch((cause: unknown) => {
      throw readError(this.name, 'look at the file again', cause);
    });
    const change = difference(this.identity, identityFromStat(now));
    if (change !== undefined) {
      throw new VdconvError('changed', `the file changed while it was read (${change})`, {
        file: this.name,
        hint: 'stop what writes to it, or convert a snapshot of it',
      });
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async #readOnce(bytes: Uint8Array, at: number, position: number): Promise<number> {
    try {
      return (await this.#handle.read(bytes, at, bytes.length - at, position)).bytesRead;
    } catch (cause) {
      const operation = `read ${bytes.length - at} bytes at offset ${showNumber(position)}`;
      throw readError(this.name, operation, cause, { offset: position });
    }
  }

  #truncated(offset: number, length: number, what: string, end: number): VdconvError {
    const range = `${length} bytes at offset ${showNumber(offset)}`;
    return new VdconvError('truncated', `${what} needs ${range}, the file ends at ${showNumber(end)}`, {
      file: this.name,
      field: what,
      offset,
    });
  }
}

async function openForReading(path: string, noFollow: boolean): Promise<fs.FileHandle> {
  const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW } = constants;
  try {
    return await fs.open(path, O_RDONLY | O_NONBLOCK | (noFollow ? O_NOFOLLOW : 0));
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === 'ENXIO') {
      throw notAFile(path, 'socket');
    }
    throw errno === 'ENOENT' ? noSuchFile(path, cause) : readError(path, 'open', cause);
  }
}

function noSuchFile(path: string, cause: unknown): VdconvError {
  return new VdconvError('read', 'no such file', { file: path, cause });
}

function notAFile(path: string, kind: NonNullable<ReturnType<typeof specialKind>>): VdconvError {
  if (kind === 'directory') {
    return new VdconvError('read', 'is a directory, not a disk image', { file: path });
  }
  const hint = kind.endsWith('device') ? 'copy the device to a file first' : 'write its data to a file first';
  return new VdconvError('unsupported', `is a ${kind}; vdconv reads only regular files so far`, { file: path, hint });
}
