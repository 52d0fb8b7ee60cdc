import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { convert, type MapEntry, map, type OpenOptions, open } from '../index.ts';
import { expectBytes, guestBytes } from '../testing/guest.ts';
import { ModelDisk } from '../testing/model-disk.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { qemuIo } from '../testing/qemu-io.ts';
import { rebuild } from '../testing/rebuild.ts';
import { anyDisk, seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import { anyOptions, WRITERS } from '../testing/writers.ts';

const images = fileURLToPath(new URL('../../test-images/', import.meta.url));

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
});

async function entriesOf(path: string, options: OpenOptions = {}): Promise<MapEntry[]> {
  const entries: MapEntry[] = [];
  for await (const entry of map(path, options)) {
    entries.push(entry);
  }
  return entries;
}

describe('the disk can be rebuilt from the map alone', () => {
  test.for(WRITERS)('$name, as vdconv writes it', async (writer) => {
    let run = 0;
    await fc.assert(
      fc.asyncProperty(anyDisk(), anyOptions(writer), async (disk, targetOptions) => {
        run += 1;
        const [source, image] = [join(dir, `${run}.raw`), join(dir, `${run}.image`)];
        await disk.writeRawFile(source);
        const { format, compress } = writer;
        const { target } = await convert(source, image, {
          ...{ format: 'raw', targetFormat: format.name, targetOptions, compress, noSync: true },
        });
        const want = guestBytes(disk, target.virtualSize);
        expectBytes(rebuild(await entriesOf(image, { format: format.name })), want, format.name);
      }),
      { numRuns: 8 },
    );
  });

  test.for([
    ['qcow2', ['-c']],
    ['vmdk', []],
    ['vmdk', ['-o', 'subformat=streamOptimized']],
    ['vmdk', ['-o', 'subformat=twoGbMaxExtentSparse']],
    ['vmdk', ['-o', 'subformat=monolithicFlat']],
  ] as const)('%s %j, as qemu-img writes it', async ([format, options], ctx) => {
    const qemu = need(ctx, qemuImg());
    const disk = seededDisk(11, 6 * MiB);
    await disk.writeRawFile(join(dir, 'in.raw'));
    await qemu.convert('-f', 'raw', '-O', format, ...options, join(dir, 'in.raw'), join(dir, 'disk.vmdk'));
    expectBytes(rebuild(await entriesOf(join(dir, 'disk.vmdk'))), guestBytes(disk), format);
  });

  test.for(['demo-disk.vmdk', 'demo-disk-stream.vmdk', 'go-vmdk-parser-stream.vmdk'])('%s', async (name) => {
    const image = await open(join(images, name));
    const want = await image.read(0, image.virtualSize);
    await image.close();
    expectBytes(rebuild(await entriesOf(join(images, name))), want, name);
  });
});

describe('a chain', () => {
  test('has the depth that qemu-img finds, and its content, at any place of the layers', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const size = 2 * MiB;
    const write = fc.record({
      zeros: fc.boolean(),
      at: fc.integer({ min: 0, max: size / KiB - 1 }),
      length: fc.integer({ min: 1, max: 300 }),
    });
    const anyLayers = fc.array(fc.record({ bits: fc.integer({ min: 9, max: 16 }), writes: fc.array(write) }), {
      minLength: 1,
      maxLength: 3,
    });
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.integer(), fc.boolean(), anyLayers, async (seed, compress, layers) => {
        run += 1;
        const here = join(dir, `${run}`);
        await mkdir(here);
        const disk = seededDisk(seed, size);
        await disk.writeRawFile(join(here, 'in.raw'));
        const how = compress ? ['-c'] : [];
        await qemu.convert('-f', 'raw', '-O', 'qcow2', ...how, join(here, 'in.raw'), join(here, 'layer0'));
        for (const [i, { bits, writes }] of layers.entries()) {
          const path = join(here, `layer${i + 1}`);
          const backing = ['-b', `layer${i}`, '-F', 'qcow2', '-o', `cluster_size=${2 ** bits}`];
          await qemu.run('create', '-q', '-f', 'qcow2', ...backing, path);
          const commands = writes.map(({ zeros, at, length }) => {
            const kib = Math.min(length, size / KiB - at);
            return `write ${zeros ? '-z' : `-P ${i + 1}`} ${at}k ${kib}k`;
          });
          if (commands.length > 0) {
            await qemuIo(path, 'qcow2', ...commands);
          }
        }
        const top = join(here, `layer${layers.length}`);
        const entries = await entriesOf(top, { allowReferences: true });
        const raw = join(here, 'want.raw');
        await qemu.convert('-f', 'qcow2', '-O', 'raw', top, raw);
        const want = await open(raw, { format: 'raw' });
        expectBytes(rebuild(entries), await want.read(0, size), top);
        await want.close();
        const theirs = JSON.parse(await qemu.run('map', '-f', 'qcow2', '--output=json', top)) as MapEntry[];
        // By qemu-img too, what no layer has is the lowest one's.
        expect(depths(entries)).toEqual(depths(theirs));
      }),
      { numRuns: 15 },
    );
  });

  test('shows part of a compressed unit with the bytes to skip', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    await new ModelDisk(MiB, [{ start: 0, length: 64 * KiB, pattern: 'text' }], 5).writeRawFile(join(dir, 'in.raw'));
    await qemu.convert('-f', 'raw', '-O', 'qcow2', '-c', join(dir, 'in.raw'), join(dir, 'base'));
    const top = join(dir, 'top');
    await qemu.run('create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', '-o', 'cluster_size=4k', top);
    await qemuIo(top, 'qcow2', 'write -P 1 4k 4k', 'write -z 8k 4k');
    const entries = await entriesOf(top, { allowReferences: true });
    expect(entries.map(({ start, kind, depth, skip }) => [start, kind, depth, skip])).toEqual([
      [0, 'compressed', 1, 0],
      [4 * KiB, 'data', 0, undefined],
      [8 * KiB, 'zero', 0, undefined],
      [12 * KiB, 'compressed', 1, 12 * KiB],
      [64 * KiB, 'unallocated', 1, undefined],
    ]);
    expect(entries.map(({ file }) => file)).toEqual([join(dir, 'base'), top, undefined, join(dir, 'base'), undefined]);
  });
});

test('an image of a TiB has a map of one entry', async (ctx) => {
  const image = join(dir, 'huge.qcow2');
  await need(ctx, qemuImg()).run('create', '-q', '-f', 'qcow2', image, '1T');
  expect(await entriesOf(image)).toEqual([{ start: 0, length: 2 ** 40, kind: 'unallocated', depth: 0 }]);
});

test('entries come while the rest of the tables is not yet read', async () => {
  const pages = 16 * KiB;
  const disk = new Uint8Array(pages * 4 * KiB);
  for (let page = 0; page < pages; page += 2) {
    disk.fill(1, page * 4 * KiB, (page + 1) * 4 * KiB);
  }
  await writeFile(join(dir, 'striped.raw'), disk);
  const image = join(dir, 'striped.qcow2');
  await convert(join(dir, 'striped.raw'), image, { targetOptions: { cluster_size: '4k' }, noSync: true });
  // The last L2 table's last used entry becomes an offset that is no cluster's. QCOW2 §Header, §L2 table.
  const bytes = await readFile(image);
  const [l1Size, l1Offset] = [bytes.readUInt32BE(36), Number(bytes.readBigUInt64BE(40))];
  const l2Offset = Number(bytes.readBigUInt64BE(l1Offset + 8 * (l1Size - 1)) & 0x00fffffffffffe00n);
  bytes.writeBigUInt64BE(bytes.readBigUInt64BE(l2Offset + 8 * 510) | 0x200n, l2Offset + 8 * 510);
  await writeFile(image, bytes);
  let last: MapEntry | undefined;
  const walk = async () => {
    for await (const entry of map(image)) {
      last = entry;
    }
  };
  await expect(walk()).rejects.toMatchObject({ name: 'VdconvError', code: 'corrupt' });
  expect(last?.start).toBeGreaterThanOrEqual(4000 * 4 * KiB);
});

test('tells of a reference, an abort and a change as errors with their codes', async () => {
  const copy = join(dir, 'copy.vmdk');
  await copyFile(join(images, 'demo-disk.vmdk'), copy);
  await expect(entriesOf(join(dir, 'none'))).rejects.toMatchObject({ name: 'VdconvError', code: 'read' });
  const signal = AbortSignal.abort();
  await expect(entriesOf(copy, { signal })).rejects.toMatchObject({ name: 'VdconvError', code: 'aborted' });
  const changing = async () => {
    for await (const _ of map(copy)) {
      await writeFile(copy, 'other', { flag: 'a' });
    }
  };
  await expect(changing()).rejects.toMatchObject({ name: 'VdconvError', code: 'changed' });
});

/** [start, depth] wherever the depth becomes another one. */
function depths(entries: readonly { start: number; depth: number }[]): [number, number][] {
  const changes = entries.filter(({ depth }, i) => depth !== entries[i - 1]?.depth);
  return changes.map(({ start, depth }) => [start, depth]);
}
