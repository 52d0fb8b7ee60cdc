/** Holes: what is a hole stays one, what is written as zeros becomes one where that was asked for, and not elsewhere. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { convert } from '../index.ts';
import { expectGuest, guestBytes } from '../testing/guest.ts';
import { ModelDisk, type Run } from '../testing/model-disk.ts';
import { need, type QemuImg, qemuImg } from '../testing/oracles.ts';
import { tempDir } from '../testing/tmp.ts';

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
});
const at = (name: string) => join(dir, name);
const allocated = (path: string) => statSync(path).blocks * 512;

/** Where a raw file has data, as the kernel's SEEK_DATA tells qemu-img. */
async function dataRuns(qemu: QemuImg, path: string): Promise<[start: number, end: number][]> {
  const map = JSON.parse(await qemu.run('map', '--output=json', '-f', 'raw', path)) as {
    start: number;
    length: number;
    data: boolean;
  }[];
  const runs: [number, number][] = [];
  for (const { start, length } of map.filter(({ data }) => data)) {
    const last = runs.at(-1);
    if (last?.[1] === start) {
      last[1] += length;
    } else {
      runs.push([start, start + length]);
    }
  }
  return runs;
}

/** Three runs in 64 MiB; what the file system takes for them depends on nothing but its pages of 4 KiB. */
const SPARSE: Run[] = [
  { start: 64 * KiB, length: 64 * KiB, pattern: 'random' },
  { start: 20 * MiB + 4 * KiB, length: 4 * KiB, pattern: 'random' },
  { start: 63 * MiB, length: MiB - 4 * KiB, pattern: 'text' },
];

test('the holes of a raw file are holes of its copy', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const disk = new ModelDisk(64 * MiB, SPARSE, 1);
  await disk.writeRawFile(at('in.raw'));
  const { target, dataBytes } = await convert(at('in.raw'), at('out.raw'));
  const runs = SPARSE.map(({ start, length }) => [start, start + length]);
  expect(await dataRuns(qemu, at('out.raw'))).toEqual(runs);
  expect(dataBytes).toBe(64 * KiB + 4 * KiB + MiB - 4 * KiB);
  expect(target).toMatchObject({ fileSize: 64 * MiB, allocatedSize: allocated(at('out.raw')) });
  expect(target.allocatedSize).toBeLessThan(dataBytes + 64 * KiB);
});

test('holes stay holes on the way through every format', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const disk = new ModelDisk(64 * MiB, SPARSE, 1);
  await disk.writeRawFile(at('in.raw'));
  for (const name of ['a.qcow2', 'a.vmdk']) {
    await convert(at('in.raw'), at(name));
    // Three clusters or grains of 64 KiB and the last MiB; tables of 64 MiB are small.
    expect(allocated(at(name)), name).toBeLessThan(1.8 * MiB);
    await convert(at(name), at('back.raw'), { force: true });
    expect(await dataRuns(qemu, at('back.raw')), name).toEqual(
      SPARSE.map(({ start, length }) => [start, start + length]),
    );
  }
});

test('a disk of nothing but a hole takes no space', async () => {
  await new ModelDisk(512 * MiB + 5, [], 1).writeRawFile(at('in.raw'));
  const { target } = await convert(at('in.raw'), at('out.raw'));
  expect(target).toMatchObject({ virtualSize: 512 * MiB + 5, fileSize: 512 * MiB + 5, allocatedSize: 0 });
});

describe('zeros that are written in the source', () => {
  /** 4 MiB of noise with zeros: 4 KiB, 32 KiB (at an odd page) and 128 KiB (so aligned). All of it is written. */
  const GAPS = [
    [256 * KiB, 260 * KiB],
    [1 * MiB + 4 * KiB, 1 * MiB + 36 * KiB],
    [2 * MiB, 2 * MiB + 128 * KiB],
  ] as const;
  const disk = new ModelDisk(
    4 * MiB,
    [0, ...GAPS.flat(), 4 * MiB].slice(0, -1).map((start, i, starts) => ({
      start,
      length: (starts[i + 1] ?? 4 * MiB) - start,
      pattern: i % 2 === 0 ? ('random' as const) : ('zeros' as const),
    })),
    4,
  );
  beforeEach(() => disk.writeRawFile(at('in.raw')));

  test.for<[granularity: number | undefined, holes: (readonly [number, number])[]]>([
    [undefined, [...GAPS]],
    [4 * KiB, [...GAPS]],
    [16 * KiB, [[1 * MiB + 16 * KiB, 1 * MiB + 32 * KiB], GAPS[2]]],
    [64 * KiB, [GAPS[2]]],
    [MiB, []],
    [0, []],
  ])('become holes by granularity %s', async ([zeroGranularity, holes], ctx) => {
    const qemu = need(ctx, qemuImg());
    const { dataBytes } = await convert(at('in.raw'), at('out.raw'), { zeroGranularity });
    const ends = [0, ...holes.flat(), 4 * MiB];
    const runs = Array.from({ length: ends.length / 2 }, (_, i) => ends.slice(2 * i, 2 * i + 2));
    expect(await dataRuns(qemu, at('out.raw'))).toEqual(runs);
    expect(dataBytes).toBe(4 * MiB - holes.reduce((sum, [start, end]) => sum + end - start, 0));
    await expectGuest(at('out.raw'), guestBytes(disk));
  });
});

test('granularity 0 stores every byte that was written, and says how many', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const disk = new ModelDisk(8 * MiB, [{ start: 0, length: 8 * MiB, pattern: 'zeros' }], 1);
  await disk.writeRawFile(at('in.raw'));
  for (const [name, format] of [
    ['out.raw', 'raw'],
    ['out.qcow2', 'qcow2'],
    ['out.vmdk', 'vmdk'],
  ] as const) {
    const { target, dataBytes } = await convert(at('in.raw'), at(name), { zeroGranularity: 0 });
    expect(dataBytes, name).toBe(8 * MiB);
    expect(target.allocatedSize, name).toBeGreaterThanOrEqual(8 * MiB);
    expect((await qemu.compare(at(name), format, at('in.raw'), 'raw')).identical, name).toBe(true);
    const empty = await convert(at('in.raw'), at(name), { force: true });
    expect(empty.dataBytes, name).toBe(0);
    expect(empty.target.allocatedSize, name).toBeLessThan(512 * KiB);
  }
});
