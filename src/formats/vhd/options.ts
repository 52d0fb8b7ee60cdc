/** What `-o` takes for VHD: qemu-img's keys, the block size and the id. */
import { VdconvError } from '../../base/errors.ts';
import { formatSize, isPowerOfTwo, KiB, MiB } from '../../base/units.ts';
import { checkUuid } from '../../base/uuid.ts';
import type { OptionSpec, OptionValue } from '../format.ts';

export const SUBFORMATS = ['dynamic', 'fixed'] as const;
export type Subformat = (typeof SUBFORMATS)[number];

const MIN_BLOCK = 512 * KiB;
const MAX_BLOCK = 32 * MiB;

export const options: readonly OptionSpec[] = [
  {
    key: 'subformat',
    type: 'choice',
    choices: SUBFORMATS,
    default: 'dynamic',
    help: 'dynamic stores what is used; fixed is the whole disk and a footer, which Azure asks for',
  },
  {
    key: 'block_size',
    type: 'size',
    default: 2 * MiB,
    check: checkBlockSize,
    help: 'unit of allocation of a dynamic disk, from 512k to 32M; Hyper-V and XenServer want 2M',
  },
  {
    key: 'force_size',
    type: 'flag',
    default: false,
    help: 'write the largest geometry, so that programs that go by it take the exact size too (the size itself is always exact)',
  },
  {
    key: 'uuid',
    type: 'text',
    default: '',
    check: checkUuid,
    help: "the disk's unique id; default: one that follows from content and options",
  },
];

function checkBlockSize(value: OptionValue): void {
  if (typeof value !== 'number' || !isPowerOfTwo(value) || value < MIN_BLOCK || value > MAX_BLOCK) {
    const shown = typeof value === 'number' ? formatSize(value) : value;
    throw new VdconvError('usage', `block_size is ${shown}: it must be a power of two from 512k to 32M`);
  }
}
