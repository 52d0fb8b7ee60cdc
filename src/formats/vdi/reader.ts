/** Opens a VDI. A child of another image names its parent by UUID alone: whoever opens it must say which file that is. */
import { VdconvError } from '../../base/errors.ts';
import { guidText, NIL_UUID } from '../../base/uuid.ts';
import type { ByteSource } from '../../io/types.ts';
import type { Image, Lineage, OpenContext } from '../format.ts';
import { readHeader } from './header.ts';
import { ENTRY_BYTES, Header, ImageType } from './layout.ts';
import { blockMap } from './map.ts';
import { readMetadata, untilNul } from './metadata.ts';

const TYPE_NAMES: Record<number, string> = {
  [ImageType.dynamic]: 'dynamic',
  [ImageType.static]: 'static',
  [ImageType.undo]: 'undo',
  [ImageType.differencing]: 'differencing',
};

export async function openVdi(source: ByteSource, { salvage }: Pick<OpenContext, 'salvage'> = {}): Promise<Image> {
  const header = await readHeader(source, salvage);
  const metadata = await readMetadata(source, header);
  const blocked = obstacle(header, source);
  return {
    format: 'vdi',
    subformat: TYPE_NAMES[header.imageType] as string,
    virtualSize: header.diskSize,
    tableBytes: header.blocksInImage * ENTRY_BYTES,
    dataFiles: [{ source }],
    lineage: lineageOf(header),
    metadata,
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
function isLinked({ uuidLink }: Header): boolean {
  return guidText(uuidLink) !== NIL_UUID;
}

/** `uuidModify` is new with each change, so a parent that was written to after its child was made is told apart. */
function lineageOf(header: Header): Lineage {
  const id = (bytes: Uint8Array) => {
    const text = guidText(bytes);
    return text === NIL_UUID ? undefined : text;
  };
  const own = id(header.uuidImage);
  return {
    field: 'uuidLink',
    ...(own !== undefined && { own }),
    ...(isLinked(header) && { parents: [guidText(header.uuidLink)] }),
    version: { field: 'uuidParentModify', own: id(header.uuidModify), parent: id(header.uuidParentModify) },
  };
}

/** An image whose other part nothing names. */
function obstacle(header: Header, source: ByteSource): VdconvError | undefined {
  const { imageType, uuidParentModify } = header;
  const isUndo = imageType === ImageType.undo;
  const isChild = imageType === ImageType.differencing || guidText(uuidParentModify) !== NIL_UUID;
  if (!isUndo && (!isChild || isLinked(header))) {
    return undefined;
  }
  const what = isUndo
    ? 'an undo image of VirtualBox, which holds what the blocks of another one were'
    : 'a part of a disk, of which nothing names the other: uuidLink is all zeros';
  return new VdconvError(isUndo ? 'unsupported' : 'corrupt', what, {
    file: source.name,
    format: 'vdi',
    field: 'imageType',
    offset: Header.fields.imageType.offset,
    hint: 'clone the disk in VirtualBox first (VBoxManage clonemedium)',
  });
}

function details(header: Header): Record<string, unknown> {
  const { version, headerSize, uuidLink, uuidParentModify } = header;
  return {
    version: `${version >>> 16}.${version & 0xffff}`,
    headerSize,
    text: untilNul(header.text).trim(),
    comment: untilNul(header.comment),
    blocksInImage: header.blocksInImage,
    blocksAllocated: header.blocksAllocated,
    uuidImage: guidText(header.uuidImage),
    uuidModify: guidText(header.uuidModify),
    ...(isLinked(header) && { uuidLink: guidText(uuidLink), uuidParentModify: guidText(uuidParentModify) }),
  };
}
