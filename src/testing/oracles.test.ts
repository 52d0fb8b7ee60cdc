/** The oracles themselves: that they see a difference where there is one. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { digestOf } from './digest.ts';
import { dissect, Missing, need, qemuImg } from './oracles.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'vdconv-oracles-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test('qemu-img tells content and size apart', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const [a, b, c] = ['a.raw', 'b.raw', 'c.raw'].map((name) => join(dir, name)) as [string, string, string];
  writeFileSync(a, Buffer.alloc(1 << 20, 1));
  writeFileSync(b, Buffer.alloc(1 << 20, 1));
  writeFileSync(c, Buffer.alloc(1 << 20, 1).fill(2, 700_000, 700_001));
  expect(await qemu.compare(a, 'raw', b, 'raw')).toMatchObject({ identical: true, sizeA: 1 << 20 });
  expect(await qemu.compare(a, 'raw', c, 'raw')).toMatchObject({ identical: false });
  truncateSync(b, (1 << 20) + 4096); // qemu-img compare alone calls a tail of zeros identical
  expect(await qemu.compare(a, 'raw', b, 'raw')).toMatchObject({ identical: false, sizeB: (1 << 20) + 4096 });
  await expect(qemu.compare(a, 'qcow2', b, 'raw')).rejects.toThrow(/qcow2/);
});

test('qemu-img check tells clean from corrupt', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const raw = join(dir, 'd.raw');
  const image = join(dir, 'd.qcow2');
  writeFileSync(raw, Buffer.alloc(1 << 20, 7));
  await qemu.convert('-f', 'raw', '-O', 'qcow2', raw, image);
  expect(await qemu.check(image, 'qcow2')).toMatchObject({ exit: 0, 'check-errors': 0, 'allocated-clusters': 16 });
  const file = await open(image, 'r+');
  await file.write(Buffer.alloc(8), 0, 8, 0x20000); // the first refcounts
  await file.close();
  expect((await qemu.check(image, 'qcow2')).exit).toBe(2);
  await expect(qemu.check(join(dir, 'absent.qcow2'), 'qcow2')).rejects.toThrow(/absent/);
});

test('dissect.hypervisor reads what qemu-img wrote', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const reader = need(ctx, dissect());
  const bytes = Buffer.alloc(3 << 20);
  bytes.write('vdconv', 1_500_000);
  const raw = join(dir, 'e.raw');
  writeFileSync(raw, bytes);
  const sha256 = await digestOf(
    { virtualSize: bytes.length, read: async (at, n) => bytes.subarray(at, at + n) },
    { piece: 65536 },
  );
  for (const [format, options] of [
    ['qcow2', ['-c']],
    ['vmdk', ['-o', 'subformat=streamOptimized']],
    ['vmdk', ['-o', 'subformat=monolithicSparse']],
  ] as const) {
    const image = join(dir, `e-${options.at(-1)}.${format}`);
    await qemu.convert('-f', 'raw', '-O', format, ...options, raw, image);
    expect(await reader.content(image, format)).toEqual({ size: bytes.length, sha256 });
  }
});

test('a missing oracle skips the test and says why', () => {
  const skip = (note?: string): never => {
    throw new Error(`skipped: ${note}`);
  };
  expect(() => need({ skip }, new Missing('it is not installed'))).toThrow('skipped: it is not installed');
  expect(need({ skip }, { here: true })).toEqual({ here: true });
});
