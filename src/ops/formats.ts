/** `formats`: what can be read and written, for help texts and documents. */
import { FORMATS } from '../formats/registry.ts';
import type { FormatSummary } from './types.ts';

/** The formats that there are, in the order in which a file's content is probed. */
export function formats(): FormatSummary[] {
  return FORMATS.map((f) => ({
    name: f.name,
    aliases: f.aliases,
    title: f.title,
    extensions: f.extensions,
    writes: f.plan !== undefined,
    compresses: f.compresses,
    checks: f.check !== undefined,
    options: f.options.map(({ key, type, choices, default: value, help }) => ({
      key,
      type,
      ...(choices === undefined ? {} : { choices }),
      default: value,
      help,
    })),
  }));
}
