/**
 * The gates between an image and the files that it refers to. Whoever made the image chose those names, so by default
 * none is followed: a hostile image would otherwise copy any file of this system into the output.
 *
 * A gate decides about names and files. Cycles and depth belong to whoever walks the chain (`identityOf` tells files
 * apart).
 */
import { promises as fs } from 'node:fs';
import { dirname, relative, sep } from 'node:path';
import { escapeText, VdconvError } from '../base/errors.ts';
import { specialKind } from './file-identity.ts';
import { type FileSource, type FileSourceOptions, openFileSource } from './file-source.ts';
import { describeReference, flagFor, isSiblingExtent, locate, notAPath, resolveReference } from './gate-policy.ts';
import { errnoOf, readError } from './os-error.ts';
import type { ByteSource, Reference, ReferenceGate } from './types.ts';

export type FileOptions = Pick<FileSourceOptions, 'system' | 'forceShare'>;

/** Follows nothing but the sibling extents of a VMDK descriptor: the default. */
export function refusingGate(options: FileOptions = {}): ReferenceGate {
  return {
    resolve: resolveReference,
    async open(reference, from) {
      const path = pathOf(reference, from);
      if (!isSiblingExtent(reference, from)) {
        throw refusal(reference, from, resolveReference(reference, from), 'references are not followed by default');
      }
      return openSibling(reference, from, path, options);
    },
  };
}

/** Follows names to regular files beneath `directories`, after symbolic links are resolved, and sibling extents. */
export function directoryGate(directories: readonly string[], options: FileOptions = {}): ReferenceGate {
  let allowed: Promise<string[]> | undefined;
  return {
    resolve: resolveReference,
    async open(reference, from) {
      const path = pathOf(reference, from);
      allowed ??= Promise.all(directories.map(realDirectory));
      const roots = await allowed;
      const real = await realPathOf(reference, from, path);
      const root = rootOf(real, roots);
      if (root === undefined) {
        if (isSiblingExtent(reference, from)) {
          return openSibling(reference, from, path, options);
        }
        throw refusal(reference, from, real, 'it is outside the directories that were allowed');
      }
      return openRegular(reference, from, real, root, options);
    },
  };
}

/** The path to try. Throws `refused` for names that are none. */
function pathOf(reference: Reference, from: ByteSource): string {
  if (from.remote === true) {
    throw forbidden(reference, from, undefined, 'what a remote image refers to is never followed');
  }
  const why = notAPath(reference.name);
  if (why !== undefined) {
    throw forbidden(reference, from, undefined, why);
  }
  return locate(reference, from);
}

async function realDirectory(directory: string): Promise<string> {
  const real = await fs.realpath(directory).catch((cause: unknown) => {
    throw new VdconvError('usage', `--allow-references=${escapeText(directory)}: no such directory`, { cause });
  });
  if (!(await fs.stat(real)).isDirectory()) {
    throw new VdconvError('usage', `--allow-references=${escapeText(directory)}: not a directory`);
  }
  return real;
}

async function realPathOf(reference: Reference, from: ByteSource, path: string): Promise<string> {
  try {
    return await fs.realpath(path);
  } catch (cause) {
    throw cannotOpen(reference, from, path, cause);
  }
}

function rootOf(path: string, roots: readonly string[]): string | undefined {
  return roots.find((root) => path.startsWith(root.endsWith(sep) ? root : root + sep));
}

async function openSibling(
  reference: Reference,
  from: ByteSource,
  path: string,
  options: FileOptions,
): Promise<FileSource> {
  const stat = await fs.lstat(path).catch((cause: unknown) => {
    throw cannotOpen(reference, from, path, cause);
  });
  if (stat.isSymbolicLink()) {
    const real = await realPathOf(reference, from, path);
    throw refusal(reference, from, real, 'a symbolic link is not followed by default');
  }
  refuseSpecial(reference, from, path, stat);
  return openFileSource(path, { ...options, noFollow: true });
}

/** @param real a path without symbolic links, beneath `root`, as it was when it was looked at. */
async function openRegular(
  reference: Reference,
  from: ByteSource,
  real: string,
  root: string,
  options: FileOptions,
): Promise<FileSource> {
  const stat = await fs.lstat(real).catch((cause: unknown) => {
    throw cannotOpen(reference, from, real, cause);
  });
  // Before the file is opened: opening alone makes some devices act.
  refuseSpecial(reference, from, real, stat);
  let fd: number | undefined;
  try {
    fd = options.system?.openBeneath?.(root, relative(root, real));
  } catch (cause) {
    throw ['EXDEV', 'ELOOP'].includes(errnoOf(cause) ?? '')
      ? pathChanged(reference, from, real)
      : cannotOpen(reference, from, real, cause);
  }
  return fd === undefined
    ? openAndLook(reference, from, real, root, options)
    : openFileSource(real, { ...options, open: () => fd });
}

/** Where nothing opens beneath a directory in one step: by its path, and then a look at where the open file lies. */
async function openAndLook(
  reference: Reference,
  from: ByteSource,
  real: string,
  root: string,
  options: FileOptions,
): Promise<FileSource> {
  const source = await openFileSource(real, { ...options, noFollow: true }).catch((error: unknown) => {
    throw errnoOf((error as Error).cause) === 'ELOOP' ? pathChanged(reference, from, real) : error;
  });
  try {
    const now = await pathOfOpen(source);
    if (now === undefined) {
      throw forbidden(reference, from, real, 'this system does not tell where an open file lies');
    }
    // A directory on the way may have become a link since its real path was taken.
    if (rootOf(now, [root]) === undefined) {
      throw pathChanged(reference, from, real);
    }
    return source;
  } catch (error) {
    await source.close();
    throw error;
  }
}

function pathChanged(reference: Reference, from: ByteSource, real: string): VdconvError {
  return forbidden(reference, from, real, 'the path changed while it was opened');
}

/** Where an open file really is, as the kernel says; undefined where the system does not tell (no /proc). */
async function pathOfOpen(source: FileSource): Promise<string | undefined> {
  try {
    return await fs.readlink(`/proc/self/fd/${source.fd}`);
  } catch {
    return undefined;
  }
}

function refuseSpecial(
  reference: Reference,
  from: ByteSource,
  path: string,
  stat: Parameters<typeof specialKind>[0],
): void {
  const special = specialKind(stat);
  if (special !== undefined) {
    throw forbidden(reference, from, path, `it is a ${special}, only regular files are followed`);
  }
}

/** Refused, but a flag allows it. */
function refusal(reference: Reference, from: ByteSource, leadsTo: string | undefined, why: string): VdconvError {
  const hint = leadsTo === undefined ? undefined : `to follow it, add ${flagFor(dirname(leadsTo))}`;
  return new VdconvError('refused', `refers to ${describeReference(reference, leadsTo)}; ${why}`, {
    file: from.name,
    field: reference.kind,
    hint,
  });
}

/** Refused, and no flag allows it. */
function forbidden(reference: Reference, from: ByteSource, leadsTo: string | undefined, why: string): VdconvError {
  const what = `refers to ${describeReference(reference, leadsTo)}; ${why}`;
  return new VdconvError('refused', what, { file: from.name, field: reference.kind });
}

function cannotOpen(reference: Reference, from: ByteSource, path: string, cause: unknown): VdconvError {
  const what = `${describeReference(reference, path)} of the image`;
  if (errnoOf(cause) === 'ENOENT') {
    return new VdconvError('read', `${what} does not exist`, { file: from.name, field: reference.kind, cause });
  }
  return readError(from.name, `open ${what}`, cause, { field: reference.kind });
}
