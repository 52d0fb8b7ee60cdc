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

  // All formats: src/ops/convert-stream.test.ts.
  it.each(['-O raw', '-O qcow2', '-O qcow2 -S 0', '-c -O vmdk', '-c -O qcow2 --spool .'])(
    '%s: the bytes of a file',
    (options) => {
      const run = bash(
        `vdconv convert ${options} disk.vmdk file && vdconv convert -q ${options} disk.vmdk - | cmp - file`,
        env,
      );
      expect(run).toMatchObject({ status: 0, stdout: '' });
      expect(readdirSync(dir).sort()).toEqual(['disk.vmdk', 'file']);
    },
  );

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

const KEPT = 'the input was kept in a temporary file';

describe.each(['native', 'portable'])('standard input, %s engine', (engine) => {
  const env = { VDCONV_ENGINE: engine };
  beforeEach(() => {
    expect(bash('vdconv disk.vmdk disk.raw -q').status).toBe(0);
  });

  it.each([
    // All formats: src/ops/source.test.ts.
    ['-O qcow2', ''],
    ['-c -O vmdk', ''],
    // The footer decides; it comes last.
    ['-O vhd -o subformat=fixed', KEPT],
  ])('what %s makes', (options, note) => {
    const run = bash(`vdconv convert -q ${options} disk.vmdk - | vdconv - out.raw && cmp out.raw disk.raw`, env);
    expect(run).toMatchObject({ status: 0, stdout: '' });
    expect(run.stderr.includes(KEPT)).toBe(note !== '');
    expect(readdirSync(dir).sort()).toEqual(['disk.raw', 'disk.vmdk', 'out.raw']);
  });

  it('a raw disk whose size is said, and one whose size is not', () => {
    const said = bash('cat disk.raw | vdconv - out.raw -f raw --size 64M && cmp out.raw disk.raw', env);
    expect([said.status, said.stderr.includes(KEPT)]).toEqual([0, false]);
    const found = bash('cat disk.raw | vdconv - out2.raw -f raw && cmp out2.raw disk.raw', env);
    expect([found.status, found.stderr.includes(KEPT)]).toEqual([0, true]);
  });

  it('through both ends: what needs two passes is kept', () => {
    const script = 'cat disk.vmdk | vdconv -f vmdk -O qcow2 - - | vdconv -O raw - out.raw && cmp out.raw disk.raw';
    expect(bash(script, env)).toMatchObject({ status: 0, stdout: '' });
  });

  it('a stream that ends early, or goes on, is an error and leaves no target', () => {
    for (const [script, status, message] of [
      [
        'head -c 1000000 disk.raw | vdconv - out.raw -f raw --size 64M',
        3,
        /^vdconv: -: .* the stream ended at 1000000\n$/,
      ],
      ['cat disk.raw | vdconv - out.raw -f raw --size 1M', 2, /^vdconv: -: the stream goes on after the 1048576 bytes/],
      ['cat disk.raw | vdconv - out.raw -f raw --size 1M --spool .', 2, /^vdconv: -: the stream goes on after/],
      ['vdconv -q -c -O vmdk disk.vmdk - | head -c 200000 | vdconv - out.raw', 3, /^vdconv: -: .*200000\n$/],
      ['vdconv -q -O qcow2 disk.vmdk - | head -c 900000 | vdconv - out.raw', 3, /^vdconv: -: .*900000/],
      ['vdconv -q -O vhd disk.vmdk - | head -c 600000 | vdconv - out.raw', 3, /^vdconv: -: /],
      ['true | vdconv - out.raw -f qcow2', 3, /^vdconv: -: /],
    ] as const) {
      const run = bash(`${script}; exit \${PIPESTATUS[-1]}`, env);
      expect([script, run.status, run.stderr]).toEqual([script, status, expect.stringMatching(message)]);
      expect(readdirSync(dir).sort()).toEqual(['disk.raw', 'disk.vmdk']);
    }
  });
});

test.each(['gzip', 'xz', 'bzip2', 'zstd -q'])('a stream inside %s', (program) => {
  if (bash(`command -v ${program.split(' ')[0]}`).status === 0) {
    const script = `${program} -c disk.vmdk | vdconv - out.raw -q && vdconv compare out.raw disk.vmdk`;
    expect(bash(script)).toMatchObject({ status: 0, stderr: '' });
    const cut = bash(`${program} -c disk.vmdk | head -c 20000 | vdconv - cut.raw -q; exit \${PIPESTATUS[-1]}`);
    expect([cut.status, cut.stderr]).toEqual([3, expect.stringMatching(/^vdconv: -: [^\n]*\n$/)]);
  }
});

test('other commands read standard input too, and a file there is read as a file', () => {
  expect(JSON.parse(bash('cat disk.vmdk | vdconv info --output=json -').stdout)).toMatchObject({
    filename: '-',
    format: 'vmdk',
  });
  expect(bash('cat disk.vmdk | vdconv compare - disk.vmdk').status).toBe(0);
  expect(bash('vdconv map --output=json - <disk.vmdk').status).toBe(0);
  const file = bash('vdconv - out.qcow2 <disk.vmdk');
  expect([file.status, file.stderr.includes(KEPT)]).toEqual([0, false]);
});

test('not to a terminal, not without a format, not several files', () => {
  const terminal = bash(
    `script -qec '"${process.execPath}" "${join(root, 'bin/vdconv.js')}" disk.vmdk - -O raw' /dev/null`,
  );
  expect(terminal).toMatchObject({
    status: 2,
    stdout: 'vdconv: -: a disk image is not for a terminal; send it to a pipe (| COMMAND) or a file (> FILE)\r\n',
  });
  const from = bash(`script -qec '"${process.execPath}" "${join(root, 'bin/vdconv.js')}" - out.raw' /dev/null`);
  expect(from).toMatchObject({
    status: 2,
    stdout: expect.stringContaining('is a terminal: no disk image comes from there'),
  });
  expect(bash('vdconv disk.vmdk - | cat')).toMatchObject({
    status: 2,
    stderr: expect.stringContaining('the name says no format; say it with -O'),
  });
});
