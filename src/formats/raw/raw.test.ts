import { describe, expect, test } from 'vitest';
import { MiB } from '../../base/units.ts';
import { memorySource } from '../../io/memory-source.ts';
import type { ByteSource } from '../../io/types.ts';
import { checked } from '../../map/checked.ts';
import { Kind } from '../../map/extents.ts';
import { collect } from '../../testing/map-model.ts';
import type { Image } from '../format.ts';
import { raw } from './index.ts';

const gate = {
  open: () => Promise.reject(new Error('a raw disk refers to nothing')),
  resolve: () => undefined,
};

/** A source of `size` bytes whose data lies in `runs`, given as [start, end, …]; it answers no more than asked. */
function sparse(size: number, runs: readonly number[]): ByteSource & { asked: number } {
  return {
    ...memorySource(new Uint8Array(0), 'disk.raw'),
    size,
    asked: 0,
    dataRuns(start, end, max) {
      this.asked += 1;
      const pairs: number[] = [];
      for (let i = 0; i < runs.length && pairs.length < 2 * max; i += 2) {
        const [from, to] = [Math.max(start, runs[i] as number), Math.min(end, runs[i + 1] as number)];
        if (from < to) {
          pairs.push(from, to);
        }
      }
      return Float64Array.from(pairs);
    },
  };
}

const open = (source: ByteSource) => raw.open(source, { gate });

async function map(image: Image, start = 0, end = image.virtualSize) {
  const extents = await collect(checked(image.extents(start, end), start, end));
  return extents.map((e) => [e.start, e.length, e.kind, e.offset]);
}

test('every file is a raw disk', () => {
  expect(raw.probe({ head: new Uint8Array(0), tail: new Uint8Array(0), size: 0 })).toBe(true);
  expect(raw.probe({ head: Uint8Array.of(0x51, 0x46, 0x49, 0xfb), tail: new Uint8Array(0), size: 4 })).toBe(true);
});

describe('reading', () => {
  test('a source that cannot tell its holes is data throughout, to the byte', async () => {
    const image = await open(memorySource(new Uint8Array(1000), 'odd.raw'));
    expect(image.virtualSize).toBe(1000);
    expect(await map(image)).toEqual([[0, 1000, Kind.data, 0]]);
    expect(await map(image, 10, 20)).toEqual([[10, 10, Kind.data, 10]]);
  });

  test('an empty file is an empty disk', async () => {
    expect(await map(await open(memorySource(new Uint8Array(0), 'empty.raw')))).toEqual([]);
  });

  test('holes are zeros: in front, between and behind', async () => {
    const image = await open(sparse(10 * MiB, [4096, 8192, 4997120, 5001216]));
    expect(await map(image)).toEqual([
      [0, 4096, Kind.zero, 0],
      [4096, 4096, Kind.data, 4096],
      [8192, 4988928, Kind.zero, 0],
      [4997120, 4096, Kind.data, 4997120],
      [5001216, 5484544, Kind.zero, 0],
    ]);
  });

  test('a range that begins in data and ends in a hole', async () => {
    const image = await open(sparse(MiB, [0, 8192]));
    expect(await map(image, 4000, 10000)).toEqual([
      [4000, 4192, Kind.data, 4000],
      [8192, 1808, Kind.zero, 0],
    ]);
  });

  test('one hole of a tebibyte is one extent', async () => {
    expect(await map(await open(sparse(2 ** 40, [])))).toEqual([[0, 2 ** 40, Kind.zero, 0]]);
  });

  test('more runs than one answer or one batch holds', async () => {
    const count = 5000;
    const source = sparse(
      count * 8192,
      Array.from({ length: 2 * count }, (_, i) => i * 4096),
    );
    const extents = await map(await open(source));
    expect(extents).toHaveLength(2 * count);
    expect(extents.at(-2)).toEqual([(2 * count - 2) * 4096, 4096, Kind.data, (2 * count - 2) * 4096]);
    // 1024 runs an answer.
    expect(source.asked).toBe(5);
  });

  test('as many runs as were asked for, and nothing behind them', async () => {
    const source = sparse(
      1024 * 8192,
      Array.from({ length: 2048 }, (_, i) => 4096 + i * 4096),
    );
    const extents = await map(await open(source));
    expect(extents).toHaveLength(2048);
    expect(extents.at(-1)).toEqual([2047 * 4096, 4096, Kind.data, 2047 * 4096]);
  });
});

describe('writing', () => {
  test.each([0, 1, 1000, MiB + 1])('a disk of %i bytes is a file of as many, without metadata', (virtualSize) => {
    const plan = raw.plan?.({ virtualSize, options: {}, compress: false });
    expect(plan).toMatchObject({ virtualSize, notes: [], layout: { kind: 'flat', dataStart: 0 } });
    const writer = plan?.writer();
    // The data may end before the disk does.
    expect(writer?.finish(0)).toEqual({ pieces: [], size: virtualSize });
  });
});
