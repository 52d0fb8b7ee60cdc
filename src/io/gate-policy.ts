/** Which names inside an image may lead to another file. Names only: nothing here touches the file system. */
import { basename, dirname, isAbsolute, resolve } from 'node:path';
import { escapeText } from '../base/errors.ts';
import type { ByteSource, Reference } from './types.ts';

/** Why a name leads to no file under any flag; undefined for a name that is a path. */
export function notAPath(name: string): string | undefined {
  if (name === '') {
    return 'the name is empty';
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is the purpose
  if (/[\u0000-\u001f\u007f]/.test(name)) {
    return 'the name holds control characters';
  }
  if (name.startsWith('json:')) {
    return 'a json: name is never followed';
  }
  return /^[^/]*:/.test(name) ? 'a name with a protocol is never followed' : undefined;
}

/** The path as the kernel is to walk it: relative names begin in the directory of the image that holds them. */
export function locate(reference: Reference, from: ByteSource): string {
  return isAbsolute(reference.name) ? reference.name : `${dirname(from.name)}/${reference.name}`;
}

/** The path for people: absolute, without `.` and `..`. */
export function resolveReference(reference: Reference, from: ByteSource): string | undefined {
  return notAPath(reference.name) === undefined ? resolve(locate(reference, from)) : undefined;
}

/**
 * An extent that VMware's products put beside its descriptor under the descriptor's own name (`disk-flat.vmdk`,
 * `disk-s001.vmdk`): part of the image that the user named, so it needs no flag.
 */
export function isSiblingExtent(reference: Reference, from: ByteSource): boolean {
  if (reference.kind !== 'extent' || !reference.name.toLowerCase().endsWith('.vmdk')) {
    return false;
  }
  const stem = basename(from.name).replace(/\.vmdk$/i, '');
  const name = reference.name.slice(0, -'.vmdk'.length);
  return name.startsWith(stem) && /^-(flat|delta|sesparse|[sf]\d{3,})$/.test(name.slice(stem.length));
}

export const KIND_WORDS: Readonly<Record<Reference['kind'], string>> = {
  backing: 'backing file',
  'data-file': 'data file',
  parent: 'parent',
  extent: 'extent',
};

/** `backing file 'base.img' (/data/base.img)`: what the image says and what that is, safe to print. */
export function describeReference(reference: Reference, leadsTo: string | undefined): string {
  const place = leadsTo === undefined || leadsTo === reference.name ? '' : ` (${escapeText(leadsTo)})`;
  return `${KIND_WORDS[reference.kind]} '${escapeText(reference.name)}'${place}`;
}

/** The flag that allows the files of a directory, as a shell takes it. */
export function flagFor(directory: string): string {
  const shown = escapeText(directory);
  const plain = /^[\p{L}\p{N}/._+@%,=-]+$/u.test(shown);
  return `--allow-references=${plain ? shown : `'${shown.replaceAll("'", "'\\''")}'`}`;
}
