/** What `-o` takes for VHDX: qemu-img's keys, the sector sizes of Hyper-V's New-VHD, and the id. */
import { VdconvError } from '../../base/errors.ts';
import { isAligned, isPowerOfTwo, MiB } from '../../base/units.ts';
import { checkUuid } from '../../base/uuid.ts';
import type { OptionSpec, OptionValue } from '../format.ts';
import { MAX_BLOCK_SIZE, MAX_LOG_REPLAYED, MIN_BLOCK_SIZE, SECTOR_SIZES, UNIT } from './layout.ts';

export const SUBFORMATS = ['dynamic', 'fixed'] as const;

/** block_size, where the size of the disk is to decide. */
export const BY_SIZE = 0;

export const options: readonly OptionSpec[] = [
  {
    key: 'subformat',
    type: 'choice',
    choices: SUBFORMATS,
    default: 'dynamic',
    help: 'dynamic stores what is not zero; fixed has a place for everything',
  },
  {
    key: 'block_size',
    type: 'size',
    default: BY_SIZE,
    check: (value) =>
      refuseUnless(
        value === BY_SIZE || (isPowerOfTwo(Number(value)) && within(value, MIN_BLOCK_SIZE, MAX_BLOCK_SIZE)),
        `block_size is ${value}: it must be a power of two from 1M to 256M, or 0 for one that fits the disk`,
      ),
    help: 'unit of allocation: a power of two from 1M to 256M; 0 for 8M to 64M, as large as the disk asks for, and 2M for a layer',
  },
  {
    key: 'log_size',
    type: 'size',
    default: MiB,
    check: (value) =>
      refuseUnless(
        isAligned(Number(value), UNIT) && within(value, UNIT, MAX_LOG_REPLAYED),
        `log_size is ${value}: it must be a multiple of 1M, at most 16M`,
      ),
    help: 'room for the log of whoever writes to the disk: a multiple of 1M, at most 16M',
  },
  {
    key: 'logical_sector_size',
    type: 'size',
    default: 512,
    check: (value) => checkSectorSize('logical_sector_size', value),
    help: "the guest's sector: 512, or 4096, which a disk made for 512 cannot boot from and QEMU does not read; default: the source's, else 512",
  },
  {
    key: 'physical_sector_size',
    type: 'size',
    default: 4096,
    check: (value) => checkSectorSize('physical_sector_size', value),
    help: "what the guest is told to align to: 512 or 4096; default: the source's, else 4096",
  },
  {
    key: 'uuid',
    type: 'text',
    default: '',
    check: checkUuid,
    help: "the disk's id, which its guest sees (SCSI page 83); default: one that follows from content and options",
  },
];

function checkSectorSize(key: string, value: OptionValue): void {
  refuseUnless(
    SECTOR_SIZES.some((size) => size === value),
    `${key} is ${value}: it must be 512 or 4096`,
  );
}

function within(value: OptionValue, least: number, most: number): boolean {
  return typeof value === 'number' && value >= least && value <= most;
}

function refuseUnless(good: boolean, what: string): void {
  if (!good) {
    throw new VdconvError('usage', what);
  }
}
