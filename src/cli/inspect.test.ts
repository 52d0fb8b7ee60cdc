/** `map`, `compare` and the options of progress and rate, as a user meets them: bin/vdconv.js in a process of its own. */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, copyFileSync, openSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeEach, describe, expect, it } from 'vitest';
import { need, qemuImg } from '../testing/oracles.ts';
import { rebuild } from '../testing/rebuild.ts';
import { tempDir } from '../testing/tmp.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const command = join(root, 'bin', 'vdconv.js');

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
  copyFileSync(join(root, 'test-images', 'demo-disk.vmdk'), join(dir, 'disk.vmdk'));
});

type Stdio = 'pipe' | 'ignore' | number;

function run(args: readonly string[], ...more: Stdio[]) {
  const stdio: Stdio[] = ['ignore', 'pipe', 'pipe', ...more];
  const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...args], {
    ...{ cwd: dir, encoding: 'utf8', stdio, maxBuffer: 64 << 20 },
  });
  return { status, stdout, stderr };
}

const vdconv = (...args: string[]) => run(args);

/** The guest's bytes by qemu-img. */
async function guestOf(ctx: { skip(note?: string): never }, name: string): Promise<Buffer> {
  const qemu = need(ctx, qemuImg());
  await qemu.convert('-f', 'vmdk', '-O', 'raw', join(dir, name), join(dir, 'want.raw'));
  return readFileSync(join(dir, 'want.raw'));
}

describe('map', () => {
  it('prints an array from which the disk can be rebuilt', async (ctx) => {
    const want = await guestOf(ctx, 'disk.vmdk');
    expect(vdconv('convert', '-q', '-c', 'disk.vmdk', 'small.qcow2').status).toBe(0);
    for (const name of ['disk.vmdk', 'small.qcow2']) {
      const { status, stdout, stderr } = vdconv('map', '--output=json', join(dir, name));
      expect([status, stderr]).toEqual([0, '']);
      expect(Buffer.compare(rebuild(JSON.parse(stdout)), want)).toBe(0);
    }
  });

  it('prints a table whose last line adds up', () => {
    writeFileSync(join(dir, 'disk.raw'), 'x'.repeat(4096));
    const { status, stdout } = vdconv('map', '-f', 'raw', 'disk.raw');
    expect(status).toBe(0);
    expect(stdout.split('\n').map((line) => line.trim().split(/ {2,}/))).toEqual([
      ['start', 'length', 'kind', 'depth', 'offset', 'file'],
      ['0', '4096', 'data', '0', '0', 'disk.raw'],
      ['1 extent: data 4 KiB, compressed 0 B, zero 0 B, unallocated 0 B'],
      [''],
    ]);
  });

  it('of an empty disk is an empty array', () => {
    writeFileSync(join(dir, 'empty.raw'), '');
    expect(vdconv('map', '-f', 'raw', '--output=json', 'empty.raw').stdout).toBe('[]\n');
    expect(vdconv('map', '-f', 'raw', 'empty.raw').stdout).toMatch(/\n0 extents: data 0 B, /);
  });

  it('lets no file name write to the terminal', () => {
    const name = 'a\u001b]0;x\u0007.raw';
    writeFileSync(join(dir, name), 'x');
    for (const output of ['human', 'json']) {
      const { status, stdout } = vdconv('map', '-f', 'raw', `--output=${output}`, name);
      expect(status).toBe(0);
      expect(stdout).not.toMatch(/[^\n -~]/);
    }
  });

  it('fails as other commands do', () => {
    expect(vdconv('map', 'none').stderr).toBe('vdconv: none: no such file\n');
    expect(vdconv('map', 'none').status).toBe(3);
    expect(vdconv('map').status).toBe(2);
    expect(vdconv('map', '--output=xml', 'disk.vmdk').status).toBe(2);
  });

  it('ends quietly when its reader does', () => {
    const script = 'set -o pipefail; "$0" "$1" map disk.vmdk | exit 0';
    const { status, stderr } = spawnSync('bash', ['-c', script, process.execPath, command], { cwd: dir });
    expect([status, stderr.toString()]).toEqual([141, '']);
  });
});

describe('compare', () => {
  beforeEach(() => {
    expect(vdconv('convert', '-q', 'disk.vmdk', 'disk.raw').status).toBe(0);
  });

  function flip(at: number): void {
    const disk = readFileSync(join(dir, 'disk.raw'));
    disk[at] = (disk[at] as number) ^ 1;
    writeFileSync(join(dir, 'disk.raw'), disk);
  }

  it('is status 0 and a sentence where the disks are the same', () => {
    expect(vdconv('compare', 'disk.vmdk', '-F', 'raw', 'disk.raw')).toEqual({
      status: 0,
      stdout: 'disk.vmdk (vmdk) and disk.raw (raw) hold the same disk (64 MiB)\n',
      stderr: '',
    });
    expect(vdconv('compare', '-q', 'disk.vmdk', '-F', 'raw', 'disk.raw')).toEqual({
      status: 0,
      stdout: '',
      stderr: '',
    });
  });

  it('is status 1 and the first byte where they differ', () => {
    flip(50_000_123);
    expect(vdconv('compare', 'disk.vmdk', '-F', 'raw', 'disk.raw')).toEqual({
      status: 1,
      stdout: 'disk.vmdk (vmdk) and disk.raw (raw) differ, first at byte 50000123 (0x2faf0fb)\n',
      stderr: '',
    });
    expect(vdconv('compare', '-q', 'disk.vmdk', '-F', 'raw', 'disk.raw')).toEqual({
      status: 1,
      stdout: '',
      stderr: '',
    });
    const { status, stdout } = vdconv('compare', '--output=json', '-F', 'raw', 'disk.vmdk', 'disk.raw');
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      identical: false,
      firstDifference: 50000123,
      bytesRead: expect.any(Number),
      a: { filename: 'disk.vmdk', format: 'vmdk', virtualSize: 64 << 20 },
      b: { filename: 'disk.raw', format: 'raw', virtualSize: 64 << 20 },
      seconds: expect.any(Number),
    });
  });

  it('says that sizes differ, and takes it for a difference with -s', () => {
    truncateSync(join(dir, 'disk.raw'), (64 << 20) + 1);
    const sizes = 'disk.vmdk (vmdk) has 67108864 bytes, disk.raw (raw) has 67108865';
    expect(vdconv('compare', '-F', 'raw', 'disk.vmdk', 'disk.raw')).toEqual({
      status: 0,
      stdout: `disk.vmdk (vmdk) and disk.raw (raw) hold the same disk (64 MiB)\n${sizes}: the rest is zeros\n`,
      stderr: '',
    });
    expect(vdconv('compare', '-s', '-F', 'raw', 'disk.vmdk', 'disk.raw')).toEqual({
      status: 1,
      stdout: `disk.vmdk (vmdk) and disk.raw (raw) differ in size\n${sizes}\n`,
      stderr: '',
    });
  });

  it('has the exit statuses of other commands where it cannot compare', () => {
    for (const [args, status] of [
      [['disk.vmdk'], 2],
      [['disk.vmdk', 'none'], 3],
      [['-f', 'qcow2', 'disk.vmdk', 'disk.vmdk'], 3],
    ] as const) {
      expect(vdconv('compare', ...args)).toMatchObject({ status, stdout: '' });
    }
  });

  it('shows progress', () => {
    const { stderr } = vdconv('compare', '--progress=json', '-F', 'raw', 'disk.vmdk', 'disk.raw');
    const lines = stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.at(-1)).toMatchObject({ result: { identical: true } });
    expect(lines.at(-2)).toEqual({ done: 64 << 20, total: 64 << 20 });
    expect(vdconv('compare', '-p', '-F', 'raw', 'disk.vmdk', 'disk.raw').stderr).toMatch(/^vdconv: 100%\n$/m);
  });
});

describe('convert', () => {
  it('--progress-fd writes lines of JSON to a descriptor, beside what is on standard error', () => {
    const out = openSync(join(dir, 'progress'), 'w');
    const { status, stderr } = run(['convert', '--progress-fd', '3', 'disk.vmdk', 'out.qcow2'], out);
    closeSync(out);
    expect([status, stderr]).toEqual([0, expect.stringMatching(/^disk\.vmdk \(vmdk, 64 MiB\) -> out\.qcow2 /m)]);
    const lines = readFileSync(join(dir, 'progress'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.at(-1)).toMatchObject({ result: { target: { filename: 'out.qcow2' } } });
    expect(lines.slice(0, -1)).toContainEqual({ done: 64 << 20, total: 64 << 20 });
  });

  it('--progress-fd needs an open descriptor, and does not mind a reader that went away', async () => {
    expect(vdconv('convert', '--progress-fd', '77', 'disk.vmdk', 'out.qcow2')).toEqual({
      status: 2,
      stdout: '',
      stderr: 'vdconv: option --progress-fd: descriptor 77 is not open for writing; see vdconv convert --help\n',
    });
    const args = [command, 'convert', '-q', '--progress-fd', '3', 'disk.vmdk', 'out.qcow2'];
    const child = spawn(process.execPath, args, { cwd: dir, stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
    child.stdio[3]?.destroy();
    let stderr = '';
    child.stderr?.on('data', (data) => {
      stderr += data;
    });
    const status = await new Promise((resolve) => child.on('close', resolve));
    expect([status, stderr]).toEqual([0, '']);
  });

  it('-r holds the rate', () => {
    const { stderr } = vdconv('convert', '--progress=json', '-r', '1M', 'disk.vmdk', 'out.qcow2');
    const { result } = JSON.parse(stderr.trimEnd().split('\n').at(-1) as string);
    // Less one piece of a quarter second; the source's extents hold at least the bytes that are not zero.
    expect(result.seconds).toBeGreaterThanOrEqual(result.dataBytes / (1 << 20) - 0.25);
    for (const rate of ['fast', '100', '0']) {
      expect(vdconv('convert', '-r', rate, 'disk.vmdk', 'never.raw').status).toBe(2);
    }
  });

  it('-c makes a VMDK that is compressed, and refuses a subformat that cannot be', () => {
    expect(vdconv('convert', '-q', '-c', 'disk.vmdk', 'out.vmdk').status).toBe(0);
    expect(vdconv('info', 'out.vmdk').stdout).toMatch(/^format: +vmdk \(streamOptimized\)$/m);
    expect(vdconv('convert', '-q', 'disk.vmdk', 'plain.vmdk').status).toBe(0);
    expect(vdconv('info', 'plain.vmdk').stdout).toMatch(/^format: +vmdk \(monolithicSparse\)$/m);
    expect(vdconv('convert', '-c', '-o', 'subformat=monolithicSparse', 'disk.vmdk', 'no.vmdk')).toEqual({
      status: 2,
      stdout: '',
      stderr:
        'vdconv: a VMDK of subformat monolithicSparse cannot be compressed; ' +
        'leave out -o subformat, or say streamOptimized\n',
    });
  });
});
