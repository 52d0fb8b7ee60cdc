import { FLAT } from '../../map/flat.ts';
import type { WritePlan, WriteRequest } from '../format.ts';

/** Everything lies where the guest has it: nothing is allocated, there is no metadata, and no size is rounded. */
export function planRaw(request: WriteRequest): WritePlan {
  return {
    layout: FLAT,
    virtualSize: request.virtualSize,
    notes: [],
    // The size is the disk's, not where the last data ended: a trailing hole is part of the disk.
    writer: () => ({ add: () => [], finish: () => ({ pieces: [], size: request.virtualSize }) }),
  };
}
