/** Which file it is, and whether it is still what it was: by inode and times, never by name. */
import { type BigIntStats, promises as fs } from 'node:fs';

export interface FileIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

export function identityFromStat(stat: BigIntStats): FileIdentity {
  return { dev: stat.dev, ino: stat.ino, size: stat.size, mtimeNs: stat.mtimeNs, ctimeNs: stat.ctimeNs };
}

/** The file that a path leads to, symbolic links followed; undefined where there is none that can be seen. */
export async function identityOfPath(path: string): Promise<FileIdentity | undefined> {
  try {
    return identityFromStat(await fs.stat(path, { bigint: true }));
  } catch {
    return undefined;
  }
}

/** What `st_blocks` counts, whatever the file system's own block is. */
const STAT_BLOCK = 512;

export function allocatedSize({ blocks }: BigIntStats): number {
  return Number(blocks) * STAT_BLOCK;
}

/** Bytes that the file of a path takes on disk; undefined where there is none that can be seen. */
export async function allocatedSizeOfPath(path: string): Promise<number | undefined> {
  const stat = await fs.stat(path, { bigint: true }).catch(() => undefined);
  return stat && allocatedSize(stat);
}

/** One file under two names (same path, hard link, symbolic link): equal device and inode. */
export function sameFile(a: FileIdentity, b: FileIdentity): boolean {
  return a.dev === b.dev && a.ino === b.ino;
}

/** What differs between two looks at one file, in words; undefined where nothing does. */
export function difference(before: FileIdentity, after: FileIdentity): string | undefined {
  if (!sameFile(before, after)) {
    return 'it is another file now';
  }
  if (before.size !== after.size) {
    return `its size went from ${before.size} to ${after.size} bytes`;
  }
  if (before.mtimeNs !== after.mtimeNs) {
    return 'its modification time is another';
  }
  return before.ctimeNs === after.ctimeNs ? undefined : 'its status changed (permissions, links or content)';
}

/** What a thing that is not a regular file is called; undefined for a regular file. */
export function specialKind(stat: {
  isFile(): boolean;
  isDirectory(): boolean;
  isBlockDevice(): boolean;
  isCharacterDevice(): boolean;
  isFIFO(): boolean;
  isSymbolicLink(): boolean;
}): 'directory' | 'block device' | 'character device' | 'named pipe' | 'symbolic link' | 'socket' | undefined {
  if (stat.isFile()) {
    return undefined;
  }
  if (stat.isDirectory()) {
    return 'directory';
  }
  if (stat.isBlockDevice()) {
    return 'block device';
  }
  if (stat.isCharacterDevice()) {
    return 'character device';
  }
  if (stat.isFIFO()) {
    return 'named pipe';
  }
  return stat.isSymbolicLink() ? 'symbolic link' : 'socket';
}
