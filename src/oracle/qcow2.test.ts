/** QCOW2 of every shape against readers besides the system's qemu-img: a current one, VirtualBox, dissect.hypervisor. */
import { writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { convert } from '../ops/convert.ts';
import { guestBytes } from '../testing/guest.ts';
import { dissect, need } from '../testing/oracles.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import { oracleFolder, vboxImg } from '../testing/vbox.ts';

const DISK = seededDisk(77, 9 * MiB + 512);

type Options = Record<string, string | number | boolean>;
/** `qemu`: VirtualBox refuses it or, as dissect.hypervisor 3, reads not even QEMU's own (extended L2, zstd, this window). */
const SHAPES: [name: string, options: Options, compress: boolean, readers: 'all' | 'qemu'][] = [
  ['defaults', {}, false, 'all'],
  ['compressed', {}, true, 'all'],
  ['small clusters', { cluster_size: 512 }, false, 'all'],
  ['large clusters', { cluster_size: '2M' }, true, 'all'],
  ['version 2', { compat: '0.10' }, false, 'all'],
  ['version 2, compressed', { compat: '0.10' }, true, 'all'],
  ['refcounts of 1 bit', { refcount_bits: 1 }, true, 'all'],
  ['refcounts of 64 bits', { refcount_bits: 64, cluster_size: 4096 }, true, 'all'],
  ['lazy refcounts', { lazy_refcounts: true }, false, 'all'],
  ['preallocated', { preallocation: 'metadata' }, false, 'all'],
  ['window of 32 KiB', { deflate_window: '32k' }, true, 'qemu'],
  ['zstd', { compression_type: 'zstd' }, true, 'qemu'],
  ['extended L2', { extended_l2: true }, false, 'qemu'],
  ['extended L2, compressed', { extended_l2: true, cluster_size: '128k' }, true, 'qemu'],
];

const made = async ([, targetOptions, compress]: (typeof SHAPES)[number]) => {
  const dir = await tempDir();
  await writeFile(join(dir, 'in.raw'), guestBytes(DISK));
  await convert(join(dir, 'in.raw'), join(dir, 'out.qcow2'), { targetOptions, compress, noSync: true });
  return dir;
};

test.for(SHAPES)('%s: a current qemu-img', async (shape, ctx) => {
  const run = need(ctx, oracleFolder());
  const dir = await made(shape);
  expect(await run(dir, 'qemu-img', 'check', 'out.qcow2')).toContain('No errors were found');
  expect(await run(dir, 'qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', 'in.raw', 'out.qcow2')).toContain(
    'identical',
  );
});

test('over a base, and with a data file: a current qemu-img', async (ctx) => {
  const run = need(ctx, oracleFolder());
  const dir = await made(['', {}, false, 'all']);
  const top = guestBytes(DISK);
  top.fill(0, MiB, 3 * MiB).fill(9, 5 * MiB, 5 * MiB + 100 * KiB);
  await writeFile(join(dir, 'top.raw'), top);
  // Relative: the programs see the files of their directory only.
  const options = { base: relative(process.cwd(), join(dir, 'out.qcow2')), allowReferences: true, noSync: true };
  for (const [name, targetOptions] of [
    ['layer', {}],
    ['layer2', { compat: '0.10' }],
    ['layerx', { extended_l2: true }],
  ] as const) {
    await convert(join(dir, 'top.raw'), join(dir, `${name}.qcow2`), { ...options, targetOptions });
  }
  await convert(join(dir, 'top.raw'), join(dir, 'data.qcow2'), { targetOptions: { data_file: 'data' }, noSync: true });
  for (const image of ['layer.qcow2', 'layer2.qcow2', 'layerx.qcow2', 'data.qcow2']) {
    expect(await run(dir, 'qemu-img', 'check', image)).toContain('No errors were found');
    expect(await run(dir, 'qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', 'top.raw', image)).toContain('identical');
  }
});

test.for(SHAPES.filter(([, , , readers]) => readers === 'all'))('%s: VirtualBox', async (shape, ctx) => {
  const vbox = need(ctx, vboxImg());
  const dir = await made(shape);
  await vbox.convert(dir, ['out.qcow2', 'QCOW'], ['back.raw', 'RAW']);
  const run = need(ctx, oracleFolder());
  expect(await run(dir, 'qemu-img', 'compare', '-f', 'raw', '-F', 'raw', 'in.raw', 'back.raw')).toContain('identical');
});

test.for(SHAPES.filter(([, , , readers]) => readers === 'all'))('%s: dissect.hypervisor', async (shape, ctx) => {
  const reader = need(ctx, dissect());
  const dir = await made(shape);
  const theirs = await reader.content(join(dir, 'out.qcow2'), 'qcow2');
  expect(theirs).toEqual(await reader.content(join(dir, 'in.raw'), 'raw'));
});
