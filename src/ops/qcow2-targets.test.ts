/** QCOW2 with any options: QEMU finds it clean and the same, and so do we. */
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { loadEngine } from '../engine/engine.ts';
import { type ConvertOptions, check, convert, info } from '../index.ts';
import { numbersOf, numbersOfQemu, shown } from '../testing/check.ts';
import { expectBytes, expectGuest, guestBytes } from '../testing/guest.ts';
import { need, type QemuImg, qemuImg } from '../testing/oracles.ts';
import { qemuIo } from '../testing/qemu-io.ts';
import { anyDisk, seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
});
const at = (name: string) => join(dir, name);
const native = loadEngine().engine.name === 'native';

type Options = Record<string, string | number | boolean>;

/** Options that go together. */
const anyOptions: fc.Arbitrary<{ options: Options; compress: boolean }> = fc
  .record({
    bits: fc.integer({ min: 9, max: 21 }),
    refcountBits: fc.constantFrom(1, 2, 4, 8, 16, 32, 64),
    kind: fc.constantFrom('0.10', 'plain', 'plain', 'extended', 'extended', 'data', 'raw data', 'extended data'),
    compress: fc.boolean(),
    zstd: fc.boolean(),
    lazy: fc.boolean(),
    window: fc.constantFrom('4k', '32k'),
    preallocation: fc.constantFrom('off', 'off', 'metadata', ...(native ? ['falloc'] : []), 'full'),
  })
  .map(({ bits, refcountBits, kind, compress, zstd, lazy, window, preallocation }) => {
    const external = kind.endsWith('data');
    const packed = compress && !external;
    const options: Options = {
      cluster_size: 2 ** (kind.startsWith('extended') ? Math.max(14, bits) : bits),
      deflate_window: window,
      preallocation: packed ? 'off' : preallocation,
    };
    if (kind === '0.10') {
      options.compat = '0.10';
    } else {
      Object.assign(options, { refcount_bits: refcountBits, lazy_refcounts: lazy });
      options.extended_l2 = kind.startsWith('extended');
      options.compression_type = zstd ? 'zstd' : 'zlib';
    }
    if (external) {
      Object.assign(options, { data_file: 'data', data_file_raw: kind === 'raw data' });
    }
    return { options, compress: packed };
  });

/** For qemu-img and for our own check, which count the same. */
async function expectClean(qemu: QemuImg, image: string): Promise<void> {
  const found = await qemu.check(image, 'qcow2');
  const own = await check(image, { allowReferences: true });
  expect(shown(own), `${image}: our findings`).toEqual([]);
  expect(numbersOf(own)).toEqual(numbersOfQemu(found));
  expect(found.leaks, `${image}: leaks`).toBeUndefined();
  expect(found.corruptions, `${image}: corruptions`).toBeUndefined();
  expect(found).toMatchObject({ exit: 0, 'check-errors': 0 });
}

test('any options', { timeout: 120_000 }, async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const [raw, image] = [at('in.raw'), at('out.qcow2')];
  await fc.assert(
    fc.asyncProperty(anyDisk({ maxSize: 3 * MiB, unit: 512 }), anyOptions, async (disk, { options, compress }) => {
      await disk.writeRawFile(raw);
      const want = guestBytes(disk);
      if ('data_file' in options) {
        // Absolute: QEMU would look for it where it runs.
        options.data_file = at('data');
      }
      await convert(raw, image, { targetOptions: options, compress, force: true, noSync: true });
      await expectClean(qemu, image);
      expect((await qemu.compare(raw, 'raw', image, 'qcow2')).message).toMatch(/identical/);
      await expectGuest(image, want, { allowReferences: 'data_file' in options }, [[0.2, 0.7]]);
      if (options.data_file_raw === true) {
        expectBytes(await readFile(at('data')), want, 'data');
      }
      // QEMU writes into it, and it stays sound: what is stored once is COPIED, counts have room.
      if (want.length >= 4096) {
        await qemuIo(image, 'qcow2', `write -P 3 ${want.length - 4096} 4096`, 'write -z 0 4096', 'write -P 4 512 512');
        await expectClean(qemu, image);
      }
    }),
    { numRuns: 45 },
  );
});

test('the header says to QEMU what was asked for', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  await writeFile(at('in.raw'), Buffer.alloc(MiB, 1));
  const said = async (targetOptions: Options) => {
    await convert(at('in.raw'), at('out.qcow2'), { targetOptions, force: true, noSync: true });
    const data = (await qemu.info(at('out.qcow2'), 'qcow2'))['format-specific']?.data ?? {};
    const { details } = await info(at('out.qcow2'));
    expect(details).toMatchObject({ compat: data.compat, refcountBits: data['refcount-bits'] });
    return data;
  };
  expect(await said({ compat: '0.10' })).toEqual({ compat: '0.10', 'compression-type': 'zlib', 'refcount-bits': 16 });
  expect(await said({ refcount_bits: 64, lazy_refcounts: true, compression_type: 'zstd', extended_l2: true })).toEqual({
    compat: '1.1',
    'compression-type': 'zstd',
    'lazy-refcounts': true,
    'refcount-bits': 64,
    corrupt: false,
    'extended-l2': true,
  });
  expect(await said({ data_file: 'd', data_file_raw: true })).toMatchObject({
    'data-file': 'd',
    'data-file-raw': true,
  });
});

describe('preallocation', () => {
  const disk = seededDisk(12, 8 * MiB);
  const sizes = async (preallocation: string) => {
    await disk.writeRawFile(at('in.raw'));
    const image = at(`${preallocation}.qcow2`);
    await convert(at('in.raw'), image, { targetOptions: { preallocation }, noSync: true });
    const { size, blocks } = await stat(image);
    return { image, size, allocated: blocks * 512 };
  };

  test('metadata: as long as a full image, no more on disk than without; each cluster has a place', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const [off, metadata] = [await sizes('off'), await sizes('metadata')];
    expect(metadata.size).toBeGreaterThan(8 * MiB);
    expect(off.size).toBeLessThan(metadata.size);
    expect(metadata.allocated).toBeLessThan(off.allocated + 128 * KiB);
    const found = await qemu.check(metadata.image, 'qcow2');
    expect(found['allocated-clusters']).toBe(found['total-clusters']);
  });

  test('falloc and full: the disk space is taken', async (ctx) => {
    need(ctx, qemuImg());
    expect((await sizes('full')).allocated).toBeGreaterThanOrEqual(8 * MiB);
    if (native) {
      const { size, allocated } = await sizes('falloc');
      expect(allocated).toBeGreaterThanOrEqual(size);
    }
  });
});

describe('over a base', () => {
  /** A base and a disk that differs from it in three places: other data, zeros over data, data over zeros. */
  async function pair(): Promise<{ base: Uint8Array; top: Uint8Array }> {
    const base = guestBytes(seededDisk(30, 4 * MiB));
    base.fill(5, MiB, 2 * MiB);
    base.fill(0, 3 * MiB, 4 * MiB);
    const top = base.slice();
    top.fill(6, 100 * KiB, 101 * KiB);
    top.fill(0, MiB, MiB + 300 * KiB);
    top.fill(7, 3 * MiB + 10 * KiB, 3 * MiB + 20 * KiB);
    await writeFile(at('base.raw'), base);
    await writeFile(at('top.raw'), top);
    return { base, top };
  }

  const shapes: [string, Options, Partial<ConvertOptions>][] = [
    ['plain', {}, {}],
    ['compressed', {}, { compress: true }],
    ['extended L2', { extended_l2: true }, {}],
    ['extended L2, compressed', { extended_l2: true }, { compress: true }],
    ['version 2', { compat: '0.10' }, {}],
    ['version 2, compressed', { compat: '0.10' }, { compress: true }],
    ['small clusters', { cluster_size: 4096 }, {}],
  ];
  test.for(shapes)('%s: only what differs is stored', async ([, targetOptions, more], ctx) => {
    const qemu = need(ctx, qemuImg());
    const { top } = await pair();
    const image = at('top.qcow2');
    const options = { base: at('base.raw'), baseFormat: 'raw', allowReferences: true, noSync: true };
    await convert(at('top.raw'), image, { ...options, ...more, targetOptions });
    await expectClean(qemu, image);
    expect(await qemu.info(image, 'qcow2')).toMatchObject({ 'full-backing-filename': at('base.raw') });
    expect((await qemu.compare(at('top.raw'), 'raw', image, 'qcow2')).message).toMatch(/identical/);
    await expectGuest(image, top, { allowReferences: true });
    const { 'allocated-clusters': clusters = 0 } = await qemu.check(image, 'qcow2');
    const cluster = Number(targetOptions.cluster_size ?? 64 * KiB);
    // 300 KiB of zeros at a cluster border: no clusters with a zero flag, all of them without one.
    const zeros = targetOptions.compat === '0.10' ? 5 : 0;
    expect(clusters).toBe(zeros + (cluster === 64 * KiB ? 2 : 1 + 3) + (cluster === 64 * KiB && zeros === 0 ? 1 : 0));
    // Without its base nothing of the rest is there.
    await rm(at('base.raw'));
    await expect(expectGuest(image, top, { allowReferences: true })).rejects.toThrow(/does not exist/);
  });

  test('a base of another format and size, shorter or longer', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const { base, top } = await pair();
    for (const [format, size] of [
      ['vmdk', 4 * MiB],
      ['qcow2', 2 * MiB],
      ['vhd', 4 * MiB],
      ['vdi', 6 * MiB],
    ] as const) {
      const bytes = new Uint8Array(size);
      bytes.set(base.subarray(0, size));
      await writeFile(at('part.raw'), bytes);
      const under = at(`base.${format}`);
      const exact = format === 'vhd' ? { targetOptions: { force_size: true } } : {};
      await convert(at('part.raw'), under, { noSync: true, ...exact });
      const image = at(`over-${format}.qcow2`);
      await convert(at('top.raw'), image, { base: under, allowReferences: true, noSync: true });
      await expectClean(qemu, image);
      expect((await qemu.compare(at('top.raw'), 'raw', image, 'qcow2')).message, format).toMatch(/identical/);
      await expectGuest(image, top, { allowReferences: true });
    }
  });

  test('the same disk stores nothing', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    await pair();
    const options = { base: at('base.raw'), baseFormat: 'raw', allowReferences: true, noSync: true };
    await convert(at('base.raw'), at('same.qcow2'), options);
    expect((await qemu.check(at('same.qcow2'), 'qcow2'))['allocated-clusters'] ?? 0).toBe(0);
    await expectClean(qemu, at('same.qcow2'));
  });
});

describe('data file', () => {
  test('is made beside the image, with what only it can have in it', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const disk = seededDisk(40, 5 * MiB + 512);
    await disk.writeRawFile(at('in.raw'));
    const options = { targetOptions: { data_file: at('disk.data'), cluster_size: 4096 }, noSync: true };
    const result = await convert(at('in.raw'), at('disk.qcow2'), options);
    expect(result.target.siblings).toEqual([at('disk.data')]);
    expectBytes(await readFile(at('disk.data')), guestBytes(disk), 'disk.data');
    await expectClean(qemu, at('disk.qcow2'));
    // What is zero has no cluster.
    const found = await qemu.check(at('disk.qcow2'), 'qcow2');
    expect(found['allocated-clusters']).toBeLessThan(found['total-clusters'] as number);
    await expect(convert(at('in.raw'), at('disk.qcow2'), options)).rejects.toMatchObject({ code: 'exists' });
    const beside = { targetOptions: { data_file: 'beside' }, noSync: true };
    const { notes } = await convert(at('in.raw'), at('second.qcow2'), beside);
    expect(notes).toEqual([expect.stringContaining('QEMU looks for a relative data_file')]);
    await expectGuest(at('second.qcow2'), guestBytes(disk), { allowReferences: true });
    expectBytes(await readFile(at('beside')), guestBytes(disk), 'beside');
    const same = { ...options, targetOptions: { data_file: 'other.qcow2' } };
    await expect(convert(at('in.raw'), at('other.qcow2'), same)).rejects.toThrow(/written twice/);
  });
});
