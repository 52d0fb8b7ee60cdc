/** Plans a VDI: header | block map | blocks of 1 MiB from a multiple of 1 MiB on, so that they can be shared with other files. */

import { VdconvError } from '../../base/errors.ts';
import { stableUuid } from '../../base/stable-id.ts';
import { alignUp, divCeil, SECTOR } from '../../base/units.ts';
import { guidBytes, mixedEndian, NIL_UUID } from '../../base/uuid.ts';
import type { Layout } from '../../map/layout.ts';
import type { BaseImage, WritePlan, WriteRequest } from '../format.ts';
import { type DiskValues, MAX_COMMENT_BYTES, OFFSET_BLOCKS } from './header-writer.ts';
import { BLOCK_SIZE, ENTRY_BYTES, ImageType, MAX_BLOCKS } from './layout.ts';
import { DynamicWriter, staticFront } from './writer.ts';

export function planVdi(request: WriteRequest): WritePlan {
  const { base, options } = request;
  const isStatic = options.static as boolean;
  const virtualSize = alignUp(request.virtualSize, SECTOR);
  const blocks = divCeil(virtualSize, BLOCK_SIZE);
  if (blocks === 0 || blocks > MAX_BLOCKS) {
    const what = `a disk of ${virtualSize} bytes; a VDI has from 512 bytes to ${MAX_BLOCKS} MiB (qemu's limit)`;
    throw new VdconvError('limit', what, { format: 'vdi' });
  }
  if (base !== undefined && isStatic) {
    throw new VdconvError('usage', 'a static VDI holds the whole disk: it cannot be a layer', { format: 'vdi' });
  }
  const comment = takenComment(request);
  const values: DiskValues = {
    imageType: base !== undefined ? ImageType.differencing : isStatic ? ImageType.static : ImageType.dynamic,
    diskSize: virtualSize,
    blocks,
    offsetData: alignUp(OFFSET_BLOCKS + blocks * ENTRY_BYTES, BLOCK_SIZE),
    comment: comment ?? '',
    uuids: uuidsOf(request, virtualSize),
    parent: base && parentOf(base),
  };
  const padding = virtualSize - request.virtualSize;
  return {
    ...(isStatic
      ? planStatic(values, request)
      : { layout: layoutOf(values, 'blocks'), writer: () => new DynamicWriter(values) }),
    virtualSize,
    fingerprint: request.randomId === undefined,
    notes: padding === 0 ? [] : [`the disk grows by ${padding} zero bytes: VDI sizes are multiples of 512 bytes`],
    carried: comment === undefined ? [] : ['comment'],
  };
}

function takenComment({ metadata }: WriteRequest): string | undefined {
  const comment = metadata?.comment;
  const bytes = new TextEncoder().encode(comment);
  return bytes.length <= MAX_COMMENT_BYTES && !bytes.includes(0) ? comment : undefined;
}

function uuidsOf({ options, randomId, base }: WriteRequest, virtualSize: number): DiskValues['uuids'] {
  const { static: isStatic, uuid } = options;
  const asked = [virtualSize, isStatic as boolean, base?.lineage?.own];
  return (content) => {
    const id = (what: string) => mixedEndian(stableUuid(6, what, randomId ?? content?.fingerprint, ...asked));
    return { uuidImage: uuid === '' ? id('vdi') : guidBytes(uuid as string), uuidModify: id('vdi modify') };
  };
}

/** A VDI names its parent by UUID alone, and by that of the parent's last change. */
function parentOf({ name, format, lineage }: BaseImage): DiskValues['parent'] {
  if (format !== 'vdi' || lineage?.own === undefined) {
    const found = format === 'vdi' ? 'has none' : `is ${format}`;
    const what = `a VDI layer lies over a VDI image with a UUID, and the base ${found}`;
    throw new VdconvError('usage', what, { file: name, format: 'vdi' });
  }
  return { uuidLink: guidBytes(lineage.own), uuidParentModify: guidBytes(lineage.version?.own ?? NIL_UUID) };
}

function planStatic(values: DiskValues, { randomId }: WriteRequest): Pick<WritePlan, 'layout' | 'front' | 'writer'> {
  // The last block is whole, wherever the last data ended.
  const size = values.offsetData + values.blocks * BLOCK_SIZE;
  return {
    layout: layoutOf(values, 'flat'),
    // Where ids do not follow from the content all is known before it, which makes a stream one pass.
    ...(randomId !== undefined && { front: staticFront(values) }),
    writer: () => ({ add: () => [], finish: (_hostEnd, content) => ({ pieces: staticFront(values, content), size }) }),
  };
}

function layoutOf({ offsetData, parent }: DiskValues, kind: Layout['kind']): Layout {
  return {
    kind,
    dataStart: offsetData,
    blockSize: BLOCK_SIZE,
    dataAlign: BLOCK_SIZE,
    dataPhase: 0,
    prefixBytes: 0,
    prefixFill: 0,
    ...(parent && { explicitZeros: true }),
  };
}
