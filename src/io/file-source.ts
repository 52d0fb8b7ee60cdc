/** A regular file or a block device as a byte source. */
import { type BigIntStats, close, constants, fstat, open, read } from 'node:fs';
import { promisify } from 'node:util';
import { showNumber, VdconvError } from '../base/errors.ts';
import { deviceSize } from './device.ts';
import { allocatedSize, difference, type FileIdentity, identityFromStat, specialKind } from './file-identity.ts';
import { errnoOf, readError } from './os-error.ts';
import type { SystemCalls } from './system.ts';
import type { ByteSource } from './types.ts';

export interface FileSourceOptions {
  /** Absent: holes are not seen and no lock is taken. */
  system?: SystemCalls | undefined;
  /** Read also what another program may be writing to: take no lock. */
  forceShare?: boolean | undefined;
  /** Read block devices too. */
  allowDevice?: boolean | undefined;
  /** Fail where the last part of the path is a symbolic link. */
  noFollow?: boolean | undefined;
  /** Opens the file, not waiting for anything; default: by its path. Throws as Node's `open`. */
  open?: (() => number) | undefined;
}

export interface FileSource extends ByteSource {
  readonly fd: number;
  /** As it was when the file was opened. */
  readonly identity: FileIdentity;
  /** Bytes that the file takes on disk; null for a device. */
  readonly allocatedSize: number | null;
}

const openOnce = promisify(open);
const readOnce = promisify(read);
const closeOnce = promisify(close);
const statOf = promisify(fstat) as (fd: number, options: { bigint: true }) => Promise<BigIntStats>;

/**
 * Opens a regular file or, where that is allowed, a block device for reading. Throws `read` where the system refuses or
 * the path is a directory, `refused` for a device that is not allowed, `unsupported` for other devices, pipes and sockets,
 * `locked` where another program has it open for writing. Never hangs on a pipe without a writer.
 */
export async function openFileSource(path: string, options: FileSourceOptions = {}): Promise<FileSource> {
  const fd = await openForReading(path, options);
  try {
    const stat = await statOf(fd, { bigint: true });
    const special = specialKind(stat);
    const isDevice = special === 'block device';
    if (special !== undefined && !(isDevice && options.allowDevice === true)) {
      throw notAFile(path, special);
    }
    const size = isDevice ? await deviceSize(path, fd, stat.rdev, options.system ?? noCalls) : Number(stat.size);
    if (size > Number.MAX_SAFE_INTEGER) {
      throw new VdconvError('limit', `has ${stat.size} bytes; vdconv takes files of less than 2^53`, { file: path });
    }
    if (options.forceShare !== true) {
      lock(path, fd, options.system);
    }
    const runs = isDevice ? undefined : options.system?.dataRuns;
    return new OpenFile(path, fd, size, stat, isDevice ? null : allocatedSize(stat), runs);
  } catch (error) {
    await closeOnce(fd).catch(() => {});
    throw error;
  }
}

/** Throws `changed` when the file is not what it was when it was opened. Sources other than files cannot tell. */
export async function assertUnchanged(source: ByteSource): Promise<void> {
  const file = source.wrapped?.file ?? source;
  if (file instanceof OpenFile) {
    await file.assertUnchanged();
  }
}

/** The file behind a source; undefined for sources that are not files. */
export function identityOf(source: ByteSource): FileIdentity | undefined {
  const file = source.wrapped?.file ?? source;
  return file instanceof OpenFile ? file.identity : undefined;
}

const noCalls: SystemCalls = { dataRuns: () => undefined };

class OpenFile implements FileSource {
  readonly name: string;
  readonly fd: number;
  readonly size: number;
  readonly identity: FileIdentity;
  readonly allocatedSize: number | null;
  readonly dataRuns?: (start: number, end: number, max: number) => Float64Array;
  #open = true;

  constructor(
    name: string,
    fd: number,
    size: number,
    stat: BigIntStats,
    allocatedSize: number | null,
    runs: SystemCalls['dataRuns'] | undefined,
  ) {
    this.name = name;
    this.fd = fd;
    this.size = size;
    this.identity = identityFromStat(stat);
    this.allocatedSize = allocatedSize;
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
    const now = await this.#whileOpen(() => statOf(this.fd, { bigint: true })).catch((cause: unknown) => {
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
    if (this.#open) {
      this.#open = false;
      await closeOnce(this.fd);
    }
  }

  async #readOnce(bytes: Uint8Array, at: number, position: number): Promise<number> {
    for (;;) {
      try {
        return (await this.#whileOpen(() => readOnce(this.fd, bytes, at, bytes.length - at, position))).bytesRead;
      } catch (cause) {
        if (errnoOf(cause) !== 'EINTR') {
          const operation = `read ${bytes.length - at} bytes at offset ${showNumber(position)}`;
          throw readError(this.name, operation, cause, { offset: position });
        }
      }
    }
  }

  /** The number of a closed descriptor may already be another file's. */
  async #whileOpen<T>(work: () => Promise<T>): Promise<T> {
    if (!this.#open) {
      throw Object.assign(new Error('closed'), { code: 'EBADF' });
    }
    return work();
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

async function openForReading(path: string, { noFollow, open: given }: FileSourceOptions): Promise<number> {
  const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW } = constants;
  try {
    return given?.() ?? (await openOnce(path, O_RDONLY | O_NONBLOCK | (noFollow === true ? O_NOFOLLOW : 0)));
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === 'ENXIO') {
      throw notAFile(path, 'socket');
    }
    throw errno === 'ENOENT' ? noSuchFile(path, cause) : readError(path, 'open', cause);
  }
}

function lock(path: string, fd: number, system: SystemCalls | undefined): void {
  let free: boolean;
  try {
    free = system?.lockForReading?.(fd) ?? true;
  } catch (cause) {
    throw readError(path, 'lock the file', cause);
  }
  if (!free) {
    throw new VdconvError('locked', 'another program has it open for writing, such as a virtual machine that runs', {
      file: path,
      hint: 'shut it down, or add --force-share to read what may be changing',
    });
  }
}

function noSuchFile(path: string, cause: unknown): VdconvError {
  return new VdconvError('read', 'no such file', { file: path, cause });
}

function notAFile(path: string, kind: NonNullable<ReturnType<typeof specialKind>>): VdconvError {
  if (kind === 'directory') {
    return new VdconvError('read', 'is a directory, not a disk image', { file: path });
  }
  if (kind === 'block device') {
    const hint = 'to read it, add --allow-device';
    return new VdconvError('refused', 'is a block device; devices are not read by default', { file: path, hint });
  }
  const hint = kind === 'character device' ? 'copy the device to a file first' : 'write its data to a file first';
  const what = `is a ${kind}; vdconv reads only regular files and block devices`;
  return new VdconvError('unsupported', what, { file: path, hint });
}
