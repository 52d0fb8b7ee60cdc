import { join } from 'node:path';
import { expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { convert } from '../index.ts';
import { type Extent, Kind } from '../map/extents.ts';
import { batchesOf, collect } from '../testing/map-model.ts';
import { ModelDisk } from '../testing/model-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import { Pace } from './pace.ts';

function extent(start: number, length: number, kind: Kind, offset = 0): Extent {
  const stored = kind === Kind.compressed ? 100 : 0;
  return { start, length, kind, file: 0, offset, stored, skip: 0 };
}

async function* mapOf(...extents: Extent[]) {
  yield* batchesOf(extents, [2, 1]);
}

async function seconds(work: Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work;
  return (performance.now() - begun) / 1000;
}

test('a paced map says the same: data in pieces, a compressed unit whole, zeros as they are', async () => {
  const [big, unit] = [2 * MiB + 512, 2 * MiB];
  const extents = [
    extent(0, big, Kind.data, 7000),
    extent(big, unit, Kind.compressed, 5),
    extent(big + unit, 9 * MiB, Kind.zero),
    extent(big + unit + 9 * MiB, 9 * MiB, Kind.unallocated),
  ];
  expect(await collect(new Pace(1e9).map(mapOf(...extents)))).toEqual([
    extent(0, MiB, Kind.data, 7000),
    extent(MiB, MiB, Kind.data, 7000 + MiB),
    extent(2 * MiB, 512, Kind.data, 7000 + 2 * MiB),
    ...extents.slice(1),
  ]);
});

test('data takes its time over all maps together, zeros take none', async () => {
  const pace = new Pace(MiB);
  const zeros = mapOf(extent(0, 100 * MiB, Kind.zero), extent(100 * MiB, 100 * MiB, Kind.unallocated));
  expect(await seconds(collect(pace.map(zeros)))).toBeLessThan(5);
  const data = () => mapOf(extent(0, 256 * KiB, Kind.data), extent(256 * KiB, 128 * KiB, Kind.compressed));
  const twice = collect(pace.map(data())).then(() => collect(pace.map(data())));
  // 768 KiB at 1 MiB/s; the last piece, 128 KiB, is not waited for.
  expect(await seconds(twice)).toBeGreaterThanOrEqual(0.62);
});

test('an abort does not wait for the next piece', async () => {
  const controller = new AbortController();
  const slow = collect(new Pace(1024, controller.signal).map(mapOf(extent(0, 100 * MiB, Kind.data))));
  setTimeout(() => controller.abort(), 20);
  expect(await seconds(expect(slow).rejects.toThrow())).toBeLessThan(3);
});

test('a conversion holds the rate, stops at once, and refuses a rate that is none', async () => {
  const dir = await tempDir();
  const source = join(dir, 'in.raw');
  const run = { start: 0, length: 2 * MiB, pattern: 'random' } as const;
  await new ModelDisk(2 * MiB, [run], 7).writeRawFile(source);
  const [target, more] = [join(dir, 'out.qcow2'), { format: 'raw', noSync: true }];
  const work = convert(source, target, { ...more, rate: 4 * MiB });
  // Half a second's data; the last piece, of at most a quarter second, is not waited for.
  expect(await seconds(work)).toBeGreaterThanOrEqual(0.25);
  const controller = new AbortController();
  const stopped = convert(source, target, { ...more, force: true, rate: 1024, signal: controller.signal });
  setTimeout(() => controller.abort(), 50);
  expect(await seconds(expect(stopped).rejects.toMatchObject({ name: 'VdconvError', code: 'aborted' }))).toBeLessThan(
    5,
  );
  for (const wrong of [0, 1023, 2000.5, Number.NaN]) {
    await expect(convert(source, target, { ...more, rate: wrong })).rejects.toMatchObject({ code: 'usage' });
  }
});
