/**
 * VHDX on disk: structures, states and limits. All numbers are little-endian, text is UTF-16LE.
 *
 * Spec: [MS-VHDX] "Virtual Hard Disk v2 (VHDX) File Format", revision of 2024-04-23. Sections are cited by number.
 */
import { bits32, bits64, bytes, reserved, struct, u16, u32, u64 } from '../../base/struct.ts';
import { KiB, MiB, TiB } from '../../base/units.ts';

/** §2.1: everything behind the header section begins and ends at a multiple of this. */
export const UNIT = MiB;

/** §2.2: the header section. */
export const HEADER_OFFSETS = [64 * KiB, 128 * KiB] as const;
export const REGION_TABLE_OFFSETS = [192 * KiB, 256 * KiB] as const;
export const REGION_TABLE_BYTES = 64 * KiB;

export const MIN_BLOCK_SIZE = MiB;
export const MAX_BLOCK_SIZE = 256 * MiB;
export const MAX_VIRTUAL_SIZE = 64 * TiB;
export const SECTOR_SIZES = [512, 4096] as const;

/** §2.2.3.1, §2.6.1.1: entries of a region table, and of a metadata table. */
export const MAX_ENTRIES = 2047;
/** §2.6.1.1. */
export const MAX_USER_ITEMS = 1024;

/** Ours. Hyper-V's log has 1 MiB; it is held in memory, twice, while it is replayed. */
export const MAX_LOG_REPLAYED = 16 * MiB;
/** Ours: a full log of that size has 4096 data descriptors; only zero descriptors can be more. */
export const MAX_PATCHES = 65536;
/** Ours: five keys are defined. Each value may have 64 KiB, and values may share their bytes. */
export const MAX_LOCATOR_KEYS = 64;
/** Ours: twice the largest disk. One bit a MiB says which parts of a file are taken: 16 MiB for this. */
export const MAX_FILE_SIZE = 128 * TiB;

export const FileTypeIdentifier = struct('VHDX file type identifier', 'le', 520, '[MS-VHDX] §2.2.1', {
  /** "vhdxfile". */
  signature: u32(0, { equals: 0x78646876, code: 'wrong-format', says: 'must be "vhdxfile"' }),
  signatureEnd: u32(4, { equals: 0x656c6966, code: 'wrong-format', says: 'must be "vhdxfile"' }),
  /** Diagnostic only; an optional NUL ends it. */
  creator: bytes(8, 512),
});

/** "head", "regi", "loge", "zero", "desc", "data". */
export const Signature = {
  header: 0x64616568,
  regionTable: 0x69676572,
  logEntry: 0x65676f6c,
  zeroDescriptor: 0x6f72657a,
  dataDescriptor: 0x63736564,
  dataSector: 0x61746164,
} as const;

export const Header = struct('VHDX header', 'le', 4096, '[MS-VHDX] §2.2.2', {
  signature: u32(0, { equals: Signature.header }),
  /** CRC-32C of all 4096 bytes. */
  checksum: u32(4),
  /** The valid header with the higher one is the current one. */
  sequenceNumber: bits64(8),
  /** New before the first change of the file, log replay included. */
  fileWriteGuid: bytes(16, 16),
  /** New before the first change that the guest can see: what a child's parent_linkage names. */
  dataWriteGuid: bytes(32, 16),
  /** Zero: the log is empty. Otherwise it must be replayed. */
  logGuid: bytes(48, 16),
  /** Must be 0 where there is a log. */
  logVersion: u16(64),
  version: u16(66, { equals: 1, code: 'unsupported' }),
  logLength: u32(68, { multipleOf: UNIT }),
  logOffset: u64(72, { min: UNIT, multipleOf: UNIT }),
  reserved: reserved(80, 4016),
});

export const RegionTableHeader = struct('VHDX region table', 'le', 16, '[MS-VHDX] §2.2.3.1', {
  signature: u32(0, { equals: Signature.regionTable }),
  /** CRC-32C of all 64 KiB. */
  checksum: u32(4),
  entryCount: u32(8, { max: MAX_ENTRIES }),
  reserved: reserved(12, 4),
});

export const RegionTableEntry = struct('VHDX region table entry', 'le', 32, '[MS-VHDX] §2.2.3.2', {
  guid: bytes(0, 16),
  fileOffset: u64(16, { min: UNIT, multipleOf: UNIT }),
  length: u32(24, { min: UNIT, multipleOf: UNIT }),
  /** Bit 0: whoever does not know this region must not open the file. QEMU writes 0 for all. */
  required: u32(28),
});

export const RegionGuid = {
  bat: '2dc27766-f623-4200-9d64-115e9bfd4a08',
  metadata: '8b7ca206-4790-4b9a-b8fe-575f050f886e',
} as const;

/** §2.3.1.1: the first of a log entry's sectors begins with it; descriptors follow it. */
export const LogEntryHeader = struct('VHDX log entry header', 'le', 64, '[MS-VHDX] §2.3.1.1', {
  signature: u32(0, { equals: Signature.logEntry }),
  /** CRC-32C of the whole entry. */
  checksum: u32(4),
  /** Bytes of the entry, in sectors. */
  entryLength: u32(8),
  /** Where in the ring the oldest entry begins that must still be replayed with this one. */
  tail: u32(12),
  sequenceNumber: bits64(16),
  descriptorCount: u32(24),
  reserved: reserved(28, 4),
  logGuid: bytes(32, 16),
  /** The file had at least this length when the entry was written. */
  flushedFileOffset: u64(48),
  /** The file must have at least this length after the replay. */
  lastFileOffset: u64(56),
});

export const LOG_SECTOR = 4096;
export const DESCRIPTOR_BYTES = 32;
/** A descriptor takes the place of as many as the header would need. */
export const HEADER_DESCRIPTORS = LogEntryHeader.size / DESCRIPTOR_BYTES;

export const ZeroDescriptor = struct('VHDX zero descriptor', 'le', DESCRIPTOR_BYTES, '[MS-VHDX] §2.3.1.2', {
  signature: u32(0, { equals: Signature.zeroDescriptor }),
  reserved: reserved(4, 4),
  zeroLength: u64(8, { multipleOf: LOG_SECTOR }),
  fileOffset: u64(16, { multipleOf: LOG_SECTOR }),
  /** The entry's; so are those of data descriptors and data sectors. */
  sequenceNumber: bits64(24),
});

export const DataDescriptor = struct('VHDX data descriptor', 'le', DESCRIPTOR_BYTES, '[MS-VHDX] §2.3.1.3', {
  signature: u32(0, { equals: Signature.dataDescriptor }),
  /** What the signature and sequence numbers of the data sector displace: its last four and first eight bytes. */
  trailingBytes: bytes(4, 4),
  leadingBytes: bytes(8, 8),
  fileOffset: u64(16, { multipleOf: LOG_SECTOR }),
  sequenceNumber: bits64(24),
});

export const DataSector = struct('VHDX log data sector', 'le', LOG_SECTOR, '[MS-VHDX] §2.3.1.4', {
  signature: u32(0, { equals: Signature.dataSector }),
  sequenceHigh: u32(4),
  data: bytes(8, 4084),
  sequenceLow: u32(4092),
});

export const MetadataTableHeader = struct('VHDX metadata table', 'le', 32, '[MS-VHDX] §2.6.1.1', {
  signature: bytes(0, 8, [0x6d, 0x65, 0x74, 0x61, 0x64, 0x61, 0x74, 0x61]),
  reserved: reserved(8, 2),
  entryCount: u16(10, { max: MAX_ENTRIES }),
  reserved2: reserved(12, 20),
});
/** §2.6.1: items begin behind the table. */
export const METADATA_TABLE_BYTES = 64 * KiB;

export const MetadataFlag = { isUser: 1, isVirtualDisk: 2, isRequired: 4 } as const;

export const MetadataTableEntry = struct('VHDX metadata table entry', 'le', 32, '[MS-VHDX] §2.6.1.2', {
  itemId: bytes(0, 16),
  /** From the start of the region; 0 where the length is. */
  offset: u32(16),
  length: u32(20, { max: MiB }),
  /** {@link MetadataFlag}; the other bits are reserved. */
  flags: u32(24),
  reserved: reserved(28, 4),
});

export const FileParameters = struct('VHDX file parameters', 'le', 8, '[MS-VHDX] §2.6.2.1', {
  blockSize: u32(0, { min: MIN_BLOCK_SIZE, max: MAX_BLOCK_SIZE, powerOfTwo: true }),
  /** {@link FileParameter}. */
  flags: bits32(4, { known: 3n }),
});
export const FileParameter = { leaveBlocksAllocated: 1, hasParent: 2 } as const;

export const VirtualDiskSize = struct('VHDX virtual disk size', 'le', 8, '[MS-VHDX] §2.6.2.2', {
  virtualDiskSize: u64(0, { max: MAX_VIRTUAL_SIZE, multipleOf: 512 }),
});

export const VirtualDiskId = struct('VHDX virtual disk ID', 'le', 16, '[MS-VHDX] §2.6.2.3', {
  /** What the guest's SCSI page 83 says; the same in all layers of a chain. */
  virtualDiskId: bytes(0, 16),
});

export const LogicalSectorSize = struct('VHDX logical sector size', 'le', 4, '[MS-VHDX] §2.6.2.4', {
  logicalSectorSize: u32(0, { oneOf: SECTOR_SIZES }),
});

export const PhysicalSectorSize = struct('VHDX physical sector size', 'le', 4, '[MS-VHDX] §2.6.2.5', {
  physicalSectorSize: u32(0, { oneOf: SECTOR_SIZES }),
});

export const ItemGuid = {
  fileParameters: 'caa16737-fa36-4d43-b3b6-33f0aa44e76b',
  virtualDiskSize: '2fa54224-cd1b-4876-b211-5dbed83bf4b8',
  virtualDiskId: 'beca12ab-b2e6-4523-93ef-c309e000c746',
  logicalSectorSize: '8141bf1d-a96f-4709-ba47-f233a8faab5f',
  physicalSectorSize: 'cda348c7-445d-4471-9cc9-e9885251c556',
  parentLocator: 'a8d35f2d-b30b-454d-abf7-d3d84834ab0c',
} as const;

/** §2.6.2.6.3: the parent is a VHDX. */
export const VHDX_LOCATOR_TYPE = 'b04aefb7-d19e-4a81-b789-25b8e9445913';

export const ParentLocatorHeader = struct('VHDX parent locator', 'le', 20, '[MS-VHDX] §2.6.2.6.1', {
  locatorType: bytes(0, 16),
  reserved: reserved(16, 2),
  keyValueCount: u16(18, { limit: MAX_LOCATOR_KEYS }),
});

/** Offsets from the start of the item, lengths in bytes. */
export const ParentLocatorEntry = struct('VHDX parent locator entry', 'le', 12, '[MS-VHDX] §2.6.2.6.2', {
  keyOffset: u32(0, { min: 1 }),
  valueOffset: u32(4, { min: 1 }),
  keyLength: u16(8, { min: 2, multipleOf: 2 }),
  valueLength: u16(10, { min: 2, multipleOf: 2 }),
});

/** §2.5.1: bits 0 to 2 of a BAT entry. States of sector bitmap blocks are 0 and 6. */
export const BlockState = {
  notPresent: 0,
  undefined: 1,
  zero: 2,
  unmapped: 3,
  fullyPresent: 6,
  partiallyPresent: 7,
} as const;

const STATE_NAMES = [
  'PAYLOAD_BLOCK_NOT_PRESENT',
  'PAYLOAD_BLOCK_UNDEFINED',
  'PAYLOAD_BLOCK_ZERO',
  'PAYLOAD_BLOCK_UNMAPPED',
  undefined,
  undefined,
  'PAYLOAD_BLOCK_FULLY_PRESENT',
  'PAYLOAD_BLOCK_PARTIALLY_PRESENT',
];

export function blockStateName(state: number): string {
  return STATE_NAMES[state] ?? `unknown-${state}`;
}

/** §2.5.1: the halves of a 64-bit BAT entry. Bits 3 to 19 are reserved, bits 20 to 63 count MiB. */
export const BatEntry = { bytes: 8, stateLow: 7, offsetLow: 0xfff00000, high: 2 ** 32 } as const;

/** §2.4: sectors that one sector bitmap block of 1 MiB describes: a chunk. */
export const CHUNK_SECTORS = 2 ** 23;
