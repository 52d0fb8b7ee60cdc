/** VMDK's check: sound images of every kind, and each kind of damage found and located. */
import { copyFile, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { check } from '../../../ops/check.ts';
import { convert } from '../../../ops/convert.ts';
import { shown } from '../../../testing/check.ts';
import { need, qemuImg } from '../../../testing/oracles.ts';
import { qemuIo } from '../../../testing/qemu-io.ts';
import { tempDir } from '../../../testing/tmp.ts';

type Context = { skip(note?: string): never };
/** Changes the bytes, or gives others. */
type Change = (bytes: Buffer) => unknown;

/**
 * 64 MiB, two grain tables. Sectors: header 0, descriptor 1, RGD 21, RGTs 22 and 26, GD 30, GTs 31 and 35, grains from
 * 128 on: of guest bytes 0 and 64 KiB, then of 40 MiB.
 */
async function sparse(ctx: Context): Promise<string> {
  const qemu = need(ctx, qemuImg());
  const path = join(await tempDir(), 'a.vmdk');
  await qemu.run('create', '-q', '-f', 'vmdk', path, '64M');
  await qemuIo(path, 'vmdk', 'write 0 128k', 'write 40M 64k');
  return path;
}

/** The stream-optimized image of open-vmdk's kind, with footer and markers, that our writer makes. */
async function stream(): Promise<string> {
  const dir = await tempDir();
  await writeFile(join(dir, 'in.raw'), Buffer.alloc(300_000, 'some text '));
  await convert(join(dir, 'in.raw'), join(dir, 'a.vmdk'), { targetFormat: 'vmdk', compress: true });
  return join(dir, 'a.vmdk');
}

async function changed(path: string, change: Change): Promise<string> {
  const bytes = await readFile(path);
  const other = change(bytes);
  await writeFile(path, other instanceof Uint8Array ? other : bytes);
  return path;
}

const GT = 31 * 512;

describe('sound', () => {
  test('sparse, and its numbers', async (ctx) => {
    expect(await check(await sparse(ctx))).toMatchObject({
      ...{ format: 'vmdk', corruptions: 0, leaks: 0, findings: [] },
      ...{ allocatedClusters: 3, fragmentedClusters: 0, compressedClusters: 0, unreferencedBytes: (128 - 39) * 512 },
    });
  });

  test.for(['monolithicFlat', 'twoGbMaxExtentSparse', 'twoGbMaxExtentFlat', 'streamOptimized'])(
    'qemu-img’s %s',
    async (subformat, ctx) => {
      const qemu = need(ctx, qemuImg());
      const dir = await tempDir();
      const raw = join(dir, 'in.raw');
      await writeFile(raw, Buffer.alloc(3_000_320, 'some text '));
      await qemu.convert('-f', 'raw', '-O', 'vmdk', '-o', `subformat=${subformat}`, raw, join(dir, 'a.vmdk'));
      expect(shown(await check(join(dir, 'a.vmdk')))).toEqual([]);
    },
  );

  test.for(['demo-disk.vmdk', 'demo-disk-stream.vmdk', 'go-vmdk-parser-monolith.vmdk', 'go-vmdk-parser-stream.vmdk'])(
    'other people’s %s',
    async (name) => {
      const path = fileURLToPath(new URL(`../../../../test-images/${name}`, import.meta.url));
      expect(shown(await check(path))).toEqual([]);
    },
  );
});

describe('damage of a sparse file', () => {
  test.for<[name: string, change: Change, found: string[]]>([
    [
      'a grain that two entries have',
      (bytes) => void bytes.writeUInt32LE(128, GT + 4),
      [
        `corruption grain table entry of grain 1 @${GT + 4}: the grain lies over another one, or over a table (the entry is 128)`,
        `corruption redundant grain directory entry 0 @${21 * 512}: entry 1 of its grain table differs from the first copy`,
      ],
    ],
    [
      'a grain over the tables',
      (bytes) => {
        bytes.writeUInt32LE(30, GT);
        bytes.writeUInt32LE(30, 22 * 512);
      },
      [
        `corruption grain table entry of grain 0 @${GT}: grains begin at sector 128, after header and tables (the entry is 30)`,
        `corruption grain table entry of grain 0 @${GT}: the grain lies over another one, or over a table (the entry is 30)`,
      ],
    ],
    [
      'a grain behind the end of the file',
      (bytes) => {
        bytes.writeUInt32LE(100000, GT);
        bytes.writeUInt32LE(100000, 22 * 512);
      },
      [
        `corruption grain table entry of grain 0 @${GT}: the grain is needed up to ${51200000 + 65536}, the file ends at ${512 * 512} (the entry is 100000 (0x186a0))`,
      ],
    ],
    [
      'a table behind the end of the file: the others are looked at',
      (bytes) => {
        bytes.writeUInt32LE(5_000_000, 30 * 512 + 4);
        bytes.writeUInt32LE(300, GT + 8);
      },
      [
        `corruption grain directory entry 1 @${30 * 512 + 4}: lies at 2560000000 (0x98968000) to 2560002048 (0x98968800), the file ends at ${512 * 512}`,
        `corruption grain table entry of grain 2 @${GT + 8}: the grain lies over another one, or over a table (the entry is 300)`,
        `corruption redundant grain directory entry 0 @${21 * 512}: entry 2 of its grain table differs from the first copy`,
      ],
    ],
    [
      'two tables in one place',
      (bytes) => void bytes.writeUInt32LE(31, 30 * 512 + 4),
      [
        `corruption grain directory entry 1 @${30 * 512 + 4}: lies at ${GT} to ${GT + 2048}, where something else is`,
        `corruption redundant grain directory entry 1 @${21 * 512 + 4}: entry 0 of its grain table differs from the first copy`,
      ],
    ],
    [
      'the redundant copy is stale',
      (bytes) => void bytes.writeUInt32LE(0, 22 * 512 + 4),
      [
        `corruption redundant grain directory entry 0 @${21 * 512}: entry 1 of its grain table differs from the first copy`,
      ],
    ],
    [
      'a descriptor of a larger disk',
      (bytes) => {
        const at = bytes.indexOf('RW 131072 SPARSE');
        bytes.write('RW 131073', at, 'latin1');
      },
      ["corruption descriptor @512: its extents have 131073 sectors, the header's capacity is 131072"],
    ],
  ])('%s', async ([, change, found], ctx) => {
    const result = await check(await changed(await sparse(ctx), change));
    expect(shown(result)).toEqual(found);
    expect(result.corruptions).toBe(found.length);
  });
});

describe('damage of a stream-optimized file', () => {
  /** The first grain's marker: after the descriptor, at the first sector that the grain table names. */
  const firstGrain = (bytes: Buffer) => Number(bytes.readBigUInt64LE(64)) * 512;

  test('is sound', async () => {
    expect(await check(await stream())).toMatchObject({ findings: [], compressedClusters: 5, allocatedClusters: 5 });
  });

  test.for<[name: string, change: Change, found: unknown[]]>([
    [
      'a marker of another sector',
      (bytes) => void bytes.writeUInt32LE(77, firstGrain(bytes)),
      [
        expect.stringMatching(
          /^corruption grain table entry of grain 0 @\d+: the grain's marker at \d+ says sector 77, the table 0 /,
        ),
      ],
    ],
    [
      'a marker of a size that no grain has',
      (bytes) => void bytes.writeUInt32LE(200_000, firstGrain(bytes) + 8),
      [expect.stringMatching(/: the grain's marker at \d+ says 200000 bytes; a grain has 1 to 131072 /)],
    ],
    [
      'a grain that runs into the next one',
      (bytes) => void bytes.writeUInt32LE(bytes.readUInt32LE(firstGrain(bytes) + 8) + 512, firstGrain(bytes) + 8),
      [
        expect.stringMatching(
          /^corruption grain table entry of grain 1 @\d+: the grain lies over another one, or over a table/,
        ),
      ],
    ],
    [
      'a damaged marker of the grain directory',
      (bytes) => {
        const footer = bytes.length - 1024;
        bytes.writeUInt32LE(1, Number(bytes.readBigUInt64LE(footer + 56)) * 512 - 512 + 12);
      },
      [
        expect.stringMatching(
          /^corruption grain directory @\d+: the marker before it says type 1, 1 sectors; it must say 2 and 1$/,
        ),
      ],
    ],
    [
      'bytes at the end are a note',
      (bytes) => Buffer.concat([bytes, Buffer.alloc(1024)]),
      ['note header @undefined: 1024 bytes follow the end of the stream and are ignored'],
    ],
    [
      'cut before its footer: the check cannot go on',
      (bytes) => bytes.subarray(0, bytes.length - 2048),
      [expect.stringMatching(/^corruption footer @\d+: no footer in the last 64 KiB/)],
    ],
  ])('%s', async ([, change, found]) => {
    expect(shown(await check(await changed(await stream(), change)))).toEqual(found);
  });
});

describe('a disk of several files', () => {
  async function split(ctx: Context): Promise<string> {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    await qemu.run('create', '-q', '-f', 'vmdk', '-o', 'subformat=twoGbMaxExtentSparse', join(dir, 'a.vmdk'), '3G');
    await qemuIo(join(dir, 'a.vmdk'), 'vmdk', 'write 0 128k', 'write 2500M 128k');
    return join(dir, 'a.vmdk');
  }

  test('each file’s damage is found, and says which file', async (ctx) => {
    const path = await split(ctx);
    for (const name of ['a-s001.vmdk', 'a-s002.vmdk']) {
      await changed(path.replace('a.vmdk', name), (bytes) => {
        const gd = Number(bytes.readBigUInt64LE(56)) * 512;
        for (let i = 0; i < 64; i += 1) {
          const table = bytes.readUInt32LE(gd + i * 4) * 512;
          for (let j = 0; table > 0 && j < 512; j += 1) {
            const at = table + j * 4;
            if (bytes.readUInt32LE(at) > 1) {
              bytes.writeUInt32LE(3, at);
              return;
            }
          }
        }
      });
    }
    const { findings } = await check(path);
    const files = findings.map(({ file }) => file?.replace(/.*\//, ''));
    expect([...new Set(files)]).toEqual(['a-s001.vmdk', 'a-s002.vmdk']);
  });

  test('an extent that was cut, one that is not there, one that may not be opened', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const path = join(dir, 'a.vmdk');
    await qemu.run('create', '-q', '-f', 'vmdk', '-o', 'subformat=monolithicFlat', path, '1M');
    await changed(join(dir, 'a-flat.vmdk'), (bytes) => bytes.subarray(0, 1000));
    expect(shown(await check(path))).toEqual([
      'corruption extent description @undefined: the descriptor says bytes 0 to 1048576, the file ends at 1000',
    ]);
    await copyFile(path, join(dir, 'b.vmdk'));
    await expect(check(join(dir, 'b.vmdk'))).rejects.toMatchObject({ code: 'refused' });
    expect((await check(join(dir, 'b.vmdk'), { allowReferences: true })).corruptions).toBe(1);
    await rename(join(dir, 'a-flat.vmdk'), join(dir, 'gone'));
    await expect(check(path)).rejects.toMatchObject({ code: 'read' });
    await unlink(join(dir, 'gone'));
  });
});

test('a directory whose entries all have one table is judged in seconds', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const path = join(await tempDir(), 'bomb.vmdk');
  await qemu.run('create', '-q', '-f', 'vmdk', path, '512G');
  await changed(path, (bytes) => {
    const gd = Number(bytes.readBigUInt64LE(56)) * 512;
    const table = bytes.readUInt32LE(gd);
    for (let i = 0; i < (512 * 1024) / 32; i += 1) {
      bytes.writeUInt32LE(table, gd + i * 4);
    }
    for (let i = 0; i < 512; i += 1) {
      bytes.writeUInt32LE(table, table * 512 + i * 4);
    }
    bytes.writeUInt32LE(1, 8);
    return bytes.subarray(0, (Number(bytes.readBigUInt64LE(64)) + 128) * 512);
  });
  const begun = performance.now();
  const { corruptions } = await check(path);
  expect(corruptions).toBe(16383 + 2 * 512);
  expect(performance.now() - begun).toBeLessThan(5000);
});
