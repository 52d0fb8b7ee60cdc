import fc from 'fast-check';
import { expect, test } from 'vitest';
import { batchesOf, batchSizes, cellsOf, collect, endOf, extent, extentsFrom, traced } from '../testing/map-model.ts';
import { checked } from './checked.ts';
import { coalesce } from './coalesce.ts';
import { type Extent, Kind } from './extents.ts';

/** Whether two neighbours could be one extent, told from what each says about its bytes. */
function mergeable(a: Extent, b: Extent): boolean {
  if (a.kind !== b.kind || a.kind === Kind.compressed) {
    return false;
  }
  return a.kind !== Kind.data || (a.file === b.file && a.offset + a.length === b.offset);
}

test('coalesce keeps every cell and every compressed extent, and leaves no neighbours that could be one', async () => {
  const capacity = fc.integer({ min: 1, max: 4 });
  await fc.assert(
    fc.asyncProperty(extentsFrom(0, 30), batchSizes, capacity, async (extents, sizes, most) => {
      const map = coalesce(traced(batchesOf(extents, sizes)), most);
      const got = await collect(checked(map, 0, endOf(extents, 0)));
      expect(cellsOf(got)).toEqual(cellsOf(extents));
      const isUnit = (e: Extent) => e.kind === Kind.compressed;
      expect(got.filter(isUnit)).toEqual(extents.filter(isUnit));
      expect(got.filter((e, i) => i > 0 && mergeable(got[i - 1] as Extent, e))).toEqual([]);
    }),
    { numRuns: 300 },
  );
});

test('data merges only where it goes on in the same file', async () => {
  const extents = [
    extent(0, 8, Kind.data, { offset: 100 }),
    extent(8, 8, Kind.data, { offset: 108 }),
    extent(16, 8, Kind.data, { offset: 117 }),
    extent(24, 8, Kind.data, { file: 1, offset: 125 }),
  ];
  expect(await collect(coalesce(traced(batchesOf(extents, [1]))))).toEqual([
    extent(0, 16, Kind.data, { offset: 100 }),
    extent(16, 8, Kind.data, { offset: 117 }),
    extent(24, 8, Kind.data, { file: 1, offset: 125 }),
  ]);
});

test('no batch is larger than the capacity', async () => {
  const extents = Array.from({ length: 7 }, (_, i) => extent(i, 1, i % 2 === 0 ? Kind.zero : Kind.unallocated));
  const counts = [];
  for await (const batch of coalesce(traced(batchesOf(extents, [7])), 3)) {
    counts.push(batch.count);
  }
  expect(counts).toEqual([3, 3, 1]);
});
