/**
 * Spec: VMware, Virtual Disk Format 5.0 (technote, 2011): §Hosted sparse extents, §Stream-optimized compressed sparse
 * extents. Little-endian; every offset and size in headers and tables is in 512-byte sectors unless said otherwise.
 */
import { bits32, bits64, bytes, reserved, type StructValues, struct, u8, u16, u32, u64 } from '../../../base/struct.ts';
import { SECTOR, type Sectors } from '../../../base/units.ts';
import { MAX_CAPACITY } from '../limits.ts';

/** `KDMV` as a little-endian number. */
export const HOSTED_MAGIC = 0x564d444b;

/** Bits of `flags`. The low 16 are compatible, the high 16 incompatible: an unknown high one must be refused. */
export const Flag = {
  newlineTest: 1 << 0,
  redundantDirectory: 1 << 1,
  zeroedGrains: 1 << 2,
  compressed: 1 << 16,
  markers: 1 << 17,
} as const;
const KNOWN_FLAGS = 0x3ffffn;

/** `gdOffset` of a file whose grain directory is found through the footer. */
export const GD_AT_END = 0xffffffffffffffffn;

/** Line feed, space, carriage return, line feed: a transfer in text mode damages them. */
export const NEWLINE_TEST = [0x0a, 0x20, 0x0d, 0x0a] as const;

/** qemu's limit on `grainSize`: 1 GiB. */
export const MAX_GRAIN_SIZE: Sectors = 0x200000;
/** vdconv's limit on a compressed grain: 4 MiB, the largest unit that a codec decodes at once. */
export const MAX_COMPRESSED_GRAIN: Sectors = 8192;

/** First sector of a sparse extent file, and its second last one (the footer) where `gdOffset` is {@link GD_AT_END}. */
export const SparseExtentHeader = struct('VMDK sparse extent header', 'le', SECTOR, 'VMDK 5.0 §Hosted sparse extents', {
  magicNumber: u32(0, { equals: HOSTED_MAGIC, code: 'wrong-format' }),
  /** 1; 2 where zeroed grains may be; 3 stream-optimized or with change tracking. */
  version: u32(4, { oneOf: [1, 2, 3], code: 'unsupported' }),
  flags: bits32(8, { known: KNOWN_FLAGS }),
  /** Sectors of the guest's disk in this extent; should be a multiple of grainSize, in practice often is not. */
  capacity: u64(12, { limit: MAX_CAPACITY }),
  /** Sectors. Power of two, at least 8. */
  grainSize: u64(20, { min: 8, max: MAX_GRAIN_SIZE, powerOfTwo: true }),
  /** Sector of the embedded descriptor; 0: none. */
  descriptorOffset: u64(28),
  /** Sectors; the text is padded with NUL. */
  descriptorSize: u64(36),
  /** 512 in every known file. */
  numGTEsPerGT: u32(44, { min: 1, max: 512, powerOfTwo: true }),
  /** Redundant grain directory; means something only with {@link Flag.redundantDirectory}. */
  rgdOffset: bits64(48),
  gdOffset: bits64(56),
  /** First sector after header, descriptor and tables in front. */
  overHead: u64(64),
  /** Not 0 while a writer has it open. */
  uncleanShutdown: u8(72),
  newlineTest: bytes(73, 4),
  /** 0: none; 1: deflate, in fact a zlib stream (RFC 1950). */
  compressAlgorithm: u16(77, { oneOf: [0, 1], code: 'unsupported' }),
  pad: reserved(79, 433),
});
export type SparseExtentHeader = StructValues<typeof SparseExtentHeader>;

export const MarkerType = { endOfStream: 0, grainTable: 1, grainDirectory: 2, footer: 3 } as const;

/** The sector before each table of a stream-optimized file. A grain's marker has a size that is not 0 instead. */
export const MetadataMarker = struct('VMDK marker', 'le', SECTOR, 'VMDK 5.0 §Stream-optimized: markers', {
  /** Sectors of what follows. */
  numSectors: u64(0),
  size: u32(8, { equals: 0 }),
  type: u32(12),
  pad: reserved(16, 496),
});
