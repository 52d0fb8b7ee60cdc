/** `-B`: every format that can be a layer, over bases of its own and, where its specification allows, of other formats. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { FORMATS } from '../formats/registry.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import { convert } from './convert.ts';
import { create } from './create.ts';
import { map } from './map.ts';
import { open } from './open.ts';

const LAYERED = FORMATS.filter(({ layers, plan }) => layers === true && plan !== undefined);
/** Bases that a format's layers refer to; VHD and VHDX only have parents of their own kind, and so has VMDK. */
const FOREIGN: Readonly<Record<string, readonly string[]>> = { qcow2: ['raw', 'vmdk'] };
const SIZE = 12 * MiB;

let dir: string;
let before: Uint8Array;
let after: Uint8Array;

/** A disk, and what became of it: bytes changed, ranges zeroed, ranges written where there was nothing. */
beforeEach(async () => {
  dir = await tempDir();
  const disk = seededDisk(11, SIZE);
  await disk.writeRawFile(join(dir, 'before.raw'));
  before = await readFile(join(dir, 'before.raw'));
  after = Uint8Array.from(before);
  after.fill(0, 3 * MiB, 5 * MiB + 512);
  after.fill(0x5a, 7 * MiB + 1000, 7 * MiB + 1001);
  after.fill(0x77, 10 * MiB, 10 * MiB + 70 * KiB);
  await writeFile(join(dir, 'after.raw'), after);
});

const path = (name: string) => join(dir, name);
const contentOf = async (file: string, size = SIZE) => {
  const image = await open(file, { allowReferences: true });
  try {
    expect(image.virtualSize).toBe(size);
    return Buffer.from(await image.read(0, size));
  } finally {
    await image.close();
  }
};

describe.for(LAYERED)('$name', (format) => {
  const target = `layer.${format.extensions[0]}`;
  const bases = [format.name, ...(FOREIGN[format.name] ?? [])];

  test.for(bases)('over %s holds what differs, and with its base the whole disk', async (baseName, ctx) => {
    const base = path(`base.${baseName}`);
    await convert(path('before.raw'), base, { format: 'raw', targetFormat: baseName, noSync: true });
    const whole = path('whole');
    await convert(path('after.raw'), whole, { format: 'raw', targetFormat: format.name, noSync: true });
    const options = { format: 'raw', targetFormat: format.name, base, baseFormat: baseName, noSync: true };
    await convert(path('after.raw'), path(target), options);
    expect(Buffer.compare(await contentOf(path(target)), after)).toBe(0);
    expect((await stat(path(target))).size).toBeLessThanOrEqual((await stat(whole)).size + MiB);
    if (format.name === 'qcow2' || (format.name === 'vmdk' && baseName === 'vmdk')) {
      const qemu = need(ctx, qemuImg());
      const { identical, message } = await qemu.compare(path('after.raw'), 'raw', path(target), format.name);
      expect([identical, message]).toEqual([true, expect.anything()]);
    }
  });

  test('over a disk that is the same stores nothing', async () => {
    const base = path(`base.${format.extensions[0]}`);
    await convert(path('before.raw'), base, { format: 'raw', noSync: true });
    const { dataBytes } = await convert(path('before.raw'), path(target), { format: 'raw', base, noSync: true });
    expect(dataBytes).toBe(0);
    for await (const { depth, kind } of map(path(target), { allowReferences: true })) {
      expect(kind === 'unallocated' || depth === 1).toBe(true);
    }
    expect(Buffer.compare(await contentOf(path(target)), before)).toBe(0);
  });

  test('that is created shows its base', async () => {
    const base = path(`base.${format.extensions[0]}`);
    await convert(path('before.raw'), base, { format: 'raw', noSync: true });
    await create(path(target), { base, noSync: true });
    expect(Buffer.compare(await contentOf(path(target)), before)).toBe(0);
  });

  test('over a shorter base has zeros behind it', async () => {
    const base = path(`base.${format.extensions[0]}`);
    await seededDisk(11, 4 * MiB).writeRawFile(path('short.raw'));
    await convert(path('short.raw'), base, { format: 'raw', noSync: true });
    const made = convert(path('after.raw'), path(target), { format: 'raw', base, noSync: true });
    // Some formats have no layers of another size than their base.
    const refused = await made.then(
      () => undefined,
      (error: { code: string }) => error.code,
    );
    if (refused !== undefined) {
      expect(refused).toBe('usage');
      return;
    }
    expect(Buffer.compare(await contentOf(path(target)), after)).toBe(0);
  });
});
