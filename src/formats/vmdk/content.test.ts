/** What the guest reads from images that others made: one typed by hand, the rest written by qemu-img. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { VdconvError } from '../../base/errors.ts';
import { KiB, MiB } from '../../base/units.ts';
import { memorySource } from '../../io/memory-source.ts';
import { checked } from '../../map/checked.ts';
import { extentAt, Kind } from '../../map/extents.ts';
import { ModelDisk } from '../../testing/model-disk.ts';
import { need, qemuImg } from '../../testing/oracles.ts';
import { tempDir } from '../../testing/tmp.ts';
import { streamOfA } from '../../testing/vmdk-stream.ts';
import type { Image } from '../format.ts';
import { vmdk } from './index.ts';

async function open(bytes: Uint8Array): Promise<Image> {
  return vmdk.open(memorySource(bytes, 'disk.vmdk'), {
    gate: { open: () => Promise.reject(new Error('no reference may be opened')), resolve: () => undefined },
  });
}

/** The guest's bytes [start, end), by the simplest reading of the block map. */
async function guestBytes(image: Image, start = 0, end = image.virtualSize): Promise<Uint8Array> {
  const guest = new Uint8Array(end - start);
  for await (const batch of image.extents(start, end)) {
    for (let i = 0; i < batch.count; i += 1) {
      const { start: at, length, kind, file, offset, stored, skip } = extentAt(batch, i);
      const { source, codec } = image.dataFiles[file] ?? {};
      if (kind === Kind.data) {
        guest.set((await source?.read(offset, length, 'data')) ?? [], at - start);
      } else if (kind === Kind.compressed) {
        const grain = Buffer.from((await source?.read(offset, stored, 'grain')) ?? []);
        expect(Number(grain.readBigUInt64LE(0)) * 512).toBe(at - skip);
        expect(codec).toEqual({ name: 'zlib', unit: image.facts.blockSize, framing: 'grain-marker' });
        const decoded = inflateSync(grain.subarray(12, 12 + grain.readUInt32LE(8)));
        guest.set(decoded.subarray(skip, skip + length), at - start);
      }
    }
  }
  return guest;
}

test('a stream-optimized image with footer, whole', async () => {
  const image = await open(streamOfA());
  expect(image).toMatchObject({
    subformat: 'streamOptimized',
    virtualSize: 65536,
    facts: { compressed: true, warnings: [] },
  });
  expect(await guestBytes(image)).toEqual(new Uint8Array(65536).fill(0x41));
  expect(await guestBytes(image, 1000, 1003)).toEqual(Uint8Array.of(0x41, 0x41, 0x41));
});

test.each([1, 2, 3])('header version %i means the same', async (version) => {
  const bytes = streamOfA();
  bytes[4] = version;
  bytes[11 * 512 + 4] = version;
  expect(await guestBytes(await open(bytes))).toEqual(new Uint8Array(65536).fill(0x41));
});

test('bytes after the end of the stream are ignored, and said', async () => {
  for (const padding of [1, 512, 10 * KiB, 64 * KiB]) {
    const padded = new Uint8Array(13 * 512 + padding);
    padded.set(streamOfA());
    const image = await open(padded);
    expect(await guestBytes(image)).toEqual(new Uint8Array(65536).fill(0x41));
    expect(image.facts.warnings).toEqual([expect.stringContaining(`${padding} bytes follow the end`)]);
  }
});

test.each([
  ['another capacity', { [11 * 512 + 12]: 127 }, 'capacity', /the header says 128/],
  [
    'no directory',
    Object.fromEntries([56, 57, 58, 59, 60, 61, 62, 63].map((i) => [11 * 512 + i, 255])),
    'gdOffset',
    /sector/,
  ],
])('a footer with %s is refused', async (_, patch, field, message) => {
  const bytes = streamOfA();
  for (const [at, value] of Object.entries(patch)) {
    bytes[Number(at)] = value;
  }
  await expect(open(bytes)).rejects.toMatchObject({ code: 'corrupt', field, message: expect.stringMatching(message) });
});

test('a stream that was cut is refused', async () => {
  for (const sectors of [2, 3, 9, 11]) {
    await expect(open(streamOfA().subarray(0, sectors * 512))).rejects.toMatchObject({ code: 'truncated' });
  }
});

test('a stream with damaged tables or footer is mapped within its file, or refused with a code', async () => {
  const tables = [3, 4, 8, 9, 10, 11, 12].map((sector) => fc.integer({ min: sector * 512, max: sector * 512 + 80 }));
  const change = fc.tuple(fc.oneof(...tables), fc.oneof(fc.constantFrom(0, 1, 2, 3, 12, 13, 255), fc.nat(255)));
  let mapped = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
      const bytes = streamOfA();
      for (const [at, value] of changes) {
        bytes[at] = value;
      }
      try {
        const image = await open(bytes);
        for await (const batch of checked(image.extents(0, image.virtualSize), 0, image.virtualSize)) {
          const { kind, offset, stored } = extentAt(batch, 0);
          expect(kind !== Kind.compressed || (stored > 0 && offset + stored <= bytes.length)).toBe(true);
        }
        mapped += 1;
      } catch (error) {
        expect(error).toBeInstanceOf(VdconvError);
        expect(['internal', 'read']).not.toContain((error as VdconvError).code);
      }
    }),
    { numRuns: 1000 },
  );
  expect(mapped).toBeGreaterThan(100);
});

/** Text, random bytes, written zeros, borders within grains, a hole, and a last grain of 3 KiB. */
const DISK = new ModelDisk(
  70 * MiB + 3 * KiB,
  [
    { start: 0, length: 200 * KiB, pattern: 'text' },
    { start: 260 * KiB, length: 100 * KiB, pattern: 'random' },
    { start: 1 * MiB, length: 1 * MiB, pattern: 'zeros' },
    { start: 33 * MiB - 512, length: 1024, pattern: 'random' },
    { start: 70 * MiB, length: 3 * KiB, pattern: 'text' },
  ],
  7,
);

test.for<[string, string[]]>([
  ['monolithicSparse', []],
  ['monolithicSparse', ['-o', 'zeroed_grain=on,compat6']],
  ['streamOptimized', ['-o', 'subformat=streamOptimized']],
])('qemu-img: %s %j', async ([subformat, options], ctx) => {
  const qemu = need(ctx, qemuImg());
  const directory = await tempDir();
  const raw = join(directory, 'disk.raw');
  const path = join(directory, 'disk.vmdk');
  await DISK.writeRawFile(raw);
  await qemu.convert('-f', 'raw', '-O', 'vmdk', ...options, raw, path);
  const image = await open(await readFile(path));
  expect(image).toMatchObject({ subformat, virtualSize: DISK.size });
  expect(Buffer.compare(await guestBytes(image), DISK.bytes(0, DISK.size))).toBe(0);
  const [start, end] = [260 * KiB + 1, 33 * MiB + 7];
  expect(Buffer.compare(await guestBytes(image, start, end), DISK.bytes(start, end - start))).toBe(0);
});
