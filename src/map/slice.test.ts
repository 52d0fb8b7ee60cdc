import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  batchesOf,
  batchSizes,
  cellsOf,
  collect,
  endOf,
  extent,
  extentsFrom,
  type Trace,
  traced,
} from '../testing/map-model.ts';
import { checked } from './checked.ts';
import { clip } from './clip.ts';
import { BatchBuilder, type Extent, extentAt, Kind } from './extents.ts';
import { slice } from './slice.ts';

function clipped(e: Extent, start: number, end: number, fileOffset?: number): Extent[] {
  const [batch] = batchesOf([e], [1]);
  const out = new BatchBuilder(4);
  clip(out, batch as NonNullable<typeof batch>, 0, start, end, fileOffset);
  const taken = out.take();
  return Array.from({ length: taken.count }, (_, i) => extentAt(taken, i));
}

test('clip moves the file offset of plain data by what it cuts from the front', () => {
  const data = extent(65536, 65536, Kind.data, { file: 1, offset: 327680 });
  expect(clipped(data, 65636, 65736)).toEqual([extent(65636, 100, Kind.data, { file: 1, offset: 327780 })]);
});

test('clip leaves a compressed unit where it is and moves into it', () => {
  const unit = extent(65536, 65536, Kind.compressed, { file: 1, offset: 4000, stored: 900, skip: 10 });
  expect(clipped(unit, 66536, 67536)).toEqual([
    extent(66536, 1000, Kind.compressed, { file: 1, offset: 4000, stored: 900, skip: 1010 }),
  ]);
});

test('clip gives nothing where the half-open ranges only touch, or the range is empty', () => {
  const zero = extent(100, 100, Kind.zero);
  expect(clipped(zero, 0, 100)).toEqual([]);
  expect(clipped(zero, 200, 300)).toEqual([]);
  expect(clipped(zero, 150, 150)).toEqual([]);
  expect(clipped(zero, 199, 201)).toEqual([extent(199, 1, Kind.zero)]);
});

test('clip renumbers files of kinds that have one', () => {
  expect(clipped(extent(0, 8, Kind.data, { file: 1 }), 0, 8, 3)).toEqual([extent(0, 8, Kind.data, { file: 4 })]);
  expect(clipped(extent(0, 8, Kind.zero), 0, 8, 3)).toEqual([extent(0, 8, Kind.zero, { file: 0 })]);
});

test('a slice holds the cells of its range, tiles it, and leaves the batches it was given alone', async () => {
  const input = fc.integer({ min: 0, max: 50 }).chain((start) =>
    extentsFrom(start).chain((extents) => {
      const bound = fc.integer({ min: start, max: endOf(extents, start) });
      return fc.tuple(fc.constant(start), fc.constant(extents), bound, bound, batchSizes);
    }),
  );
  await fc.assert(
    fc.asyncProperty(input, async ([mapStart, extents, a, b, sizes]) => {
      const [start, end] = [Math.min(a, b), Math.max(a, b)];
      const batches = batchesOf(extents, sizes);
      const before = structuredClone(batches);
      const got = await collect(checked(slice(traced(batches), start, end), start, end));
      expect(cellsOf(got)).toEqual(cellsOf(extents).slice(start - mapStart, end - mapStart));
      expect(batches).toEqual(before);
    }),
    { numRuns: 300 },
  );
});

test('a slice takes no batch behind its end and closes the map', async () => {
  const extents = Array.from({ length: 10 }, (_, i) => extent(i * 8, 8, Kind.compressed, { offset: i, stored: 1 }));
  const trace: Trace = { taken: 0, closed: false };
  const got = await collect(slice(traced(batchesOf(extents, [2]), trace), 20, 48));
  expect([got[0]?.start, got.at(-1)?.start]).toEqual([20, 40]);
  expect(trace).toEqual({ taken: 3, closed: true });
});

test('batches that lie inside pass through uncopied', async () => {
  const extents = Array.from({ length: 6 }, (_, i) => extent(i * 8, 8, Kind.compressed, { offset: i, stored: 1 }));
  const batches = batchesOf(extents, [2]);
  const out = [];
  for await (const batch of slice(traced(batches), 4, 44)) {
    out.push(batch);
  }
  expect(out).toHaveLength(3);
  expect(out[1]).toBe(batches[1]);
});
