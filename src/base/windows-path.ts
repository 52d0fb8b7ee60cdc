/** Paths as Windows writes them, for formats that name other files so. */
import { VdconvError } from './errors.ts';

/**
 * `base.vhd` as `.\base.vhd`, `../x/base.vhd` as `..\x\base.vhd`, `/x/base.vhd` as `\x\base.vhd`. Throws `usage` for a
 * name with a backslash, which would become a separator.
 */
export function windowsPath(name: string): string {
  if (name.includes('\\')) {
    throw new VdconvError('usage', 'the base has a backslash in its path, which the format takes for a separator', {
      file: name,
    });
  }
  const path = name.replace(/^(\.\/+)+/, '').replaceAll('/', '\\');
  return /^(\\|\.\.\\)/.test(path) ? path : `.\\${path}`;
}
