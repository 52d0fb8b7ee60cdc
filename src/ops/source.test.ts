import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { convert, open } from '../index.ts';
import { expectBytes } from '../testing/guest.ts';
import { ModelDisk } from '../testing/model-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import { WRITERS } from '../testing/writers.ts';

/** More than a stream's window holds, in pieces that are far apart. */
const SIZE = 160 * MiB;
const RUNS = [
  { start: 0, length: 9 * MiB, pattern: 'random' },
  { start: 20 * MiB + 12 * KiB, length: 4 * KiB, pattern: 'random' },
  { start: 33 * MiB, length: 40 * MiB, pattern: 'random' },
  { start: 130 * MiB, length: 28 * MiB + 4 * KiB, pattern: 'random' },
] as const;

let dir: string;
let raw: string;
beforeEach(async () => {
  dir = await tempDir();
  raw = join(dir, 'in.raw');
  await new ModelDisk(SIZE, RUNS, 5).writeRawFile(raw);
});

/** A file as a stream: pieces of odd sizes. */
async function streamOf(path: string, end?: number): Promise<ReadableStream<Uint8Array>> {
  const bytes = new Uint8Array(await readFile(path)).subarray(0, end);
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at === bytes.length) {
        controller.close();
        return;
      }
      const n = Math.min(bytes.length - at, 50_001);
      controller.enqueue(bytes.slice(at, at + n));
      at += n;
    },
  });
}

describe('a stream that is larger than what is kept of it', () => {
  test.for(WRITERS)('$name', async ({ format, compress }) => {
    const image = join(dir, 'image');
    await convert(raw, image, {
      format: 'raw',
      targetFormat: format.name,
      compress,
      compressLevel: compress ? 1 : undefined,
      noSync: true,
    });
    const size = format.name === 'raw' ? { size: SIZE } : {};
    // Compressed clusters fill what plain ones left behind them: far back, in a disk that hardly shrinks.
    const kept = format.name === 'qcow2' && compress ? { spool: dir } : {};
    const options = { format: format.name, targetFormat: 'raw', noSync: true, ...size, ...kept };
    const { notes } = await convert(await streamOf(image), join(dir, 'out.raw'), options);
    expectBytes(await readFile(join(dir, 'out.raw')), await readFile(raw), format.name);
    // A VHD's footer comes last.
    expect(notes.some((note) => note.includes('kept in a temporary file'))).toBe(
      format.name === 'vhd' || 'spool' in kept,
    );
  });
});

test('an order that one pass cannot follow is refused with the way out, which works', async () => {
  const image = join(dir, 'image.qcow2');
  await convert(raw, image, { format: 'raw', targetFormat: 'qcow2', noSync: true });
  const bytes = await readFile(image);
  const l1 = Number(bytes.readBigUInt64BE(40));
  const l2 = Number(bytes.readBigUInt64BE(l1) & 0x00fffffffffffe00n);
  // The only table moves behind the data.
  const moved = Buffer.concat([bytes, bytes.subarray(l2, l2 + 64 * KiB)]);
  moved.writeBigUInt64BE(BigInt(bytes.length) | (1n << 63n), l1);
  await writeFile(image, moved);
  const target = join(dir, 'out.raw');
  const options = { format: 'qcow2', targetFormat: 'raw', noSync: true };
  await expect(convert(await streamOf(image), target, options)).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining('add --spool DIR to keep the stream in a temporary file'),
  });
  await convert(await streamOf(image), target, { ...options, spool: dir });
  expectBytes(await readFile(target), await readFile(raw), 'moved');
});

test('grains out of order: the same', async () => {
  const image = join(dir, 'image.vmdk');
  await convert(raw, image, { format: 'raw', targetFormat: 'vmdk', compress: true, compressLevel: 1, noSync: true });
  const bytes = await readFile(image);
  const at = 64 * KiB;
  const length = Math.ceil((12 + bytes.readUInt32LE(at + 8)) / 512) * 512;
  // The first grain says that it is the second one, and the second comes after it.
  bytes.writeBigUInt64LE(128n, at);
  bytes.writeBigUInt64LE(0n, at + length);
  await writeFile(image, bytes);
  await expect(convert(await streamOf(image), join(dir, 'out.raw'), { noSync: true })).rejects.toMatchObject({
    code: 'unsupported',
    field: 'marker',
    offset: at + length,
  });
});

test('an opened stream is read at any offset', async () => {
  const image = await open(await streamOf(raw), { format: 'raw', spool: dir });
  expect(image).toMatchObject({ filename: '-', virtualSize: SIZE });
  expectBytes(await image.read(130 * MiB, 100), new ModelDisk(SIZE, RUNS, 5).bytes(130 * MiB, 100), 'far');
  expectBytes(await image.read(0, 100), new ModelDisk(SIZE, RUNS, 5).bytes(0, 100), 'near');
  await image.close();
});

test('a stream that fails is error `read`, and an abort ends the wait for one that gives nothing', async () => {
  const target = join(dir, 'out.raw');
  const broken = new ReadableStream<Uint8Array>({
    pull(controller) {
      controller.error(new Error('connection lost'));
    },
  });
  await expect(convert(broken, target, { format: 'raw' })).rejects.toMatchObject({
    code: 'read',
    message: '-: cannot read the stream: connection lost',
  });
  const silent = new ReadableStream<Uint8Array>();
  const signal = AbortSignal.timeout(50);
  await expect(convert(silent, target, { format: 'raw', signal })).rejects.toMatchObject({ code: 'aborted' });
});
