import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  batchesOf,
  batchSizes,
  type Cell,
  cellsOf,
  collect,
  endOf,
  extent,
  extentsFrom,
  type Trace,
  traced,
} from '../testing/map-model.ts';
import { checked } from './checked.ts';
import { type Extent, Kind } from './extents.ts';
import { overlay } from './overlay.ts';

/** What the guest sees, byte by byte: the child's own cell, else the parent's with its file renumbered. */
function shown(child: Cell[], parent: Cell[], fileOffset: number): Cell[] {
  const renumber = (c: Cell) => c.replace(/^([cd]) (\d+)/, (_, kind, file) => `${kind} ${Number(file) + fileOffset}`);
  return child.map((c, i) => (c === '-' ? renumber(parent[i] ?? '-') : c));
}

const capacity = fc.integer({ min: 1, max: 5 });
const layer = (start: number) => fc.record({ extents: extentsFrom(start), sizes: batchSizes });

test('an overlay shows the child, below it the parent, for parents of any length', async () => {
  const input = fc.integer({ min: 0, max: 20 }).chain((s) => fc.tuple(fc.constant(s), layer(s), layer(s), capacity));
  await fc.assert(
    fc.asyncProperty(input, fc.integer({ min: 0, max: 3 }), async ([start, child, parent, most], files) => {
      const [above, below] = [batchesOf(child.extents, child.sizes), batchesOf(parent.extents, parent.sizes)];
      const before = structuredClone([above, below]);
      const map = overlay(traced(above), traced(below), files, most);
      const got = await collect(checked(map, start, endOf(child.extents, start)));
      expect(cellsOf(got)).toEqual(shown(cellsOf(child.extents), cellsOf(parent.extents), files));
      expect([above, below]).toEqual(before);
    }),
    { numRuns: 500 },
  );
});

test('three layers, built from the bottom, show what the guest sees', async () => {
  await fc.assert(
    fc.asyncProperty(layer(0), layer(0), layer(0), capacity, async (top, middle, base, most) => {
      const map = (l: typeof top) => traced(batchesOf(l.extents, l.sizes));
      const whole = overlay(map(top), overlay(map(middle), map(base), 2, most), 2, most);
      const got = await collect(checked(whole, 0, endOf(top.extents, 0)));
      const lower = shown(cellsOf(middle.extents), cellsOf(base.extents), 2);
      expect(cellsOf(got)).toEqual(shown(cellsOf(top.extents), lower, 2));
    }),
    { numRuns: 300 },
  );
});

test('a base does not show behind the end of a shorter middle layer', async () => {
  const blank = (length: number) => traced(batchesOf([extent(0, length, Kind.unallocated)], [1]));
  const base = traced(batchesOf([extent(0, 16, Kind.data)], [1]));
  expect(await collect(overlay(blank(16), overlay(blank(8), base, 1), 1))).toEqual([
    extent(0, 8, Kind.data, { file: 2 }),
    extent(8, 8, Kind.unallocated),
  ]);
});

test('a zero of the child hides the parent, an unallocated run of the child does not', async () => {
  const child = [extent(0, 4, Kind.zero), extent(4, 4, Kind.unallocated)];
  const parent = [extent(0, 8, Kind.data, { offset: 50 })];
  expect(await collect(overlay(traced(batchesOf(child, [2])), traced(batchesOf(parent, [1])), 1))).toEqual([
    extent(0, 4, Kind.zero),
    extent(4, 4, Kind.data, { file: 1, offset: 54 }),
  ]);
});

test("a parent's compressed unit may show in several pieces, each with its place in the unit", async () => {
  const child = [
    extent(0, 10, Kind.unallocated),
    extent(10, 10, Kind.data, { offset: 7 }),
    extent(20, 44, Kind.unallocated),
  ];
  const parent = [extent(0, 64, Kind.compressed, { offset: 900, stored: 30 })];
  expect(await collect(overlay(traced(batchesOf(child, [3])), traced(batchesOf(parent, [1])), 1))).toEqual([
    extent(0, 10, Kind.compressed, { file: 1, offset: 900, stored: 30 }),
    extent(10, 10, Kind.data, { offset: 7 }),
    extent(20, 44, Kind.compressed, { file: 1, offset: 900, stored: 30, skip: 20 }),
  ]);
});

/** Extents of 8 bytes that never merge. */
function units(count: number): Extent[] {
  return Array.from({ length: count }, (_, i) => extent(i * 8, 8, Kind.compressed, { offset: i, stored: 1 }));
}

test('the first batch comes before either map was read beyond a batch, and stopping closes both', async () => {
  const above: Trace = { taken: 0, closed: false };
  const below: Trace = { taken: 0, closed: false };
  const child = Array.from({ length: 64 }, (_, i) => extent(i * 8, 8, i % 2 === 0 ? Kind.unallocated : Kind.zero));
  const map = overlay(traced(batchesOf(child, [4]), above), traced(batchesOf(units(64), [4]), below), 1);
  for await (const batch of map) {
    expect(batch.count).toBe(4);
    expect([above.taken, below.taken]).toEqual([1, 1]);
    break;
  }
  expect([above.closed, below.closed]).toEqual([true, true]);
});

test('a parent longer than the child is cut and closed', async () => {
  const below: Trace = { taken: 0, closed: false };
  const child = [extent(0, 20, Kind.unallocated)];
  const got = await collect(overlay(traced(batchesOf(child, [1])), traced(batchesOf(units(9), [1]), below), 1));
  expect(got.map((e) => [e.start, e.length])).toEqual([
    [0, 8],
    [8, 8],
    [16, 4],
  ]);
  expect(below).toEqual({ taken: 3, closed: true });
});

test('an error of the parent reaches the consumer, and the child is closed', async () => {
  const above: Trace = { taken: 0, closed: false };
  const child = [extent(0, 8, Kind.unallocated), extent(8, 8, Kind.zero)];
  // biome-ignore lint/correctness/useYield: it fails before its first batch
  async function* broken(): ReturnType<typeof traced> {
    throw new Error('L2 table at 65536');
  }
  await expect(collect(overlay(traced(batchesOf(child, [1]), above), broken(), 1))).rejects.toThrow(
    'L2 table at 65536',
  );
  expect(above.closed).toBe(true);
});
