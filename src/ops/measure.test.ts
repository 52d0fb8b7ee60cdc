import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { MiB } from '../base/units.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import { smallestUnit, WRITERS } from '../testing/writers.ts';
import { convert } from './convert.ts';
import { measure } from './measure.ts';

let dir: string;
let source: string;
beforeEach(async () => {
  dir = await tempDir();
  source = join(dir, 'disk.raw');
  await seededDisk(7, 9 * MiB + 512).writeRawFile(source);
});

test.for(WRITERS)('of $name is the size that convert produces, to the byte', async (writer) => {
  const { format, compress } = writer;
  for (const targetOptions of [{}, smallestUnit(writer)]) {
    const options = { format: 'raw', targetFormat: format.name, targetOptions, compress };
    const measured = await measure(source, options);
    const target = join(dir, 'out');
    const { target: made } = await convert(source, target, { ...options, noSync: true, force: true });
    expect(measured).toMatchObject({ required: made.fileSize, exact: true });
    expect((await stat(target)).size).toBe(made.siblings.length === 0 ? made.fileSize : expect.any(Number));
    const fast = await measure(source, { ...options, fast: true });
    expect(fast.exact).toBe(false);
    expect(fast.required).toBeGreaterThanOrEqual(measured.required);
    expect(fast.fullyAllocated).toBeGreaterThanOrEqual(fast.required);
  }
});

test('without a source is for an empty disk, and says what qemu-img says of QCOW2', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const said = JSON.parse(await qemu.run('measure', '-O', 'raw', '--size', '8G', '--output=json'));
  expect(await measure(undefined, { targetFormat: 'raw', size: 8192 * MiB })).toEqual({
    required: said.required,
    fullyAllocated: said['fully-allocated'],
    exact: true,
  });
  const { required, fullyAllocated } = await measure(undefined, { targetFormat: 'qcow2', size: 8192 * MiB });
  const theirs = JSON.parse(await qemu.run('measure', '-O', 'qcow2', '--size', '8G', '--output=json'));
  // qemu counts all L2 tables for an empty disk too, and another refcount table.
  expect(required).toBeLessThanOrEqual(theirs.required);
  expect(Math.abs(fullyAllocated - theirs['fully-allocated'])).toBeLessThan(MiB);
});
