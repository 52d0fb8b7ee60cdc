import { VdconvError } from '../../base/errors.ts';
import { isPowerOfTwo, KiB } from '../../base/units.ts';
import type { OptionSpec, OptionValue } from '../format.ts';
import { MAX_CLUSTER_BITS, MIN_CLUSTER_BITS } from './layout.ts';

export const MIN_CLUSTER = 2 ** MIN_CLUSTER_BITS;
export const MAX_CLUSTER = 2 ** MAX_CLUSTER_BITS;

export const options: readonly OptionSpec[] = [
  {
    key: 'cluster_size',
    type: 'size',
    default: 64 * KiB,
    check: checkClusterSize,
    help: 'unit of allocation: a power of two from 512 to 2M',
  },
  {
    key: 'compat',
    type: 'choice',
    choices: ['1.1', 'v3'],
    default: '1.1',
    help: 'version: 1.1 and v3 both mean version 3, which QEMU 1.1 and later read',
  },
];

function checkClusterSize(value: OptionValue): void {
  if (typeof value !== 'number' || !isPowerOfTwo(value) || value < MIN_CLUSTER || value > MAX_CLUSTER) {
    throw new VdconvError('usage', `cluster_size is ${value}: it must be a power of two from 512 to 2M`);
  }
}
