/** Plans a VMDK: which subformat, how large, and what the engine may place where. */
import { VdconvError } from '../../base/errors.ts';
import { alignUp, SECTOR, sectorsToBytes } from '../../base/units.ts';
import type { WritePlan, WriteRequest } from '../format.ts';
import type { DescriptorValues } from './descriptor-text.ts';
import { MAX_CAPACITY } from './limits.ts';
import type { AdapterType, Subformat } from './options.ts';
import { planSparse } from './sparse-writer.ts';
import { planStream } from './stream-writer.ts';

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
  const values: DescriptorValues = {
    subformat,
    capacity: virtualSize / SECTOR,
    adapterType: request.options.adapter_type as AdapterType,
    hwVersion: request.options.hwversion as number,
  };
  const padding = virtualSize - request.virtualSize;
  return {
    ...(subformat === 'streamOptimized' ? planStream(values, request.level ?? DEFAULT_LEVEL) : planSparse(values)),
    virtualSize,
    notes: padding === 0 ? [] : [`the disk grows by ${padding} zero bytes: VMDK sizes are multiples of 512 bytes`],
  };
}

/** zlib's own; VMware's tools use 6 to 9. */
const DEFAULT_LEVEL = 6;

/** The only subformat that compresses is what -c alone asks for. */
function chosenSubformat({ compress, given, options }: WriteRequest): Subformat {
  const free = given !== undefined && !given.has('subformat');
  return compress && free ? 'streamOptimized' : (options.subformat as Subformat);
}
