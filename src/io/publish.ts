/** The step that makes a finished temporary file the target. */
import { promises as fs, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { forgetUnfinished } from './leftovers.ts';
import { errnoOf, writeError } from './os-error.ts';
import { existsError } from './target.ts';

/**
 * Gives the temporary file the target's name: with `replace` by rename, otherwise so that a target that appeared in the
 * meantime is kept (`exists`).
 * @param name the target as the user named it, for messages.
 */
export async function publish(temporary: string, target: string, name: string, replace: boolean): Promise<void> {
  if (!replace && (await linkInPlace(temporary, target, name))) {
    removeTemporary(temporary);
    return;
  }
  try {
    await fs.rename(temporary, target);
  } catch (cause) {
    throw writeError(name, 'rename the finished file to its name', cause);
  }
  forgetUnfinished(temporary);
}

/**
 * rename replaces what is there and Node has no renameat2; link never replaces. Where the file system has no hard links,
 * answers false after a look that cannot exclude a target that appears at this very moment.
 */
async function linkInPlace(temporary: string, target: string, name: string): Promise<boolean> {
  try {
    await fs.link(temporary, target);
    return true;
  } catch (cause) {
    if (errnoOf(cause) === 'EEXIST') {
      throw existsError(name, cause);
    }
  }
  const taken = await fs.lstat(target).then(
    () => true,
    () => false,
  );
  if (taken) {
    throw existsError(name);
  }
  return false;
}

/** Never throws: called after a success that must stand, or after an error that is the one to tell. */
export function removeTemporary(temporary: string): void {
  try {
    unlinkSync(temporary);
  } catch (cause) {
    if (errnoOf(cause) !== 'ENOENT') {
      // Once more when the process ends.
      return;
    }
  }
  forgetUnfinished(temporary);
}

export interface DirectorySync {
  /** Makes a new name in it durable. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens the directory of a path, so that after the rename nothing but the sync itself can fail. File systems that cannot
 * sync a directory say so with an error that is no failure.
 */
export async function openDirectorySync(path: string, name: string): Promise<DirectorySync> {
  const attempt = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (cause) {
      if (CANNOT_SYNC_DIRECTORY.has(errnoOf(cause) ?? '')) {
        return undefined;
      }
      throw writeError(name, 'sync the directory to the disk', cause);
    }
  };
  const directory = await attempt(() => fs.open(dirname(path), 'r'));
  return {
    sync: () => attempt(async () => directory?.sync()),
    // Nothing was written through it.
    close: async () => directory?.close().catch(() => {}),
  };
}

const CANNOT_SYNC_DIRECTORY = new Set([
  'EACCES',
  'EBADF',
  'EINVAL',
  'EISDIR',
  'ENOSYS',
  'ENOTSUP',
  'EOPNOTSUPP',
  'EPERM',
]);
