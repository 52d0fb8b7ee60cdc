/** Plans a VHDX: the front, and what the engine may place behind it. */
import { VdconvError } from '../../base/errors.ts';
import { alignUp, formatSize, GiB, MiB, TiB } from '../../base/units.ts';
import type { Layout } from '../../map/layout.ts';
import type { WritePlan, WriteRequest } from '../format.ts';
import { frontBytes, type NewDisk } from './front.ts';
import { batEntries } from './geometry.ts';
import { type IdsOf, idsOf } from './ids.ts';
import { BatEntry, MAX_BLOCK_SIZE, MAX_VIRTUAL_SIZE, SECTOR_SIZES, UNIT } from './layout.ts';
import { newParent } from './new-parent.ts';
import { BY_SIZE } from './options.ts';
import { DynamicWriter, fixedFront, fixedSize } from './writer.ts';

/** Ours: the BAT of a fixed disk is in memory as a whole, when it is written. */
const MAX_FIXED_BAT = 16 * MiB;

export function planVhdx(request: WriteRequest): WritePlan {
  const { virtualSize: asked, base, metadata = {} } = request;
  const sectorSizes = sectorSizesOf(request);
  const virtualSize = alignUp(asked, sectorSizes.logicalSectorSize);
  if (virtualSize === 0) {
    // QEMU takes its number of entries for 2^32 and refuses it.
    throw new VdconvError('limit', 'a disk of 0 bytes; a VHDX has at least one sector', { format: 'vhdx' });
  }
  if (virtualSize > MAX_VIRTUAL_SIZE) {
    throw new VdconvError('limit', `a disk of ${asked} bytes; a VHDX has at most 64 TiB`, { format: 'vhdx' });
  }
  const disk = newDisk(request, virtualSize, sectorSizes);
  const uuid = (request.options.uuid as string).toLowerCase();
  if (base !== undefined && disk.isFixed) {
    throw new VdconvError('usage', 'a fixed VHDX holds the whole disk: it cannot be a layer', { format: 'vhdx' });
  }
  if (base !== undefined && uuid !== '' && uuid !== base.metadata.uuid) {
    const what = `uuid is ${uuid}: a layer of a VHDX has the id of its base, ${base.metadata.uuid}`;
    throw new VdconvError('usage', what, { format: 'vhdx' });
  }
  const ids = idsOf(disk, request);
  const padding = virtualSize - asked;
  const unit = sectorSizes.logicalSectorSize;
  const kept = { ...sectorSizes, uuid };
  return {
    ...(disk.isFixed ? planFixed(disk, ids, request) : planDynamic(disk, ids)),
    virtualSize,
    fingerprint: request.randomId === undefined,
    notes:
      padding === 0
        ? []
        : [`the disk grows by ${padding} zero bytes: the sizes of this VHDX are multiples of ${unit} bytes`],
    carried: (Object.keys(kept) as (keyof typeof kept)[]).filter((key) => metadata[key] === kept[key]),
  };
}

function newDisk({ options, base }: WriteRequest, virtualSize: number, sectorSizes: SectorSizes): NewDisk {
  const blockSize = options.block_size as number;
  const bySize = base === undefined ? defaultBlockSize(virtualSize) : layerBlockSize(virtualSize);
  return {
    virtualSize,
    blockSize: blockSize === BY_SIZE ? bySize : blockSize,
    ...sectorSizes,
    logLength: options.log_size as number,
    isFixed: options.subformat === 'fixed',
    hasParent: base !== undefined,
    parent: base && newParent(base),
  };
}

type SectorSizes = Pick<NewDisk, 'logicalSectorSize' | 'physicalSectorSize'>;

/** What the user said, else what the source has; a layer's guest sees the sectors of its base (§2.6.2.6.3). */
function sectorSizesOf({ virtualSize, options, given, metadata, base }: WriteRequest): SectorSizes {
  const isFree = (key: string) => given !== undefined && !given.has(key);
  const isSize = (size: number | undefined): size is number => (SECTOR_SIZES as readonly unknown[]).includes(size);
  const ofSource = (key: string, size: number | undefined) =>
    isFree(key) && isSize(size) && virtualSize % size === 0 ? size : (options[key] as number);
  const ofBase = base && (base.metadata.logicalSectorSize ?? 512);
  const logicalSectorSize = ofSource('logical_sector_size', ofBase ?? metadata?.logicalSectorSize);
  if (ofBase !== undefined && logicalSectorSize !== ofBase) {
    const what = `sectors of ${logicalSectorSize} bytes over a base whose sectors have ${ofBase}`;
    throw new VdconvError('usage', what, { format: 'vhdx', hint: `use -o logical_sector_size=${ofBase}` });
  }
  return { logicalSectorSize, physicalSectorSize: ofSource('physical_sector_size', metadata?.physicalSectorSize) };
}

function planDynamic(disk: NewDisk, ids: IdsOf): Pick<WritePlan, 'layout' | 'writer'> {
  return { layout: engineLayout('blocks', disk), writer: () => new DynamicWriter(disk, ids) };
}

function planFixed(
  disk: NewDisk,
  ids: IdsOf,
  { randomId }: WriteRequest,
): Pick<WritePlan, 'layout' | 'writer' | 'front'> {
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
  const size = fixedSize(disk);
  return {
    layout: engineLayout('flat', disk),
    // Where ids do not follow from the content all is known before it, which makes a stream one pass.
    ...(randomId !== undefined && { front: fixedFront(disk, ids(undefined)) }),
    writer: () => ({
      add: () => [],
      finish: (_hostEnd, content) => ({ pieces: fixedFront(disk, ids(content)), size }),
    }),
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
    ...(disk.hasParent && { explicitZeros: true }),
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

/** A block is stored whole where anything in it differs: small ones, as long as the BAT stays within 64 MiB. */
function layerBlockSize(virtualSize: number): number {
  return virtualSize <= 16 * TiB ? 2 * MiB : 8 * MiB;
}
