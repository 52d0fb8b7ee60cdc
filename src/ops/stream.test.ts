/** What an opened image gives: bytes, extents and streams, and how each of them ends. */
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { convert, type DiskImage, type MapEntry, map, open } from '../index.ts';
import { expectBytes, guestBytes } from '../testing/guest.ts';
import { rebuild } from '../testing/rebuild.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import { PIECE } from './pieces.ts';

const SIZE = 11 * MiB + 512;
const disk = seededDisk(21, SIZE);
const want = guestBytes(disk);

let dir: string;
let path: string;
let image: DiskImage;
beforeEach(async () => {
  dir = await tempDir();
  path = join(dir, 'disk.qcow2');
  await disk.writeRawFile(join(dir, 'in.raw'));
  await convert(join(dir, 'in.raw'), path, { format: 'raw', compress: true, noSync: true });
  image = await open(path);
  onTestFinished(() => image.close());
});

async function collect(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) {
    parts.push(part);
  }
  return Buffer.concat(parts);
}

async function all(entries: AsyncIterable<MapEntry>): Promise<MapEntry[]> {
  const list: MapEntry[] = [];
  for await (const entry of entries) {
    list.push(entry);
  }
  return list;
}

const BAD_RANGES = [
  { start: -1 },
  { start: 5, end: 4 },
  { end: SIZE + 1 },
  { start: 0.5 },
  { start: Number.NaN },
  { start: SIZE + 1 },
];

describe('stream', () => {
  test.for([
    [0, SIZE],
    [0, 0],
    [SIZE, SIZE],
    [1, SIZE - 1],
    [PIECE, 2 * PIECE],
    [PIECE - 1, PIECE + 1],
  ] as const)('gives [%i, %i)', async ([start, end]) => {
    expectBytes(await collect(image.stream({ start, end })), want.subarray(start, end), path);
  });

  test('gives all of it without a range, also into buffers that the reader brings', async () => {
    expectBytes(await collect(image.stream()), want, path);
    const reader = image.stream({ start: 4 * MiB - 3 }).getReader({ mode: 'byob' });
    let at = 4 * MiB - 3;
    let buffer = new Uint8Array(3 * MiB);
    for (;;) {
      const { value, done } = await reader.read(buffer);
      if (done) {
        break;
      }
      expectBytes(value, want.subarray(at, at + value.length), `at ${at}`);
      at += value.length;
      buffer = new Uint8Array(value.buffer);
    }
    expect(at).toBe(SIZE);
  });

  test('reads no piece before it is asked for', async () => {
    const reader = image.stream().getReader();
    const first = await reader.read();
    expectBytes(first.value ?? new Uint8Array(), want.subarray(0, PIECE), 'the first piece');
    // Time enough to have read a second piece, which the close would no longer keep from its reader.
    await wait(100);
    await image.close();
    await expect(reader.read()).rejects.toMatchObject({ name: 'VdconvError', code: 'usage' });
  });

  test('ends when its reader cancels, and errors at once when the signal aborts', async () => {
    const cancelled = image.stream();
    await cancelled.cancel();
    const controller = new AbortController();
    const reader = image.stream({ signal: controller.signal }).getReader();
    await reader.read();
    controller.abort();
    await expect(reader.read()).rejects.toMatchObject({ name: 'VdconvError', code: 'aborted' });
    const late = image.stream({ signal: controller.signal }).getReader();
    await expect(late.read()).rejects.toMatchObject({ name: 'VdconvError', code: 'aborted' });
  });

  test('does not end well when the image changed meanwhile', async () => {
    const reader = image.stream().getReader();
    await reader.read();
    await appendFile(path, 'x');
    const rest = async () => {
      while (!(await reader.read()).done) {}
    };
    await expect(rest()).rejects.toMatchObject({ name: 'VdconvError', code: 'changed' });
  });

  test('refuses a range outside the disk', () => {
    for (const range of BAD_RANGES) {
      expect(() => image.stream(range)).toThrow(expect.objectContaining({ code: 'usage' }));
    }
  });
});

describe('extents', () => {
  test('are those of the map, and of a range the part within', async () => {
    expect(await all(image.extents())).toEqual(await all(map(path)));
    const [start, end] = [64 * KiB + 100, 9 * MiB - 1];
    const part = await all(image.extents({ start, end }));
    expect(part[0]?.start).toBe(start);
    const moved = part.map((entry) => ({ ...entry, start: entry.start - start }));
    expectBytes(rebuild(moved), want.subarray(start, end), 'the range');
    expect(await all(image.extents({ start, end: start }))).toEqual([]);
  });

  test('refuse a range outside the disk, and stop by signal', async () => {
    for (const range of BAD_RANGES) {
      expect(() => image.extents(range)).toThrow(expect.objectContaining({ code: 'usage' }));
    }
    const aborted = all(image.extents({ signal: AbortSignal.abort() }));
    await expect(aborted).rejects.toMatchObject({ name: 'VdconvError', code: 'aborted' });
  });
});

describe('close', () => {
  test('waits for reads that are under way, and lets none begin', async () => {
    const reads = [image.read(0, SIZE), image.read(5, SIZE - 5)];
    await image.close();
    expectBytes(await (reads[0] as Promise<Uint8Array>), want, 'read');
    expectBytes(await (reads[1] as Promise<Uint8Array>), want.subarray(5), 'read');
    const closed = { name: 'VdconvError', code: 'usage', message: `${path}: the image is closed` };
    await expect(image.read(0, 1)).rejects.toMatchObject(closed);
    await expect(all(image.extents())).rejects.toMatchObject(closed);
    await image.close();
  });
});

test('open and read say aborted', async () => {
  const signal = AbortSignal.abort();
  const aborted = { name: 'VdconvError', code: 'aborted' };
  await expect(open(path, { signal })).rejects.toMatchObject(aborted);
  await expect(image.read(0, 512, { signal })).rejects.toMatchObject(aborted);
  const controller = new AbortController();
  const read = image.read(0, SIZE, { signal: controller.signal });
  controller.abort();
  await expect(read).rejects.toMatchObject(aborted);
});
