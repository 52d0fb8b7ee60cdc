/** The formats, in the order in which they are asked; raw is every file's last resort. One line a format. */
import { VdconvError } from '../base/errors.ts';
import { foreignFormat } from './foreign.ts';
import type { Format, Sample } from './format.ts';
import { luks } from './luks/index.ts';
import { qcow2 } from './qcow2/index.ts';
import { raw } from './raw/index.ts';
import { vdi } from './vdi/index.ts';
import { vhd } from './vhd/index.ts';
import { vhdx } from './vhdx/index.ts';
import { vmdk } from './vmdk/index.ts';

export const FORMATS: readonly Format[] = [qcow2, vmdk, vhdx, vhd, vdi, luks, raw];

/** The format that a user or an image calls `name`. Throws `usage` listing the names there are. */
export function formatNamed(name: string, what: string): Format {
  const wanted = name.toLowerCase();
  const found = FORMATS.find((f) => f.name === wanted || f.aliases.includes(wanted));
  if (found === undefined) {
    const names = FORMATS.map((f) => f.name).join(', ');
    throw new VdconvError('usage', `${what}: there is no format '${name}'; there are ${names}`);
  }
  return found;
}

/** The format that a file name ending chooses for an output. */
export function formatByEnding(path: string): Format | undefined {
  const ending = /\.([^./\\]+)$/.exec(path)?.[1]?.toLowerCase();
  return ending === undefined ? undefined : FORMATS.find((f) => f.extensions.includes(ending));
}

/**
 * The format of these bytes. Throws `wrong-format` where two formats claim them: a raw disk whose guest wrote another
 * format's magic must not be read as that without its owner saying so. Throws `unsupported` for what is recognised and
 * not read. A fixed VHD may hold an encrypted or a foreign disk: its footer is behind it.
 */
export function probeFormat(sample: Sample, file: string): Format {
  const all = FORMATS.filter((f) => f !== raw && f.probe(sample));
  const isVhd = all.includes(vhd);
  const claims = isVhd ? all.filter((f) => f !== luks) : all;
  const foreign = isVhd ? undefined : foreignFormat(sample);
  const names = [...claims.map((f) => f.name), ...(foreign === undefined ? [] : [foreign.name])];
  if (names.length > 1) {
    throw new VdconvError('wrong-format', `could be ${names.join(' and ')}`, { file, hint: 'say which with -f' });
  }
  if (foreign !== undefined) {
    const hint = `${foreign.hint}; -f raw takes its bytes as they are`;
    throw new VdconvError('unsupported', `is ${foreign.name}, which vdconv does not read`, { file, hint });
  }
  return claims[0] ?? raw;
}
