/** The command at either end of a pipe. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeEach, describe, expect, it, test } from 'vitest';
import { need, qemuImg } from '../testing/oracles.ts';
import { tempDir } from '../testing/tmp.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
  copyFileSync(join(root, 'test-images/demo-disk.vmdk'), join(dir, 'disk.vmdk'));
});

/** Runs a line of bash in which `vdconv` is the command; its status is that of the first failure. */
function bash(script: string, env: Record<string, string> = {}) {
  const vdconv = `vdconv() { "${process.execPath}" "${join(root, 'bin/vdconv.js')}" "$@"; }`;
  const { status, stdout, stderr } = spawnSync('bash', ['-c', `set -o pipefail; ${vdconv}; ${script}`], {
    cwd: dir,
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  return { status, stdout, stderr };
}

describe.each(['native', 'portable'])('standard output, %s engine', (engine) => {
  const env = { VDCONV_ENGINE: engine };

  it.each([
    '-O raw',
    '-O qcow2',
    '-O qcow2 -S 0',
    '-O vmdk',
    '-c -O vmdk',
    '-O vhd',
    '-O vhd -o subformat=fixed',
    '-O vhdx',
    '-O vdi',
    '-c -O qcow2 --spool .',
  ])('%s: the bytes of a file', (options) => {
    const run = bash(
      `vdconv convert ${options} disk.vmdk file && vdconv convert -q ${options} disk.vmdk - | cmp - file`,
      env,
    );
    expect(run).toMatchObject({ status: 0, stdout: '' });
    expect(readdirSync(dir).sort()).toEqual(['disk.vmdk', 'file']);
  });

  it('a reader that goes away ends it as SIGPIPE would, without a word', () => {
    for (const options of ['-O raw', '-O qcow2', '-c -O vmdk', '-c -O qcow2']) {
      const { stdout, stderr } = bash(
        `vdconv convert -q ${options} disk.vmdk - | head -c 100000 | wc -c; echo \${PIPESTATUS[0]}`,
        env,
      );
      expect([options, stdout.trim().split(/\s+/), stderr]).toEqual([options, ['100000', '141'], '']);
    }
    expect(readdirSync(dir)).toEqual(['disk.vmdk']);
  });
});

test('what qemu-img makes of a pipe is the disk', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  expect(bash('vdconv disk.vmdk - -O qcow2 2>log | cat >out.qcow2').status).toBe(0);
  expect(await qemu.compare(join(dir, 'disk.vmdk'), 'vmdk', join(dir, 'out.qcow2'), 'qcow2')).toMatchObject({
    identical: true,
  });
  expect((await qemu.check(join(dir, 'out.qcow2'), 'qcow2')).exit).toBe(0);
  expect(readFileSync(join(dir, 'log'), 'utf8')).toMatch(/^disk\.vmdk \(vmdk, 64 MiB\) -> - \(qcow2, .*\n$/m);
});

test('not to a terminal, not without a format, not several files', () => {
  const terminal = bash(
    `script -qec '"${process.execPath}" "${join(root, 'bin/vdconv.js')}" disk.vmdk - -O raw' /dev/null`,
  );
  expect(terminal).toMatchObject({
    status: 2,
    stdout: 'vdconv: -: a disk image is not for a terminal; send it to a pipe (| COMMAND) or a file (> FILE)\r\n',
  });
  expect(bash('vdconv disk.vmdk - | cat')).toMatchObject({
    status: 2,
    stderr: expect.stringContaining('the name says no format; say it with -O'),
  });
});
