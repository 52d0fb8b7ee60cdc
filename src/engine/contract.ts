/**
 * The contract between formats and the engine. A format describes (block map in, layout and metadata out); the engine
 * moves guest bytes. Both engines (native.ts; later portable.ts) implement {@link Engine} and agree byte for byte on
 * uncompressed output.
 */
import type { DataFile } from '../map/data-file.ts';
import type { BlockMap } from '../map/extents.ts';
import type { Allocation, Layout, Piece } from '../map/layout.ts';

export type Sink =
  /** A regular file, new and empty: positioned writes, holes are zeros. */
  | { kind: 'file'; fd: number }
  /** A pipe or anything that only takes the next byte. `pieces` interleaves the metadata, in file order. */
  | { kind: 'sequential'; fd: number; size: number; pieces: AsyncIterable<Piece[]> }
  /** Nowhere: the same pipeline, which leaves one bit a block (see {@link CopyResult.stored}). */
  | { kind: 'scan' };

export interface CopyJob {
  files: readonly DataFile[];
  map: BlockMap;
  /** Bytes of the virtual disk; the map covers exactly [0, virtualSize). */
  virtualSize: number;
  layout: Layout;
  sink: Sink;
  /**
   * Called with what the engine placed, strictly in virtual order and awaited: the writer turns it into tables.
   * Absent for sinks that need no tables.
   */
  onAllocations?(batch: Allocation): void | Promise<void>;
  options: CopyOptions;
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
  /** For tests of the engine alone: each worker waits a random time of up to this many microseconds before its turn. */
  testJitter?: number | undefined;
}

export interface CopyResult {
  /** Host bytes up to which the layout has placed something: the least size of the output. */
  hostEnd: number;
  /** Guest bytes that were not zero, in whole zero-granularity units. */
  dataBytes: number;
  /** `scan` only: one bit a block, least significant first, 1 where the block is stored. */
  stored?: Uint8Array;
}

export interface Engine {
  readonly name: 'native' | 'portable';
  copy(job: CopyJob): Promise<CopyResult>;
  /** The guest bytes of a map that covers [offset, offset + length). */
  read(files: readonly DataFile[], map: BlockMap, offset: number, length: number): Promise<Uint8Array>;
  /** Placement alone over the bits that a scan left: what {@link copy} would report, without touching data. */
  replay(layout: Layout, virtualSize: number, stored: Uint8Array): Iterable<Allocation> & { hostEnd: number };
  /** The parts of [start, end) of a file that are not holes, as pairs; undefined where the file system cannot tell. */
  dataRuns(fd: number, start: number, end: number, max: number): Float64Array | undefined;
}
