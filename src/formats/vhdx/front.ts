/**
 * Everything in front of the blocks, sized by the disk alone:
 * header section | log | metadata region | BAT region, each of whole MiB, from 1 MiB on.
 */
import { alignUp, MiB } from '../../base/units.ts';
import { guidBytes, NIL_UUID } from '../../base/uuid.ts';
import type { Piece } from '../../map/layout.ts';
import { seal } from './crc32c.ts';
import { batEntries, type Geometry } from './geometry.ts';
import type { Ids } from './ids.ts';
import {
  BatEntry,
  FileParameter,
  FileParameters,
  FileTypeIdentifier,
  HEADER_OFFSETS,
  Header,
  ItemGuid,
  LogicalSectorSize,
  METADATA_TABLE_BYTES,
  MetadataFlag,
  MetadataTableEntry,
  MetadataTableHeader,
  PhysicalSectorSize,
  REGION_TABLE_BYTES,
  REGION_TABLE_OFFSETS,
  RegionGuid,
  RegionTableEntry,
  RegionTableHeader,
  Signature,
  UNIT,
  VirtualDiskId,
  VirtualDiskSize,
} from './layout.ts';
import { encodeParentLocator, type NewParent } from './new-parent.ts';
import { utf16Bytes } from './utf16.ts';

/** What an image that is to be written is like. */
export interface NewDisk extends Geometry {
  isFixed: boolean;
  physicalSectorSize: number;
  logLength: number;
  parent: NewParent | undefined;
}

const LOG_OFFSET = UNIT;
const METADATA_BYTES = MiB;

function metadataOffset({ logLength }: NewDisk): number {
  return LOG_OFFSET + logLength;
}

export function batOffset(disk: NewDisk): number {
  return metadataOffset(disk) + METADATA_BYTES;
}

function batBytes(disk: NewDisk): number {
  return Math.max(UNIT, alignUp(batEntries(disk) * BatEntry.bytes, UNIT));
}

/** Where blocks begin. */
export function frontBytes(disk: NewDisk): number {
  return batOffset(disk) + batBytes(disk);
}

/** All of the front but the BAT. The signature comes last: a file that was not finished is no VHDX. */
export function encodeFront(disk: NewDisk, ids: Ids): Piece[] {
  const at = metadataOffset(disk);
  const { table, items } = encodeMetadata(disk, ids);
  const regionTable = encodeRegionTable(disk);
  return [
    { offset: at, bytes: table },
    { offset: at + METADATA_TABLE_BYTES, bytes: items },
    ...REGION_TABLE_OFFSETS.map((offset) => ({ offset, bytes: regionTable })),
    // As after an update: the second is the current one.
    ...HEADER_OFFSETS.map((offset, i) => ({ offset, bytes: encodeHeader(disk, ids, BigInt(i + 1)) })),
    { offset: 0, bytes: encodeFileTypeIdentifier() },
  ];
}

function encodeFileTypeIdentifier(): Uint8Array {
  const creator = new Uint8Array(512);
  creator.set(utf16Bytes('vdconv'));
  return FileTypeIdentifier.encode({ signature: 0x78646876, signatureEnd: 0x656c6966, creator });
}

function encodeHeader({ logLength }: NewDisk, ids: Ids, sequenceNumber: bigint): Uint8Array {
  const { fileWriteGuid, dataWriteGuid } = ids;
  const header = Header.encode({
    signature: Signature.header,
    checksum: 0,
    sequenceNumber,
    fileWriteGuid,
    dataWriteGuid,
    logGuid: guidBytes(NIL_UUID),
    logVersion: 0,
    version: 1,
    logLength,
    logOffset: LOG_OFFSET,
  });
  return seal(header);
}

/** §2.2.3.2: both regions are required. VirtualBox refuses tables that do not say so. */
function encodeRegionTable(disk: NewDisk): Uint8Array {
  const table = new Uint8Array(REGION_TABLE_BYTES);
  const entries = [
    { guid: RegionGuid.bat, fileOffset: batOffset(disk), length: batBytes(disk) },
    { guid: RegionGuid.metadata, fileOffset: metadataOffset(disk), length: METADATA_BYTES },
  ];
  table.set(RegionTableHeader.encode({ signature: Signature.regionTable, checksum: 0, entryCount: entries.length }));
  entries.forEach(({ guid, fileOffset, length }, i) => {
    const entry = RegionTableEntry.encode({ guid: guidBytes(guid), fileOffset, length, required: 1 });
    table.set(entry, RegionTableHeader.size + i * RegionTableEntry.size);
  });
  return seal(table);
}

function encodeMetadata(disk: NewDisk, ids: Ids): { table: Uint8Array; items: Uint8Array } {
  const { blockSize, isFixed, virtualSize, logicalSectorSize, physicalSectorSize, parent } = disk;
  const flags = (isFixed ? FileParameter.leaveBlocksAllocated : 0) + (parent ? FileParameter.hasParent : 0);
  const ofDisk = MetadataFlag.isRequired + MetadataFlag.isVirtualDisk;
  const contents: readonly (readonly [string, number, Uint8Array])[] = [
    [ItemGuid.fileParameters, MetadataFlag.isRequired, FileParameters.encode({ blockSize, flags })],
    [ItemGuid.virtualDiskSize, ofDisk, VirtualDiskSize.encode({ virtualDiskSize: virtualSize })],
    [ItemGuid.virtualDiskId, ofDisk, VirtualDiskId.encode({ virtualDiskId: ids.virtualDiskId })],
    [ItemGuid.logicalSectorSize, ofDisk, LogicalSectorSize.encode({ logicalSectorSize })],
    [ItemGuid.physicalSectorSize, ofDisk, PhysicalSectorSize.encode({ physicalSectorSize })],
    ...(parent ? ([[ItemGuid.parentLocator, MetadataFlag.isRequired, encodeParentLocator(parent)]] as const) : []),
  ];
  const table = new Uint8Array(MetadataTableHeader.size + contents.length * MetadataTableEntry.size);
  const padded = (bytes: Uint8Array) => alignUp(bytes.length, 8);
  const items = new Uint8Array(contents.reduce((sum, [, , bytes]) => sum + padded(bytes), 0));
  const signature = new TextEncoder().encode('metadata');
  table.set(MetadataTableHeader.encode({ signature, entryCount: contents.length }));
  let within = 0;
  contents.forEach(([guid, itemFlags, bytes], i) => {
    const entry = MetadataTableEntry.encode({
      itemId: guidBytes(guid),
      offset: METADATA_TABLE_BYTES + within,
      length: bytes.length,
      flags: itemFlags,
    });
    table.set(entry, MetadataTableHeader.size + i * MetadataTableEntry.size);
    items.set(bytes, within);
    within += padded(bytes);
  });
  return { table, items };
}
