/** QCOW2 images that qemu-img and qemu-io wrote, in every shape that is read: the guest sees the model's disk. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { alignDown, KiB, MiB } from '../base/units.ts';
import { convert, info } from '../index.ts';
import { type Cuts, expectBytes, expectGuest, guestBytes } from '../testing/guest.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { qemuIo } from '../testing/qemu-io.ts';
import { anyDisk, seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';

const CUTS: Cuts = [
  [0.1, 0.100001],
  [0.3, 0.71],
  [0.999, 1],
];

interface Shape {
  compat: '0.10' | '1.1';
  clusterBits: number;
  compress: boolean;
  preallocation: 'off' | 'metadata';
  lazyRefcounts: boolean;
  refcountBits: number;
}

const anyShape: fc.Arbitrary<Shape> = fc.record({
  compat: fc.constantFrom('0.10', '1.1'),
  clusterBits: fc.integer({ min: 9, max: 21 }),
  compress: fc.boolean(),
  preallocation: fc.constantFrom('off', 'metadata'),
  lazyRefcounts: fc.boolean(),
  refcountBits: fc.constantFrom(1, 2, 4, 8, 16, 32, 64),
});

/** `qemu-img convert` arguments. Version 2 has neither lazy refcounts nor widths; compressed images are not preallocated. */
function argumentsFor(shape: Shape): string[] {
  const options = [`compat=${shape.compat}`, `cluster_size=${2 ** shape.clusterBits}`];
  if (shape.compat === '1.1') {
    options.push(`lazy_refcounts=${shape.lazyRefcounts ? 'on' : 'off'}`, `refcount_bits=${shape.refcountBits}`);
  }
  if (!shape.compress) {
    options.push(`preallocation=${shape.preallocation}`);
  }
  return ['-O', 'qcow2', ...(shape.compress ? ['-c'] : []), '-o', options.join()];
}

test('any shape', { timeout: 120_000 }, async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const dir = await tempDir();
  const [raw, image] = [join(dir, 'disk.raw'), join(dir, 'disk.qcow2')];
  await fc.assert(
    fc.asyncProperty(anyDisk({ maxSize: 2 * MiB, unit: 512 }), anyShape, async (disk, shape) => {
      await disk.writeRawFile(raw);
      await qemu.convert('-f', 'raw', ...argumentsFor(shape), raw, image);
      await expectGuest(image, guestBytes(disk), {}, CUTS);
    }),
    { numRuns: 40 },
  );
});

describe('every cluster size, plain and compressed', () => {
  const disk = seededDisk(21, 3 * MiB + 512);
  test.for(Array.from({ length: 13 }, (_, i) => 9 + i))('2^%i', async (clusterBits, ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const [raw, image] = [join(dir, 'disk.raw'), join(dir, 'disk.qcow2')];
    await disk.writeRawFile(raw);
    for (const compress of [false, true]) {
      const shape: Shape = {
        compat: '1.1',
        clusterBits,
        compress,
        preallocation: 'off',
        lazyRefcounts: false,
        refcountBits: 16,
      };
      await qemu.convert('-f', 'raw', ...argumentsFor(shape), raw, image);
      await expectGuest(image, guestBytes(disk), {}, CUTS);
      expect((await info(image)).blockSize).toBe(2 ** clusterBits);
    }
  });
});

/** What a guest does to an image: it writes, it writes zeros (with and without giving the space back), it discards. */
interface Write {
  how: 'write' | 'write -z' | 'write -z -u' | 'discard';
  at: number;
  length: number;
}

const anyWrite: fc.Arbitrary<Write> = fc.record({
  how: fc.constantFrom('write', 'write -z', 'write -z -u', 'discard'),
  at: fc.double({ min: 0, max: 0.999, noNaN: true }),
  length: fc.integer({ min: 512, max: 300 * KiB }),
});

test('any writes of a guest over any image: data, zero clusters, discards', { timeout: 120_000 }, async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const dir = await tempDir();
  const [raw, image, back] = [join(dir, 'disk.raw'), join(dir, 'disk.qcow2'), join(dir, 'back.raw')];
  const disk = seededDisk(5, 2 * MiB);
  await disk.writeRawFile(raw);
  const shapes = fc.record({
    kind: fc.constantFrom(
      '0.10',
      '1.1',
      '1.1,compression_type=zstd',
      '1.1,extended_l2=on',
      '1.1,data_file=',
      '1.1,extended_l2=on,data_file=',
    ),
    clusterBits: fc.integer({ min: 9, max: 18 }),
    compress: fc.boolean(),
    rawData: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(shapes, fc.array(anyWrite, { minLength: 1, maxLength: 8 }), async (shape, writes) => {
      const external = shape.kind.endsWith('data_file=');
      const cluster = 2 ** Math.max(shape.clusterBits, shape.kind.includes('extended') ? 14 : 9);
      const dataFile = external ? `${join(dir, 'data')},data_file_raw=${shape.rawData ? 'on' : 'off'}` : '';
      const options = `cluster_size=${cluster},compat=${shape.kind}${dataFile}`;
      const compress = shape.compress && !external ? ['-c'] : [];
      await qemu.convert('-f', 'raw', '-O', 'qcow2', ...compress, '-o', options, raw, image);
      const want = guestBytes(disk);
      const commands = writes.map(({ how, at, length }, i) => {
        // Parts of a cluster are not discarded.
        const unit = how === 'discard' ? cluster : 512;
        const start = alignDown(at * want.length, unit);
        const end = Math.min(want.length, start + Math.max(unit, alignDown(length, unit)));
        const fill = how === 'write' ? i + 1 : 0;
        want.fill(fill, start, end);
        return `${how} ${fill === 0 ? '' : `-P ${fill} `}${start} ${end - start}`;
      });
      await qemuIo(image, 'qcow2', ...commands);
      await expectGuest(image, want, { allowReferences: external }, CUTS);
      const result = await convert(image, back, { force: true, noSync: true, allowReferences: external });
      expect(result.target.virtualSize).toBe(want.length);
      expectBytes(await readFile(back), want, back);
    }),
    { numRuns: 40 },
  );
});

test('zero clusters are zeros in the map, not data', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const dir = await tempDir();
  const [raw, image] = [join(dir, 'disk.raw'), join(dir, 'disk.qcow2')];
  const disk = seededDisk(9, MiB);
  await disk.writeRawFile(raw);
  await qemu.convert('-f', 'raw', '-O', 'qcow2', '-S', '0', raw, image);
  await qemuIo(image, 'qcow2', 'write -z 0 1M');
  const result = await convert(image, join(dir, 'out.qcow2'), { noSync: true });
  expect(result.dataBytes).toBe(0);
  expect(result.target.allocatedSize).toBeLessThan(512 * KiB);
});
