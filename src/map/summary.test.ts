import fc from 'fast-check';
import { expect, test } from 'vitest';
import { batchesOf, batchSizes, cellsOf, collect, extent, extentsFrom, traced } from '../testing/map-model.ts';
import { BatchBuilder, Kind } from './extents.ts';
import { summary } from './summary.ts';
import { uniform } from './uniform.ts';

test('a summary counts the bytes of each kind', async () => {
  await fc.assert(
    fc.asyncProperty(extentsFrom(5), batchSizes, async (extents, sizes) => {
      const cells = cellsOf(extents);
      const count = (sign: string) => cells.filter((c) => c.startsWith(sign)).length;
      expect(await summary(traced(batchesOf(extents, sizes)))).toEqual({
        extents: extents.length,
        unallocated: count('-'),
        zero: count('0'),
        data: count('d'),
        compressed: count('c'),
      });
    }),
  );
});

test('sums beyond 32 bits are exact', async () => {
  const half = 2 ** 52 - 1;
  const map = traced(batchesOf([extent(0, half, Kind.zero), extent(half, half, Kind.zero)], [1]));
  expect((await summary(map)).zero).toBe(9007199254740990);
});

test('a uniform map is one extent, or none', async () => {
  expect(await collect(uniform(4, 12, Kind.data, 1, 600))).toEqual([extent(4, 8, Kind.data, { file: 1, offset: 600 })]);
  expect(await collect(uniform(4, 12, Kind.unallocated))).toEqual([extent(4, 8, Kind.unallocated)]);
  expect(await collect(uniform(4, 4, Kind.zero))).toEqual([]);
});

test('a full builder takes what continues its last extent, and says so before', () => {
  const builder = new BatchBuilder(1);
  expect(builder.continues(0, Kind.zero)).toBe(false);
  builder.push(0, 8, Kind.data, 1, 100);
  expect(builder.full).toBe(true);
  expect(builder.continues(8, Kind.data, 1, 108)).toBe(true);
  expect(builder.continues(8, Kind.data, 1, 109)).toBe(false);
  expect(builder.continues(8, Kind.data, 0, 108)).toBe(false);
  expect(builder.continues(9, Kind.data, 1, 108)).toBe(false);
  expect(builder.continues(8, Kind.zero)).toBe(false);
  builder.push(8, 4, Kind.data, 1, 108);
  const batch = builder.take();
  expect([batch.count, batch.length[0]]).toEqual([1, 12]);
  expect(builder.count).toBe(0);
});
