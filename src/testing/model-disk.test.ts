import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { ModelDisk } from './model-disk.ts';
import { patternPage } from './patterns.ts';
import { anyDisk, seededDisk } from './seeded-disk.ts';
import { tempDir } from './tmp.ts';

test('runs are in order, not empty, apart and inside the disk', () => {
  fc.assert(
    fc.property(anyDisk(), (disk) => {
      let end = 0;
      for (const run of disk.runs) {
        expect(run.start).toBeGreaterThanOrEqual(end);
        expect(run.length).toBeGreaterThan(0);
        end = run.start + run.length;
      }
      expect(end).toBeLessThanOrEqual(disk.size);
    }),
  );
});

test('any part of a disk is the same bytes as in the whole', () => {
  const input = anyDisk({ maxSize: 256 * KiB }).chain((disk) =>
    fc.tuple(fc.constant(disk), fc.nat(disk.size), fc.nat(disk.size)),
  );
  fc.assert(
    fc.property(input, ([disk, a, b]) => {
      const [start, end] = [Math.min(a, b), Math.max(a, b)];
      const part = Buffer.from(disk.bytes(start, end - start));
      expect(part.equals(disk.bytes(0, disk.size).subarray(start, end))).toBe(true);
    }),
    { numRuns: 50 },
  );
});

test('bytes outside every run are zero, and random runs are not', () => {
  const disk = new ModelDisk(12 * KiB, [{ start: 5000, length: 100, pattern: 'random' }], 1);
  const bytes = disk.bytes(0, disk.size);
  expect(bytes.subarray(0, 5000).every((b) => b === 0)).toBe(true);
  expect(bytes.subarray(5000, 5100).filter((b) => b !== 0).length).toBeGreaterThan(80);
  expect(bytes.subarray(5100).every((b) => b === 0)).toBe(true);
  expect(() => disk.bytes(12 * KiB, 1)).toThrow(RangeError);
});

test('patterns compress as they say', () => {
  const deflated = (pattern: 'random' | 'text') => deflateRawSync(patternPage(pattern, 3, 9)).length;
  expect(deflated('random')).toBeGreaterThanOrEqual(4096);
  expect(deflated('text')).toBeLessThan(2048);
  expect(patternPage('zeros', 3, 9).every((b) => b === 0)).toBe(true);
});

test('no two pages and no two seeds are alike', () => {
  for (const pattern of ['random', 'text'] as const) {
    const pages = [patternPage(pattern, 1, 0), patternPage(pattern, 1, 1), patternPage(pattern, 2, 0)];
    expect(new Set(pages.map((page) => Buffer.from(page).toString('latin1'))).size).toBe(3);
  }
});

test('the raw file reads as the disk, written zeros and odd sizes included', async () => {
  const path = join(await tempDir(), 'disk.img');
  await fc.assert(
    fc.asyncProperty(anyDisk(), async (disk) => {
      await disk.writeRawFile(path);
      const bytes = await readFile(path);
      expect(bytes.length).toBe(disk.size);
      expect(createHash('sha256').update(bytes).digest('hex')).toBe(disk.sha256());
    }),
    { numRuns: 30 },
  );
});

test('the raw file of a sparse disk is sparse', async () => {
  const path = join(await tempDir(), 'disk.img');
  await new ModelDisk(64 * MiB, [{ start: 32 * MiB, length: 8 * KiB, pattern: 'zeros' }], 1).writeRawFile(path);
  const { size, blocks } = await stat(path);
  expect(size).toBe(64 * MiB);
  expect(blocks * 512).toBeGreaterThanOrEqual(8 * KiB);
  expect(blocks * 512).toBeLessThan(MiB);
});

test('a seed has its disk, and a smaller one is its beginning', () => {
  const large = seededDisk(7, 8 * MiB);
  expect(seededDisk(7, 8 * MiB).sha256()).toBe(large.sha256());
  expect(seededDisk(8, 8 * MiB).sha256()).not.toBe(large.sha256());
  const small = seededDisk(7, 3 * MiB + 1);
  expect(Buffer.from(small.bytes(0, small.size)).equals(large.bytes(0, small.size))).toBe(true);
});

test('seeded disks are shaped like a guest: all patterns, holes, touching runs, mostly aligned borders', () => {
  const { runs, size } = seededDisk(1, 64 * MiB);
  expect(new Set(runs.map((run) => run.pattern)).size).toBe(3);
  const data = runs.reduce((sum, run) => sum + run.length, 0) / size;
  expect(data).toBeGreaterThan(0.1);
  expect(data).toBeLessThan(0.8);
  const unaligned = runs.filter((run) => run.start % 4096 !== 0).length / runs.length;
  expect(unaligned).toBeGreaterThan(0.02);
  expect(unaligned).toBeLessThan(0.4);
  expect(runs.some((run, i) => run.start + run.length === runs[i + 1]?.start)).toBe(true);
});

test('random disks include tiny ones, odd ones and ones that end just behind a cluster', () => {
  const sizes = fc.sample(anyDisk(), { numRuns: 300, seed: 1 }).map((disk) => disk.size);
  expect(sizes.some((size) => size < 512)).toBe(true);
  expect(sizes.some((size) => size % 2 === 1)).toBe(true);
  expect(sizes.some((size) => size > 64 * KiB && size % (64 * KiB) === 512)).toBe(true);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(4 * MiB);
});

test('sizes keep to the unit asked for', () => {
  fc.assert(fc.property(anyDisk({ unit: 512 }), (disk) => disk.size % 512 === 0 && disk.size >= 512));
});

test('a failing property names the call that makes the disk again', () => {
  expect(fc.stringify(seededDisk(-3, 513))).toBe('seededDisk(-3, 513)');
});
