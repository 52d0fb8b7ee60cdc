import fc from 'fast-check';
import { expect, test } from 'vitest';
import { batchesOf, batchSizes, collect, endOf, extent, extentsFrom, traced } from '../testing/map-model.ts';
import { checked } from './checked.ts';
import { type Extent, emptyBatch, Kind } from './extents.ts';

/** The message that [0, 100) draws with these extents, whether they come in one batch or one by one. */
async function message(...extents: Extent[]): Promise<string> {
  const said: string[] = [];
  for (const size of [extents.length + 1, 1]) {
    const error = await collect(checked(traced(batchesOf(extents, [size])), 0, 100)).catch((e: unknown) => e);
    expect(error).toMatchObject({ name: 'VdconvError', code: 'internal' });
    said.push((error as Error).message.replace(/ \(start.*/, ''));
  }
  expect(said[0]).toBe(said[1]);
  return said[0] as string;
}

test('a sound map passes unchanged, batch by batch', async () => {
  await fc.assert(
    fc.asyncProperty(extentsFrom(7), batchSizes, async (extents, sizes) => {
      const batches = batchesOf(extents, sizes);
      const out = [];
      for await (const batch of checked(traced(batches), 7, endOf(extents, 7))) {
        out.push(batch);
      }
      expect(out.every((batch, i) => batch === batches[i])).toBe(true);
      expect(out).toHaveLength(batches.length);
    }),
  );
});

test('a gap is named', async () => {
  expect(await message(extent(0, 40, Kind.zero), extent(50, 50, Kind.zero))).toBe('block map: gap between 40 and 50');
  expect(await message(extent(10, 90, Kind.zero))).toBe('block map: gap between 0 and 10');
});

test('an overlap is named', async () => {
  expect(await message(extent(0, 40, Kind.zero), extent(39, 61, Kind.zero))).toBe(
    'block map: overlap: an extent begins at 39, the one before ends at 40',
  );
});

test('an empty extent is named', async () => {
  expect(await message(extent(0, 40, Kind.zero), extent(40, 0, Kind.zero))).toBe('block map: empty extent at 40');
});

test('an extent that leaves the range is named', async () => {
  expect(await message(extent(0, 101, Kind.zero))).toBe('block map: extent ends at 101, the range at 100');
  expect(await message(extent(0, 100, Kind.zero), extent(100, 1, Kind.zero))).toBe(
    'block map: extent ends at 101, the range at 100',
  );
});

test('a map that ends early, or has nothing, is named', async () => {
  expect(await message(extent(0, 99, Kind.zero))).toBe('block map ends at 99, it must cover [0, 100)');
  expect(await message()).toBe('block map ends at 0, it must cover [0, 100)');
});

test('numbers that are no byte counts and unknown kinds are named', async () => {
  const broken = 'block map: not a whole number of bytes';
  expect(await message(extent(0, 0.5, Kind.zero))).toBe(broken);
  expect(await message(extent(0, Number.NaN, Kind.zero))).toBe(broken);
  expect(await message(extent(0, 100, Kind.data, { offset: -1 }))).toBe(broken);
  expect(await message(extent(0, 100, Kind.data, { offset: 2 ** 53 }))).toBe(broken);
  expect(await message(extent(0, 100, Kind.compressed, { stored: Number.NaN }))).toBe(broken);
  expect(await message(extent(0, 100, Kind.compressed, { skip: -4 }))).toBe(broken);
  expect(await message(extent(0, 100, 4 as Kind))).toBe('block map: unknown kind 4');
});

test('a batch that counts more than its columns hold is named', async () => {
  const batch = { ...emptyBatch(2), count: 3 };
  await expect(collect(checked(traced([batch]), 0, 100))).rejects.toThrow('block map: a batch of 2 says it has 3');
});

test('the error says which image and shows the extent', async () => {
  const map = checked(traced(batchesOf([extent(8, 92, Kind.data, { offset: 512 })], [1])), 0, 100, 'a.qcow2');
  await expect(collect(map)).rejects.toThrow(
    'a.qcow2: block map: gap between 0 and 8 (start 8, length 92, kind 2, file 0, offset 512, stored 0, skip 0)',
  );
});
