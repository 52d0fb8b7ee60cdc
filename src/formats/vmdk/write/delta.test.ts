/** `-B`: layers over VMDKs of every subformat, read by qemu-img, dissect and us. */
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MiB } from '../../../base/units.ts';
import { convert } from '../../../ops/convert.ts';
import { map } from '../../../ops/map.ts';
import { expectGuest, guestBytes } from '../../../testing/guest.ts';
import { dissect, need, qemuImg } from '../../../testing/oracles.ts';
import { anyDisk, seededDisk } from '../../../testing/seeded-disk.ts';
import { tempDir } from '../../../testing/tmp.ts';
import type { BaseImage, WriteRequest } from '../../format.ts';
import { vmdk } from '../index.ts';
import { options, SUBFORMATS } from './options.ts';

const SIZE = 5 * MiB + 512;

/** Two disks that have much in common: the second is the first with another's second half, and zeros in between. */
async function disks(dir: string): Promise<{ before: string; after: string; want: Uint8Array }> {
  const [before, after] = [join(dir, 'before.raw'), join(dir, 'after.raw')];
  const old = seededDisk(11, SIZE);
  const want = guestBytes(old);
  want.fill(0, MiB, 3 * MiB + 512);
  want.set(seededDisk(12, SIZE).bytes(4 * MiB, 200_000), 4 * MiB);
  await old.writeRawFile(before);
  await writeFile(after, want);
  return { before, after, want };
}

const field = async (path: string, key: string) =>
  new RegExp(`^${key}="?([^"\n]*)"?$`, 'm').exec(await readFile(path, 'latin1'))?.[1];

test.for(SUBFORMATS.flatMap((base) => [true, false].map((zeroedGrain) => [base, zeroedGrain] as const)))(
  'over %s, zeroed_grain=%s',
  async ([subformat, zeroedGrain], ctx) => {
    const dir = await tempDir();
    const { before, after, want } = await disks(dir);
    const [base, child] = [join(dir, 'base.vmdk'), join(dir, 'sub/child.vmdk')];
    await mkdir(join(dir, 'sub'));
    await convert(before, base, { targetOptions: { subformat }, noSync: true });
    await convert(after, child, { base, targetOptions: { zeroed_grain: zeroedGrain }, noSync: true });
    await expectGuest(child, want, { allowReferences: [dir] });
    expect(await field(child, 'parentCID')).toBe(await field(base, 'CID'));
    expect(await field(child, 'CID')).not.toBe(await field(base, 'CID'));
    expect(await field(child, 'parentFileNameHint')).toBe(base);
    const header = await readFile(child);
    expect([header[4], header[8]]).toEqual(zeroedGrain ? [2, 7] : [1, 3]);
    // Most of the disk is as it was.
    expect((await stat(child)).size).toBeLessThan(3 * MiB);
    const kinds = new Set<string>();
    for await (const { kind, depth } of map(child, { allowReferences: [dir] })) {
      kinds.add(`${kind} ${depth}`);
    }
    expect([kinds.has('data 0'), kinds.has('data 1') || kinds.has('compressed 1')]).toEqual([true, true]);
    expect(kinds.has('zero 0')).toBe(zeroedGrain);
    const qemu = need(ctx, qemuImg());
    const { identical, message } = await qemu.compare(after, 'raw', child, 'vmdk');
    expect(identical, message).toBe(true);
    expect(await qemu.check(child, 'vmdk')).toMatchObject({ exit: 0, 'check-errors': 0 });
  },
);

test.for([true, false])('dissect reads a layer too: zeroed_grain=%s', async (zeroedGrain, ctx) => {
  const reader = need(ctx, dissect());
  const dir = await tempDir();
  // It fails at the end of a disk that is no multiple of 8 KiB.
  const [before, after] = [seededDisk(11, 5 * MiB), seededDisk(12, 5 * MiB)];
  await before.writeRawFile(join(dir, 'before.raw'));
  await after.writeRawFile(join(dir, 'after.raw'));
  const [base, child] = [join(dir, 'base.vmdk'), join(dir, 'child.vmdk')];
  await convert(join(dir, 'before.raw'), base, { noSync: true });
  await convert(join(dir, 'after.raw'), child, { base, targetOptions: { zeroed_grain: zeroedGrain }, noSync: true });
  expect(await reader.content(child, 'vmdk')).toEqual({ size: after.size, sha256: after.sha256() });
});

test('any disk over any other of its size, and one more over that', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const root = await tempDir();
  let run = 0;
  const three = fc.tuple(anyDisk({ maxSize: 2 * MiB, unit: 512 }), fc.integer(), fc.integer(), fc.boolean());
  await fc.assert(
    fc.asyncProperty(three, async ([first, second, third, zeroedGrain]) => {
      run += 1;
      const dir = join(root, `${run}`);
      await mkdir(dir);
      let base: string | undefined;
      for (const [i, disk] of [first, seededDisk(second, first.size), seededDisk(third, first.size)].entries()) {
        const [raw, layer] = [join(dir, `${i}.raw`), join(dir, `${i}.vmdk`)];
        await disk.writeRawFile(raw);
        const targetOptions = { zeroed_grain: zeroedGrain };
        await convert(raw, layer, { base, targetOptions, allowReferences: [dir], noSync: true });
        await expectGuest(layer, guestBytes(disk), { allowReferences: [dir] });
        expect((await qemu.compare(raw, 'raw', layer, 'vmdk')).message).toMatch(/identical\.$/);
        base = layer;
      }
    }),
    { numRuns: 6 },
  );
});

const BASE: BaseImage = {
  name: 'base.vmdk',
  path: '/base.vmdk',
  format: 'vmdk',
  virtualSize: MiB,
  lineage: { field: 'parentCID', own: '1a2b3c4d' },
  metadata: {},
  changed: 0,
  facts: {
    blockSize: 65536,
    references: [],
    snapshots: [],
    encrypted: false,
    compressed: false,
    dirty: false,
    warnings: [],
    details: {},
  },
};

test.each<[string, Partial<BaseImage>, string, RegExp]>([
  ['a base of another format', { format: 'raw' }, 'monolithicSparse', /the base is raw/],
  ['a base of another size', { virtualSize: 2 * MiB }, 'monolithicSparse', /the same size/],
  ['a base without a CID', { lineage: { field: 'parentCID' } }, 'monolithicSparse', /has no CID/],
  ['a base whose CID is none', { lineage: { field: '', own: '"x' } }, 'monolithicSparse', /has no CID/],
  ['a name with a quote', { name: 'a"b.vmdk' }, 'monolithicSparse', /cannot be written/],
  ['a name with a line end', { name: 'a\nCID=2' }, 'monolithicSparse', /cannot be written/],
  ['a name of 1024 bytes', { name: 'é'.repeat(512) }, 'monolithicSparse', /at most 1023 bytes/],
  ['another subformat', {}, 'streamOptimized', /streamOptimized cannot lie over a base/],
])('refused: %s', (_, base, subformat, says) => {
  const values = Object.fromEntries(options.map(({ key, default: value }) => [key, value]));
  const request: WriteRequest = {
    virtualSize: MiB,
    options: { ...values, subformat },
    compress: false,
    base: { ...BASE, ...base },
  };
  const attempt = () => vmdk.plan?.(request);
  expect(attempt).toThrow(expect.objectContaining({ code: 'usage', format: 'vmdk' }));
  expect(attempt).toThrow(says);
});
