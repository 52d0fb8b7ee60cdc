/**
 * The library: exactly what users may import.
 *
 *     import { convert, open } from 'vdconv';
 *     await convert('in.vmdk', 'out.qcow2', { compress: true });
 *     const image = await open('out.qcow2');
 *     const firstSector = await image.read(0, 512);
 */
import { createRequire } from 'node:module';
import { loadEngine } from './engine/engine.ts';
import { FORMATS } from './formats/registry.ts';
import type { FormatSummary } from './ops/types.ts';

export { type ErrorCode, escapeText, VdconvError } from './base/errors.ts';
export { formatSize, parseSize } from './base/units.ts';
export { convert } from './ops/convert.ts';
export { info } from './ops/info.ts';
export { open } from './ops/open.ts';
export type {
  ConvertOptions,
  ConvertResult,
  DiskImage,
  FormatSummary,
  ImageInfo,
  OpenOptions,
  Progress,
} from './ops/types.ts';

/** The version of this package. */
export const version: string = (createRequire(import.meta.url)('../package.json') as { version: string }).version;

/** The formats that there are, in the order in which a file's content is probed. */
export function formats(): FormatSummary[] {
  return FORMATS.map((f) => ({
    name: f.name,
    aliases: f.aliases,
    title: f.title,
    extensions: f.extensions,
    writes: f.plan !== undefined,
    compresses: f.compresses,
    options: f.options.map(({ key, type, choices, default: value, help }) => ({
      key,
      type,
      ...(choices === undefined ? {} : { choices }),
      default: value,
      help,
    })),
  }));
}

/** Which engine moves the bytes on this machine, and why that one. Throws `unsupported` where there is none. */
export async function engineName(): Promise<{ name: 'native' | 'portable'; why: string }> {
  const { engine, why } = loadEngine();
  return { name: engine.name, why };
}
