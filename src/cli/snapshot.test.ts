/** `-l` as a user meets it: every command that reads one image takes it. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeEach, expect, it } from 'vitest';
import { need, qemuImg } from '../testing/oracles.ts';
import { qemuIo } from '../testing/qemu-io.ts';
import { tempDir } from '../testing/tmp.ts';

const command = fileURLToPath(new URL('../../bin/vdconv.js', import.meta.url));

let dir: string;
beforeEach(async (ctx) => {
  const qemu = need(ctx, qemuImg());
  dir = await tempDir();
  const image = join(dir, 'disk.qcow2');
  await qemu.run('create', '-q', '-f', 'qcow2', image, '1M');
  await qemuIo(image, 'qcow2', 'write -P 1 64k 64k');
  await qemu.run('snapshot', '-c', 'first', image);
  await qemuIo(image, 'qcow2', 'write -P 2 64k 128k');
});

function vdconv(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...args], { cwd: dir, encoding: 'utf8' });
  return { status, stdout, stderr };
}

it('convert', () => {
  expect(vdconv('convert', '-q', '-l', 'first', 'disk.qcow2', 'first.raw')).toMatchObject({ status: 0, stderr: '' });
  const want = Buffer.alloc(1 << 20);
  want.fill(1, 65536, 131072);
  expect(Buffer.compare(readFileSync(join(dir, 'first.raw')), want)).toBe(0);
  expect(vdconv('convert', '-lfirst', 'disk.qcow2', 'again.raw').stderr).toMatch(
    /^vdconv: note: 1 internal snapshot is not carried over: only snapshot 'first' is converted\n/,
  );
});

it('map, info, measure, digest', () => {
  const map = JSON.parse(vdconv('map', '--output=json', '-l', 'snapshot.name=first', 'disk.qcow2').stdout);
  expect(map.map(({ length, kind }: { length: number; kind: string }) => [length, kind])).toEqual([
    [65536, 'unallocated'],
    [65536, 'data'],
    [917504, 'unallocated'],
  ]);
  expect(vdconv('info', '-l', '1', 'disk.qcow2').stdout).toMatch(/snapshot: +first \(id 1, 1 MiB\)/);
  const required = (...args: string[]) =>
    JSON.parse(vdconv('measure', '--output=json', '-O', 'qcow2', ...args, 'disk.qcow2').stdout).required;
  expect(required() - required('-l', '1')).toBe(65536);
  vdconv('convert', '-q', '-l', '1', 'disk.qcow2', 'first.raw');
  const digest = (...args: string[]) => JSON.parse(vdconv('digest', '--output=json', ...args).stdout).digest;
  expect(digest('-l', '1', 'disk.qcow2')).toBe(digest('-f', 'raw', 'first.raw'));
  expect(digest('disk.qcow2')).not.toBe(digest('-f', 'raw', 'first.raw'));
});

it('one that is not there is an error of usage that names those that are', () => {
  expect(vdconv('map', '-l', 'second', 'disk.qcow2')).toEqual({
    status: 2,
    stdout: '',
    stderr: "vdconv: disk.qcow2: snapshot 'second': there is none; there are 1 'first'\n",
  });
});
