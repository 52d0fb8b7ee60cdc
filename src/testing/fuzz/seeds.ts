/** Valid images to mutate: every format that is written, in each of its subformats, by vdconv and by qemu-img. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KiB, MiB } from '../../base/units.ts';
import { FORMATS } from '../../formats/registry.ts';
import { convert } from '../../ops/convert.ts';
import { ModelDisk } from '../model-disk.ts';
import { Missing, qemuImg } from '../oracles.ts';

export interface Seed {
  name: string;
  format: string;
  bytes: Uint8Array;
}

/** As small as the formats allow: time goes into mutations, not into bytes. */
const DISK = new ModelDisk(
  3 * MiB + 64 * KiB,
  [
    { start: 0, length: 5 * KiB, pattern: 'text' },
    { start: 600 * KiB, length: 20 * KiB, pattern: 'random' },
    { start: 3 * MiB, length: 64 * KiB, pattern: 'text' },
  ],
  3,
);

const QEMU: readonly (readonly [string, string, readonly string[]])[] = [
  ['qcow2', 'qcow2', ['-o', 'cluster_size=4k,extended_l2=off']],
  ['qcow2', 'qcow2', ['-o', 'extended_l2=on,cluster_size=16k']],
  ['qcow2', 'qcow2', ['-c', '-o', 'compat=0.10']],
  ['qcow2', 'qcow2', ['-c', '-o', 'compression_type=zstd']],
  ['vmdk', 'vmdk', []],
  ['vmdk', 'vmdk', ['-o', 'subformat=streamOptimized']],
  ['vhd', 'vpc', []],
  ['vhd', 'vpc', ['-o', 'subformat=fixed']],
  ['vhdx', 'vhdx', ['-o', 'block_size=1M']],
  ['vdi', 'vdi', []],
];

export async function makeSeeds(dir: string): Promise<Seed[]> {
  const raw = join(dir, 'seed.raw');
  await DISK.writeRawFile(raw);
  const seeds: Seed[] = [];
  let made = 0;
  const nextPath = () => join(dir, `seed-${made++}`);
  for (const { name, plan, options, compresses } of FORMATS) {
    const subformats = options.find(({ key }) => key === 'subformat')?.choices ?? [undefined];
    for (const subformat of plan === undefined || name === 'raw' ? [] : subformats) {
      for (const compress of compresses && subformat === undefined ? [false, true] : [false]) {
        const path = nextPath();
        const targetOptions = subformat === undefined ? {} : { subformat };
        const { target } = await convert(raw, path, {
          format: 'raw',
          targetFormat: name,
          targetOptions,
          compress,
          noSync: true,
        });
        // Of an image of several files the readers' refusal to open others is tested elsewhere.
        if (target.siblings.length === 0) {
          const how = [subformat, compress ? '-c' : undefined].filter((word) => word !== undefined);
          seeds.push({ name: [name, ...how].join(' '), format: name, bytes: await readFile(path) });
        }
      }
    }
  }
  const qemu = qemuImg();
  if (qemu instanceof Missing) {
    return seeds;
  }
  for (const [format, theirs, flags] of QEMU) {
    const path = nextPath();
    await qemu.convert('-f', 'raw', '-O', theirs, ...flags, raw, path);
    seeds.push({ name: `${format} by qemu-img ${flags.join(' ')}`, format, bytes: await readFile(path) });
  }
  return seeds;
}
