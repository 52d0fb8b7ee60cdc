/**
 * Every format that can be written, against every other and itself: what the guest sees is what it saw. The formats,
 * their options and whether they compress come from the registry; the model is a plain disk in memory; qemu-img, and
 * for compressed QCOW2 dissect.hypervisor, read every output too, and both checks find it clean.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { alignUp, KiB, MiB, SECTOR } from '../base/units.ts';
import { type ConvertResult, convert, open, VdconvError } from '../index.ts';
import { digestOf } from '../testing/digest.ts';
import {
  type Cuts,
  expectBytes,
  expectGuest,
  expectQemuAgrees,
  expectSound,
  guestBytes,
  writeReference,
} from '../testing/guest.ts';
import { ModelDisk } from '../testing/model-disk.ts';
import { dissect, Missing, need, type QemuImg, qemuImg } from '../testing/oracles.ts';
import { anyDisk, seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import {
  anyOptions,
  EDGE_SIZES,
  smallestUnit,
  type TargetOptions,
  WRITERS,
  type WriterKind,
} from '../testing/writers.ts';

const anyCuts: fc.Arbitrary<Cuts> = fc.array(
  fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true })),
  { minLength: 1, maxLength: 4 },
);

async function write(from: string, to: string, { format, compress }: WriterKind, targetOptions: TargetOptions) {
  const targetFormat = format.name;
  return await convert(from, to, { targetFormat, targetOptions, compress, force: true, noSync: true });
}

/** The size out is the size in to the byte; or the next multiple of 512, and then a note says how many bytes were added. */
function expectSize({ source, target, notes }: ConvertResult): void {
  const grown = target.virtualSize - source.virtualSize;
  expect([0, alignUp(source.virtualSize, SECTOR) - source.virtualSize]).toContain(grown);
  const said = notes.filter((note) => note.includes('the disk grows by'));
  expect(said.map((note) => Number(/grows by (\d+) zero bytes/.exec(note)?.[1]))).toEqual(grown === 0 ? [] : [grown]);
}

/** The image at `path` is what `result` says, and its guest sees the model's disk. */
async function expectImage(qemu: QemuImg, path: string, result: ConvertResult, disk: ModelDisk, cuts: Cuts = []) {
  expectSize(result);
  const { format, virtualSize } = result.target;
  await expectGuest(path, guestBytes(disk, virtualSize), {}, cuts);
  await expectSound(path, format);
  await expectQemuAgrees(qemu, path, format, await writeReference(`${path}.want`, disk, virtualSize));
}

const pairs = WRITERS.flatMap((a) => WRITERS.map((b) => ({ a, b, name: `raw -> ${a.name} -> ${b.name} -> raw` })));

/** About 75 disks in all, other ones in each run, however many formats there are. */
const RUNS = Math.max(1, Math.round(75 / pairs.length));

test('the suite knows a writer for raw, QCOW2 and VMDK, and compression for the latter two', () => {
  // Whatever joins later: these must never leave by mistake.
  expect(WRITERS.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['raw', 'qcow2', 'qcow2 -c', 'vmdk', 'vmdk -c']),
  );
});

describe('any disk, any options', () => {
  test.for(pairs)('$name', async ({ a, b }, ctx) => {
    const qemu = need(ctx, qemuImg());
    const root = await tempDir();
    let run = 0;
    await fc.assert(
      fc.asyncProperty(anyDisk(), anyOptions(a), anyOptions(b), anyCuts, async (disk, optionsA, optionsB, cuts) => {
        run += 1;
        const dir = join(root, `${run}`);
        await mkdir(dir);
        const [source, first, second, last] = ['in.raw', 'first', 'second', 'last.raw'].map((n) => join(dir, n)) as [
          string,
          string,
          string,
          string,
        ];
        await disk.writeRawFile(source);
        const toA = await write(source, first, a, optionsA);
        expect(toA.source).toMatchObject({ format: 'raw', virtualSize: disk.size });
        await expectImage(qemu, first, toA, disk, cuts);
        const toB = await write(first, second, b, optionsB);
        expect(toB.source).toMatchObject({ format: a.format.name, virtualSize: toA.target.virtualSize });
        await expectImage(qemu, second, toB, disk, cuts);
        const { target } = await convert(second, last, { noSync: true });
        expectBytes(await readFile(last), guestBytes(disk, toB.target.virtualSize), last);
        expect([target.virtualSize, target.fileSize]).toEqual([toB.target.virtualSize, toB.target.virtualSize]);
        await rm(dir, { recursive: true });
      }),
      { numRuns: RUNS },
    );
  });
});

describe('a size at an edge, the smallest unit', () => {
  test.for(WRITERS)('$name', async (writer, ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const [source, image] = [join(dir, 'in.raw'), join(dir, 'out')];
    for (const size of EDGE_SIZES) {
      const disk = new ModelDisk(size, [{ start: 0, length: size, pattern: 'text' }], size);
      await disk.writeRawFile(source);
      await expectImage(qemu, image, await write(source, image, writer, smallestUnit(writer)), disk);
    }
  });
});

describe('nothing to store', () => {
  test.for(WRITERS)('$name', async (writer, ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const [source, image] = [join(dir, 'in.raw'), join(dir, 'out')];
    for (const disk of [
      new ModelDisk(512, [], 0),
      new ModelDisk(3 * MiB + 512, [], 0),
      new ModelDisk(MiB, [{ start: 0, length: MiB, pattern: 'zeros' }], 0),
    ]) {
      await disk.writeRawFile(source);
      const result = await write(source, image, writer, smallestUnit(writer));
      expect(result.dataBytes).toBe(0);
      await expectImage(qemu, image, result, disk);
    }
  });
});

describe('a disk of 0 bytes is written as one, or refused', () => {
  test.for(WRITERS)('$name', async (writer, ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const [source, image] = [join(dir, 'in.raw'), join(dir, 'out')];
    const disk = new ModelDisk(0, [], 0);
    await disk.writeRawFile(source);
    const result = await write(source, image, writer, smallestUnit(writer)).catch((error: unknown) => error);
    if (result instanceof VdconvError) {
      expect([result.code, result.message]).toEqual(['limit', expect.stringContaining('a disk of 0 bytes')]);
      expect(await readdir(dir)).toEqual(['in.raw']);
    } else {
      await expectImage(qemu, image, result as ConvertResult, disk);
    }
  });
});

/** 100 MiB: four grain tables, thousands of L2 tables of the smallest cluster; data at their borders and in between. */
const WIDE = new ModelDisk(
  100 * MiB + 512,
  [
    { start: 0, length: 70 * KiB, pattern: 'text' },
    { start: 32 * MiB - 3 * KiB, length: 7 * KiB, pattern: 'random' },
    { start: 48 * MiB + 100, length: 1, pattern: 'random' },
    { start: 64 * MiB, length: 512, pattern: 'text' },
    { start: 64 * MiB + 200 * KiB, length: 300 * KiB, pattern: 'random' },
    { start: 96 * MiB - 64 * KiB, length: 128 * KiB, pattern: 'zeros' },
    { start: 100 * MiB + 1, length: 511, pattern: 'random' },
  ],
  100,
);

describe('several tables: from each writer to every other', () => {
  const sha256 = WIDE.sha256();

  test.for(WRITERS)('$name', async (a, ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const [source, first, second] = [join(dir, 'in.raw'), join(dir, 'first'), join(dir, 'second')];
    await WIDE.writeRawFile(source);
    await write(source, first, a, smallestUnit(a));
    await expectSound(first, a.format.name);
    await expectQemuAgrees(qemu, first, a.format.name, source);
    for (const b of WRITERS) {
      expectSize(await write(first, second, b, smallestUnit(b)));
      const image = await open(second);
      expect([image.virtualSize, await digestOf(image)], b.name).toEqual([WIDE.size, sha256]);
      await image.close();
      await expectSound(second, b.format.name);
      await expectQemuAgrees(qemu, second, b.format.name, source);
    }
  });
});

test('compressed QCOW2 reads the same in dissect.hypervisor', async (ctx) => {
  const reader = dissect();
  if (reader instanceof Missing) {
    ctx.skip(reader.reason);
    return;
  }
  const writer = WRITERS.find(({ name }) => name === 'qcow2 -c') as WriterKind;
  const dir = await tempDir();
  const [source, image] = [join(dir, 'in.raw'), join(dir, 'out.qcow2')];
  await fc.assert(
    fc.asyncProperty(anyDisk(), anyOptions(writer), async (disk, any) => {
      // Of the options those that it knows: its window is 4 KiB, zstd is another package, subclusters it reads slowly.
      const options = Object.fromEntries(Object.entries(any).filter(([key]) => key === 'cluster_size'));
      await disk.writeRawFile(source);
      const { target } = await write(source, image, writer, options);
      const sha256 = createHash('sha256').update(guestBytes(disk, target.virtualSize)).digest('hex');
      expect(await reader.content(image, 'qcow2')).toEqual({ size: target.virtualSize, sha256 });
    }),
    { numRuns: 12 },
  );
});

test('every thread count, and zeros stored or not: the same content', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const dir = await tempDir();
  const source = join(dir, 'in.raw');
  const disk = seededDisk(7, 3 * MiB + 512);
  await disk.writeRawFile(source);
  for (const { format, compress } of WRITERS) {
    const image = join(dir, 'out');
    for (const [threads, zeroGranularity] of [
      [1, 0],
      [2, 512],
      [8, 64 * KiB],
    ]) {
      const targetOptions = smallestUnit({ name: '', format, compress });
      const options = { targetFormat: format.name, targetOptions, compress, threads, zeroGranularity };
      const result = await convert(source, image, { ...options, force: true, noSync: true });
      await expectImage(qemu, image, result, disk);
    }
  }
});
