/** VHD's check: sound images of qemu-img's, and each kind of damage found and located. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { check } from '../../ops/check.ts';
import { shown } from '../../testing/check.ts';
import { need, qemuImg } from '../../testing/oracles.ts';
import { qemuIo } from '../../testing/qemu-io.ts';
import { tempDir } from '../../testing/tmp.ts';

type Context = { skip(note?: string): never };

/** qemu's: footer copy 0, header 512, BAT 1536, blocks of 2 MiB and 512 bytes from 2048 on, footer. */
async function image(ctx: Context, subformat = 'dynamic'): Promise<string> {
  const qemu = need(ctx, qemuImg());
  const path = join(await tempDir(), 'a.vhd');
  await qemu.run('create', '-q', '-f', 'vpc', '-o', `subformat=${subformat},force_size=on`, path, '20M');
  await qemuIo(path, 'vpc', 'write 4M 64k', 'write 0 64k');
  return path;
}

async function changed(path: string, change: (bytes: Buffer) => unknown): Promise<string> {
  const bytes = await readFile(path);
  const other = change(bytes);
  await writeFile(path, other instanceof Uint8Array ? other : bytes);
  return path;
}

test('sound images, and their numbers', async (ctx) => {
  expect(await check(await image(ctx))).toMatchObject({
    ...{ format: 'vhd', corruptions: 0, leaks: 0, findings: [] },
    ...{ totalClusters: 10, allocatedClusters: 2, fragmentedClusters: 1, unreferencedBytes: 0 },
    imageEndOffset: 2048 + 2 * (2 * 1024 * 1024 + 512) + 512,
  });
  expect(await check(await image(ctx, 'fixed'))).toMatchObject({ format: 'vhd', findings: [], unreferencedBytes: 0 });
});

/** Of the first and the third block. */
const [ENTRY_0, ENTRY_2] = [1536, 1544];

describe('damage', () => {
  const block = 2 * 1024 * 1024 + 512;
  test.for<[name: string, change: (bytes: Buffer) => unknown, found: string[]]>([
    [
      'two entries with one block',
      (bytes) => void bytes.writeUInt32BE(bytes.readUInt32BE(ENTRY_2), ENTRY_0),
      [`corruption BAT entry 2 @${ENTRY_2}: the block lies over another one, or over a table (the entry is 4)`],
    ],
    [
      'a block that begins within another one',
      (bytes) => void bytes.writeUInt32BE(5, ENTRY_0),
      [`corruption BAT entry 2 @${ENTRY_2}: the block lies over another one, or over a table (the entry is 4)`],
    ],
    [
      'a block over the header',
      (bytes) => void bytes.writeUInt32BE(1, ENTRY_0),
      [
        `corruption BAT entry 0 @${ENTRY_0}: the block lies over another one, or over a table (the entry is 1)`,
        `corruption BAT entry 2 @${ENTRY_2}: the block lies over another one, or over a table (the entry is 4)`,
      ],
    ],
    [
      'a block behind the end of the data',
      (bytes) => void bytes.writeUInt32BE(100000, ENTRY_0),
      [
        `corruption BAT entry 0 @${ENTRY_0}: the block is needed up to ${51200000 + block}, the data ends at ${2048 + 2 * block} (the entry is 100000 (0x186a0))`,
      ],
    ],
    [
      'the footer at the end is damaged',
      (bytes) => void bytes.writeUInt32BE(1, bytes.length - 512 + 24),
      [
        `corruption footer @undefined: the footer at offset ${2048 + 2 * block} is damaged (its checksum is wrong); its copy at the start is used`,
      ],
    ],
    [
      'the footer at the end is gone',
      (bytes) => bytes.subarray(0, bytes.length - 512),
      [
        'corruption footer @undefined: the footer at the end of the file is missing (was the file cut?); its copy at the start is used',
      ],
    ],
    [
      'the copy of the footer is damaged',
      (bytes) => void bytes.writeUInt32BE(1, 24),
      [
        'corruption footer @undefined: the copy of the footer at the start of the file is damaged; the footer at the end is used',
      ],
    ],
    [
      'a wrong checksum of the header ends the check',
      (bytes) => void bytes.writeUInt32BE(1, 512 + 36),
      [
        expect.stringMatching(
          /^corruption checksum @548: VHD dynamic header: checksum is 1 at offset 548/,
        ) as unknown as string,
      ],
    ],
  ])('%s', async ([, change, found], ctx) => {
    const result = await check(await changed(await image(ctx), change), { format: 'vhd' });
    expect(shown(result)).toEqual(found);
    expect(result.corruptions).toBe(found.length);
  });

  test('a fixed disk that was cut', async (ctx) => {
    const path = await changed(await image(ctx, 'fixed'), (bytes) => bytes.subarray(1024 * 1024));
    const result = await check(path, { format: 'vhd' });
    expect(result).toMatchObject({ corruptions: 1, incomplete: true });
    expect(result.findings[0]?.what).toBe('the footer says 20971520 bytes, 19922944 are there before it');
  });

  test('a geometry that has nothing to do with the size is a note', async (ctx) => {
    const path = await changed(await image(ctx), (bytes) => {
      for (const at of [0, bytes.length - 512]) {
        bytes.writeUInt32BE(0x0400_0411, at + 56);
        bytes.writeUInt32BE(0, at + 64);
        const sum = bytes.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
        bytes.writeUInt32BE(0xffffffff - sum, at + 64);
      }
    });
    const result = await check(path, { format: 'vhd' });
    expect(shown(result)).toEqual([
      expect.stringMatching(/^note footer @\d+: geometry 1024\/4\/17 has 35651584 bytes, currentSize is 20971520$/),
    ]);
    expect(result.corruptions).toBe(0);
  });
});

test('a BAT of millions of entries that all have one block is judged in seconds', async () => {
  const path = join(await tempDir(), 'bomb.vhd');
  const entries = 4_000_000;
  const bytes = Buffer.alloc(1536 + entries * 4 + 512 * 3);
  const footer = bytes.subarray(bytes.length - 512);
  footer.write('conectix', 0, 'latin1');
  footer.writeUInt32BE(2, 8);
  footer.writeUInt32BE(0x10000, 12);
  footer.writeBigUInt64BE(512n, 16);
  footer.write('win ', 28, 'latin1');
  footer.writeBigUInt64BE(BigInt(entries * 512), 48);
  footer.writeUInt32BE(0xffff10ff, 56);
  footer.writeUInt32BE(3, 60);
  footer.writeUInt32BE(0xffffffff - footer.reduce((sum, byte) => sum + byte, 0), 64);
  footer.copy(bytes, 0);
  const header = bytes.subarray(512, 1536);
  header.write('cxsparse', 0, 'latin1');
  header.fill(0xff, 8, 16);
  header.writeBigUInt64BE(1536n, 16);
  header.writeUInt32BE(0x10000, 24);
  header.writeUInt32BE(entries, 28);
  header.writeUInt32BE(512, 32);
  header.writeUInt32BE(0xffffffff - header.reduce((sum, byte) => sum + byte, 0), 36);
  await writeFile(path, bytes);
  const begun = performance.now();
  // Every entry is 0: a block over the footer's copy.
  expect(await check(path)).toMatchObject({ corruptions: entries, omitted: entries - 1000, incomplete: false });
  expect(performance.now() - begun).toBeLessThan(5000);
});
