/**
 * QCOW2 on disk: structures, masks and limits. All numbers are big-endian.
 *
 * Spec: "Qcow2 Image File Format", QEMU docs/interop/qcow2, versions 2 and 3, as of QEMU 10.0. Sections are cited by
 * their titles; "qemu limit" marks a bound that is QEMU's own and not the specification's.
 */
import { bits64, bytes, reserved, struct, u8, u16, u32, u64 } from '../../base/struct.ts';
import { MiB } from '../../base/units.ts';

const HEADER = 'QCOW2 §Header';

/** "QFI\xfb". */
export const MAGIC = 0x514649fb;

/** Spec: at least 9; qemu limit: 21, which bounds every buffer of one cluster to 2 MiB. */
export const MIN_CLUSTER_BITS = 9;
export const MAX_CLUSTER_BITS = 21;

/** qemu limits. */
export const MAX_L1_BYTES = 32 * MiB;
export const MAX_REFCOUNT_TABLE_BYTES = 8 * MiB;
export const MAX_SNAPSHOTS = 65536;
export const MAX_SNAPSHOT_TABLE_BYTES = 64 * MiB;
export const MAX_SNAPSHOT_EXTRA_BYTES = 1024;
export const MAX_BITMAP_DIRECTORY_BYTES = 64 * MiB;
export const MAX_BACKING_NAME = 1023;
export const MAX_BACKING_FORMAT = 15;
/** Ours: an image has five kinds of extensions, so more than this many is an attempt to keep us busy. */
export const MAX_EXTENSIONS = 256;

const v2Fields = {
  magic: u32(0, { equals: MAGIC, code: 'wrong-format', says: 'must be 0x514649fb, "QFI\\xfb"' }),
  version: u32(4, { oneOf: [2, 3], code: 'unsupported', says: 'vdconv reads versions 2 and 3' }),
  /** Bytes; 0: no backing file. The name lies in the first cluster and ends the area of header extensions. */
  backingFileOffset: u64(8),
  /** Bytes, no terminating NUL. qemu limit: 1023. */
  backingFileSize: u32(16),
  clusterBits: u32(20, { min: MIN_CLUSTER_BITS, limit: MAX_CLUSTER_BITS }),
  /** Virtual size in bytes. */
  size: u64(24, { code: 'limit' }),
  /** 0 none, 1 AES, 2 LUKS. */
  cryptMethod: u32(32, { oneOf: [0, 1, 2], code: 'unsupported' }),
  /** Entries; may be more than the size needs, never less. */
  l1Size: u32(36, { limit: MAX_L1_BYTES / 8 }),
  l1TableOffset: u64(40),
  refcountTableOffset: u64(48),
  refcountTableClusters: u32(56, { min: 1 }),
  nbSnapshots: u32(60, { limit: MAX_SNAPSHOTS }),
  snapshotsOffset: u64(64),
};

/** Version 2, and the part of version 3 that it shares. */
export const headerV2 = struct('QCOW2 header', 'be', 72, HEADER, v2Fields);

export const headerV3 = struct('QCOW2 header', 'be', 104, HEADER, {
  ...v2Fields,
  /** Unknown bits must be refused; the image may name them itself, so features.ts checks them. */
  incompatibleFeatures: bits64(72),
  compatibleFeatures: bits64(80),
  autoclearFeatures: bits64(88),
  /** Refcounts are 1 << refcountOrder bits wide. */
  refcountOrder: u32(96, { max: 6 }),
  /** Bytes; header extensions begin here. */
  headerLength: u32(100, { min: 104 }),
});

/** The additional fields of version 3 as QEMU writes them, after {@link headerV3}. */
export const headerAdditional = struct('QCOW2 header, additional fields', 'be', 8, HEADER, {
  /** At 104, there when headerLength > 104. See {@link CompressionType}. */
  compressionType: u8(0),
  padding: reserved(1, 7),
});
export const COMPRESSION_TYPE_OFFSET = headerV3.size;

export const CompressionType = { deflate: 0, zstd: 1 } as const;

/** QCOW2 §Header extensions. `length` excludes itself, `type` and the padding to 8 bytes that follows the data. */
export const headerExtension = struct('QCOW2 header extension', 'be', 8, 'QCOW2 §Header extensions', {
  type: u32(0),
  length: u32(4),
});

export const ExtensionType = {
  end: 0,
  backingFormat: 0xe2792aca,
  featureNames: 0x6803f857,
  bitmaps: 0x23852875,
  dataFile: 0x44415441,
  encryption: 0x0537be77,
} as const;

/** QCOW2 §Feature name table: entries of 48 bytes. `type` as in features.ts; the name is padded with NULs. */
export const featureName = struct('QCOW2 feature name', 'be', 48, 'QCOW2 §Feature name table', {
  type: u8(0),
  bit: u8(1),
  name: bytes(2, 46),
});

export const bitmapsExtension = struct('QCOW2 bitmaps extension', 'be', 24, 'QCOW2 §Bitmaps extension', {
  nbBitmaps: u32(0, { min: 1, max: 65535 }),
  reserved: reserved(4, 4),
  bitmapDirectorySize: u64(8, { limit: MAX_BITMAP_DIRECTORY_BYTES }),
  bitmapDirectoryOffset: u64(16),
});

/** QCOW2 §Bitmap directory: extra data and the name follow, then padding to 8 bytes. */
export const bitmapEntry = struct('QCOW2 bitmap directory entry', 'be', 24, 'QCOW2 §Bitmap directory', {
  bitmapTableOffset: u64(0),
  bitmapTableSize: u32(8),
  flags: u32(12),
  /** 1: dirty tracking, the only one there is. */
  type: u8(16, { equals: 1, code: 'unsupported' }),
  /** log2 of the bytes that one bit stands for; qemu limits. */
  granularityBits: u8(17, { min: 9, max: 31 }),
  nameSize: u16(18, { min: 1, max: 1023 }),
  extraDataSize: u32(20),
});
/** Of `flags`: the bitmap goes on recording. */
export const BITMAP_AUTO = 2;

/** QCOW2 §Full disk encryption header pointer: where the LUKS header is, with encryption method 2. Bytes. */
export const encryptionExtension = struct('QCOW2 encryption header pointer', 'be', 16, 'QCOW2 §Encryption', {
  offset: u64(0),
  length: u64(8),
});

/** QCOW2 §Snapshots: extra data, id string and name follow, then padding to 8 bytes. */
export const snapshotHeader = struct('QCOW2 snapshot table entry', 'be', 40, 'QCOW2 §Snapshots', {
  l1TableOffset: u64(0),
  l1Size: u32(8),
  /** Bytes, no terminating NUL; so is nameSize. */
  idStrSize: u16(12),
  nameSize: u16(14),
  dateSec: u32(16),
  dateNsec: u32(20),
  vmClockNsec: bits64(24),
  vmStateSize: u32(32),
  extraDataSize: u32(36, { limit: MAX_SNAPSHOT_EXTRA_BYTES }),
});

/**
 * The high and low halves of the 64-bit entries of L1 and L2 tables. JavaScript's bit operations have 32 bits, and a
 * bigint an entry would cost more than the rest of the reader.
 */
export const Entry = {
  /** Bit 63: refcount is exactly one. Never on compressed clusters. */
  copiedHigh: 0x80000000,
  /** Bit 62 of an L2 entry. */
  compressedHigh: 0x40000000,
  /** Whatever a plain cluster of an L2 table has not: reserved bits, the compressed bit. */
  unusualHigh: 0x7f000000,
  /** Bits 9 to 55. */
  offsetHigh: 0x00ffffff,
  offsetLow: 0xfffffe00,
  /** Bit 0 of a standard L2 entry, version 3: reads as zeros. */
  zeroLow: 1,
  /** QCOW2 §L1 table entry: bits 0-8 and 56-62 are reserved. */
  l1ReservedHigh: 0x7f000000,
  l1ReservedLow: 0x1ff,
  /** QCOW2 §Standard Cluster Descriptor: bits 1-8 and 56-61 are reserved. */
  l2ReservedHigh: 0x3f000000,
  l2ReservedLow: 0x1fe,
} as const;

/** Bytes of an L1 entry and of an L2 entry; QCOW2 §Extended L2 Entries: there a bitmap of subclusters follows it. */
export const ENTRY_BYTES = 8;
export const EXTENDED_ENTRY_BYTES = 16;
/** Subclusters of a cluster: one bit each of the bitmap's two halves. */
export const SUBCLUSTERS = 32;
/** QCOW2 §Extended L2 Entries: a subcluster is at least a sector. */
export const MIN_EXTENDED_CLUSTER_BITS = 14;

/**
 * QCOW2 §Compressed Clusters Descriptor: bits 0 to x - 1 are the host offset, x to 61 the additional sectors, where
 * x = 62 - (clusterBits - 8). x lies in the high half for every legal cluster size (49 to 61).
 */
export function compressedOffsetBits(clusterBits: number): number {
  return 62 - (clusterBits - 8);
}

/** Bits of a host offset that a compressed descriptor may use; the rest of the field is reserved. */
export const MAX_OFFSET_BITS = 56;
