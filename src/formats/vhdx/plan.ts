/** Plans a VHDX: the front, and what the engine may place behind it. */
import { VdconvError } from '../../base/errors.ts';
import { alignUp, formatSize, GiB, MiB, TiB } from '../../base/units.ts';
import type { Layout } from '../../map/layout.ts';
import type { WritePlan, WriteRequest } from '../format.ts';
import { frontBytes, type NewDisk } from './front.ts';
import { batEntries } from './geometry.ts';
import { BatEntry, MAX_BLOCK_SIZE, MAX_VIRTUAL_SIZE, UNIT } from './layout.ts';
import { BY_SIZE } from './options.ts';
import { DynamicWriter, fixedFront, fixedSize } from './writer.ts';

/** Ours: the BAT of a fixed disk is in memory as a whole, when it is written. */
const MAX_FIXED_BAT = 16 * MiB;

export function planVhdx({ virtualSize: asked, options }: WriteRequest): WritePlan {
  const logicalSectorSize = options.logical_sector_size as number;
  const virtualSize = alignUp(asked, logicalSectorSize);
  if (virtualSize === 0) {
    // QEMU takes its number of entries for 2^32 and refuses it.
    throw new VdconvError('limit', 'a disk of 0 bytes; a VHDX has at least one sector', { format: 'vhdx' });
  }
  if (virtualSize > MAX_VIRTUAL_SIZE) {
    throw new VdconvError('limit', `a disk of ${asked} bytes; a VHDX has at most 64 TiB`, { format: 'vhdx' });
  }
  const disk: NewDisk = {
    virtualSize,
    blockSize: options.block_size === BY_SIZE ? defaultBlockSize(virtualSize) : (options.block_size as number),
    logicalSectorSize,
    physicalSectorSize: options.physical_sector_size as number,
    logLength: options.log_size as number,
    isFixed: options.subformat === 'fixed',
    hasParent: false,
  };
  const padding = virtualSize - asked;
  const common = {
    virtualSize,
    notes:
      padding === 0
        ? []
        : [
            `the disk grows by ${padding} zero bytes: the sizes of this VHDX are multiples of ${logicalSectorSize} bytes`,
          ],
  };
  return { ...common, ...(disk.isFixed ? planFixed(disk) : planDynamic(disk)) };
}

function planDynamic(disk: NewDisk): Pick<WritePlan, 'layout' | 'writer'> {
  return { layout: engineLayout('blocks', disk), writer: () => new DynamicWriter(disk) };
}

function planFixed(disk: NewDisk): Pick<WritePlan, 'layout' | 'writer' | 'front'> {
  const bytes = batEntries(disk) * BatEntry.bytes;
  if (bytes > MAX_FIXED_BAT) {
    const fits = (blockSize: number) => batEntries({ ...disk, blockSize }) * BatEntry.bytes <= MAX_FIXED_BAT;
    let larger = disk.blockSize * 2;
    while (larger < MAX_BLOCK_SIZE && !fits(larger)) {
      larger *= 2;
    }
    const [size, block] = [formatSize(disk.virtualSize), formatSize(disk.blockSize)];
    const what = `a fixed VHDX of ${size} in blocks of ${block} needs a BAT of ${formatSize(bytes)}`;
    throw new VdconvError('limit', what, { format: 'vhdx', hint: `use -o block_size=${larger}` });
  }
  const front = fixedFront(disk);
  const size = fixedSize(disk);
  return {
    layout: engineLayout('flat', disk),
    front,
    writer: () => ({ add: () => [], finish: () => ({ pieces: front, size }) }),
  };
}

function engineLayout(kind: 'flat' | 'blocks', disk: NewDisk): Layout {
  return {
    kind,
    dataStart: frontBytes(disk),
    blockSize: disk.blockSize,
    dataAlign: UNIT,
    dataPhase: 0,
    prefixBytes: 0,
    prefixFill: 0,
  };
}

/** QEMU's choice; Hyper-V's is 32 MiB for all. Small blocks cost nothing but entries of the BAT. */
function defaultBlockSize(virtualSize: number): number {
  if (virtualSize <= GiB) {
    return 8 * MiB;
  }
  if (virtualSize <= 100 * GiB) {
    return 16 * MiB;
  }
  return virtualSize <= 32 * TiB ? 32 * MiB : 64 * MiB;
}
