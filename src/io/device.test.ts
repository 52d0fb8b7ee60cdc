/** Block devices as sources: a loop device, where this test may make one. */
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { ENGINES, needEngine } from '../testing/engines.ts';
import { expectBytes } from '../testing/guest.ts';
import { tempDir } from '../testing/tmp.ts';
import { openFileSource } from './file-source.ts';

const root = new URL('../../', import.meta.url).pathname;

/** A loop device over a file, gone when the test ends. */
function loopDevice(ctx: { skip(note?: string): never }, path: string): string {
  const { status, stdout, stderr } = spawnSync('losetup', ['--find', '--show', '--read-only', path], {
    encoding: 'utf8',
  });
  if (status !== 0) {
    ctx.skip(`no loop device: ${stderr || 'losetup is not there'}`.trim());
  }
  const device = stdout.trim();
  onTestFinished(() => void spawnSync('losetup', ['--detach', device]));
  return device;
}

describe.each(ENGINES)('%s', (name) => {
  it('reads a block device with the flag, all of it, and is refused without', async (ctx) => {
    const system = needEngine(ctx, name);
    const dir = await tempDir();
    const path = join(dir, 'disk');
    const content = Buffer.alloc(3 * MiB);
    content.fill('device', MiB, MiB + 64 * KiB);
    content.fill('end', content.length - 512);
    writeFileSync(path, content);
    const device = loopDevice(ctx, path);
    await expect(openFileSource(device, { system })).rejects.toMatchObject({
      code: 'refused',
      message: `${device}: is a block device; devices are not read by default; to read it, add --allow-device`,
    });
    const source = await openFileSource(device, { system, allowDevice: true });
    expect({ size: source.size, allocated: source.allocatedSize, holes: source.dataRuns }).toEqual({
      size: content.length,
      allocated: null,
      holes: undefined,
    });
    expectBytes(await source.read(MiB, 64 * KiB, 'test'), content.subarray(MiB, MiB + 64 * KiB), device);
    await expect(source.read(content.length - 512, 513, 'test')).rejects.toMatchObject({ code: 'truncated' });
    await source.close();

    const env = { ...process.env, VDCONV_ENGINE: name };
    const vdconv = (...args: string[]) =>
      spawnSync(process.execPath, [join(root, 'bin/vdconv.js'), ...args], { encoding: 'utf8', env });
    const refused = vdconv('convert', '-O', 'raw', device, join(dir, 'out.raw'));
    expect([refused.status, refused.stderr]).toEqual([5, expect.stringContaining('add --allow-device')]);
    expect(existsSync(join(dir, 'out.raw'))).toBe(false);
    const done = vdconv('convert', '--allow-device', '-O', 'raw', device, join(dir, 'out.raw'));
    expect([done.status, done.stderr.split('\n')[0]]).toEqual([0, expect.stringContaining(device)]);
    expectBytes(await readFile(join(dir, 'out.raw')), content, 'out.raw');
  });
});

it('a character device is never read', async () => {
  await expect(openFileSource('/dev/zero', { allowDevice: true })).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining('is a character device'),
  });
});
