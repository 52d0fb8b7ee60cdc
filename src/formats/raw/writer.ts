import type { WritePlan, WriteRequest } from '../format.ts';

/** Everything lies where the guest has it: nothing is allocated, there is no metadata, and no size is rounded. */
export function planRaw(request: WriteRequest): WritePlan {
  return {
    layout: {
      kind: 'flat',
      dataStart: 0,
      blockSize: 4096,
      dataAlign: 1,
      dataPhase: 0,
      prefixBytes: 0,
      prefixFill: 0,
    },
    virtualSize: request.virtualSize,
    notes: [],
    // The size is the disk's, not where the last data ended: a trailing hole is part of the disk.
    writer: () => ({ add: () => [], finish: () => ({ pieces: [], size: request.virtualSize }) }),
  };
}
