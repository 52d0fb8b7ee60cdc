/** What the target is to be: format and options, from what the caller said. */
import { randomBytes } from 'node:crypto';
import { basename } from 'node:path';
import { escapeText, VdconvError } from '../base/errors.ts';

import { MiB, parseSize } from '../base/units.ts';
import { readsOnce } from '../engine/stream.ts';
import type { BaseImage, Format, OptionSpec, OptionValue, WritePlan } from '../formats/format.ts';
import type { DiskMetadata } from '../formats/metadata.ts';

import { FORMATS, formatByEnding, formatNamed } from '../formats/registry.ts';
import type { Chain } from './chain.ts';
import { STREAM } from './stream-name.ts';
import type { TargetOptions } from './types.ts';

/** Throws `usage` where the target's format or options make no sense: before any file is touched. */
export function targetFormat(target: string, options: TargetOptions): Format & Required<Pick<Format, 'plan'>> {
  const said = options.targetFormat;
  const format = said === undefined ? formatByEnding(target) : formatNamed(said, 'target format');
  if (format === undefined) {
    const endings = FORMATS.filter((f) => f.plan !== undefined).flatMap((f) => f.extensions.map((e) => `.${e}`));
    throw new VdconvError('usage', `${escapeText(target)}: the name says no format`, {
      hint: `say it with -O, or end the name in one of ${endings.join(' ')}`,
    });
  }
  const { plan } = format;
  if (plan === undefined) {
    throw new VdconvError('usage', `${format.name} images can be read, not yet written`);
  }
  return { ...format, plan };
}

/** What is converted: the disk's size, and what its image says of it. */
export function planTarget(target: string, source: Chain, options: TargetOptions, base?: BaseImage): WritePlan {
  return plan(target, source.virtualSize, source.top.image.metadata, options, base);
}

/** Whether the target is made in one pass over the source, as files are: some streams take two. */
export function takesOnePass(target: string, options: TargetOptions): boolean {
  // Sizes do not decide it.
  return target !== STREAM || readsOnce(plan(target, MiB, undefined, options));
}

function plan(
  target: string,
  virtualSize: number,
  metadata: DiskMetadata | undefined,
  options: TargetOptions,
  base?: BaseImage,
): WritePlan {
  const format = targetFormat(target, options);
  const compress = options.compress === true || options.compressLevel !== undefined;
  if (compress && !format.compresses) {
    throw new VdconvError('usage', `${format.name} cannot be compressed`, { hint: 'leave out -c, or choose qcow2' });
  }
  if (base !== undefined && format.layers !== true) {
    const able = FORMATS.filter((f) => f.layers === true && f.plan !== undefined).map((f) => f.name);
    throw new VdconvError('usage', `a ${format.name} image cannot be a layer over another one`, {
      hint: `leave out -B, or choose ${able.join(', ')}`,
    });
  }
  const level = options.compressLevel;
  if (level !== undefined && !(Number.isInteger(level) && level >= 1 && level <= 9)) {
    throw new VdconvError('usage', `compression level ${level}: must be a whole number from 1 to 9`);
  }
  const said = options.targetOptions ?? {};
  const given = new Set(Object.keys(said).filter((key) => said[key] !== undefined));
  return format.plan({
    virtualSize,
    options: optionValues(format, said),
    given,
    compress,
    level,
    ...(target === STREAM ? {} : { name: basename(target) }),
    metadata,
    base,
    ...(options.randomIds === true ? { randomId: Uint8Array.from(randomBytes(16)) } : {}),
    time: sourceDate(process.env.SOURCE_DATE_EPOCH),
  });
}

/** reproducible-builds.org: seconds since 1970 that stand for now. Throws `usage` where it is no such number. */
function sourceDate(text: string | undefined): number | undefined {
  if (text === undefined || text === '') {
    return undefined;
  }
  if (!/^\d{1,12}$/.test(text)) {
    throw new VdconvError('usage', `SOURCE_DATE_EPOCH=${escapeText(text)}: must be whole seconds since 1970`);
  }
  return Number(text);
}

function optionValues(format: Format, given: NonNullable<TargetOptions['targetOptions']>): Record<string, OptionValue> {
  const values: Record<string, OptionValue> = {};
  for (const spec of format.options) {
    const value = given[spec.key];
    values[spec.key] = value === undefined ? spec.default : optionValue(spec, value);
  }
  const unknown = Object.keys(given).find((key) => !(key in values));
  if (unknown !== undefined) {
    const keys = format.options.map((o) => o.key).join(', ');
    throw new VdconvError('usage', `${format.name} has no option '${escapeText(unknown)}'`, {
      hint: keys === '' ? 'it takes none' : `it takes ${keys}`,
    });
  }
  return values;
}

function optionValue(spec: OptionSpec, given: OptionValue): OptionValue {
  const what = `option ${spec.key}`;
  const wrong = (legal: string) => new VdconvError('usage', `${what}: '${escapeText(String(given))}' is not ${legal}`);
  const value = convertValue(spec, given, what, wrong);
  spec.check?.(value);
  return value;
}

function convertValue(
  spec: OptionSpec,
  given: OptionValue,
  what: string,
  wrong: (legal: string) => VdconvError,
): OptionValue {
  switch (spec.type) {
    case 'size':
      return typeof given === 'number' ? given : parseSize(String(given), what);
    case 'number': {
      const n = Number(given);
      if (!Number.isInteger(n) || given === '') {
        throw wrong('a whole number');
      }
      return n;
    }
    case 'flag':
      if (given === true || given === 'on' || given === 'true' || given === 'yes') {
        return true;
      }
      if (given === false || given === 'off' || given === 'false' || given === 'no') {
        return false;
      }
      throw wrong('on or off');
    case 'text':
      return String(given);
    case 'choice':
      if (!spec.choices?.includes(String(given))) {
        throw wrong(`one of ${spec.choices?.join(', ')}`);
      }
      return String(given);
  }
}
