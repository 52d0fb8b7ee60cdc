/**
 * Spec: COWD (ESX vmfsSparse redo log), as libvmdk's documentation and qemu's block/vmdk.c give it. VMware published it
 * with ESX 2 only. Little-endian; offsets are in 512-byte sectors.
 */
import { bits32, bytes, reserved, type StructValues, struct, u32 } from '../../../base/struct.ts';
import type { Sectors } from '../../../base/units.ts';

/** `COWD` as a little-endian number. */
export const COWD_MAGIC = 0x44574f43;

/** Sectors of the header, before which no table can lie. */
export const HEADER_SECTORS: Sectors = 4;
/** Entries of a grain table: 16 KiB. */
export const GTES_PER_GT = 4096;

export const CowdHeader = struct('COWD header', 'le', 2048, 'COWD §Header', {
  magicNumber: u32(0, { equals: COWD_MAGIC, code: 'wrong-format' }),
  version: u32(4, { equals: 1, code: 'unsupported' }),
  /** 3 in every known file. */
  flags: bits32(8),
  /** Sectors of the guest's disk. */
  numSectors: u32(12, { min: 1 }),
  /** Sectors: 1 in ESX's own files. At most 1 MiB. */
  grainSize: u32(16, { min: 1, max: 2048, powerOfTwo: true }),
  /** Sector of the grain directory. */
  gdOffset: u32(20, { min: HEADER_SECTORS }),
  /** ceil(numSectors / (4096 * grainSize)) */
  numGDEntries: u32(24, { min: 1 }),
  /** Where the next grain or table goes. */
  freeSector: u32(28),
  /** Geometry of a root, or name of the parent: what ESX 2 used before there were descriptors. */
  rootOrChild: bytes(32, 1028),
  generation: u32(1060),
  name: bytes(1064, 60),
  description: bytes(1124, 512),
  savedGeneration: u32(1636),
  driverData: reserved(1640, 8),
  /** Not 0 while a writer has it open. */
  uncleanShutdown: u32(1648),
  pad: reserved(1652, 396),
});
export type CowdHeader = StructValues<typeof CowdHeader>;
