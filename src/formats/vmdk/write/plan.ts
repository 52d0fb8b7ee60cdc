/** Plans a VMDK: which subformat, how large, in which files, and what the engine may place where. */
import { VdconvError } from '../../../base/errors.ts';
import { alignUp, SECTOR, sectorsToBytes } from '../../../base/units.ts';
import type { WritePlan, WriteRequest } from '../../format.ts';
import { MAX_CAPACITY } from '../limits.ts';
import { planDelta } from './delta.ts';
import { diskDatabase } from './disk-database.ts';
import { planFlat, planSplitFlat, planSplitSparse } from './extent-files.ts';
import type { Subformat } from './options.ts';
import { planSparse } from './sparse-writer.ts';
import { planStream } from './stream-writer.ts';
import type { PlannedFiles, Target } from './target.ts';

export function planVmdk(request: WriteRequest): WritePlan {
  const subformat = chosenSubformat(request);
  if (request.compress && subformat !== 'streamOptimized') {
    throw new VdconvError('usage', `a VMDK of subformat ${subformat} cannot be compressed`, {
      format: 'vmdk',
      hint: 'leave out -o subformat, or say streamOptimized',
    });
  }
  const virtualSize = alignUp(request.virtualSize, SECTOR);
  if (virtualSize === 0) {
    // A header of capacity 0 says that its descriptor describes other files: nobody could read this one.
    throw new VdconvError('limit', 'a disk of 0 bytes; a VMDK has at least 512', { format: 'vmdk' });
  }
  if (virtualSize > sectorsToBytes(MAX_CAPACITY)) {
    throw new VdconvError('limit', `a disk of ${virtualSize} bytes; a VMDK has at most 64 TiB`, { format: 'vmdk' });
  }
  const capacity = virtualSize / SECTOR;
  const { entries, carried } = diskDatabase(request, capacity);
  const target: Target = { request, subformat, capacity, database: entries };
  const padding = virtualSize - request.virtualSize;
  return {
    ...(request.base === undefined ? PLANS[subformat](target) : planDelta(target, request.base)),
    virtualSize,
    notes: padding === 0 ? [] : [`the disk grows by ${padding} zero bytes: VMDK sizes are multiples of 512 bytes`],
    carried,
  };
}

const PLANS: Readonly<Record<Subformat, (target: Target) => PlannedFiles>> = {
  monolithicSparse: (target) => planSparse(target),
  streamOptimized: planStream,
  monolithicFlat: (target) => planFlat(target, 'FLAT'),
  vmfs: (target) => planFlat(target, 'VMFS'),
  twoGbMaxExtentSparse: planSplitSparse,
  twoGbMaxExtentFlat: planSplitFlat,
};

/** The only subformat that compresses is what -c alone asks for. */
function chosenSubformat({ compress, given, options }: WriteRequest): Subformat {
  const free = given !== undefined && !given.has('subformat');
  return compress && free ? 'streamOptimized' : (options.subformat as Subformat);
}
