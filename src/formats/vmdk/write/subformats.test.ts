/** Disks of several files, as conversions make them: read by qemu-img and by us; their names, ids and borders. */
import { readdir, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { GiB, KiB, MiB, SECTOR } from '../../../base/units.ts';
import { convert } from '../../../ops/convert.ts';
import { open } from '../../../ops/open.ts';
import { guestBytes } from '../../../testing/guest.ts';
import { ModelDisk } from '../../../testing/model-disk.ts';
import { dissect, need, qemuImg } from '../../../testing/oracles.ts';
import { seededDisk } from '../../../testing/seeded-disk.ts';
import { tempDir } from '../../../testing/tmp.ts';

const BORDER = 2047 * MiB;

/** Three files where it is split: data on both sides of both borders, none in the middle of a file. */
const LARGE = new ModelDisk(
  2 * BORDER + 3 * MiB + 5 * SECTOR,
  [
    { start: 0, length: 100 * KiB, pattern: 'text' },
    { start: BORDER - 3 * KiB, length: 7 * KiB, pattern: 'random' },
    { start: 2 * BORDER - 70 * KiB, length: 200 * KiB, pattern: 'random' },
    { start: 2 * BORDER + 3 * MiB, length: 5 * SECTOR, pattern: 'text' },
  ],
  31,
);

const NAMES: readonly [subformat: string, siblings: string[], lines: RegExp][] = [
  ['monolithicFlat', ['d-flat.vmdk'], /^RW \d+ FLAT "d-flat\.vmdk" 0$/m],
  ['vmfs', ['d-flat.vmdk'], /^RW \d+ VMFS "d-flat\.vmdk"$/m],
  ['twoGbMaxExtentFlat', ['d-f001.vmdk', 'd-f002.vmdk', 'd-f003.vmdk'], /^RW 4192256 FLAT "d-f002\.vmdk" 0$/m],
  ['twoGbMaxExtentSparse', ['d-s001.vmdk', 'd-s002.vmdk', 'd-s003.vmdk'], /^RW 6149 SPARSE "d-s003\.vmdk"$/m],
];

test.for(NAMES)('%s: files beside the descriptor, read without a flag', async ([subformat, siblings, line], ctx) => {
  const dir = await tempDir();
  const [raw, path] = [join(dir, 'in.raw'), join(dir, 'd.vmdk')];
  await LARGE.writeRawFile(raw);
  const { target } = await convert(raw, path, { targetOptions: { subformat }, noSync: true });
  expect((await readdir(dir)).sort()).toEqual([...siblings, 'd.vmdk', 'in.raw'].sort());
  expect(target.siblings).toEqual(siblings.map((name) => join(dir, name)));
  const sizes = await Promise.all([path, ...target.siblings].map(async (file) => (await stat(file)).size));
  expect(target.fileSize).toBe(sizes.reduce((sum, size) => sum + size, 0));
  expect(Math.max(...(subformat.startsWith('twoGb') ? sizes : [0]))).toBeLessThan(2 * GiB);
  expect(await readFile(path, 'latin1')).toMatch(line);
  const image = await open(path);
  expect(image.virtualSize).toBe(LARGE.size);
  for (const { start, length } of LARGE.runs) {
    const end = Math.min(start + length + 64 * KiB, LARGE.size);
    expect(Buffer.compare(await image.read(start, end - start), LARGE.bytes(start, end - start))).toBe(0);
  }
  await image.close();
  const qemu = need(ctx, qemuImg());
  const { identical, message } = await qemu.compare(raw, 'raw', path, 'vmdk');
  expect(identical, message).toBe(true);
  expect(await qemu.check(path, 'vmdk')).toMatchObject({ exit: 0, 'check-errors': 0 });
});

test.for(NAMES)('%s: dissect agrees', async ([subformat], ctx) => {
  const reader = need(ctx, dissect());
  const dir = await tempDir();
  const disk = seededDisk(5, 3 * MiB);
  await disk.writeRawFile(join(dir, 'in.raw'));
  await convert(join(dir, 'in.raw'), join(dir, 'd.vmdk'), { targetOptions: { subformat }, noSync: true });
  expect(await reader.content(join(dir, 'd.vmdk'), 'vmdk')).toEqual({ size: disk.size, sha256: disk.sha256() });
});

test('a name without the ending keeps it all', async () => {
  const dir = await tempDir();
  await seededDisk(5, MiB).writeRawFile(join(dir, 'in.raw'));
  const options = { targetFormat: 'vmdk', targetOptions: { subformat: 'vmfs' }, noSync: true };
  const { target } = await convert(join(dir, 'in.raw'), join(dir, 'disk 1.img'), options);
  expect(target.siblings).toEqual([join(dir, 'disk 1.img-flat.vmdk')]);
  const image = await open(target.filename);
  expect(Buffer.compare(await image.read(0, MiB), guestBytes(seededDisk(5, MiB)))).toBe(0);
  await image.close();
});

test('an extent that is there already is not replaced, and nothing is left', async () => {
  const dir = await tempDir();
  await seededDisk(5, MiB).writeRawFile(join(dir, 'in.raw'));
  await rename(join(dir, 'in.raw'), join(dir, 'd-flat.vmdk'));
  const made = convert(join(dir, 'd-flat.vmdk'), join(dir, 'd.vmdk'), { targetOptions: { subformat: 'vmfs' } });
  await expect(made).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('same file') });
  await seededDisk(6, MiB).writeRawFile(join(dir, 'in.raw'));
  const again = convert(join(dir, 'in.raw'), join(dir, 'd.vmdk'), { targetOptions: { subformat: 'vmfs' } });
  await expect(again).rejects.toMatchObject({ code: 'exists' });
  expect((await readdir(dir)).sort()).toEqual(['d-flat.vmdk', 'in.raw']);
});

async function cidOf(path: string): Promise<string> {
  return /^CID=([0-9a-f]{8})$/m.exec(await readFile(path, 'latin1'))?.[1] ?? '';
}

test('the content id follows from the content, wherever it came from; of a stream it cannot', async () => {
  const dir = await tempDir();
  const path = (name: string) => join(dir, name);
  await seededDisk(5, 3 * MiB).writeRawFile(path('a.raw'));
  await seededDisk(6, 3 * MiB).writeRawFile(path('b.raw'));
  await convert(path('a.raw'), path('a.qcow2'), { compress: true });
  for (const subformat of ['monolithicSparse', 'monolithicFlat', 'twoGbMaxExtentSparse', 'streamOptimized']) {
    const cids = [];
    for (const [i, source] of ['a.raw', 'a.qcow2', 'b.raw'].entries()) {
      const target = path(`${subformat}${i}.vmdk`);
      await convert(path(source), target, { targetOptions: { subformat } });
      cids.push(await cidOf(target));
    }
    expect(cids[0]).toMatch(/^[0-9a-f]{8}$/);
    expect(cids[1]).toBe(cids[0]);
    expect(cids[2] === cids[0]).toBe(subformat === 'streamOptimized');
    const fresh = path(`${subformat}-fresh.vmdk`);
    await convert(path('a.raw'), fresh, { targetOptions: { subformat }, randomIds: true });
    expect(await cidOf(fresh)).not.toBe(cids[0]);
  }
});
