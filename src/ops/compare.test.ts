import { appendFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { compare, convert, type Progress } from '../index.ts';
import { guestBytes } from '../testing/guest.ts';
import { ModelDisk } from '../testing/model-disk.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { qemuIo } from '../testing/qemu-io.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import { WRITERS } from '../testing/writers.ts';
import { PIECE } from './pieces.ts';

let dir: string;
let a: string;
let b: string;
beforeEach(async () => {
  dir = await tempDir();
  [a, b] = [join(dir, 'a'), join(dir, 'b')];
});

const RAW = { formatA: 'raw', formatB: 'raw' };

test.for(WRITERS)('a disk and what was converted to $name are the same', async ({ format, compress }) => {
  await seededDisk(4, 9 * MiB).writeRawFile(a);
  await convert(a, b, { format: 'raw', targetFormat: format.name, compress, noSync: true });
  const result = await compare(a, b, { formatA: 'raw', formatB: format.name });
  expect(result).toMatchObject({
    identical: true,
    a: { filename: a, format: 'raw', virtualSize: 9 * MiB },
    b: { filename: b, format: format.name, virtualSize: 9 * MiB },
  });
  expect(result).not.toHaveProperty('firstDifference');
});

test('the first byte that differs, wherever it is and whichever side has data there', async () => {
  const size = 9 * MiB + 5;
  const anyEdit = fc.record({ at: fc.integer({ min: 0, max: size - 1 }), value: fc.integer({ min: 0, max: 255 }) });
  const edges = [0, PIECE - 1, PIECE, 2 * PIECE, size - 1].map((at) => ({ at, value: 1 }));
  const disks = [seededDisk(9, size), new ModelDisk(size, [], 1)];
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...disks), fc.array(anyEdit, { maxLength: 3 }), async (disk, edits) => {
      const before = guestBytes(disk);
      const after = Uint8Array.from(before);
      for (const { at, value } of edits) {
        after[at] = value;
      }
      await disk.writeRawFile(a);
      await writeFile(b, after);
      const first = before.findIndex((byte, i) => byte !== after[i]);
      const want = first < 0 ? { identical: true } : { identical: false, firstDifference: first };
      expect(await compare(a, b, RAW)).toMatchObject(want);
      expect(await compare(b, a, RAW)).toMatchObject(want);
    }),
    { numRuns: 15, examples: disks.flatMap((disk) => edges.map((edit): [ModelDisk, typeof edges] => [disk, [edit]])) },
  );
});

describe('sizes that differ', () => {
  beforeEach(async () => {
    await writeFile(a, 'same'.repeat(1000));
    await writeFile(b, 'same'.repeat(1000));
  });

  test('are the same disk where the rest is zeros, but not with strict', async () => {
    await truncate(b, 20 * MiB);
    expect(await compare(a, b, RAW)).toMatchObject({ identical: true, b: { virtualSize: 20 * MiB } });
    expect(await compare(b, a, RAW)).toMatchObject({ identical: true });
    const strict = await compare(a, b, { ...RAW, strict: true });
    expect(strict).toMatchObject({ identical: false, bytesRead: 0 });
    expect(strict).not.toHaveProperty('firstDifference');
  });

  test('are a difference at the first byte of the rest that is not zero', async () => {
    await truncate(b, 4 * MiB + 7);
    await appendFile(b, 'x');
    for (const pair of [
      [a, b],
      [b, a],
    ] as const) {
      expect(await compare(...pair, RAW)).toMatchObject({ identical: false, firstDifference: 4 * MiB + 7 });
    }
  });

  test('and a disk of no byte is like any disk of zeros', async () => {
    await truncate(a, 0);
    await truncate(b, 0);
    expect(await compare(a, b, { ...RAW, strict: true })).toMatchObject({ identical: true, bytesRead: 0 });
    await truncate(b, MiB);
    expect(await compare(a, b, RAW)).toMatchObject({ identical: true });
  });
});

test('agrees with qemu-img on a layer over its base', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  await seededDisk(3, 2 * MiB).writeRawFile(join(dir, 'base'));
  await qemu.run('create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'raw', b);
  const allowed = { formatA: 'raw', allowReferences: true };
  expect(await compare(join(dir, 'base'), b, allowed)).toMatchObject({ identical: true });
  await expect(compare(join(dir, 'base'), b, { formatA: 'raw' })).rejects.toMatchObject({ code: 'refused' });
  await qemuIo(b, 'qcow2', 'write -P 77 1234432 512');
  const message = await qemu.compare(join(dir, 'base'), 'raw', b, 'qcow2');
  expect(message.message).toContain('offset 1234432');
  expect(await compare(join(dir, 'base'), b, allowed)).toMatchObject({ identical: false, firstDifference: 1234432 });
});

test('reads only where a map tells of data: two sparse disks of a TiB take no time', async (ctx) => {
  const size = 2 ** 40;
  await need(ctx, qemuImg()).run('create', '-q', '-f', 'qcow2', a, `${size}`);
  await qemuIo(a, 'qcow2', 'write -P 1 512G 64k');
  await convert(a, b, { targetFormat: 'vmdk', noSync: true });
  const seen: Progress[] = [];
  const result = await compare(a, b, { onProgress: (progress) => seen.push(progress) });
  expect(result.identical).toBe(true);
  // 64 KiB each, or whatever an engine reads as one.
  expect(result.bytesRead).toBeGreaterThanOrEqual(128 * KiB);
  expect(result.bytesRead).toBeLessThanOrEqual(2 * PIECE);
  expect(seen.at(-1)).toEqual({ done: size, total: size });
});

test('stops when it is cancelled, and when an image is not what it was', async () => {
  await seededDisk(2, 20 * MiB).writeRawFile(a);
  await seededDisk(2, 20 * MiB).writeRawFile(b);
  await expect(compare(a, b, { ...RAW, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' });
  const controller = new AbortController();
  const onProgress = () => controller.abort();
  await expect(compare(a, b, { ...RAW, onProgress, signal: controller.signal })).rejects.toMatchObject({
    name: 'VdconvError',
    code: 'aborted',
  });
  const change = () => void appendFile(b, 'x');
  await expect(compare(a, b, { ...RAW, onProgress: change })).rejects.toMatchObject({ code: 'changed', file: b });
});
