/** What a format can be asked to write, taken from the registry: a new format joins every test that uses this. */
import fc from 'fast-check';
import { VdconvError } from '../base/errors.ts';
import { KiB, MiB } from '../base/units.ts';
import type { Format, OptionSpec, OptionValue } from '../formats/format.ts';
import { FORMATS } from '../formats/registry.ts';

/** A format, plain or compressed. */
export interface WriterKind {
  name: string;
  format: Format;
  compress: boolean;
}

export const WRITERS: readonly WriterKind[] = FORMATS.filter((format) => format.plan !== undefined).flatMap((format) =>
  (format.compresses ? [false, true] : [false]).map((compress) => ({
    name: compress ? `${format.name} -c` : format.name,
    format,
    compress,
  })),
);

export type TargetOptions = Record<string, OptionValue>;

/** Any options that the writer takes, each of them given or left out. */
export function anyOptions({ format, compress }: WriterKind): fc.Arbitrary<TargetOptions> {
  const values = Object.fromEntries(format.options.map((spec) => [spec.key, fc.constantFrom(...legalValues(spec))]));
  const any = fc.record(values, { requiredKeys: [] }) as fc.Arbitrary<TargetOptions>;
  // Some options exclude compression, some each other.
  return any.filter((options) => planTakes(format, options, compress));
}

/** The options with the smallest unit of allocation: small disks with many tables. */
export function smallestUnit({ format, compress }: WriterKind): TargetOptions {
  const sizes = format.options.filter(({ type }) => type === 'size');
  const options = Object.fromEntries(sizes.map((spec) => [spec.key, legalValues(spec)[0] as OptionValue]));
  const choices = format.options.filter(({ type }) => type === 'choice');
  const more = choices.flatMap((spec) => legalValues(spec).map((value) => ({ ...options, [spec.key]: value })));
  const found = [options, ...more].find((o) => planTakes(format, o, compress));
  if (found === undefined) {
    throw new Error(`${format.name}: no option makes compression possible`);
  }
  return found;
}

/** What no oracle here opens: qemu-img refuses VHDX with 4 KiB sectors. The format's own tests have them. */
const NO_ORACLE: Readonly<Record<string, OptionValue>> = { logical_sector_size: 4096 };

function legalValues(spec: OptionSpec): OptionValue[] {
  return allowedValues(spec).filter((value) => NO_ORACLE[spec.key] !== Number(value));
}

function allowedValues(spec: OptionSpec): OptionValue[] {
  const legal = (value: OptionValue) => {
    try {
      spec.check?.(value);
      return true;
    } catch {
      return false;
    }
  };
  switch (spec.type) {
    case 'size':
      return Array.from({ length: 18 }, (_, i) => 512 * 2 ** i).filter(legal);
    case 'number':
      return Array.from({ length: 257 }, (_, i) => i).filter(legal);
    case 'flag':
      return [false, true];
    case 'text':
      // Names and ids have tests of their own.
      return [spec.default];
    case 'choice':
      return [...(spec.choices ?? [])];
  }
}

function planTakes(format: Format, given: TargetOptions, compress: boolean): boolean {
  const options = { ...Object.fromEntries(format.options.map((spec) => [spec.key, spec.default])), ...given };
  try {
    format.plan?.({ virtualSize: MiB, options, given: new Set(Object.keys(given)), compress, name: 'out' });
    return true;
  } catch (error) {
    if (error instanceof VdconvError && error.code === 'usage') {
      return false;
    }
    throw error;
  }
}

/** Sizes at which a table, a block or a sector begins or ends. */
export const EDGE_SIZES: readonly number[] = [
  1,
  511,
  512,
  513,
  4 * KiB - 1,
  32 * KiB + 512,
  64 * KiB - 1,
  64 * KiB,
  64 * KiB + 1,
  MiB + 1,
  MiB + 512,
  2 * MiB - 512,
];
