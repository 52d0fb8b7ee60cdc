/** VDI's check: sound images, and each kind of damage found, located and counted as qemu-img counts it. */
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { check } from '../../ops/check.ts';
import { shown } from '../../testing/check.ts';
import { need, qemuImg } from '../../testing/oracles.ts';
import { qemuIo } from '../../testing/qemu-io.ts';
import { tempDir } from '../../testing/tmp.ts';

type Context = { skip(note?: string): never };

/** qemu's: map at 512, blocks from 1024 on. Block 3 of the disk is block 0 of the file, then 0, 1, and the last one. */
async function image(ctx: Context): Promise<string> {
  const qemu = need(ctx, qemuImg());
  const path = join(await tempDir(), 'a.vdi');
  await qemu.run('create', '-q', '-f', 'vdi', path, '10M');
  await qemuIo(path, 'vdi', 'write 3M 64k', 'write 0 2M', 'write 9M 1M');
  return path;
}

async function patched(path: string, changes: Record<number, number>): Promise<string> {
  const bytes = await readFile(path);
  for (const [at, value] of Object.entries(changes)) {
    bytes.writeUInt32LE(value, Number(at));
  }
  await writeFile(path, bytes);
  return path;
}

test('a sound image, and its numbers', async (ctx) => {
  expect(await check(await image(ctx))).toMatchObject({
    ...{ format: 'vdi', corruptions: 0, leaks: 0, findings: [] },
    ...{ totalClusters: 10, allocatedClusters: 4, fragmentedClusters: 3 - 1, unreferencedBytes: 0 },
    imageEndOffset: 1024 + 4 * 1024 * 1024,
  });
});

describe('damage', () => {
  test.for([
    [
      'a block that two entries have',
      { [512 + 4]: 0 },
      ['corruption block map entry 3 @524: another entry has the same block of the file (the entry is 0)'],
    ],
    [
      'a block beyond the number of blocks; then the count is wrong too',
      { 512: 10 },
      [
        'corruption block map entry 0 @512: the image has 10 blocks (the entry is 10)',
        'corruption header @388: blocksAllocated is 4, the block map has 3',
      ],
    ],
    ['a wrong count', { 388: 7 }, ['corruption header @388: blocksAllocated is 7, the block map has 4']],
    [
      'a block behind the end of the file: qemu-img does not look for it',
      { 512: 8 },
      [
        'corruption block map entry 0 @512: the block is needed up to 9438208, the file ends at 4195328 (the entry is 8)',
      ],
    ],
  ] as const)('%s', async ([name, changes, found], ctx) => {
    const path = await patched(await image(ctx), changes);
    const result = await check(path);
    expect(shown(result)).toEqual(found);
    if (!name.includes('does not look')) {
      expect((await need(ctx, qemuImg()).check(path, 'vdi')).corruptions).toBe(result.corruptions);
    }
  });

  test('a file that was cut in its last block', async (ctx) => {
    const path = await image(ctx);
    await truncate(path, 1024 + 4 * 1024 * 1024 - 1);
    expect(shown(await check(path))).toEqual([
      'corruption block map entry 9 @548: the block is needed up to 4195328, the file ends at 4195327 (the entry is 3)',
    ]);
  });
});
