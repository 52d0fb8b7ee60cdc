/** `create` and `measure` as a user meets them: bin/vdconv.js in a process of its own. */
import { spawnSync } from 'node:child_process';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeEach, describe, expect, it } from 'vitest';
import { tempDir } from '../testing/tmp.ts';

const command = fileURLToPath(new URL('../../bin/vdconv.js', import.meta.url));

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
});

function vdconv(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...args], { cwd: dir, encoding: 'utf8' });
  return { status, stdout, stderr };
}

describe('create', () => {
  it('makes an image of the size that was asked for, and says so', () => {
    const { status, stdout, stderr } = vdconv('create', 'disk.qcow2', '100G');
    expect([status, stdout]).toEqual([0, '']);
    expect(stderr).toMatch(/^disk\.qcow2 \(qcow2, 100 GiB\) created, \d+ KiB on disk\n$/);
    expect(JSON.parse(vdconv('info', '--output=json', 'disk.qcow2').stdout).virtualSize).toBe(100 * 2 ** 30);
  });

  it('takes qemu-img’s letters, and is quiet with -q', () => {
    expect(vdconv('create', '-q', '-f', 'vpc', '-o', 'subformat=fixed', 'disk.img', '1M')).toMatchObject({
      status: 0,
      stderr: '',
    });
    expect(statSync(join(dir, 'disk.img')).size).toBe((1 << 20) + 512);
  });

  it.for([
    [
      ['create', 'disk.qcow2'],
      'vdconv: give OUT and SIZE, or OUT and a base: vdconv create OUT SIZE; see vdconv create --help\n',
    ],
    [
      ['create', 'disk.qcow2', 'big'],
      "vdconv: SIZE: 'big' is not a size; write 65536, 64k, 1M, 2G or 1T (1024-based)\n",
    ],
    [['create', 'disk', '1M'], /^vdconv: disk: the name says no format; say it with -O/],
    [['create', '-b', 'none.qcow2', 'disk.qcow2'], /^vdconv: none\.qcow2: .*no such file/i],
  ] as const)('%j is an error of one line', ([args, message]) => {
    const { status, stderr } = vdconv(...args);
    expect(status).toBe(args[1] === '-b' ? 3 : 2);
    expect(stderr).toMatch(
      typeof message === 'string' ? new RegExp(`^${message.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`) : message,
    );
    expect(existsSync(join(dir, 'disk.qcow2'))).toBe(false);
  });
});

describe('measure', () => {
  it('prints what convert will produce, for people and under qemu-img’s keys', () => {
    writeFileSync(join(dir, 'disk.raw'), 'x'.repeat(100_000));
    const { required, ...rest } = JSON.parse(
      vdconv('measure', '-f', 'raw', '-O', 'qcow2', '--output=json', 'disk.raw').stdout,
    );
    expect(Object.keys(rest)).toEqual(['fully-allocated', 'exact']);
    expect(vdconv('convert', '-q', 'disk.raw', 'disk.qcow2').status).toBe(0);
    expect(statSync(join(dir, 'disk.qcow2')).size).toBe(required);
    expect(vdconv('measure', '-O', 'qcow2', 'disk.raw').stdout.split('\n')[0]).toMatch(
      new RegExp(`^required size: .*\\(${required} bytes\\)$`),
    );
  });

  it('says that --fast is a bound', () => {
    writeFileSync(join(dir, 'disk.raw'), Buffer.alloc(1 << 20));
    expect(vdconv('measure', '--fast', '-O', 'qcow2', 'disk.raw').stdout).toMatch(/^required size: at most /);
  });

  it('asks for a format', () => {
    const { status, stderr } = vdconv('measure', 'disk.raw');
    expect([status, stderr]).toEqual([2, 'vdconv: say with -O for which format; see vdconv measure --help\n']);
  });
});
