/** Every file that a conversion reads must be what it was, at the end: those that the image refers to as well. */
import { appendFileSync, readFileSync, renameSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { KiB } from '../base/units.ts';
import { convert } from '../index.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { snapshot } from '../testing/snapshot.ts';
import { tempDir } from '../testing/tmp.ts';

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
  writeFileSync(join(dir, 'in.raw'), Buffer.alloc(512 * KiB, 'disk'));
});
const at = (name: string) => join(dir, name);

/** Converts slowly, and changes a file as soon as something was read. */
async function changing(source: string, change: () => void): Promise<string> {
  let changed = false;
  const onProgress = () => {
    if (!changed) {
      changed = true;
      change();
    }
  };
  const options = { allowReferences: true, rate: 2048 * KiB, noSync: true, onProgress };
  return convert(source, at('out.raw'), options).then(
    () => 'done',
    ({ code, message }) => `${code} ${message.replaceAll(`${dir}/`, '')}`,
  );
}

test.for<[string, (path: string) => void, string]>([
  ['grows', (path) => appendFileSync(path, 'x'), 'its size went from 524288 to 524289 bytes'],
  ['is written to', (path) => utimesSync(path, 1, 2), 'its modification time is another'],
  [
    'is replaced',
    (path) => {
      writeFileSync(`${path}.new`, readFileSync(path));
      renameSync(`${path}.new`, path);
    },
    'its status changed (permissions, links or content)',
  ],
])('the base of a layer %s', async ([, change, why], ctx) => {
  const qemu = need(ctx, qemuImg());
  await qemu.run('create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', at('in.raw'), at('top.qcow2'));
  expect(await changing(at('top.qcow2'), () => change(at('in.raw')))).toBe(
    `changed in.raw: the file changed while it was read (${why}); stop what writes to it, or convert a snapshot of it`,
  );
  expect(Object.keys(await snapshot(dir))).toEqual(['in.raw', 'top.qcow2']);
});

test('the extent of a VMDK', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const flat = ['-o', 'subformat=monolithicFlat'];
  await qemu.convert('-f', 'raw', '-O', 'vmdk', ...flat, at('in.raw'), at('disk.vmdk'));
  const said = await changing(at('disk.vmdk'), () => appendFileSync(at('disk-flat.vmdk'), 'x'));
  expect(said).toMatch(/^changed disk-flat\.vmdk: .*its size went from 524288 to 524289 bytes/);
});

test('the descriptor of a VMDK, which was read at the beginning', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const flat = ['-o', 'subformat=monolithicFlat'];
  await qemu.convert('-f', 'raw', '-O', 'vmdk', ...flat, at('in.raw'), at('disk.vmdk'));
  expect(await changing(at('disk.vmdk'), () => appendFileSync(at('disk.vmdk'), '\n'))).toMatch(/^changed disk\.vmdk: /);
});

test('a layer over files that nobody touches', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  await qemu.run('create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', at('in.raw'), at('top.qcow2'));
  expect(await changing(at('top.qcow2'), () => {})).toBe('done');
});
