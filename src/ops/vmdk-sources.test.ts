/** VMDK images that qemu-img wrote, one file or several: the guest sees the model's disk. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { convert, info } from '../index.ts';
import { type Cuts, expectGuest, guestBytes } from '../testing/guest.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { qemuIo } from '../testing/qemu-io.ts';
import { anyDisk, seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';

const CUTS: Cuts = [
  [0, 0.01],
  [0.2, 0.93],
  [0.9999, 1],
];

/** Subformats whose extents are files of their own are opened without a flag: their names follow the descriptor's. */
const KINDS: readonly [subformat: string, zeroedGrain: string][] = [
  ['monolithicSparse', 'off'],
  ['monolithicSparse', 'on'],
  ['streamOptimized', 'off'],
  ['monolithicFlat', 'off'],
  ['twoGbMaxExtentSparse', 'off'],
  ['twoGbMaxExtentFlat', 'off'],
];

test.for(KINDS)('any disk: %s, zeroed_grain=%s', async ([subformat, zeroedGrain], ctx) => {
  const qemu = need(ctx, qemuImg());
  const root = await tempDir();
  const raw = join(root, 'disk.raw');
  let run = 0;
  await fc.assert(
    fc.asyncProperty(anyDisk({ maxSize: 2 * MiB, unit: 512 }), async (disk) => {
      run += 1;
      const image = join(root, `disk${run}.vmdk`);
      await disk.writeRawFile(raw);
      const options = `subformat=${subformat},zeroed_grain=${zeroedGrain}`;
      await qemu.convert('-f', 'raw', '-O', 'vmdk', '-o', options, raw, image);
      await expectGuest(image, guestBytes(disk), {}, CUTS);
      expect((await info(image)).subformat).toBe(subformat);
    }),
    { numRuns: 8 },
  );
});

test.for(['off', 'on'])('zeros written over data: zeroed_grain=%s', async (zeroedGrain, ctx) => {
  const qemu = need(ctx, qemuImg());
  const dir = await tempDir();
  const [raw, image] = [join(dir, 'disk.raw'), join(dir, 'disk.vmdk')];
  const disk = seededDisk(3, 2 * MiB);
  await disk.writeRawFile(raw);
  await qemu.convert('-f', 'raw', '-O', 'vmdk', '-S', '0', '-o', `zeroed_grain=${zeroedGrain}`, raw, image);
  await qemuIo(image, 'vmdk', 'write -z 0 256k', 'write -z 1M 64k', 'write -P 77 700k 1k');
  const want = guestBytes(disk);
  want.fill(0, 0, 256 * KiB).fill(0, MiB, MiB + 64 * KiB);
  want.fill(77, 700 * KiB, 701 * KiB);
  await expectGuest(image, want, {}, CUTS);
});

test('an extent beyond the first of 2 GiB', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const dir = await tempDir();
  const image = join(dir, 'disk.vmdk');
  await qemu.run('create', '-q', '-f', 'vmdk', '-o', 'subformat=twoGbMaxExtentSparse', image, '5G');
  const at = [0, 2 ** 31 - 512, 2 ** 31, 2 ** 32 + 4096, 5 * 2 ** 30 - 512];
  await qemuIo(image, 'vmdk', ...at.map((offset, i) => `write -P ${i + 1} ${offset} 512`));
  const out = join(dir, 'out.qcow2');
  const { target } = await convert(image, out, { noSync: true });
  expect(target.virtualSize).toBe(5 * 2 ** 30);
  await qemuIo(out, 'qcow2', ...at.map((offset, i) => `read -P ${i + 1} ${offset} 512`));
  const { identical, message } = await qemu.compare(image, 'vmdk', out, 'qcow2');
  expect(identical, message).toBe(true);
});

test('a child over its parent', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const dir = await tempDir();
  const [raw, base, child] = [join(dir, 'disk.raw'), join(dir, 'base.vmdk'), join(dir, 'child.vmdk')];
  const disk = seededDisk(8, 3 * MiB);
  await disk.writeRawFile(raw);
  await qemu.convert('-f', 'raw', '-O', 'vmdk', raw, base);
  await qemu.run('create', '-q', '-f', 'vmdk', '-b', base, '-F', 'vmdk', child);
  // A new grain is filled from the parent: both sides of the write are the parent's.
  await qemuIo(child, 'vmdk', 'write -P 9 100k 3k', 'write -P 8 2M 200k');
  const want = guestBytes(disk);
  want.fill(9, 100 * KiB, 103 * KiB).fill(8, 2 * MiB, 2 * MiB + 200 * KiB);
  await expect(info(child)).resolves.toMatchObject({ references: [{ kind: 'parent', name: base, resolved: base }] });
  await expectGuest(child, want, { allowReferences: [dir] }, CUTS);
});

describe('a descriptor whose content id qemu-img made shorter', () => {
  /** As vmdk_write_cid of QEMU 10 does: the new text and its NUL over the old text; one image in 256 has a rest. */
  async function shorten(path: string, digits: number): Promise<void> {
    const old = await readFile(path, 'latin1');
    const bytes = Buffer.alloc(512);
    bytes.write(old, 'latin1');
    const shorter = old.replace(/CID=[0-9a-f]+/, `CID=${'1'.repeat(digits)}`);
    bytes.write(`${shorter}\0`, 'latin1');
    await writeFile(path, bytes);
  }

  test.for([8, 7, 6, 4, 1])('to %i digits is read', async (digits, ctx) => {
    const qemu = need(ctx, qemuImg());
    const image = join(await tempDir(), 'disk.vmdk');
    await qemu.run('create', '-q', '-f', 'vmdk', '-o', 'subformat=monolithicFlat', image, '1M');
    await qemuIo(image, 'vmdk', 'write -P 5 64k 1k');
    await shorten(image, digits);
    await expectGuest(image, new Uint8Array(MiB).fill(5, 64 * KiB, 65 * KiB));
  });

  test('anything else behind the text is no descriptor', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const image = join(await tempDir(), 'disk.vmdk');
    await qemu.run('create', '-q', '-f', 'vmdk', '-o', 'subformat=monolithicFlat', image, '1M');
    const text = await readFile(image);
    for (const more of ['\0x', '\0\n\0\n', `\0${text.toString('latin1').slice(-8)}`]) {
      await writeFile(image, Buffer.concat([text, Buffer.from(more)]));
      await expect(info(image)).rejects.toMatchObject({
        code: 'corrupt',
        message: `${image}: begins as a descriptor, but more than text follows`,
      });
    }
  });
});
