/**
 * Spec: VirtualBox VDI 1.1, which has no document but VirtualBox's VDICore.h: VDIPREHEADER, VDIHEADER1, VDIHEADER1PLUS.
 * Little-endian. What qemu demands beside that is marked as its limit.
 */
import { bits32, bytes, reserved, type StructValues, struct, u32, u64 } from '../../base/struct.ts';
import { MiB, SECTOR } from '../../base/units.ts';

export const SIGNATURE = 0xbeda107f;
/** Major and minor as 16 bits each. */
export const VERSION_1_1 = 0x00010001;

export const ImageType = { dynamic: 1, static: 2, undo: 3, differencing: 4 } as const;

/** `headerSize` counts from itself. This one has all fields but the LCHS geometry at the end; qemu writes it. */
export const HEADER_SIZE = 0x180;
/** With the LCHS geometry; VirtualBox writes it. */
export const HEADER_SIZE_PLUS = 0x190;
/** What stands before the part that `headerSize` counts. */
export const PREHEADER_BYTES = 0x48;

export const ENTRY_BYTES = 4;
/** Block map entry: never written; a child's parent shows. */
export const BLOCK_FREE = 0xffffffff;
/** Block map entry: zeros, whatever a parent has. */
export const BLOCK_ZERO = 0xfffffffe;

/** The block size of VirtualBox and the only one that qemu takes. */
export const BLOCK_SIZE = MiB;
/** vdconv's limit on `blockSize`. */
export const MAX_BLOCK_BYTES = 256 * MiB;
/** qemu's limit on `blocksInImage`, which keeps the map below 2 GiB. */
export const MAX_BLOCKS = 0x1fffff80;

export const Header = struct('VDI header', 'le', 0x1c8, 'VDI 1.1 VDIHEADER1', {
  /** What made it, for people. */
  text: bytes(0, 64),
  signature: u32(0x40, { equals: SIGNATURE, code: 'wrong-format' }),
  version: u32(0x44, { min: 0x00010000, max: 0x0001ffff, code: 'unsupported', says: 'vdconv reads version 1' }),
  headerSize: u32(0x48, { min: HEADER_SIZE }),
  imageType: u32(0x4c, { oneOf: Object.values(ImageType), code: 'unsupported' }),
  /** Bit 0 asked for zeros when the file was made. VirtualBox refuses others. */
  flags: bits32(0x50, { known: 1n }),
  /** UTF-8, padded with NUL. */
  comment: bytes(0x54, 256),
  /** Bytes, of the block map. qemu limit: multiple of 512. */
  offsetBlocks: u32(0x154, { min: SECTOR, multipleOf: SECTOR }),
  /** Bytes, of block 0 of the file. qemu limit: multiple of 512. */
  offsetData: u32(0x158, { min: SECTOR, multipleOf: SECTOR }),
  legacyCylinders: u32(0x15c),
  legacyHeads: u32(0x160),
  legacySectors: u32(0x164),
  sectorSize: u32(0x168, { equals: SECTOR, code: 'unsupported' }),
  unused1: reserved(0x16c, 4),
  /** Bytes of the virtual disk; VirtualBox makes some that are no multiple of 512. */
  diskSize: u64(0x170, { min: 1 }),
  /** Bytes. */
  blockSize: u32(0x178, { min: SECTOR, powerOfTwo: true, limit: MAX_BLOCK_BYTES }),
  /** Bytes before each block. Nobody writes other than 0, and qemu would misread it. */
  blockExtra: u32(0x17c, { equals: 0, code: 'unsupported' }),
  blocksInImage: u32(0x180, { min: 1, limit: MAX_BLOCKS }),
  blocksAllocated: u32(0x184),
  uuidImage: bytes(0x188, 16),
  /** Of the last change. */
  uuidModify: bytes(0x198, 16),
  /** `uuidImage` of the parent; zeros: none. */
  uuidLink: bytes(0x1a8, 16),
  /** `uuidModify` that the parent had. */
  uuidParentModify: bytes(0x1b8, 16),
});
export type Header = StructValues<typeof Header>;

/** Behind {@link Header} where `headerSize` is at least {@link HEADER_SIZE_PLUS}; means nothing to the guest's bytes. */
export const LchsGeometry = struct('VDI LCHS geometry', 'le', 56, 'VDI 1.1 VDIHEADER1PLUS', {
  cylinders: u32(0),
  heads: u32(4),
  sectors: u32(8),
  sectorSize: u32(12, { equals: SECTOR }),
  pad: reserved(16, 40),
});
