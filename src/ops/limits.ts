/** An image held to the limits of `base/limits.ts`, or to those that the caller set. */
import { type ErrorDetails, VdconvError } from '../base/errors.ts';
import { LIMITS, type Limits } from '../base/limits.ts';
import { formatSize } from '../base/units.ts';
import type { Image } from '../formats/format.ts';
import type { OpenOptions } from './types.ts';

/** Throws `usage` for limits that are none. */
export function limitsOf({ limits = {} }: OpenOptions): Limits {
  const all = { ...LIMITS };
  for (const [name, value] of Object.entries(limits)) {
    if (!(name in LIMITS) || (value !== undefined && !(Number.isSafeInteger(value) && value > 0))) {
      const names = Object.keys(LIMITS).join(', ');
      throw new VdconvError('usage', `limit ${name}=${value}: must be one of ${names}, and a whole number above 0`);
    }
    all[name as keyof Limits] = value ?? all[name as keyof Limits];
  }
  return all;
}

/** Throws `limit`. An image beyond it can still be described. */
export function checkLimits(image: Image, file: string, limits: Limits): void {
  const { format, virtualSize, tableBytes = 0 } = image;
  if (virtualSize > limits.virtualSize) {
    const what = `the virtual disk has ${formatSize(virtualSize)}, more than ${formatSize(limits.virtualSize)}`;
    throw overLimit('virtualSize', what, { file, format, field: 'virtual size' });
  }
  if (tableBytes > limits.tables) {
    const what = `its tables have ${formatSize(tableBytes)}, more than ${formatSize(limits.tables)}`;
    throw overLimit('tables', what, { file, format, field: 'tables' });
  }
}

export function overLimit(name: keyof Limits, what: string, details: ErrorDetails): VdconvError {
  return new VdconvError('limit', what, { ...details, hint: `to take more, set --limit=${name}=N` });
}
