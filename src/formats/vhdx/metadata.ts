/** [MS-VHDX] §2.6: what the disk is. */
import { showNumber, VdconvError } from '../../base/errors.ts';
import { illegalValue, type Origin, type StructValues } from '../../base/struct.ts';
import { guidText } from '../../base/uuid.ts';
import type { ByteSource } from '../../io/types.ts';
import {
  FileParameters,
  ItemGuid,
  LogicalSectorSize,
  MAX_USER_ITEMS,
  METADATA_TABLE_BYTES,
  MetadataFlag,
  MetadataTableEntry,
  MetadataTableHeader,
  PhysicalSectorSize,
  VirtualDiskId,
  VirtualDiskSize,
} from './layout.ts';
import type { Region } from './regions.ts';

type Values = StructValues<typeof FileParameters> &
  StructValues<typeof VirtualDiskSize> &
  StructValues<typeof VirtualDiskId> &
  StructValues<typeof LogicalSectorSize> &
  StructValues<typeof PhysicalSectorSize>;

export interface Metadata extends Values {
  /** File offsets of the items, for errors. */
  places: Readonly<Record<keyof typeof REQUIRED, number>>;
  /** The parent locator, if there is one, and where it lies. */
  parentLocator: { bytes: Uint8Array; origin: Origin } | undefined;
  /** Items that belong to users of the file, not to the disk. */
  userItems: number;
}

interface Item {
  offset: number;
  length: number;
  /** File offset of its entry in the table. */
  at: number;
}

/** The items that every disk has, and what each holds. */
const REQUIRED = {
  fileParameters: FileParameters,
  virtualDiskSize: VirtualDiskSize,
  virtualDiskId: VirtualDiskId,
  logicalSectorSize: LogicalSectorSize,
  physicalSectorSize: PhysicalSectorSize,
} as const;

export async function readMetadata(source: ByteSource, region: Region): Promise<Metadata> {
  const origin = { file: source.name, format: 'vhdx', at: region.fileOffset };
  const table = await source.read(region.fileOffset, METADATA_TABLE_BYTES, 'VHDX metadata table');
  const { items, userItems } = readTable(table, region, origin);
  const values: Record<string, unknown> = {};
  const places: Record<string, number> = {};
  for (const [name, struct] of Object.entries(REQUIRED)) {
    const item = items.get(ItemGuid[name as keyof typeof REQUIRED]);
    if (item === undefined) {
      const what = `metadata table at offset ${showNumber(origin.at)}: there is no item "${struct.name}"; [MS-VHDX] §2.6.2`;
      throw new VdconvError('corrupt', what, { ...origin, field: name, offset: origin.at });
    }
    if (item.length !== struct.size) {
      throw illegal('length', `${item.length}`, item.at, origin, `${struct.name} has ${struct.size} bytes`);
    }
    const at = region.fileOffset + item.offset;
    places[name] = at;
    Object.assign(values, struct.decode(await source.read(at, item.length, struct.name), { ...origin, at }));
  }
  const locator = items.get(ItemGuid.parentLocator);
  return {
    ...(values as unknown as Values),
    places: places as Metadata['places'],
    parentLocator: locator && (await readLocator(source, region, locator)),
    userItems,
  };
}

async function readLocator(source: ByteSource, region: Region, { offset, length }: Item) {
  const at = region.fileOffset + offset;
  const bytes = await source.read(at, length, 'VHDX parent locator');
  return { bytes, origin: { file: source.name, format: 'vhdx', at } };
}

/** @returns the items that vdconv knows, by GUID. */
function readTable(table: Uint8Array, region: Region, origin: Origin): { items: Map<string, Item>; userItems: number } {
  const { entryCount } = MetadataTableHeader.decode(table, origin);
  const items = new Map<string, Item>();
  const seen = new Set<string>();
  const places: Item[] = [];
  let userItems = 0;
  for (let i = 0; i < entryCount; i += 1) {
    const within = MetadataTableHeader.size + i * MetadataTableEntry.size;
    const at = origin.at + within;
    const { itemId, offset, length, flags } = MetadataTableEntry.decode(table, { ...origin, at }, within);
    const guid = guidText(itemId);
    const isUser = (flags & MetadataFlag.isUser) !== 0;
    const known = !isUser && Object.values<string>(ItemGuid).includes(guid);
    if (!known && (flags & MetadataFlag.isRequired) !== 0) {
      throw illegal('itemId', guid, at, origin, 'a required item that vdconv does not know', 'unsupported');
    }
    if (seen.has(`${guid} ${isUser}`)) {
      throw illegal('itemId', guid, at, origin, 'there is another item of this name');
    }
    seen.add(`${guid} ${isUser}`);
    userItems += isUser ? 1 : 0;
    if (userItems > MAX_USER_ITEMS) {
      throw illegal('flags', showNumber(flags), at, origin, `at most ${MAX_USER_ITEMS} items are a user's`);
    }
    checkPlace({ offset, length, at }, region, origin);
    if (length > 0) {
      places.push({ offset, length, at });
    }
    if (known) {
      items.set(guid, { offset, length, at });
    }
  }
  checkOverlap(places, origin);
  return { items, userItems };
}

function checkPlace({ offset, length, at }: Item, region: Region, origin: Origin): void {
  if (length === 0 ? offset !== 0 : offset < METADATA_TABLE_BYTES) {
    const says =
      length === 0 ? 'must be 0 where the length is' : `items begin at ${METADATA_TABLE_BYTES}, behind the table`;
    throw illegal('offset', showNumber(offset), at, origin, says);
  }
  if (offset + length > region.length) {
    throw illegal('offset', showNumber(offset), at, origin, `${length} bytes there pass the region's ${region.length}`);
  }
}

function checkOverlap(places: Item[], origin: Origin): void {
  places.sort((a, b) => a.offset - b.offset);
  let end = 0;
  for (const { offset, length, at } of places) {
    if (offset < end) {
      throw illegal('offset', showNumber(offset), at, origin, `the item overlaps another one, which ends at ${end}`);
    }
    end = offset + length;
  }
}

function illegal(
  field: 'itemId' | 'offset' | 'length' | 'flags',
  value: string,
  at: number,
  origin: Origin,
  says: string,
  code: 'corrupt' | 'unsupported' = 'corrupt',
): VdconvError {
  const offset = at + MetadataTableEntry.fields[field].offset;
  return illegalValue(code, MetadataTableEntry.name, field, value, origin, offset, `${says}; [MS-VHDX] §2.6.1.2`);
}
