/**
 * The model that block map operators are tested against: one string a guest byte, saying what it is and where it lies.
 * It knows nothing of extents' borders, batches or clipping.
 */
import fc from 'fast-check';
import { type BlockMap, type Extent, type ExtentBatch, emptyBatch, extentAt, Kind } from '../map/extents.ts';

/** `-` unallocated, `0` zero, `d FILE@HOST`, `c FILE@OFFSET/STORED+BYTE OF THE UNIT`. */
export type Cell = string;

function cell(e: Extent, guest: number): Cell {
  const inside = guest - e.start;
  switch (e.kind) {
    case Kind.unallocated:
      return '-';
    case Kind.zero:
      return '0';
    case Kind.data:
      return `d ${e.file}@${e.offset + inside}`;
    default:
      return `c ${e.file}@${e.offset}/${e.stored}+${e.skip + inside}`;
  }
}

/** The cells of [start of the first extent, end of the last), in guest order. */
export function cellsOf(extents: readonly Extent[]): Cell[] {
  return extents.flatMap((e) => Array.from({ length: e.length }, (_, i) => cell(e, e.start + i)));
}

export async function collect(map: BlockMap): Promise<Extent[]> {
  const out: Extent[] = [];
  for await (const batch of map) {
    for (let i = 0; i < batch.count; i += 1) {
      out.push(extentAt(batch, i));
    }
  }
  return out;
}

/**
 * The extents as batches of the given sizes, taken in turn (0: an empty batch). Columns are longer than `count` and hold
 * rubbish there, as a reader's may.
 */
export function batchesOf(extents: readonly Extent[], sizes: readonly number[]): ExtentBatch[] {
  const batches: ExtentBatch[] = [];
  let next = 0;
  for (let turn = 0; next < extents.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1;
    batches.push(batchOf(extents.slice(next, next + size)));
    next += size;
  }
  return batches;
}

function batchOf(extents: readonly Extent[]): ExtentBatch {
  const batch = emptyBatch(extents.length + 2);
  for (const column of [batch.start, batch.length, batch.kind, batch.file, batch.offset, batch.stored, batch.skip]) {
    column.fill(77);
  }
  batch.count = extents.length;
  for (const [i, e] of extents.entries()) {
    batch.start[i] = e.start;
    batch.length[i] = e.length;
    batch.kind[i] = e.kind;
    batch.file[i] = e.file;
    batch.offset[i] = e.offset;
    batch.stored[i] = e.stored;
    batch.skip[i] = e.skip;
  }
  return batch;
}

/** What a consumer did to a map: how many batches it took, and whether it closed the map or read it to the end. */
export interface Trace {
  taken: number;
  closed: boolean;
}

export async function* traced(batches: readonly ExtentBatch[], trace: Trace = { taken: 0, closed: false }): BlockMap {
  try {
    for (const batch of batches) {
      trace.taken += 1;
      yield batch;
    }
  } finally {
    trace.closed = true;
  }
}

export function extent(start: number, length: number, kind: Kind, place: Partial<Extent> = {}): Extent {
  return { start, length, kind, file: 0, offset: 0, stored: 0, skip: 0, ...place };
}

/** Random batch sizes, never all of them 0. */
export const batchSizes = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }).map((sizes) => [...sizes, 3]);

const step = fc.record({
  length: fc.integer({ min: 1, max: 12 }),
  kind: fc.constantFrom<Kind>(Kind.unallocated, Kind.zero, Kind.data, Kind.compressed),
  file: fc.integer({ min: 0, max: 1 }),
  /** Undefined: goes on in the file where the extent before ended. */
  offset: fc.option(fc.integer({ min: 0, max: 1000 }), { nil: undefined }),
  stored: fc.integer({ min: 1, max: 9 }),
  skip: fc.integer({ min: 0, max: 3 }),
});

/** A random map from `start` on: gap-free extents that are not empty, neighbours that could be merged among them. */
export function extentsFrom(start: number, maxExtents = 14): fc.Arbitrary<Extent[]> {
  return fc.array(step, { maxLength: maxExtents }).map((steps) => {
    const extents: Extent[] = [];
    let at = start;
    let hostEnd = 0;
    for (const { length, kind, file, offset = hostEnd, stored, skip } of steps) {
      if (kind === Kind.data) {
        extents.push(extent(at, length, kind, { file, offset }));
        hostEnd = offset + length;
      } else if (kind === Kind.compressed) {
        extents.push(extent(at, length, kind, { file, offset, stored, skip }));
      } else {
        extents.push(extent(at, length, kind));
      }
      at += length;
    }
    return extents;
  });
}

export function endOf(extents: readonly Extent[], start: number): number {
  return extents.reduce((end, e) => end + e.length, start);
}
