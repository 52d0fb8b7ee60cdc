import { illegalValue } from '../../base/struct.ts';
import { guidText } from '../../base/uuid.ts';
import type { ByteSource, Reference } from '../../io/types.ts';
import type { Image } from '../format.ts';
import type { DiskMetadata } from '../metadata.ts';
import { blockMap } from './bat.ts';
import { batEntries, type Geometry } from './geometry.ts';
import { type CurrentHeader, readCreator, readHeader } from './headers.ts';
import { BatEntry, FileParameter, FileParameters, RegionTableEntry, VirtualDiskSize } from './layout.ts';
import { replayLog } from './log.ts';
import { type Metadata, readMetadata } from './metadata.ts';
import { type ParentLocator, parseParentLocator } from './parent-locator.ts';
import { type Region, readRegions } from './regions.ts';

export async function openVhdx(file: ByteSource): Promise<Image> {
  const warnings: string[] = [];
  const creator = await readCreator(file);
  const header = await readHeader(file, warnings);
  const { source, entries } = await replayLog(file, header);
  if (entries > 0) {
    warnings.push(`the image was not closed cleanly: its log was replayed in memory (entries: ${entries})`);
  }
  const { bat, metadata: region, occupied } = await readRegions(source, header, warnings);
  const metadata = await readMetadata(source, region);
  const { blockSize, flags, logicalSectorSize, virtualDiskSize } = metadata;
  const locator = parentOf(metadata, source);
  const geometry = {
    virtualSize: virtualDiskSize,
    blockSize,
    logicalSectorSize,
    hasParent: locator !== undefined,
  };
  checkGeometry(geometry, metadata, bat, source);
  warnings.push(...remarks(metadata));
  const disk = { ...geometry, source, batOffset: bat.fileOffset, occupied };
  const parent: Reference | undefined = locator && { kind: 'parent', name: locator.name, format: 'vhdx' };
  const isFixed = (flags & FileParameter.leaveBlocksAllocated) !== 0;
  return {
    format: 'vhdx',
    subformat: geometry.hasParent ? 'differencing' : isFixed ? 'fixed' : 'dynamic',
    virtualSize: virtualDiskSize,
    tableBytes: batEntries(geometry) * BatEntry.bytes,
    dataFiles: [{ source }],
    ...(parent === undefined ? {} : { parent }),
    // [MS-VHDX] §2.6.2.6.3: parent_linkage2 is what a merge that was cut short leaves.
    lineage: {
      field: 'parent_linkage',
      own: guidText(header.dataWriteGuid),
      ...(locator && { parents: [locator.parentLinkage, locator.parentLinkage2].filter((id) => id !== undefined) }),
    },
    metadata: diskMetadata(creator, metadata),
    facts: {
      blockSize,
      references: parent === undefined ? [] : [parent],
      snapshots: [],
      encrypted: false,
      compressed: false,
      dirty: entries > 0,
      warnings,
      details: details(creator, header, metadata, locator),
    },
    extents: (start, end) => blockMap(disk, start, end),
  };
}

/** Rules between structures. */
function checkGeometry(geometry: Geometry, { places }: Metadata, bat: Region, { name: file }: ByteSource): void {
  const { virtualSize, blockSize, logicalSectorSize } = geometry;
  const fault = (table: string, field: string, value: number, offset: number, says: string) =>
    illegalValue('corrupt', table, field, `${value}`, { file, format: 'vhdx' }, offset, says);
  if (virtualSize % logicalSectorSize !== 0) {
    const says = `must be a multiple of the logical sector size ${logicalSectorSize}; [MS-VHDX] §2.6.2.2`;
    throw fault(VirtualDiskSize.name, 'virtualDiskSize', virtualSize, places.virtualDiskSize, says);
  }
  const needed = batEntries(geometry) * BatEntry.bytes;
  if (needed > bat.length) {
    const says = `the BAT of ${virtualSize} bytes in blocks of ${blockSize} has ${needed}; [MS-VHDX] §2.5`;
    throw fault(RegionTableEntry.name, 'length', bat.length, bat.at + RegionTableEntry.fields.length.offset, says);
  }
}

/** §2.6.2.1: the flag and the item come together. */
function parentOf({ flags, parentLocator, places }: Metadata, { name: file }: ByteSource): ParentLocator | undefined {
  const hasParent = (flags & FileParameter.hasParent) !== 0;
  if (hasParent !== (parentLocator !== undefined)) {
    const says = `the bit of a parent goes with a parent locator, and there is ${hasParent ? 'none' : 'one'}`;
    const offset = places.fileParameters + FileParameters.fields.flags.offset;
    const value = `0x${flags.toString(16)}`;
    const where = { file, format: 'vhdx' };
    throw illegalValue('corrupt', FileParameters.name, 'flags', value, where, offset, `${says}; [MS-VHDX] §2.6.2.1`);
  }
  return parentLocator && parseParentLocator(parentLocator.bytes, parentLocator.origin);
}

function remarks({ logicalSectorSize, userItems }: Metadata): string[] {
  const list: string[] = [];
  if (logicalSectorSize !== 512) {
    list.push(
      `the guest's sectors have ${logicalSectorSize} bytes: its partition tables are not found on a disk whose sectors have 512`,
    );
  }
  if (userItems > 0) {
    list.push(`the image has metadata items of its users (${userItems}): they are not read`);
  }
  return list;
}

function diskMetadata(
  creator: string,
  { virtualDiskId, logicalSectorSize, physicalSectorSize }: Metadata,
): DiskMetadata {
  return {
    uuid: guidText(virtualDiskId),
    // What every other format means too is nothing that could be lost.
    ...(logicalSectorSize !== 512 && { logicalSectorSize }),
    physicalSectorSize,
    ...(creator !== '' && { creator }),
  };
}

function details(
  creator: string,
  header: CurrentHeader,
  metadata: Metadata,
  locator: ParentLocator | undefined,
): Record<string, unknown> {
  return {
    creator,
    fileWriteGuid: guidText(header.fileWriteGuid),
    dataWriteGuid: guidText(header.dataWriteGuid),
    virtualDiskId: guidText(metadata.virtualDiskId),
    logicalSectorSize: metadata.logicalSectorSize,
    physicalSectorSize: metadata.physicalSectorSize,
    leaveBlocksAllocated: (metadata.flags & FileParameter.leaveBlocksAllocated) !== 0,
    logLength: header.logLength,
    ...(locator === undefined ? {} : { parentLinkage: locator.parentLinkage, parentLocator: locator.entries }),
    ...(locator?.parentLinkage2 === undefined ? {} : { parentLinkage2: locator.parentLinkage2 }),
  };
}
