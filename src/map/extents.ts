/**
 * The block map: the ordered, gap-free sequence of extents of a virtual disk, streamed in batches and never whole in
 * memory. A batch is a struct of arrays, so that it crosses to the native engine without a copy per extent.
 * Offsets and lengths are bytes, held as doubles: exact to 2^53.
 */

/** What an extent is. The numbers are shared with the native engine (native/core/src/map.rs). */
export const Kind = {
  /** Nothing in this layer: the next layer's content, or zeros at the bottom of the chain. */
  unallocated: 0,
  /** Reads as zeros because the image says so; hides what lower layers have. */
  zero: 1,
  /** Plain bytes at `offset` of data file `file`. */
  data: 2,
  /** Stored bytes at `offset` that the data file's codec turns into one unit; see {@link ExtentBatch}. */
  compressed: 3,
} as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

/** One extent as an object: for tests, `map` output and other places that are not hot. */
export interface Extent {
  start: number;
  length: number;
  kind: Kind;
  /** Index into the image's `dataFiles`; 0 where the kind has no place. */
  file: number;
  /** Byte offset in the data file: of guest byte `start` for `data`, of the stored unit for `compressed`. */
  offset: number;
  /**
   * `compressed`: the unit takes at most this many stored bytes (formats that do not record the exact length give a
   * bound; reading stops at the end of the file, and the codec at the end of its stream). Otherwise 0.
   */
  stored: number;
  /** `compressed`: bytes of the decoded unit before `start` (a clipped extent begins inside its unit). Otherwise 0. */
  skip: number;
}

/** Up to `count` extents, column by column; the columns may be longer than `count`. */
export interface ExtentBatch {
  count: number;
  start: Float64Array;
  length: Float64Array;
  kind: Uint8Array;
  file: Uint32Array;
  offset: Float64Array;
  stored: Float64Array;
  skip: Float64Array;
}

/** A block map, or a part of it: batches in virtual order, each extent beginning where the one before ended. */
export type BlockMap = AsyncIterable<ExtentBatch>;

/** Extents a batch: large enough that a batch's cost vanishes, small enough to stay in a core's cache (~200 KiB). */
export const BATCH = 4096;

/**
 * Collects extents into a batch, merging each with the one before where that says the same thing (adjacent zeros,
 * unallocated runs, data that continues in the file). Compressed extents are never merged: each is one unit.
 */
export class BatchBuilder {
  readonly #capacity: number;
  #batch: ExtentBatch;

  constructor(capacity: number = BATCH) {
    this.#capacity = capacity;
    this.#batch = emptyBatch(capacity);
  }

  get count(): number {
    return this.#batch.count;
  }

  /** True when the next {@link push} might not fit: take the batch first. */
  get full(): boolean {
    return this.#batch.count >= this.#capacity;
  }

  /** Whether {@link push} would lengthen the last extent instead of adding one: then it fits even where `full`. */
  continues(start: number, kind: Kind, file = 0, offset = 0): boolean {
    const b = this.#batch;
    const last = b.count - 1;
    if (last < 0 || b.kind[last] !== kind || kind === Kind.compressed) {
      return false;
    }
    const length = b.length[last] as number;
    return (
      (b.start[last] as number) + length === start &&
      (kind !== Kind.data || (b.file[last] === file && (b.offset[last] as number) + length === offset))
    );
  }

  push(start: number, length: number, kind: Kind, file = 0, offset = 0, stored = 0, skip = 0): void {
    const b = this.#batch;
    if (this.continues(start, kind, file, offset)) {
      const last = b.count - 1;
      b.length[last] = (b.length[last] as number) + length;
      return;
    }
    const i = b.count;
    b.count = i + 1;
    b.start[i] = start;
    b.length[i] = length;
    b.kind[i] = kind;
    b.file[i] = file;
    b.offset[i] = offset;
    b.stored[i] = stored;
    b.skip[i] = skip;
  }

  /** Hands over what was collected and begins anew; the batch handed over is not touched again. */
  take(): ExtentBatch {
    const batch = this.#batch;
    this.#batch = emptyBatch(this.#capacity);
    return batch;
  }
}

export function emptyBatch(capacity: number): ExtentBatch {
  return {
    count: 0,
    start: new Float64Array(capacity),
    length: new Float64Array(capacity),
    kind: new Uint8Array(capacity),
    file: new Uint32Array(capacity),
    offset: new Float64Array(capacity),
    stored: new Float64Array(capacity),
    skip: new Float64Array(capacity),
  };
}

/** Extent `i` of a batch as an object. */
export function extentAt(batch: ExtentBatch, i: number): Extent {
  return {
    start: batch.start[i] as number,
    length: batch.length[i] as number,
    kind: batch.kind[i] as Kind,
    file: batch.file[i] as number,
    offset: batch.offset[i] as number,
    stored: batch.stored[i] as number,
    skip: batch.skip[i] as number,
  };
}
