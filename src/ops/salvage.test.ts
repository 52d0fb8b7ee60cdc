/**
 * `salvage`: whatever is cut or damaged, each byte of the target is the disk's own or lies in a range that is listed, where
 * it is zero; and no more is given up than the damage covers.
 */
import { spawnSync } from 'node:child_process';
import { openSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeEach, describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { type ConvertOptions, convert, map, type SalvagedRange } from '../index.ts';
import { ENGINES, needEngine } from '../testing/engines.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { snapshot } from '../testing/snapshot.ts';
import { tempDir } from '../testing/tmp.ts';

const command = fileURLToPath(new URL('../../bin/vdconv.js', import.meta.url));
const SIZE = 8 * MiB;

let dir: string;
let disk: Buffer;
beforeEach(async () => {
  dir = await tempDir();
  // Every 4 KiB tells its place, and compresses.
  disk = Buffer.alloc(SIZE);
  for (let at = 0; at < SIZE; at += 4 * KiB) {
    disk.fill(`at ${at} `, at, at + 4 * KiB);
  }
  writeFileSync(join(dir, 'disk.raw'), disk);
});
const at = (name: string) => join(dir, name);

/** An image of the disk by vdconv or, where that is asked for, by qemu-img. */
async function image(name: string, options: ConvertOptions): Promise<string> {
  await convert(at('disk.raw'), at(name), { noSync: true, ...options });
  return at(name);
}

function patch(path: string, offset: number, bytes: string): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.from(bytes, 'hex'), 0, undefined, offset);
}

/** What the target has wrong: bytes outside the listed ranges that differ, bytes inside that are not zero. */
function faults(target: Uint8Array, salvaged: readonly SalvagedRange[]): string[] {
  const expected = Buffer.from(disk);
  for (const { start, length } of salvaged) {
    expected.fill(0, start, start + length);
  }
  expect(target.length).toBe(SIZE);
  return Buffer.compare(expected, target) === 0 ? [] : [`differs at ${expected.findIndex((b, i) => b !== target[i])}`];
}

async function salvage(path: string, options: ConvertOptions = {}): Promise<SalvagedRange[]> {
  const { salvaged } = await convert(path, at('out.raw'), { salvage: true, force: true, noSync: true, ...options });
  expect(faults(await readFile(at('out.raw')), salvaged)).toEqual([]);
  return salvaged;
}

/** Without the flag the same image is refused. */
async function refused(path: string): Promise<void> {
  await expect(convert(path, at('refused.raw'))).rejects.toMatchObject({
    code: expect.stringMatching(/^(corrupt|truncated)$/),
  });
}

async function placeOf(path: string, guest: number): Promise<number> {
  for await (const { start, length, offset } of map(path)) {
    if (start <= guest && guest < start + length && offset !== undefined) {
      return offset + (length > 64 * KiB ? guest - start : 0);
    }
  }
  throw new Error(`nothing at ${guest}`);
}

const sum = (ranges: readonly SalvagedRange[]) => ranges.reduce((total, { length }) => total + length, 0);

test.each(['qcow2', 'vmdk', 'vhd', 'vhdx', 'vdi'])('%s without damage: nothing is listed', async (targetFormat) => {
  expect(await salvage(await image('whole', { targetFormat }), { format: targetFormat })).toEqual([]);
});

test.each(['qcow2', 'vmdk', 'vdi', 'vhd', 'vhdx'])(
  '%s cut at two thirds: what was cut is lost, and no more',
  async (targetFormat) => {
    const path = await image('cut', { targetFormat });
    const { size } = statSync(path);
    const kept = Math.floor((size * 2) / 3) + 100;
    truncateSync(path, kept);
    await refused(path);
    const salvaged = await salvage(path, { format: targetFormat });
    expect(salvaged).toHaveLength(1);
    expect(sum(salvaged)).toBeGreaterThan(SIZE / 4);
    expect(sum(salvaged)).toBeLessThanOrEqual(size - kept + 64 * KiB);
  },
);

describe('qcow2', () => {
  test('an L1 entry with reserved bits: what its table maps is lost', async () => {
    const path = await image('disk.qcow2', { targetOptions: { cluster_size: '4k' } });
    // QCOW2 §Header: l1_table_offset. Each L2 table of 512 entries maps 2 MiB.
    const l1 = Number(readFileSync(path).readBigUInt64BE(40));
    patch(path, l1 + 8, '7f');
    await refused(path);
    expect(await salvage(path)).toEqual([
      { start: 2 * MiB, length: 2 * MiB, why: expect.stringContaining('QCOW2 L1 table: entry 1') },
    ]);
  });

  test('damaged entries of an L2 table: their clusters are lost', async () => {
    const path = await image('disk.qcow2', {});
    const file = readFileSync(path);
    const l2 = Number(file.readBigUInt64BE(Number(file.readBigUInt64BE(40))) & 0x00fffffffffffe00n);
    for (const entry of [3, 4, 77]) {
      patch(path, l2 + entry * 8 + 7, '02');
    }
    expect(await salvage(path)).toEqual([
      { start: 3 * 64 * KiB, length: 2 * 64 * KiB, why: expect.stringContaining('L2') },
      { start: 77 * 64 * KiB, length: 64 * KiB, why: expect.stringContaining('L2') },
    ]);
  });

  test('the L1 table is cut off: all is lost, and that is an error', async () => {
    const path = await image('disk.qcow2', {});
    truncateSync(path, Number(readFileSync(path).readBigUInt64BE(40)));
    const before = await snapshot(dir);
    await expect(convert(path, at('out.raw'), { salvage: true })).rejects.toMatchObject({
      code: 'corrupt',
      message: expect.stringContaining('nothing of the disk can be read: '),
    });
    expect(await snapshot(dir)).toEqual(before);
  });

  test('marked as corrupt: read all the same', async () => {
    const path = await image('disk.qcow2', {});
    // QCOW2 §Header: incompatible feature bit 1.
    patch(path, 79, '02');
    await refused(path);
    expect(await salvage(path)).toEqual([]);
  });
});

test('a VMDK whose flat extent is too short: the rest is lost', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  await qemu.convert('-O', 'vmdk', '-o', 'subformat=monolithicFlat', '-f', 'raw', at('disk.raw'), at('disk.vmdk'));
  truncateSync(at('disk-flat.vmdk'), 3 * MiB);
  await refused(at('disk.vmdk'));
  expect(await salvage(at('disk.vmdk'))).toEqual([
    { start: 3 * MiB, length: 5 * MiB, why: expect.stringContaining('the file has 3145728') },
  ]);
});

test('the base of a chain is damaged: what the layer above has is not lost', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const base = await image('base.qcow2', {});
  await qemu.run('create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', base, at('top.qcow2'));
  const raw = at('part.raw');
  writeFileSync(raw, disk.subarray(0, 5 * 64 * KiB));
  const file = readFileSync(base);
  const l2 = Number(file.readBigUInt64BE(Number(file.readBigUInt64BE(40))) & 0x00fffffffffffe00n);
  const write = spawnSync('qemu-io', ['-f', 'qcow2', '-c', `write -s ${raw} 0 ${5 * 64 * KiB}`, at('top.qcow2')]);
  expect(write.status).toBe(0);
  for (const entry of [2, 9]) {
    patch(base, l2 + entry * 8 + 7, '02');
  }
  expect(await salvage(at('top.qcow2'), { allowReferences: true })).toEqual([
    { start: 9 * 64 * KiB, length: 64 * KiB, why: expect.stringContaining(base) },
  ]);
});

describe.each(ENGINES)('%s', (engine) => {
  test.for([
    ['qcow2', 'qcow2'],
    ['streamOptimized VMDK', 'vmdk'],
  ])(
    'a unit of %s that does not decode is lost; the command says so and ends with 3',
    async ([, targetFormat], ctx) => {
      needEngine(ctx, engine);
      const path = await image(`disk.${targetFormat}`, { compress: true });
      const where = await placeOf(path, 10 * 64 * KiB);
      patch(path, where + 20, 'ffffffffffffffffffffffff');
      const env = { ...process.env, VDCONV_ENGINE: engine };
      const args = ['convert', '-q', '--no-sync', '--salvage', path, at('out.raw')];
      const { status, stderr } = spawnSync(process.execPath, [command, ...args], { encoding: 'utf8', env });
      const lines = stderr.trimEnd().split('\n');
      expect(lines).toEqual([
        expect.stringMatching(/^vdconv: lost: 65536 bytes at 655360: /),
        'vdconv: 65536 bytes could not be read, and are zeros in the target',
      ]);
      expect(status).toBe(3);
      const lost = [{ start: 10 * 64 * KiB, length: 64 * KiB, why: '' }];
      expect(faults(await readFile(at('out.raw')), lost)).toEqual([]);
    },
  );
});
