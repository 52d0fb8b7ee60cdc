/** Opens a VDI. A child of another image is described, but cannot be read: it names its parent by UUID alone. */
import { VdconvError } from '../../base/errors.ts';
import type { ByteSource } from '../../io/types.ts';
import type { Image, OpenContext } from '../format.ts';
import { readHeader } from './header.ts';
import { ENTRY_BYTES, Header, ImageType } from './layout.ts';
import { blockMap } from './map.ts';
import { isNil, showUuid } from './uuid.ts';

const TYPE_NAMES: Record<number, string> = {
  [ImageType.dynamic]: 'dynamic',
  [ImageType.static]: 'static',
  [ImageType.undo]: 'undo',
  [ImageType.differencing]: 'differencing',
};

export async function openVdi(source: ByteSource, { salvage }: Pick<OpenContext, 'salvage'> = {}): Promise<Image> {
  const header = await readHeader(source, salvage);
  const blocked = obstacle(header, source);
  return {
    format: 'vdi',
    subformat: TYPE_NAMES[header.imageType] as string,
    virtualSize: header.diskSize,
    tableBytes: header.blocksInImage * ENTRY_BYTES,
    dataFiles: [{ source }],
    facts: {
      blockSize: header.blockSize,
      references: [],
      snapshots: [],
      encrypted: false,
      compressed: false,
      dirty: false,
      warnings: [],
      details: details(header),
    },
    async *extents(start, end) {
      if (blocked !== undefined) {
        throw blocked;
      }
      yield* blockMap(source, header, start, end);
    },
  };
}

/** Whatever its type, an image with a parent's UUID shows only a part of the disk. */
function obstacle(header: Header, source: ByteSource): VdconvError | undefined {
  const { imageType, uuidLink, uuidParentModify } = header;
  const isLinked = !isNil(uuidLink) || !isNil(uuidParentModify);
  if (!isLinked && imageType !== ImageType.undo && imageType !== ImageType.differencing) {
    return undefined;
  }
  const parent = isLinked ? ` over the image with the UUID ${showUuid(uuidLink)}` : '';
  const field = isLinked ? 'uuidLink' : 'imageType';
  return new VdconvError('unsupported', `a snapshot of VirtualBox${parent}, which holds only what changed`, {
    file: source.name,
    format: 'vdi',
    field,
    offset: Header.fields[field].offset,
    hint: 'merge it in VirtualBox first, or clone the disk there (VBoxManage clonemedium)',
  });
}

function details(header: Header): Record<string, unknown> {
  const { version, headerSize, uuidLink, uuidParentModify } = header;
  const isLinked = !isNil(uuidLink) || !isNil(uuidParentModify);
  return {
    version: `${version >>> 16}.${version & 0xffff}`,
    headerSize,
    text: untilNul(header.text).trim(),
    comment: untilNul(header.comment),
    blocksInImage: header.blocksInImage,
    blocksAllocated: header.blocksAllocated,
    uuidImage: showUuid(header.uuidImage),
    uuidModify: showUuid(header.uuidModify),
    ...(isLinked && { uuidLink: showUuid(uuidLink), uuidParentModify: showUuid(uuidParentModify) }),
  };
}

function untilNul(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}
