/** What vdconv takes at most, and how a caller takes more or less. */
import { execFileSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { GiB, KiB, MiB, TiB } from '../base/units.ts';
import { compare, convert, digest, info, LIMITS, measure, type OpenOptions, open } from '../index.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { snapshot } from '../testing/snapshot.ts';
import { tempDir } from '../testing/tmp.ts';

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
});
const at = (name: string) => join(dir, name);

async function opened(path: string, options: OpenOptions = {}): Promise<string> {
  try {
    const image = await open(path, options);
    await image.close();
    return 'opened';
  } catch (error) {
    return `${(error as { code: string }).code} ${(error as Error).message.replaceAll(`${dir}/`, '')}`;
  }
}

/** A QCOW2 of 320 KiB whose tables name one data cluster 65536 times: 4 GiB. QCOW2 §Header, §Cluster mapping. */
function bomb(path: string): string {
  const cluster = 64 * KiB;
  const image = Buffer.alloc(5 * cluster);
  const [refcounts, l1, l2, data] = [1, 2, 3, 4].map((n) => n * cluster) as [number, number, number, number];
  const u32 = (offset: number, value: number) => image.writeUInt32BE(value, offset);
  const u64 = (offset: number, value: bigint) => image.writeBigUInt64BE(value, offset);
  u32(0, 0x514649fb);
  u32(4, 3);
  u32(20, 16);
  u64(24, BigInt(8 * 8192 * cluster));
  u32(36, 8);
  u64(40, BigInt(l1));
  u64(48, BigInt(refcounts));
  u32(56, 1);
  u32(96, 4);
  u32(100, 104);
  for (let i = 0; i < 8; i += 1) {
    u64(l1 + i * 8, BigInt(l2));
  }
  for (let i = 0; i < 8192; i += 1) {
    u64(l2 + i * 8, BigInt(data));
  }
  image.fill('data', data);
  writeFileSync(path, image);
  return path;
}

describe('a small file that is a large disk by naming one cluster again and again', () => {
  const said = () =>
    `holds more than 1.31 GiB of data, too much for a file of its size; it may be made to fill your disk; ` +
    'if you trust it, say how much you accept with --max-output=SIZE';

  test('is not converted, and leaves nothing', async () => {
    const path = bomb(at('bomb.qcow2'));
    const before = await snapshot(dir);
    await expect(convert(path, at('out'), { targetFormat: 'raw', noSync: true })).rejects.toMatchObject({
      code: 'limit',
      message: `${path}: ${said()}`,
    });
    expect(await snapshot(dir)).toEqual(before);
  });

  test('is not compared, digested or measured either', async () => {
    const path = bomb(at('bomb.qcow2'));
    const maxOutput = 10 * MiB;
    await expect(compare(path, path, { maxOutput })).rejects.toMatchObject({ code: 'limit' });
    await expect(digest(path, { maxOutput })).rejects.toMatchObject({ code: 'limit' });
    await expect(measure(path, { targetFormat: 'raw', maxOutput })).rejects.toMatchObject({ code: 'limit' });
  });

  test('maxOutput is the limit where it is given', async () => {
    const path = bomb(at('bomb.qcow2'));
    await expect(convert(path, at('out.raw'), { maxOutput: 10 * MiB })).rejects.toMatchObject({
      code: 'limit',
      message: expect.stringContaining('holds more than 10 MiB of data'),
    });
    const small = at('small.raw');
    writeFileSync(small, Buffer.alloc(MiB, 1));
    await expect(convert(small, at('out.raw'), { maxOutput: MiB - 1 })).rejects.toMatchObject({ code: 'limit' });
    expect(await convert(small, at('out.raw'), { maxOutput: MiB, noSync: true })).toMatchObject({ dataBytes: MiB });
    expect(await convert(small, at('2.raw'), { maxOutput: 0, noSync: true })).toMatchObject({ dataBytes: MiB });
  });
});

test('a disk that is larger is described, not opened', async (ctx) => {
  need(ctx, qemuImg());
  const path = at('large.qcow2');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=2M', path, '65T']);
  expect(await info(path)).toMatchObject({ virtualSize: 65 * TiB });
  expect(await opened(path)).toBe(
    'limit large.qcow2: the virtual disk has 65 TiB, more than 64 TiB; to take more, set --limit=virtualSize=N',
  );
  expect(await opened(path, { limits: { virtualSize: 65 * TiB } })).toBe('opened');
});

test('tables, and the least of them', async (ctx) => {
  need(ctx, qemuImg());
  const path = at('disk.vdi');
  execFileSync('qemu-img', ['create', '-q', '-f', 'vdi', path, '1G']);
  expect(await opened(path, { limits: { tables: 4096 } })).toBe('opened');
  expect(await opened(path, { limits: { tables: 2048 } })).toBe(
    'limit disk.vdi: its tables have 4 KiB, more than 2 KiB; to take more, set --limit=tables=N',
  );
});

test('layers', async (ctx) => {
  need(ctx, qemuImg());
  writeFileSync(at('base'), Buffer.alloc(MiB));
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'raw', at('child')]);
  const allowReferences = true;
  expect(await opened(at('child'), { allowReferences, limits: { layers: 2 } })).toBe('opened');
  expect(await opened(at('child'), { allowReferences, limits: { layers: 1 } })).toBe(
    'limit child: has more than 1 layers; to take more, set --limit=layers=N',
  );
});

test('the descriptor of a VMDK, and its extents', async () => {
  const lines = Array.from({ length: 3 }, () => 'RW 2048 ZERO\n').join('');
  const text = `# Disk DescriptorFile\nversion=1\ncreateType="custom"\nparentCID=ffffffff\n${lines}`;
  writeFileSync(at('disk.vmdk'), text);
  expect(await opened(at('disk.vmdk'), { limits: { extents: 3, descriptor: text.length } })).toBe('opened');
  expect(await opened(at('disk.vmdk'), { limits: { extents: 2 } })).toBe(
    'limit disk.vmdk: descriptor line 7: more than 2 extents; --limit=extents=N takes more',
  );
  expect(await opened(at('disk.vmdk'), { limits: { descriptor: 100 } })).toBe(
    `limit disk.vmdk: a descriptor of ${text.length} bytes; vdconv takes at most 100 B; --limit=descriptor=N takes more`,
  );
});

test('a hole is no bomb, however long', async () => {
  writeFileSync(at('hole.raw'), 'x');
  truncateSync(at('hole.raw'), 8 * GiB);
  expect(await convert(at('hole.raw'), at('out.qcow2'), { noSync: true })).toMatchObject({ dataBytes: 4 * KiB });
});

test('limits that are none', async () => {
  writeFileSync(at('disk.raw'), 'x');
  for (const limits of [{ layers: 0 }, { layers: 1.5 }, { depth: 3 }]) {
    const message = `must be one of ${Object.keys(LIMITS).join(', ')}, and a whole number above 0`;
    await expect(open(at('disk.raw'), { limits })).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining(message),
    });
  }
});
