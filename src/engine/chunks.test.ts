import { expect, it } from 'vitest';
import { BatchBuilder, type BlockMap, Kind } from '../map/extents.ts';
import { type Cut, unitsOf } from './chunks.ts';

type Row = [start: number, length: number, kind: Kind, offset?: number, skip?: number];

async function* batches(...rows: Row[][]): BlockMap {
  for (const batch of rows) {
    const out = new BatchBuilder();
    for (const [start, length, kind, offset = 0, skip = 0] of batch) {
      out.push(start, length, kind, 0, offset, 0, skip);
    }
    yield out.take();
  }
}

async function cut(map: BlockMap, zeros = false, more: Partial<Cut> = {}) {
  const seen: unknown[] = [];
  const how: Cut = { start: 0, end: 10_000, chunk: 1024, give: zeros ? 'all' : 'bytes', zerosAreBytes: zeros, ...more };
  for await (const { start, end, segments } of unitsOf(map, how)) {
    seen.push([start, end, segments.map((s) => [s.start, s.length, s.offset, s.skip])]);
  }
  return seen;
}

it('cuts aligned chunks that have bytes', async () => {
  const map = batches(
    [
      [0, 100, Kind.zero],
      [100, 1500, Kind.data, 107],
    ],
    [
      [1600, 7000, Kind.unallocated],
      [8600, 600, Kind.data, 8607],
      [9200, 800, Kind.compressed, 5, 3],
    ],
  );
  expect(await cut(map)).toEqual([
    [0, 1024, [[100, 924, 107, 0]]],
    [1024, 2048, [[1024, 576, 1031, 0]]],
    [
      8192,
      9216,
      [
        [8600, 600, 8607, 0],
        [9200, 16, 5, 3],
      ],
    ],
    // A compressed unit stays where it is stored; more of it is skipped.
    [9216, 10_000, [[9216, 784, 5, 19]]],
  ]);
});

it('gives out zeros where they are stored', async () => {
  const units = await cut(batches([[0, 10_000, Kind.zero]]), true);
  expect(units).toHaveLength(10);
});

it.each([
  ['a gap', [[1, 9_999, Kind.data]] as Row[]],
  ['a map that goes on', [[0, 10_001, Kind.data]] as Row[]],
  ['an empty extent', [[0, 0, Kind.data]] as Row[]],
])('refuses %s', async (_what, rows) => {
  await expect(cut(batches(rows))).rejects.toMatchObject({
    code: 'internal',
    message: expect.stringMatching(/^the block map goes from 0 to \[\d, \+\d+\) of \[0, 10000\)$/),
  });
});

it('refuses a map that ends early', async () => {
  await expect(cut(batches([[0, 10, Kind.zero]]))).rejects.toThrow('the block map ends at 10 of 10000');
});

it('gives out zeros that matter in long units, from where the map starts', async () => {
  const map = batches([
    [512, 100, Kind.unallocated],
    [612, 80 * 1024, Kind.zero],
    [612 + 80 * 1024, 20 * 1024 - 100, Kind.unallocated],
  ]);
  const end = 80 * 1024;
  expect(await cut(map, false, { start: 512, end: 512 + 100 * 1024, give: 'known' })).toEqual([
    [0, 64 * 1024, [[100, 64 * 1024 - 100, 0, 0]]],
    [64 * 1024, end, [[64 * 1024, 16 * 1024, 0, 0]]],
    [end, end + 1024, [[end, 100, 0, 0]]],
  ]);
});
