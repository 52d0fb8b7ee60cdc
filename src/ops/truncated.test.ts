/** Valid images that end too early, at many places: exactly the right content, or an error that says so; never zeros. */
import { readFileSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { type ConvertOptions, convert, VdconvError } from '../index.ts';
import { expectBytes, guestBytes } from '../testing/guest.ts';
import { ModelDisk } from '../testing/model-disk.ts';
import { need, type QemuImg, qemuImg } from '../testing/oracles.ts';
import { random } from '../testing/random.ts';
import { tempDir } from '../testing/tmp.ts';

/** Data from the first to the last byte, so that nothing that is cut off could have been zeros. */
const DISK = new ModelDisk(
  MiB,
  [
    { start: 0, length: 100 * KiB, pattern: 'text' },
    { start: 100 * KiB, length: 30 * KiB, pattern: 'random' },
    { start: 700 * KiB, length: 90 * KiB, pattern: 'text' },
    { start: 1000 * KiB, length: 24 * KiB, pattern: 'text' },
  ],
  12,
);

const byQemu =
  (format: string, ...options: string[]) =>
  (qemu: QemuImg, raw: string, image: string) =>
    qemu.convert('-f', 'raw', '-O', format, ...options, raw, image);
const byUs = (options: ConvertOptions) => async (_: QemuImg, raw: string, image: string) => {
  await convert(raw, image, options);
};

const IMAGES: [
  name: string,
  format: string,
  make: (qemu: QemuImg, raw: string, image: string) => Promise<void>,
  /** The file that is cut, where it is not the image itself. */
  part?: string,
][] = [
  ['QCOW2 of qemu-img', 'qcow2', byQemu('qcow2', '-o', 'cluster_size=4k')],
  ['QCOW2 of qemu-img, version 2, compressed', 'qcow2', byQemu('qcow2', '-c', '-o', 'compat=0.10,cluster_size=16k')],
  ['QCOW2 of vdconv', 'qcow2', byUs({ targetFormat: 'qcow2', targetOptions: { cluster_size: '2k' } })],
  ['QCOW2 of vdconv, compressed', 'qcow2', byUs({ targetFormat: 'qcow2', compress: true })],
  ['VMDK of qemu-img', 'vmdk', byQemu('vmdk')],
  ['VMDK of qemu-img, streamOptimized', 'vmdk', byQemu('vmdk', '-o', 'subformat=streamOptimized')],
  ['VMDK of vdconv', 'vmdk', byUs({ targetFormat: 'vmdk' })],
  [
    'VMDK of vdconv, streamOptimized',
    'vmdk',
    byUs({ targetFormat: 'vmdk', targetOptions: { subformat: 'streamOptimized' } }),
  ],
  ['flat VMDK of qemu-img', 'vmdk', byQemu('vmdk', '-o', 'subformat=monolithicFlat'), 'disk-flat.vmdk'],
  ['split VMDK of qemu-img', 'vmdk', byQemu('vmdk', '-o', 'subformat=twoGbMaxExtentSparse'), 'disk-s001.vmdk'],
];

/** Every border of a sector at the beginning and the end, a sample of all others, and lengths that are none. */
function cuts(size: number, seed: number): number[] {
  const source = random(seed);
  const lengths = new Set([0, 1, 3, 4, 5, 71, 72, 100, 103, 104, 511, 513, size - 1, size - 2, size - 511, size]);
  for (let i = 1; i <= 24; i += 1) {
    lengths.add(512 * i).add(size - 512 * i);
  }
  for (let i = 0; i < 60; i += 1) {
    lengths.add(source.below(size)).add(512 * source.below(size / 512));
  }
  return [...lengths].filter((length) => length >= 0 && length <= size);
}

describe('cut at many lengths', () => {
  test.for(IMAGES)('%s', async ([, format, make, part], ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const [raw, out, image] = ['in.raw', 'out.raw', 'disk.vmdk'].map((n) => join(dir, n)) as [string, string, string];
    await DISK.writeRawFile(raw);
    await make(qemu, raw, image);
    const path = part === undefined ? image : join(dir, part);
    const whole = await readFile(path);
    const want = guestBytes(DISK);
    const files = (await readdir(dir)).sort();
    const seen: Record<string, number> = {};
    for (const length of cuts(whole.length, 99)) {
      await writeFile(path, whole.subarray(0, length));
      // What has lost its magic number could be anything, were the format not said.
      const options = part === undefined && length < 512 ? { format } : {};
      let code = 'converted';
      try {
        await convert(image, out, { ...options, noSync: true });
        expectBytes(readFileSync(out), want, `cut to ${length} of ${whole.length} bytes`);
        await rm(out);
      } catch (error) {
        if (!(error instanceof VdconvError)) {
          throw error;
        }
        code = error.code;
        expect(['truncated', 'corrupt', 'wrong-format'], `cut to ${length}: ${error.message}`).toContain(code);
        expect(length, error.message).toBeLessThan(whole.length);
      }
      seen[code] = (seen[code] ?? 0) + 1;
      expect((await readdir(dir)).sort()).toEqual(files);
    }
    // The whole file is among them; hardly any other is enough, and most say what they are.
    expect(seen.converted).toBeGreaterThan(0);
    expect(seen.truncated).toBeGreaterThan(100);
  });
});

test('a raw disk has no end of its own: what is there is what it is', async () => {
  const dir = await tempDir();
  const raw = join(dir, 'in.raw');
  await writeFile(raw, guestBytes(DISK).subarray(0, 12345));
  const { target } = await convert(raw, join(dir, 'out.raw'));
  expect(target.virtualSize).toBe(12345);
});
