/** What a target's name leads to, and the temporary name beside it. */
import { randomBytes } from 'node:crypto';
import { type BigIntStats, promises as fs } from 'node:fs';
import { basename, dirname } from 'node:path';
import { VdconvError } from '../base/errors.ts';
import { type FileIdentity, identityFromStat, specialKind } from './file-identity.ts';
import { errnoOf, writeError } from './os-error.ts';

export interface Target {
  /** Where the file is to be: absolute, every symbolic link resolved, so that nothing can lead it elsewhere later. */
  path: string;
  replaces: FileIdentity | undefined;
  /** Permission bits of the file that is replaced. */
  mode: number | undefined;
}

/** Throws `exists` or `write` where nothing can appear under the name. Reads no content and changes nothing. */
export async function resolveTarget(target: string, force: boolean): Promise<Target> {
  if (basename(target) === '' || target.endsWith('/')) {
    throw new VdconvError('write', 'is no file name', { file: target === '' ? "''" : target });
  }
  const link = await lookAt(target, 'lstat');
  if (link === undefined) {
    return { path: await pathInRealDirectory(target), replaces: undefined, mode: undefined };
  }
  const stat = link.isSymbolicLink() ? await lookAt(target, 'stat') : link;
  if (stat === undefined) {
    throw new VdconvError('write', 'is a symbolic link to a file that does not exist', {
      file: target,
      hint: 'name that file instead, or remove the link',
    });
  }
  const special = specialKind(stat);
  if (special !== undefined) {
    throw new VdconvError('write', `is a ${special}; vdconv writes only regular files so far`, { file: target });
  }
  if (!force) {
    throw existsError(target);
  }
  return {
    path: await fs.realpath(target),
    replaces: identityFromStat(stat),
    mode: Number(stat.mode) & 0o777,
  };
}

export function existsError(target: string, cause?: unknown): VdconvError {
  return new VdconvError('exists', 'the file exists', { file: target, hint: 'add --force to replace it', cause });
}

/** The longest file name, in bytes, that every common file system takes. */
const NAME_MAX = 255;

/** `.NAME.vdconv-RANDOM` in the same directory; a long name is cut between characters so that the whole fits. */
export function temporaryPath(path: string): string {
  const suffix = `.vdconv-${randomBytes(6).toString('hex')}`;
  let name = '';
  let room = NAME_MAX - 1 - suffix.length;
  for (const character of basename(path)) {
    room -= Buffer.byteLength(character);
    if (room < 0) {
      break;
    }
    name += character;
  }
  return `${dirname(path)}/.${name}${suffix}`;
}

async function pathInRealDirectory(target: string): Promise<string> {
  const directory = await fs.realpath(dirname(target)).catch((cause: unknown) => {
    const missing = errnoOf(cause) === 'ENOENT';
    throw missing
      ? new VdconvError('write', 'cannot create the file: its directory does not exist', { file: target, cause })
      : writeError(target, 'look at the directory', cause);
  });
  return directory === '/' ? `/${basename(target)}` : `${directory}/${basename(target)}`;
}

async function lookAt(path: string, how: 'stat' | 'lstat'): Promise<BigIntStats | undefined> {
  try {
    return await fs[how](path, { bigint: true });
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') {
      return undefined;
    }
    throw writeError(path, 'look at the target', cause);
  }
}
