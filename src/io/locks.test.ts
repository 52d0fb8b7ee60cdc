/** The locks of QEMU's processes, held by QEMU's own programs. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { compare, convert, info, map } from '../index.ts';
import { needEngine } from '../testing/engines.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { tempDir } from '../testing/tmp.ts';

let dir: string;
let image: string;
beforeEach(async (ctx) => {
  need(ctx, qemuImg());
  needEngine(ctx, 'native');
  dir = await tempDir();
  image = join(dir, 'disk.qcow2');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', image, '4M']);
});

/** qemu-nbd with the image open, until the test ends. */
async function hold(...options: string[]): Promise<ChildProcess> {
  const socket = join(dir, 'socket');
  const child = spawn('qemu-nbd', [...options, '-t', '-k', socket, '-f', 'qcow2', image], { stdio: 'inherit' });
  onTestFinished(() => void child.kill('SIGKILL'));
  while (!existsSync(socket)) {
    expect(child.exitCode).toBeNull();
    await sleep(10);
  }
  return child;
}

const locked = () => ({
  code: 'locked',
  message:
    `${image}: another program has it open for writing, such as a virtual machine that runs; ` +
    'shut it down, or add --force-share to read what may be changing',
});

async function entries(options = {}): Promise<number> {
  let count = 0;
  for await (const _ of map(image, options)) {
    count += 1;
  }
  return count;
}

it('an image that is open for writing is locked, whatever is asked of it; with forceShare it is read', async () => {
  const other = join(dir, 'other.qcow2');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', other, '4M']);
  const child = await hold();
  await expect(info(image)).rejects.toMatchObject(locked());
  await expect(entries()).rejects.toMatchObject(locked());
  await expect(convert(image, join(dir, 'out.raw'))).rejects.toMatchObject(locked());
  await expect(compare(other, image)).rejects.toMatchObject(locked());
  expect(existsSync(join(dir, 'out.raw'))).toBe(false);
  const forceShare = true;
  expect(await info(image, { forceShare })).toMatchObject({ virtualSize: 4 << 20 });
  expect(await entries({ forceShare })).toBe(1);
  expect(await compare(other, image, { forceShare })).toMatchObject({ identical: true });
  expect(await convert(image, join(dir, 'out.raw'), { forceShare })).toMatchObject({ target: { fileSize: 4 << 20 } });
  child.kill('SIGKILL');
  await new Promise((done) => child.once('exit', done));
  expect(await info(image)).toMatchObject({ virtualSize: 4 << 20 });
});

it('a backing file that is open for writing is named', async () => {
  const child = join(dir, 'child.qcow2');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', image, child]);
  await hold();
  await expect(convert(child, join(dir, 'out.raw'), { allowReferences: true })).rejects.toMatchObject(locked());
});

it('readers share: QEMU reading does not keep vdconv out', async () => {
  await hold('-r');
  expect(await compare(image, image)).toMatchObject({ identical: true });
});

describe('while vdconv reads', () => {
  it('QEMU cannot write, and can read', async () => {
    const controller = new AbortController();
    let started = () => {};
    const reading = new Promise<void>((resolve) => {
      started = resolve;
    });
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write 0 4M', image]);
    const { signal } = controller;
    const work = convert(image, join(dir, 'out.raw'), { rate: 4096, signal, onProgress: () => started() });
    await reading;
    const write = spawnSync('qemu-io', ['-f', 'qcow2', '-c', 'write 0 512', image], { encoding: 'utf8' });
    expect(`${write.stdout}${write.stderr}`).toContain('Failed to get "write" lock');
    const read = spawnSync('qemu-io', ['-r', '-f', 'qcow2', '-c', 'read 0 512', image], { encoding: 'utf8' });
    expect(read.status).toBe(0);
    controller.abort();
    await expect(work).rejects.toMatchObject({ code: 'aborted' });
  });
});
