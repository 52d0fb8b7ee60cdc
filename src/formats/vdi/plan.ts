/** Plans a VDI: header | block map | blocks of 1 MiB from a multiple of 1 MiB on, so that they can be shared with other files. */

import { VdconvError } from '../../base/errors.ts';
import { stableUuid } from '../../base/stable-id.ts';
import { alignUp, divCeil, SECTOR } from '../../base/units.ts';
import type { Layout } from '../../map/layout.ts';
import type { WritePlan, WriteRequest } from '../format.ts';
import { type DiskValues, OFFSET_BLOCKS } from './header-writer.ts';
import { BLOCK_SIZE, ENTRY_BYTES, MAX_BLOCKS } from './layout.ts';
import { toStored } from './uuid.ts';
import { DynamicWriter, staticFront } from './writer.ts';

export function planVdi(request: WriteRequest): WritePlan {
  const isStatic = request.options.static as boolean;
  const virtualSize = alignUp(request.virtualSize, SECTOR);
  const blocks = divCeil(virtualSize, BLOCK_SIZE);
  if (blocks === 0 || blocks > MAX_BLOCKS) {
    const what = `a disk of ${virtualSize} bytes; a VDI has from 512 bytes to ${MAX_BLOCKS} MiB (qemu's limit)`;
    throw new VdconvError('limit', what, { format: 'vdi' });
  }
  const values: DiskValues = {
    isStatic,
    diskSize: virtualSize,
    blocks,
    offsetData: alignUp(OFFSET_BLOCKS + blocks * ENTRY_BYTES, BLOCK_SIZE),
    uuidImage: toStored(stableUuid(6, 'vdi', virtualSize, isStatic)),
    uuidModify: toStored(stableUuid(6, 'vdi modify', virtualSize, isStatic)),
  };
  const padding = virtualSize - request.virtualSize;
  return {
    ...(isStatic
      ? planStatic(values)
      : { layout: layoutOf(values, 'blocks'), writer: () => new DynamicWriter(values) }),
    virtualSize,
    notes: padding === 0 ? [] : [`the disk grows by ${padding} zero bytes: VDI sizes are multiples of 512 bytes`],
  };
}

/** All is known before the first byte of data, which makes a stream one pass. */
function planStatic(values: DiskValues): Pick<WritePlan, 'layout' | 'front' | 'writer'> {
  const front = staticFront(values);
  // The last block is whole, wherever the last data ended.
  const size = values.offsetData + values.blocks * BLOCK_SIZE;
  return {
    layout: layoutOf(values, 'flat'),
    front,
    writer: () => ({ add: () => [], finish: () => ({ pieces: [...front], size }) }),
  };
}

function layoutOf({ offsetData }: DiskValues, kind: Layout['kind']): Layout {
  return {
    kind,
    dataStart: offsetData,
    blockSize: BLOCK_SIZE,
    dataAlign: BLOCK_SIZE,
    dataPhase: 0,
    prefixBytes: 0,
    prefixFill: 0,
  };
}
