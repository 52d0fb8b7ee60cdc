/**
 * The ways in which a conversion ends before its time, by a signal or by the system: the target is as it was, and nothing
 * else is left. `make test-faults` kills more often.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { MiB } from '../base/units.ts';
import { open } from '../index.ts';
import { ENGINES, needEngine } from '../testing/engines.ts';
import { random } from '../testing/random.ts';
import { snapshot } from '../testing/snapshot.ts';
import { tempDir } from '../testing/tmp.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const command = join(root, 'bin', 'vdconv.js');
const KILLS = process.env.VDCONV_FAULTS === 'all' ? 100 : 12;

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
  writeFileSync(join(dir, 'in.raw'), Buffer.alloc(4 * MiB, 'a disk '));
});

function started(args: readonly string[], options: { engine: string; detached?: boolean }): ChildProcess {
  const env = { ...process.env, VDCONV_ENGINE: options.engine };
  return spawn(process.execPath, [command, 'convert', ...args], {
    cwd: dir,
    env,
    stdio: 'ignore',
    detached: options.detached === true,
  });
}

function ended(child: ChildProcess): Promise<number | string> {
  return new Promise((resolve) => child.once('exit', (status, signal) => resolve(status ?? signal ?? '')));
}

/** Until there is a temporary file: the conversion is under way. */
async function underWay(): Promise<void> {
  while (!readdirSync(dir).some((name) => name.startsWith('.out'))) {
    await sleep(5);
  }
}

/** In a shell, with the given limits before the command. */
function limited(limits: string, engine: string, ...args: string[]) {
  const run = spawnSync('bash', ['-c', `${limits}; exec "$@"`, 'bash', process.execPath, command, ...args], {
    cwd: dir,
    encoding: 'utf8',
    env: { ...process.env, VDCONV_ENGINE: engine },
  });
  return [run.status, run.stderr];
}

/** A file system in a directory, unmounted at the end; skips where this test may not mount. */
function mounted(ctx: { skip(note?: string): never }, name: string, ...options: string[]): string {
  const path = join(dir, name);
  mkdirSync(path, { recursive: true });
  if (spawnSync('mount', [...options, path]).status !== 0) {
    ctx.skip('mounting a file system takes root');
  }
  onTestFinished(() => void spawnSync('umount', [path]));
  return path;
}

describe.each(ENGINES)('%s', (engine) => {
  beforeEach((ctx) => void needEngine(ctx, engine));

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s to its whole group', async (signal, status) => {
    const before = await snapshot(dir);
    const child = started(['-r', '64k', 'in.raw', 'out.qcow2'], { engine, detached: true });
    await underWay();
    const begun = performance.now();
    const end = ended(child);
    process.kill(-(child.pid as number), signal);
    expect(await end).toBe(status);
    expect(performance.now() - begun).toBeLessThan(1000);
    expect(await snapshot(dir)).toEqual(before);
  });

  it('killed at any time: the target is the old one or the whole new one', { timeout: KILLS * 5_000 }, async () => {
    const { below } = random(7);
    const old = Buffer.from('what was there before');
    writeFileSync(join(dir, 'out.qcow2'), old);
    let untouched = 0;
    for (let i = 0; i < KILLS; i += 1) {
      const child = started(['--force', '-r', '16M', 'in.raw', 'out.qcow2'], { engine });
      const end = ended(child);
      await Promise.race([underWay(), end]);
      await sleep(below(350));
      child.kill('SIGKILL');
      await end;
      const left = readdirSync(dir).filter((name) => !['in.raw', 'out.qcow2'].includes(name));
      expect(left.filter((name) => !/^\.out\.qcow2\.vdconv-[0-9a-f]{12}$/.test(name))).toEqual([]);
      for (const name of left) {
        rmSync(join(dir, name));
      }
      if (readFileSync(join(dir, 'out.qcow2')).equals(old)) {
        untouched += 1;
      } else {
        const image = await open(join(dir, 'out.qcow2'));
        expect(Buffer.from(await image.read(0, 4 * MiB)).equals(readFileSync(join(dir, 'in.raw')))).toBe(true);
        await image.close();
        writeFileSync(join(dir, 'out.qcow2'), old);
      }
    }
    expect(untouched).toBeGreaterThan(0);
  });

  it('a file size limit', async () => {
    const before = await snapshot(dir);
    expect(limited('ulimit -f 1024', engine, 'in.raw', 'out.qcow2')).toEqual([
      4,
      expect.stringMatching(/^vdconv: out\.qcow2: cannot write .*file too large .*\(EFBIG\)\n$/),
    ]);
    expect(await snapshot(dir)).toEqual(before);
  });

  it('a full file system on a disk', async (ctx) => {
    writeFileSync(join(dir, 'ext4.img'), Buffer.alloc(3 * MiB));
    if (spawnSync('mkfs.ext4', ['-q', '-F', join(dir, 'ext4.img')]).status !== 0) {
      ctx.skip('mkfs.ext4 is not there');
    }
    const small = mounted(ctx, 'small', '-o', 'loop', join(dir, 'ext4.img'));
    const before = readdirSync(small);
    expect(limited('true', engine, 'in.raw', 'small/out.qcow2')).toEqual([
      4,
      expect.stringMatching(/^vdconv: small\/out\.qcow2: cannot write .*no space left on device \(ENOSPC\)\n$/),
    ]);
    expect(readdirSync(small)).toEqual(before);
  });

  it('a read-only file system', (ctx) => {
    mounted(ctx, 'ro', '-t', 'tmpfs', '-o', 'ro', 'tmpfs');
    expect(limited('true', engine, 'in.raw', 'ro/out.qcow2')).toEqual([
      4,
      'vdconv: ro/out.qcow2: cannot create the file: read-only file system (EROFS)\n',
    ]);
  });

  it('32 descriptors are enough, and too few are a message', () => {
    expect(limited('ulimit -n 32', engine, '-q', 'in.raw', 'out.qcow2')).toEqual([0, '']);
    // Node itself needs more than 20: below it dies before vdconv begins.
    const [status, stderr] = limited('ulimit -n 23', engine, 'in.raw', 'out2.qcow2');
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/too many open files/);
    expect(existsSync(join(dir, 'out2.qcow2'))).toBe(false);
  });
});

it.each(['info', 'map', 'map --output=json'])('%s: standard output that is full is no success', (words) => {
  copyFileSync(join(root, 'test-images/demo-disk.vmdk'), join(dir, 'disk.vmdk'));
  const line = `"$0" "$1" ${words} disk.vmdk >/dev/full`;
  const run = spawnSync('sh', ['-c', line, process.execPath, command], { cwd: dir, encoding: 'utf8' });
  expect([run.status, run.stderr]).toEqual([
    4,
    'vdconv: cannot write to standard output: ENOSPC: no space left on device, write\n',
  ]);
});
