/** `vdconv check` as a user meets it: exit statuses and JSON are qemu-img's. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { need, qemuImg } from '../testing/oracles.ts';
import { qemuIo } from '../testing/qemu-io.ts';
import { tempDir } from '../testing/tmp.ts';

const command = fileURLToPath(new URL('../../bin/vdconv.js', import.meta.url));

function run(cwd: string, program: string, args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd, encoding: 'utf8' });
  return { status, stdout, stderr };
}

const vdconv = (cwd: string, ...args: string[]) => run(cwd, process.execPath, [command, 'check', ...args]);

/** A disk of 1 MiB with 320 KiB of data: the L2 table lies at 262144, refcounts at 131072. */
async function image(ctx: { skip(note?: string): never }): Promise<string> {
  const qemu = need(ctx, qemuImg());
  const dir = await tempDir();
  await qemu.run('create', '-q', '-f', 'qcow2', join(dir, 'a.qcow2'), '1M');
  await qemuIo(join(dir, 'a.qcow2'), 'qcow2', 'write 0 320k');
  return dir;
}

function patch(dir: string, at: number, bytes: readonly number[]): void {
  const image = readFileSync(join(dir, 'a.qcow2'));
  image.set(bytes, at);
  writeFileSync(join(dir, 'a.qcow2'), image);
}

describe('vdconv check', () => {
  it('prints one line a finding, a summary and numbers; the exit status is qemu-img’s', async (ctx) => {
    const dir = await image(ctx);
    expect(vdconv(dir, 'a.qcow2')).toEqual({
      status: 0,
      stderr: '',
      stdout:
        'a.qcow2 (qcow2): no errors\n5 of 16 blocks are stored, 0 fragmented, 0 compressed\nimage end offset: 655360\n',
    });
    patch(dir, 262144, [0, 0, 0, 0, 0, 0, 0, 0]);
    const leaky = vdconv(dir, 'a.qcow2');
    expect(leaky).toMatchObject({ status: 3, stderr: '' });
    expect(leaky.stdout.split('\n').slice(0, 2)).toEqual([
      'leak: refcount of cluster 5 at offset 327680: the refcount is 1, references are 0',
      'a.qcow2 (qcow2): 1 leaked cluster: wasted space, no harm to data',
    ]);
    patch(dir, 262144 + 8, [0x80, 0, 0, 0, 0, 7, 0, 0]);
    const corrupt = vdconv(dir, 'a.qcow2');
    expect(corrupt).toMatchObject({ status: 2, stderr: '' });
    expect(corrupt.stdout).toContain(
      'a.qcow2 (qcow2): 1 corruption; 2 leaked clusters: wasted space, no harm to data\n',
    );
    expect(run(dir, 'qemu-img', ['check', 'a.qcow2']).status).toBe(2);
    expect(vdconv(dir, '-q', 'a.qcow2')).toEqual({ status: 2, stdout: '', stderr: '' });
  });

  it('prints JSON with every key and number of qemu-img’s', async (ctx) => {
    const dir = await image(ctx);
    for (const change of [undefined, 262144, 131072 + 9]) {
      if (change !== undefined) {
        patch(dir, change, [0, 0]);
      }
      const qemu = run(dir, 'qemu-img', ['check', '--output=json', 'a.qcow2']);
      const ours = vdconv(dir, '--output=json', 'a.qcow2');
      expect(ours).toMatchObject({ status: qemu.status, stderr: '' });
      expect(JSON.parse(ours.stdout)).toMatchObject(JSON.parse(qemu.stdout));
    }
    const { findings, ...rest } = JSON.parse(vdconv(dir, '--output=json', 'a.qcow2').stdout);
    expect(Object.keys(rest)).toEqual(expect.arrayContaining(['leaks', 'corruptions', 'incomplete', 'omitted']));
    expect(findings[0]).toEqual({
      severity: expect.stringMatching(/^(corruption|leak)$/),
      table: expect.any(String),
      offset: expect.any(Number),
      what: expect.any(String),
      count: 1,
    });
  });

  it('ends with 1 where it could not check, and with 63 where the format has nothing to check', async () => {
    const dir = await tempDir();
    writeFileSync(join(dir, 'a.raw'), Buffer.alloc(4096, 'x'));
    const descriptor = [
      'version=1',
      'CID=00000001',
      'parentCID=ffffffff',
      'createType="monolithicFlat"',
      'RW 8 FLAT "a.raw" 0',
    ];
    writeFileSync(join(dir, 'split.vmdk'), descriptor.join('\n'));
    const cases: [args: string[], status: number, says: string][] = [
      [['a.raw'], 63, 'vdconv: a.raw: a raw image has no structure that could be checked\n'],
      [['-f', 'qcow2', 'a.raw'], 1, 'vdconv: a.raw: QCOW2 header: magic is'],
      [['nowhere.qcow2'], 1, 'vdconv: nowhere.qcow2: no such file\n'],
      [[], 1, 'vdconv: IMAGE is missing; see vdconv check --help\n'],
      [['--frob', 'a.raw'], 1, "vdconv: unknown option '--frob'; see vdconv check --help\n"],
      [['split.vmdk'], 1, "vdconv: split.vmdk: refers to extent 'a.raw'"],
      [['-f', 'frob', 'a.raw'], 1, "vdconv: a.raw: there is no format 'frob'"],
    ];
    for (const [args, status, says] of cases) {
      const got = vdconv(dir, ...args);
      expect([got.status, got.stdout, got.stderr.slice(0, says.length)], args.join(' ')).toEqual([status, '', says]);
    }
  });

  it('shows progress, and the result to programs that read it', async (ctx) => {
    const dir = await image(ctx);
    const { status, stderr } = vdconv(dir, '-q', '--progress=json', 'a.qcow2');
    const lines = stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect([status, Object.keys(lines[0])]).toEqual([0, ['done', 'total']]);
    expect(lines.at(-1)).toMatchObject({ result: { corruptions: 0, leaks: 0 } });
  });
});
