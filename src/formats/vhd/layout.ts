/**
 * Spec: Microsoft, Virtual Hard Disk Image Format Specification 1.0 (2006): §Hard Disk Footer Format, §Dynamic Disk Header
 * Format, §Block Allocation Table and Data Blocks. Big-endian; sectors have 512 bytes.
 */
import { bits32, bits64, bytes, reserved, type StructValues, struct, u8, u16, u32, u64 } from '../../base/struct.ts';
import { alignUp, divCeil, GiB, MiB, SECTOR } from '../../base/units.ts';

/** `conectix`, which is 8 bytes long as Connectix is not. */
export const FOOTER_COOKIE = [0x63, 0x6f, 0x6e, 0x65, 0x63, 0x74, 0x69, 0x78] as const;
/** `cxsparse` */
export const HEADER_COOKIE = [0x63, 0x78, 0x73, 0x70, 0x61, 0x72, 0x73, 0x65] as const;

export const DiskType = { fixed: 2, dynamic: 3, differencing: 4 } as const;

/** Both structures have this version, major and minor as 16 bits each. */
export const VERSION_1 = 0x00010000;
/** An offset that leads nowhere. */
export const NO_OFFSET = 0xffff_ffff_ffff_ffffn;
/** The bit of `features` that is always set. */
export const FEATURE_RESERVED = 1 << 1;

/** What BAT entries can reach, less what Hyper-V and qemu leave for tables: 2040 GiB. */
export const MAX_DISK_BYTES = 2040 * GiB;
/** vdconv's limit on `blockSize`; others make 512 KiB to 32 MiB. */
export const MAX_BLOCK_BYTES = 256 * MiB;

export const ENTRY_BYTES = 4;
/** BAT entry: nothing here, the parent shows. */
export const BAT_UNUSED = 0xffffffff;

export const Footer = struct('VHD footer', 'be', SECTOR, 'VHD 1.0 §Hard Disk Footer Format', {
  cookie: bytes(0, 8, FOOTER_COOKIE),
  /** Bit 0: temporary disk. Bit 1 is always set, but by Virtual PC before 2004. */
  features: bits32(8),
  fileFormatVersion: u32(12, { equals: VERSION_1, code: 'unsupported' }),
  /** Of the dynamic header, bytes from the start of the file; {@link NO_OFFSET} for a fixed disk. */
  dataOffset: bits64(16),
  /** Seconds since 2000-01-01 00:00:00 UTC. */
  timeStamp: u32(24),
  /** Four characters: `win `, `vpc `, `vbox`, `qemu`, … */
  creatorApplication: bytes(28, 4),
  /** Major and minor as 16 bits each. */
  creatorVersion: u32(32),
  /** `Wi2k` or `Mac `. */
  creatorHostOS: bytes(36, 4),
  originalSize: bits64(40),
  /** Bytes of the virtual disk. */
  currentSize: u64(48, { min: SECTOR, multipleOf: SECTOR }),
  cylinders: u16(56),
  heads: u8(58),
  sectorsPerTrack: u8(59),
  diskType: u32(60, {
    oneOf: Object.values(DiskType),
    code: 'unsupported',
    says: 'must be 2 fixed, 3 dynamic or 4 differencing',
  }),
  /** See checksum.ts. */
  checksum: u32(64),
  uniqueId: bytes(68, 16),
  /** Not 0: a virtual machine that was suspended uses the disk. */
  savedState: u8(84),
  pad: reserved(85, 427),
});
export type Footer = StructValues<typeof Footer>;

export const LOCATORS = 8;
export const LOCATOR_BYTES = 24;
export const UNICODE_NAME_BYTES = 512;

export const DynamicHeader = struct('VHD dynamic header', 'be', 1024, 'VHD 1.0 §Dynamic Disk Header Format', {
  cookie: bytes(0, 8, HEADER_COOKIE),
  /** Unused. The specification says 0xffffffff, everyone writes {@link NO_OFFSET}. */
  dataOffset: bits64(8),
  /** Bytes. Of the BAT. */
  tableOffset: u64(16, { min: SECTOR, multipleOf: SECTOR }),
  headerVersion: u32(24, { equals: VERSION_1, code: 'unsupported' }),
  /** Entries of the BAT; more than the disk has blocks is legal. */
  maxTableEntries: u32(28),
  /** Bytes, the bitmap not counted. */
  blockSize: u32(32, { min: SECTOR, powerOfTwo: true, limit: MAX_BLOCK_BYTES }),
  checksum: u32(36),
  /** `uniqueId` of the parent's footer. */
  parentUniqueId: bytes(40, 16),
  /** When the parent file was last written, as the footer's `timeStamp`. */
  parentTimeStamp: u32(56),
  reserved1: reserved(60, 4),
  /** UTF-16 big-endian, padded with NUL. */
  parentUnicodeName: bytes(64, UNICODE_NAME_BYTES),
  parentLocators: bytes(576, LOCATORS * LOCATOR_BYTES),
  pad: reserved(768, 256),
});
export type DynamicHeader = StructValues<typeof DynamicHeader>;

export const ParentLocator = struct('VHD parent locator', 'be', LOCATOR_BYTES, 'VHD 1.0 §Parent Locator Entries', {
  platformCode: u32(0),
  /** Sectors by the specification, bytes by Virtual PC and Hyper-V: not used. */
  platformDataSpace: u32(4),
  /** Bytes of the locator's data. */
  platformDataLength: u32(8),
  reserved1: reserved(12, 4),
  platformDataOffset: u64(16),
});

/** `platformCode` of the locators that name a file in a way that is documented. */
export const Platform = {
  /** Relative Windows path, UTF-16 little-endian. */
  W2ru: 0x57327275,
  /** Absolute Windows path, UTF-16 little-endian. */
  W2ku: 0x57326b75,
  /** File URL, UTF-8. */
  MacX: 0x4d616358,
} as const;

/** One bit a sector of the block, padded to whole sectors. VHD 1.0 §Data Blocks. */
export function bitmapBytes(blockSize: number): number {
  return alignUp(divCeil(blockSize, 8 * SECTOR), SECTOR);
}
