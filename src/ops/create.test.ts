import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { MiB } from '../base/units.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { tempDir } from '../testing/tmp.ts';
import { WRITERS } from '../testing/writers.ts';
import { compare } from './compare.ts';
import { create } from './create.ts';
import { info } from './info.ts';
import { map } from './map.ts';

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
});

describe('an empty image', () => {
  test.for(WRITERS.filter(({ compress }) => !compress))('of $name has its size and no data', async ({ format }) => {
    const path = join(dir, 'empty');
    const result = await create(path, { targetFormat: format.name, size: 64 * MiB + 512, noSync: true });
    expect(result).toMatchObject({ target: { format: format.name, virtualSize: 64 * MiB + 512 }, dataBytes: 0 });
    expect(await info(path, { format: format.name })).toMatchObject({ virtualSize: 64 * MiB + 512 });
    for await (const { kind } of map(path, { format: format.name })) {
      expect(['zero', 'unallocated', 'data']).toContain(kind);
    }
    const zeros = join(dir, 'zeros');
    await create(zeros, { targetFormat: 'raw', size: 64 * MiB + 512, noSync: true });
    expect(await compare(path, zeros, { formatA: format.name, formatB: 'raw', strict: true })).toMatchObject({
      identical: true,
    });
  });

  test('is what qemu-img takes for one', async (ctx) => {
    const path = join(dir, 'empty.qcow2');
    await create(path, { size: 3 * MiB, targetOptions: { cluster_size: '4k' } });
    const qemu = need(ctx, qemuImg());
    expect(JSON.parse(await qemu.run('info', '--output=json', path))).toMatchObject({
      format: 'qcow2',
      'virtual-size': 3 * MiB,
      'cluster-size': 4096,
    });
  });

  test('needs a size, and a target that is not there', async () => {
    const path = join(dir, 'empty.qcow2');
    await expect(create(path)).rejects.toMatchObject({
      code: 'usage',
      message: 'neither a size nor a base is given: a new image has a whole number of bytes',
    });
    await expect(create(path, { size: 1.5 })).rejects.toMatchObject({ code: 'usage' });
    await create(path, { size: MiB });
    await expect(create(path, { size: MiB })).rejects.toMatchObject({ code: 'exists' });
    expect((await stat(path)).size).toBeGreaterThan(0);
  });
});

test('a format without layers takes no base', async () => {
  await create(join(dir, 'base.raw'), { size: MiB });
  await expect(create(join(dir, 'layer.raw'), { base: join(dir, 'base.raw') })).rejects.toMatchObject({
    code: 'usage',
    message: expect.stringContaining('a raw image cannot be a layer over another one'),
  });
});
