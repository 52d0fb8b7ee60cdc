/** Plans a VHD: which subformat, how large, and what the engine may place where. */

import { VdconvError } from '../../base/errors.ts';
import { stableUuid } from '../../base/stable-id.ts';
import { alignUp, SECTOR } from '../../base/units.ts';
import { uuidBytes } from '../../base/uuid.ts';
import { FLAT } from '../../map/flat.ts';
import type { WritePlan, WriteRequest } from '../format.ts';
import { planDynamic } from './dynamic-writer.ts';
import { fixedWriter } from './fixed-writer.ts';
import { geometryOf, MAX_GEOMETRY, takenGeometry } from './geometry.ts';
import { MAX_DISK_BYTES } from './layout.ts';
import { toTimeStamp } from './metadata.ts';
import { newParent } from './new-parent.ts';
import type { Subformat } from './options.ts';
import type { DiskValues } from './writing.ts';

export function planVhd(request: WriteRequest): WritePlan {
  const { base, time } = request;
  const subformat = request.options.subformat as Subformat;
  const blockSize = request.options.block_size as number;
  const virtualSize = alignUp(request.virtualSize, SECTOR);
  if (virtualSize === 0 || virtualSize > MAX_DISK_BYTES) {
    const what = `a disk of ${virtualSize} bytes; a VHD has from 512 bytes to 2040 GiB`;
    const hint = virtualSize === 0 ? undefined : 'write vhdx, which reaches 64 TiB';
    throw new VdconvError('limit', what, { format: 'vhd', hint });
  }
  if (base !== undefined && subformat === 'fixed') {
    throw new VdconvError('usage', 'a fixed VHD holds the whole disk: it cannot be a layer', { format: 'vhd' });
  }
  const parent = base && newParent(base, time);
  const forceSize = request.options.force_size as boolean;
  const taken = forceSize ? undefined : takenGeometry(request.metadata?.geometry, virtualSize / SECTOR);
  const values: DiskValues = {
    virtualSize,
    geometry: taken ?? (forceSize ? MAX_GEOMETRY : geometryOf(virtualSize / SECTOR)),
    // The second in which a file was made is no part of its content: 2000-01-01 unless a date is asked for.
    timeStamp: time === undefined ? 0 : toTimeStamp(time),
    uniqueId: uniqueIdOf(request, virtualSize),
  };
  const padding = virtualSize - request.virtualSize;
  return {
    ...(subformat === 'fixed'
      ? { layout: FLAT, front: [], writer: () => fixedWriter(values) }
      : planDynamic(values, blockSize, parent)),
    virtualSize,
    fingerprint: followsContent(request),
    notes: padding === 0 ? [] : [`the disk grows by ${padding} zero bytes: VHD sizes are multiples of 512 bytes`],
    carried: taken === undefined ? [] : ['geometry'],
  };
}

function followsContent({ options, randomId }: WriteRequest): boolean {
  return options.uuid === '' && randomId === undefined;
}

function uniqueIdOf({ options, randomId, base }: WriteRequest, virtualSize: number): DiskValues['uniqueId'] {
  const { subformat, block_size: blockSize, force_size: forceSize, uuid } = options;
  if (uuid !== '') {
    return () => uuidBytes(uuid as string);
  }
  const asked = [virtualSize, subformat, subformat === 'dynamic' ? blockSize : 0, forceSize, base?.lineage?.own];
  return (content) => stableUuid(6, 'vhd', randomId ?? content?.fingerprint, ...(asked as (string | number)[]));
}
