/** Plans a VHD: which subformat, how large, and what the engine may place where. */

import { VdconvError } from '../../base/errors.ts';
import { stableUuid } from '../../base/stable-id.ts';
import { alignUp, SECTOR } from '../../base/units.ts';
import type { WritePlan, WriteRequest } from '../format.ts';
import { planDynamic } from './dynamic-writer.ts';
import { FLAT_LAYOUT, fixedWriter } from './fixed-writer.ts';
import { MAX_DISK_BYTES } from './layout.ts';
import type { Subformat } from './options.ts';
import type { DiskValues } from './writing.ts';

export function planVhd(request: WriteRequest): WritePlan {
  const subformat = request.options.subformat as Subformat;
  const blockSize = request.options.block_size as number;
  const forceSize = request.options.force_size as boolean;
  const virtualSize = alignUp(request.virtualSize, SECTOR);
  if (virtualSize === 0 || virtualSize > MAX_DISK_BYTES) {
    const what = `a disk of ${virtualSize} bytes; a VHD has from 512 bytes to 2040 GiB`;
    const hint = virtualSize === 0 ? undefined : 'write vhdx, which reaches 64 TiB';
    throw new VdconvError('limit', what, { format: 'vhd', hint });
  }
  const id = stableUuid(6, 'vhd', virtualSize, subformat, subformat === 'dynamic' ? blockSize : 0, forceSize);
  const values: DiskValues = { virtualSize, forceSize, uniqueId: id };
  const padding = virtualSize - request.virtualSize;
  return {
    ...(subformat === 'fixed'
      ? { layout: FLAT_LAYOUT, front: [], writer: () => fixedWriter(values) }
      : planDynamic(values, blockSize)),
    virtualSize,
    notes: padding === 0 ? [] : [`the disk grows by ${padding} zero bytes: VHD sizes are multiples of 512 bytes`],
  };
}
