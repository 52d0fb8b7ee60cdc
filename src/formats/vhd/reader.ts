/** Opens a VHD: its footer, for all but fixed disks the dynamic header, and the size that the guest saw. */
import { uuidText } from '../../base/uuid.ts';
import type { ByteSource } from '../../io/types.ts';
import type { BlockMap } from '../../map/extents.ts';
import type { Image, Lineage } from '../format.ts';
import { imageFacts, subformatOf } from './facts.ts';
import { checkFixed, fixedMap } from './fixed.ts';
import { readFooter } from './footer.ts';
import { type DynamicDisk, readHeader } from './header.ts';
import { DiskType, ENTRY_BYTES, type Footer } from './layout.ts';
import { blockMap } from './map.ts';
import { diskMetadata, fromTimeStamp } from './metadata.ts';
import { parentReference, readParentNames } from './parent.ts';
import { virtualSize } from './size.ts';

export async function openVhd(source: ByteSource): Promise<Image> {
  const found = await readFooter(source);
  const { footer, dataEnd, warnings } = found;
  let disk: DynamicDisk | undefined;
  if (footer.diskType === DiskType.fixed) {
    checkFixed(source, footer, dataEnd);
  } else {
    disk = await readHeader(source, found);
  }
  const isChild = footer.diskType === DiskType.differencing;
  const names = disk && isChild ? await readParentNames(source, disk.header, disk.headerAt) : undefined;
  const parent = names && parentReference(names, source.name);
  const extents = (start: number, end: number): BlockMap =>
    disk === undefined ? fixedMap(source, start, end) : blockMap(disk, start, end, isChild);
  const size = await virtualSize(source, footer, extents, warnings);
  return {
    format: 'vhd',
    subformat: subformatOf(footer),
    virtualSize: size,
    tableBytes: (disk?.header.maxTableEntries ?? 0) * ENTRY_BYTES,
    dataFiles: [{ source }],
    ...(parent === undefined ? {} : { parent }),
    lineage: lineageOf(footer, isChild ? disk : undefined),
    metadata: diskMetadata(footer),
    facts: imageFacts({ footer, disk, names, parent, warnings }),
    extents,
  };
}

/** The parent's footer holds the id. Windows does not check the time of its last change, and a copy has another one. */
function lineageOf({ uniqueId }: Footer, child: DynamicDisk | undefined): Lineage {
  const lineage = { field: 'parentUniqueId', own: uuidText(uniqueId) };
  if (child === undefined) {
    return lineage;
  }
  const { parentUniqueId, parentTimeStamp } = child.header;
  return {
    ...lineage,
    parents: [uuidText(parentUniqueId)],
    ...(parentTimeStamp > 0 && { parentChanged: fromTimeStamp(parentTimeStamp) }),
  };
}
