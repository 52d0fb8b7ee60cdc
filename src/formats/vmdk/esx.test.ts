/** COWD, seSparse and chains of them over flat disks: built by the test's own writer, and read by qemu-img and dissect too. */

import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { KiB, MiB, SECTOR } from '../../base/units.ts';
import { info } from '../../ops/info.ts';
import { cowdExtent, type EsxExtent, esxDescriptor, type Grain, seSparseExtent } from '../../testing/esx-extents.ts';
import { type Cuts, expectGuest, guestBytes } from '../../testing/guest.ts';
import { dissect, need, qemuImg } from '../../testing/oracles.ts';
import { random } from '../../testing/random.ts';
import { seededDisk } from '../../testing/seeded-disk.ts';
import { tempDir } from '../../testing/tmp.ts';

const SIZE = 19 * MiB + 5 * SECTOR;
const CUTS: Cuts = [
  [0, 0.001],
  [0.11, 0.73],
  [0.9999, 1],
];

/** Bytes of the disk, none of them zero for long: a grain that is missed shows. */
function content(seed: number): Uint8Array {
  const bytes = guestBytes(seededDisk(seed, SIZE));
  for (let at = 0; at < bytes.length; at += 64) {
    bytes[at] = seed;
  }
  return bytes;
}

/** Runs of grains of one kind each; long holes as well, so that whole tables are absent. */
function kinds(seed: number, grainBytes: number, of: readonly Grain[]): Grain[] {
  const source = random(seed);
  const all: Grain[] = [];
  const count = Math.ceil(SIZE / grainBytes);
  while (all.length < count) {
    const kind = of[source.below(of.length)] as Grain;
    const length = Math.ceil(source.spread(1, kind === 'none' ? 6 * MiB : 256 * KiB) / grainBytes);
    all.push(...Array.from({ length }, () => kind));
  }
  return all.slice(0, count);
}

/** What the guest sees of an extent over `parent`. */
function over(parent: Uint8Array, { disk, grain }: EsxExtent, grainBytes: number): Uint8Array {
  const guest = parent.slice();
  for (let at = 0, index = 0; at < guest.length; at += grainBytes, index += 1) {
    const end = Math.min(at + grainBytes, guest.length);
    const kind = grain(index);
    if (kind === 'data') {
      guest.set(disk.subarray(at, end), at);
    } else if (kind !== 'none') {
      guest.fill(0, at, end);
    }
  }
  return guest;
}

interface Family {
  createType: 'vmfsSparse' | 'seSparse';
  grainBytes: number;
  kinds: readonly Grain[];
  make(extent: EsxExtent): Buffer;
  suffix: string;
}

const FAMILIES: readonly Family[] = [
  {
    createType: 'vmfsSparse',
    grainBytes: 512,
    kinds: ['none', 'data'],
    make: (extent) => cowdExtent(extent),
    suffix: 'delta',
  },
  {
    createType: 'vmfsSparse',
    grainBytes: 4096,
    kinds: ['none', 'data'],
    make: (extent) => cowdExtent(extent, 8),
    suffix: 'delta',
  },
  {
    createType: 'seSparse',
    grainBytes: 4096,
    kinds: ['none', 'data', 'zero'],
    make: seSparseExtent,
    suffix: 'sesparse',
  },
];

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe.each(FAMILIES)('$createType, grains of $grainBytes bytes', (family) => {
  const { createType, grainBytes, suffix } = family;
  const extentOf = (seed: number, of = family.kinds): EsxExtent => {
    const all = kinds(seed, grainBytes, of);
    return { disk: content(seed), grain: (index) => all[index] as Grain, seed };
  };

  test('alone: the content, no flag needed, and what info says', async (ctx) => {
    const dir = await tempDir();
    const extent = extentOf(3);
    const want = over(new Uint8Array(SIZE), extent, grainBytes);
    const [path, data] = [join(dir, 'disk.vmdk'), join(dir, `disk-${suffix}.vmdk`)];
    await writeFile(data, family.make(extent));
    const line = { sectors: SIZE / SECTOR, name: `disk-${suffix}.vmdk`, cid: '1a2b3c4d' };
    await writeFile(path, esxDescriptor(createType, line));
    await expectGuest(path, want, {}, CUTS);
    expect(await info(path)).toMatchObject({ subformat: createType, blockSize: grainBytes, compressed: false });
    const qemu = need(ctx, qemuImg());
    const raw = join(dir, 'want.raw');
    await writeFile(raw, want);
    expect((await qemu.compare(path, 'vmdk', raw, 'raw')).message).toMatch(/identical\.$/);
    // It reads an seSparse file by itself only, and of a COWD file by itself likewise the size is in its header. It
    // fails at the end of a disk that is no multiple of 8 KiB: the test's disk is cut for it.
    const reader = need(ctx, dissect());
    const short = { ...extent, disk: extent.disk.subarray(0, 18 * MiB) };
    await writeFile(data, family.make(short));
    expect(await reader.content(data, 'vmdk')).toEqual({ size: 18 * MiB, sha256: sha256(want.subarray(0, 18 * MiB)) });
  });

  test('two deltas over a flat disk', async (ctx) => {
    const dir = await tempDir();
    const flat = content(9);
    const sectors = SIZE / SECTOR;
    await writeFile(join(dir, 'vm-flat.vmdk'), flat);
    await writeFile(join(dir, 'vm.vmdk'), esxDescriptor('vmfs', { sectors, name: 'vm-flat.vmdk', cid: '00000001' }));
    let want = flat;
    for (const [i, parent] of ['vm.vmdk', 'vm-000001.vmdk'].entries()) {
      const extent = extentOf(20 + i);
      const name = `vm-00000${i + 1}-${suffix}.vmdk`;
      await writeFile(join(dir, name), family.make(extent));
      const link = { sectors, name, cid: `0000000${i + 2}`, parent: { cid: `0000000${i + 1}`, name: parent } };
      await writeFile(join(dir, `vm-00000${i + 1}.vmdk`), esxDescriptor(createType, link));
      want = over(want, extent, grainBytes);
    }
    const top = join(dir, 'vm-000002.vmdk');
    await expectGuest(top, want, { allowReferences: true }, CUTS);
    await expect(expectGuest(top, want)).rejects.toMatchObject({ code: 'refused' });
    const qemu = need(ctx, qemuImg());
    const raw = join(dir, 'want.raw');
    await writeFile(raw, want);
    expect((await qemu.compare(top, 'vmdk', raw, 'raw')).message).toMatch(/identical\.$/);
  });

  test('a parent that was written to since is refused', async () => {
    const dir = await tempDir();
    const sectors = SIZE / SECTOR;
    await writeFile(join(dir, 'vm-flat.vmdk'), new Uint8Array(SIZE));
    await writeFile(join(dir, 'vm.vmdk'), esxDescriptor('vmfs', { sectors, name: 'vm-flat.vmdk', cid: '00000005' }));
    await writeFile(join(dir, `d-${suffix}.vmdk`), family.make(extentOf(3)));
    const link = { sectors, name: `d-${suffix}.vmdk`, cid: '00000002', parent: { cid: '00000001', name: 'vm.vmdk' } };
    await writeFile(join(dir, 'd.vmdk'), esxDescriptor(createType, link));
    await expect(
      expectGuest(join(dir, 'd.vmdk'), new Uint8Array(SIZE), { allowReferences: true }),
    ).rejects.toMatchObject({ code: 'corrupt', field: 'parentCID' });
  });
});

test('what the guest gave back reads as zeros over a parent that has data, and so does COWD grain 1', async (ctx) => {
  const dir = await tempDir();
  const flat = content(9);
  const sectors = SIZE / SECTOR;
  await writeFile(join(dir, 'vm-flat.vmdk'), flat);
  await writeFile(join(dir, 'vm.vmdk'), esxDescriptor('vmfs', { sectors, name: 'vm-flat.vmdk', cid: '00000001' }));
  const parent = { cid: '00000001', name: 'vm.vmdk' };
  for (const { createType, suffix, make, grainBytes } of FAMILIES.slice(1)) {
    const of: readonly Grain[] = createType === 'seSparse' ? ['none', 'unmapped', 'data'] : ['none', 'zero', 'data'];
    const all = kinds(4, grainBytes, of);
    const extent: EsxExtent = { disk: content(4), grain: (i) => all[i] as Grain, seed: 4 };
    const path = join(dir, `${suffix}.vmdk`);
    await writeFile(join(dir, `${suffix}-${suffix}.vmdk`), make(extent));
    const link = { sectors, name: `${suffix}-${suffix}.vmdk`, cid: '00000002', parent };
    await writeFile(path, esxDescriptor(createType, link));
    const want = over(flat, extent, grainBytes);
    await expectGuest(path, want, { allowReferences: true }, CUTS);
    if (createType === 'seSparse') {
      const qemu = need(ctx, qemuImg());
      const raw = join(dir, 'want.raw');
      await writeFile(raw, want);
      expect((await qemu.compare(path, 'vmdk', raw, 'raw')).message).toMatch(/identical\.$/);
    }
  }
});
