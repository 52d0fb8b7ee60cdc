/**
 * The contract between formats and the engine. A format describes (block map in, layout and metadata out); the engine
 * moves guest bytes. Both engines (native.ts; later portable.ts) implement {@link Engine} and agree byte for byte on
 * uncompressed output.
 */
import type { SystemCalls } from '../io/system.ts';
import type { DataFile } from '../map/data-file.ts';
import type { BlockMap } from '../map/extents.ts';
import type { Allocation, Layout, Piece, Writer } from '../map/layout.ts';

export type Sink =
  /** A regular file, new and empty: positioned writes, holes are zeros. `name` is for messages. */
  | { kind: 'file'; fd: number; name: string }
  /**
   * A pipe, or anything that only takes the next byte. `front` is everything before the layout's `dataStart`. Tables come
   * from the job's writer where they follow their data; else they were computed `ahead`, in any order.
   */
  | { kind: 'sequential'; to: Outlet; name: string; front: readonly Piece[]; ahead?: Ahead }
  /** Nowhere: the same pipeline, which leaves one bit a block (see {@link CopyResult.stored}). */
  | { kind: 'scan' };

/**
 * Where a stream's bytes go: a descriptor, or whoever takes them a piece at a time, of at most 1 MiB, and keeps them; the
 * next piece comes when `write` has resolved.
 */
export type Outlet = { fd: number } | { write(bytes: Uint8Array): Promise<void> };

/** The tables of a stream that a scan foresaw. */
export interface Ahead {
  pieces: AsyncIterable<readonly Piece[]>;
  /** The output's length. */
  size: number;
}

export interface CopyJob {
  files: readonly DataFile[];
  map: BlockMap;
  /** Bytes of the virtual disk, or of the range of it that goes into this file. */
  virtualSize: number;
  /**
   * Where that range begins on the disk; with a fingerprint a multiple of 64 KiB. Default 0. The map covers exactly
   * [rangeStart, rangeStart + virtualSize); the layout's block 0 begins at `rangeStart`.
   */
  rangeStart?: number | undefined;
  /** Make {@link CopyResult.fingerprint}. */
  fingerprint?: boolean | undefined;
  /** The fingerprint of the jobs before, of which this one's goes on. */
  fingerprintSoFar?: Uint8Array | undefined;
  /** For the writer's {@link Content}: what the file before kept. */
  storedBefore?: Uint8Array | undefined;
  /** Make {@link CopyResult.digest}. */
  digest?: DigestMethod | undefined;
  /** Make {@link CopyResult.stored} for a file too. */
  keepStored?: boolean | undefined;
  layout: Layout;
  sink: Sink;
  /** Turns what the engine placed, in virtual order, into tables, which the engine writes. Not for `scan` or `ahead`. */
  writer?: Writer;
  options: CopyOptions;
}

/** SHA-256 over blocks that are hashed by themselves (blkhash), or (`blockSize` 0) over the disk's bytes in order. */
export interface DigestMethod {
  /** A power of two from 512 to 16 MiB, or 0. */
  blockSize: number;
}

export interface CopyOptions {
  /** Worker threads; default: the CPUs this process may use. */
  threads?: number | undefined;
  /** The unit of work in bytes, a power of two, 64 KiB to 16 MiB; default 1 MiB. Never changes the output. */
  chunkBytes?: number | undefined;
  /** Runs of zeros of this many bytes, so aligned, are not written; power of two; 0 stores every byte. Default 4096. */
  zeroGranularity?: number | undefined;
  /** Called a few times a second with virtual bytes done. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** For tests of the engine alone: each unit waits up to this many microseconds, unevenly, before its turn. */
  testJitter?: number | undefined;
}

export interface CopyResult {
  /** Host bytes up to which the layout has placed something. */
  hostEnd: number;
  /** The output's length; for a file sink the caller sets it (the file may be shorter where it ends in zeros). */
  size: number;
  /** Guest bytes that were not zero, in whole zero-granularity units. */
  dataBytes: number;
  /** 16 bytes that follow from the guest's content in this range and, added, in those before it. */
  fingerprint?: Uint8Array;
  /** Of the job's range. */
  digest?: Uint8Array;
  /** `scan`, `keepStored`, and streams with tables from ahead: one bit a block, least significant first, 1 where it is stored. */
  stored?: Uint8Array;
}

/** A disk to compare: a map of [0, size) and the files that it points into. */
export interface Side {
  files: readonly DataFile[];
  map: BlockMap;
}

export interface CompareJobOptions extends Pick<CopyOptions, 'threads' | 'onProgress' | 'signal'> {
  /** Present: compare all of it and tell which blocks of this many bytes differ. Absent: stop at the first difference. */
  blockSize?: number | undefined;
}

export interface Comparison {
  /** Guest offset of the first byte that differs. */
  firstDifference?: number;
  /** One bit a block, least significant first, 1 where it differs. */
  differs?: Uint8Array;
  /** Guest bytes that were read, both sides together. */
  bytesRead: number;
}

export interface Engine extends SystemCalls {
  readonly name: 'native' | 'portable';
  /** Throws VdconvError: what a source or the map threw, or `read`, `truncated`, `corrupt`, `write`, `aborted`. */
  copy(job: CopyJob): Promise<CopyResult>;
  /** Compares two disks of `size` bytes. What both maps call zero, or take from the same place, is not read. */
  compare(a: Side, b: Side, size: number, options: CompareJobOptions): Promise<Comparison>;
  /** The guest bytes of a map that covers [offset, offset + length). */
  read(files: readonly DataFile[], map: BlockMap, offset: number, length: number): Promise<Uint8Array>;
  /**
   * Placement alone over the bits that a scan left: what {@link copy} would report, without touching data. Returns the
   * end of everything placed.
   */
  replay(layout: Layout, stored: Uint8Array): Generator<Allocation, number>;
  /** Reserves the space of [0, size) of a file; false where this engine or the file system cannot. */
  allocate(fd: number, size: number): boolean;
}
