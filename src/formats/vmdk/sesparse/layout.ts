/**
 * Spec: seSparse 2.1 (ESXi space-efficient sparse extents), never published: as qemu's block/vmdk.c and dissect.hypervisor
 * found it. Little-endian; offsets and sizes are in 512-byte sectors.
 */
import { bits64, bytes, reserved, type StructValues, struct, u64 } from '../../../base/struct.ts';
import { SECTOR, type Sectors } from '../../../base/units.ts';
import { MAX_CAPACITY } from '../limits.ts';

export const SESPARSE_MAGIC = 0xcafebabe;

/** Grains of 4 KiB in every known file; the coding of entries rests on it. */
export const GRAIN_SECTORS: Sectors = 8;
/** A grain table of 32 KiB. */
export const GT_SECTORS: Sectors = 64;
/** Entries of directory and tables are u64. */
export const ENTRY_BYTES = 8;
export const GTES_PER_GT = (GT_SECTORS * SECTOR) / ENTRY_BYTES;

/** The upper half of a directory entry with a table; the lower half is its number. */
export const GDE_TABLE = 0x10000000;

/** Top four bits of a grain table entry. */
export const GrainType = {
  /** The parent shows. */
  unallocated: 0,
  /** Given back by the guest (SCSI UNMAP), and not yet reclaimed: reads as zeros (qemu). */
  unmapped: 1,
  zero: 2,
  allocated: 3,
} as const;

/** The part that never changes, at sector 0. */
export const ConstHeader = struct('seSparse header', 'le', SECTOR, 'seSparse 2.1 §Constant header', {
  magic: u64(0, { equals: SESPARSE_MAGIC, code: 'wrong-format' }),
  /** Major version in the upper half. */
  version: u64(8, { equals: 0x2_0000_0001, code: 'unsupported', says: 'vdconv knows version 2.1' }),
  /** Sectors of the guest's disk. */
  capacity: u64(16, { min: 1, limit: MAX_CAPACITY }),
  grainSize: u64(24, { equals: GRAIN_SECTORS, code: 'unsupported' }),
  grainTableSize: u64(32, { equals: GT_SECTORS, code: 'unsupported' }),
  flags: bits64(40, { known: 0n }),
  unknown: bytes(48, 32),
  volatileHeaderOffset: u64(80, { min: 1 }),
  volatileHeaderSize: u64(88),
  journalHeaderOffset: u64(96),
  journalHeaderSize: u64(104),
  journalOffset: u64(112),
  journalSize: u64(120),
  grainDirOffset: u64(128, { min: 1 }),
  grainDirSize: u64(136, { min: 1 }),
  grainTablesOffset: u64(144, { min: 1 }),
  grainTablesSize: u64(152),
  freeBitmapOffset: u64(160),
  freeBitmapSize: u64(168),
  backmapOffset: u64(176),
  backmapSize: u64(184),
  grainsOffset: u64(192, { min: 1 }),
  grainsSize: u64(200),
  pad: reserved(208, 304),
});
export type ConstHeader = StructValues<typeof ConstHeader>;

/** The part that changes, at `volatileHeaderOffset`. */
export const VolatileHeader = struct('seSparse volatile header', 'le', SECTOR, 'seSparse 2.1 §Volatile header', {
  magic: u64(0, { equals: 0xcafecafe }),
  freeGTNumber: bits64(8),
  nextTxnSeqNumber: bits64(16),
  replayJournal: u64(24, {
    equals: 0,
    code: 'unsupported',
    says: 'must be 0: the image was not closed, and no one outside VMware knows how its journal is replayed',
  }),
  pad: reserved(32, 480),
});
