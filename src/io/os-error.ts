/** The operating system's errors in words, and the two errors that files end in: `read` and `write`. */
import { type ErrorDetails, escapeText, VdconvError } from '../base/errors.ts';

const WORDS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EBUSY: 'device or file is busy',
  EDQUOT: 'disk quota exceeded',
  EEXIST: 'file exists',
  EFBIG: 'file too large for the file system or the file size limit',
  EINTR: 'interrupted',
  EINVAL: 'not possible on this file system',
  EIO: 'input/output error',
  EISDIR: 'is a directory',
  ELOOP: 'too many symbolic links',
  EMFILE: 'too many open files',
  ENAMETOOLONG: 'file name too long',
  ENFILE: 'too many open files in the system',
  ENODEV: 'no such device',
  ENOENT: 'no such file or directory',
  ENOMEM: 'out of memory',
  ENOSPC: 'no space left on device',
  ENOTDIR: 'a part of the path is not a directory',
  ENXIO: 'no such device or address',
  EOPNOTSUPP: 'operation not supported',
  EPERM: 'operation not permitted',
  EROFS: 'read-only file system',
  ESTALE: 'stale network file handle',
  ETIMEDOUT: 'timed out',
  ETXTBSY: 'file is being executed',
  EXDEV: 'on another file system',
};

/** The name of the errno behind an exception (`ENOSPC`), undefined for anything that is not the system's. */
export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/** `no space left on device (ENOSPC)`. */
export function describeErrno(error: unknown): string {
  const errno = errnoOf(error);
  if (errno === undefined) {
    return escapeText(error instanceof Error ? error.message : String(error));
  }
  const words = WORDS[errno];
  return words === undefined ? errno : `${words} (${errno})`;
}

/** @param operation what was attempted, after "cannot": `read 512 bytes at offset 0`. */
export function readError(file: string, operation: string, cause: unknown, details: ErrorDetails = {}): VdconvError {
  return new VdconvError('read', `cannot ${operation}: ${describeErrno(cause)}`, { ...details, file, cause });
}

export function writeError(file: string, operation: string, cause: unknown, details: ErrorDetails = {}): VdconvError {
  return new VdconvError('write', `cannot ${operation}: ${describeErrno(cause)}`, { ...details, file, cause });
}
