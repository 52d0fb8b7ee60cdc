/**
 * What a writer tells the engine (layout) and what the engine tells the writer (allocation). Layout is data and
 * placement a pure function of it, called once a stored block in virtual order, so the output never depends on thread
 * count or chunk size. native/core/src/placement.rs holds the function; its test vectors are
 * native/core/tests/placement/*.json, shared by both engines.
 */

/** Where guest blocks may go in the output. All sizes are bytes. */
export interface Layout {
  /** `flat`: guest byte n is at dataStart + n, nothing is allocated. `blocks`: blocks take places as they are met. */
  kind: 'flat' | 'blocks';
  /** First byte that may be allocated; everything before it (header, front tables) belongs to the writer. */
  dataStart: number;
  /** Unit of allocation (cluster, grain, block). Power of two. */
  blockSize: number;
  /** A plain block's bytes begin at an offset that is `dataPhase` modulo `dataAlign`. */
  dataAlign: number;
  dataPhase: number;
  /** Constant bytes directly before each plain block (VHD's sector bitmap): `prefixBytes` times `prefixFill`. */
  prefixBytes: number;
  prefixFill: number;
  /** Second-level tables (L2, grain table), each mapping `blocks` consecutive blocks. Absent: all tables are in front. */
  tables?: TableGroup;
  /** A table every `every` host bytes, placed when the allocation frontier enters its range (refcount block). */
  side?: { every: number; bytes: number };
  /** Absent: blocks are stored plain. */
  codec?: TargetCodec;
  /**
   * The output is a layer: the map says `unallocated` for whole blocks that the layer below has as they are, and every
   * other block that is all zero is placed as {@link Placed.zero}. A block of which the map says anything else in any
   * part is stored whole, with zeros where it says `unallocated`.
   */
  explicitZeros?: boolean;
  /**
   * Every block is placed, also where it is zero; zeros are not written all the same. With {@link explicitZeros}: every
   * block of which the map does not say `unallocated` throughout.
   */
  storeAll?: boolean;
}

export interface TableGroup {
  blocks: number;
  bytes: number;
  align: number;
  /** Bytes of a marker directly before the table (streamOptimized VMDK), otherwise 0. */
  marker: number;
  /** `before` its group's first stored block or `after` its last one. A group without stored blocks has no table. */
  place: 'before' | 'after';
}

export interface TargetCodec {
  name: 'deflate' | 'zlib' | 'zstd';
  /** 1 to 9; zstd to 22 (the portable engine has one level of it). */
  level: number;
  /** log2 of the window: 12 or 15; says nothing to zstd. */
  windowBits: number;
  /** Stored blocks begin at multiples of this: 1 (QCOW2) or 512 (VMDK). */
  packing: number;
  /** `grain-marker`: VMDK's 12-byte marker before each stored block. */
  framing: 'none' | 'grain-marker';
  /** A block that does not become smaller than itself: stored plain, or compressed all the same. */
  incompressible: 'plain' | 'compressed';
  /** At most this many stored blocks may touch one host cluster of `dataAlign` bytes (QCOW2 refcount); 0: no limit. */
  maxShare: number;
}

/** What an allocation entry is; numbers shared with native/core/src/log.rs. */
export const Placed = {
  /** `blocks` consecutive blocks from `index`, plain, at `offset`, offset + stride, … (stride = prefix + block size). */
  plain: 0,
  /** Block `index`, compressed to `stored` bytes at `offset` (framing included). */
  compressed: 1,
  /** Table of group `index` has the place `offset` (its marker lies before it). */
  table: 2,
  /** Side table number `index` has the place `offset`. */
  side: 3,
  /** `blocks` consecutive blocks from `index` are zeros that hide the layer below; they have no place. */
  zero: 4,
} as const;
export type Placed = (typeof Placed)[keyof typeof Placed];

/** Entries in the order of placement, column by column; the columns may be longer than `count`. */
export interface Allocation {
  count: number;
  kind: Uint8Array;
  index: Float64Array;
  blocks: Float64Array;
  offset: Float64Array;
  stored: Uint32Array;
}

/** A piece of metadata that a writer encoded, and its place in the output. */
export interface Piece {
  offset: number;
  bytes: Uint8Array;
}

/** Turns the allocation into metadata. Called in virtual order; holds a bounded part of the tables at a time. */
export interface Writer {
  /** Pieces that are complete after this batch. */
  add(batch: Allocation): Piece[];
  /**
   * The rest, front tables and header last. `size`: the output's length in bytes. `tables` come before `pieces` and are
   * made as they are taken: together they may be gigabytes.
   */
  finish(hostEnd: number, content?: Content): { tables?: Iterable<Piece>; pieces: Piece[]; size: number };
}

/** What a copy learnt of the guest's content, for writers that asked for it in their plan. */
export interface Content {
  /** 16 bytes that follow from the content alone, whatever moved it: of this file's range and of those before it. */
  fingerprint?: Uint8Array;
  /** Of the file before that kept it: one bit a block of its layout, least significant first, 1 where there is data. */
  stored?: Uint8Array;
}
