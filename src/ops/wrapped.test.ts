/** Images in files that gzip, xz, zstd and bzip2 wrote: converted, described, refused. */
import { spawnSync } from 'node:child_process';
import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeEach, describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { check, compare, convert, info, map, open } from '../index.ts';
import { compressed } from '../testing/compressors.ts';
import { expectBytes, guestBytes } from '../testing/guest.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';

const command = fileURLToPath(new URL('../../bin/vdconv.js', import.meta.url));
const GUEST = guestBytes(seededDisk(8, 3 * MiB));
const WRAPPINGS = [
  ['gzip', '.gz'],
  ['xz', '.xz'],
  ['zstd', '.zst'],
  ['bzip2', '.bz2'],
] as const;

let dir: string;
const at = (name: string) => join(dir, name);
beforeEach(async () => {
  dir = await tempDir();
});

/** The guest as an image of `format` that `program` compressed. */
async function wrap(program: string, name: string, format = 'raw'): Promise<string> {
  await writeFile(at('plain.raw'), GUEST);
  const plain = format === 'raw' ? at('plain.raw') : at(`plain.${format}`);
  if (format !== 'raw') {
    await convert(at('plain.raw'), plain, { noSync: true });
  }
  await writeFile(at(name), compressed(program, await readFile(plain)));
  return at(name);
}

async function content(path: string, format?: string): Promise<Uint8Array> {
  const image = await open(path, { format });
  try {
    return await image.read(0, image.virtualSize);
  } finally {
    await image.close();
  }
}

describe.each(WRAPPINGS)('%s', (program, ending) => {
  test.each(['native', 'portable'])('the command converts one, and shows what it is; %s engine', async (engine) => {
    const path = await wrap(program, `disk.raw${ending}`);
    const env = { ...process.env, VDCONV_ENGINE: engine };
    const run = (...args: string[]) => spawnSync(process.execPath, [command, ...args], { encoding: 'utf8', env });
    expect(run('convert', '-q', '--no-sync', '-f', 'raw', '--spool', dir, path, at('out.qcow2'))).toMatchObject({
      status: 0,
    });
    expectBytes(await content(at('out.qcow2')), GUEST, 'out.qcow2');
    const told = JSON.parse(run('info', '--output=json', path).stdout);
    const fileSize = (await readFile(path)).length;
    expect(told).toMatchObject({
      format: 'raw',
      wrapped: program,
      unwrappedSize: GUEST.length,
      fileSize,
      filename: path,
    });
    expect(run('info', path).stdout).toMatch(new RegExp(`wrapped: +${program}, of 3 MiB`));
  });

  test('a part of it is missing: truncated, with the place, and nothing is left', async () => {
    const path = await wrap(program, `disk.raw${ending}`);
    const { length } = await readFile(path);
    await truncate(path, length - 100);
    await expect(convert(path, at('out.qcow2'))).rejects.toMatchObject({
      code: 'truncated',
      offset: length - 100,
      message: `${path}: the ${program} stream is cut off (seen at offset ${length - 100} (0x${(length - 100).toString(16)}) of the compressed bytes)`,
    });
    expect((await readdir(dir)).sort()).toEqual([`disk.raw${ending}`, 'plain.raw']);
  });
});

test.each([
  ['raw', 'gzip'],
  ['qcow2', 'zstd'],
  ['vmdk', 'gzip'],
  ['vhd', 'xz'],
  ['vhdx', 'bzip2'],
  ['vdi', 'zstd'],
])('%s within %s, at any name', async (format, program) => {
  const path = await wrap(program, 'no-ending', format);
  expectBytes(await content(path), GUEST, `${format} in ${program}`);
});

test('qemu-img reads the same image decompressed', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const path = await wrap('xz', 'disk.vhdx.xz', 'vhdx');
  await convert(path, at('out.raw'), { noSync: true });
  expect(await qemu.compare(at('plain.vhdx'), 'vhdx', at('out.raw'), 'raw')).toMatchObject({ identical: true });
});

test('-f raw takes the bytes as they are, unless the name says that they are compressed', async () => {
  const stored = compressed('gzip', GUEST);
  for (const [name, inside] of [
    ['disk.img', stored],
    ['disk.xz', stored],
    ['disk.GZ', GUEST],
  ] as const) {
    await writeFile(at(name), stored);
    expectBytes(await content(at(name), 'raw'), inside, name);
  }
  await expect(content(at('disk.GZ'), 'qcow2')).rejects.toMatchObject({ code: 'wrong-format' });
});

test('references out of a compressed image are relative to where it lies', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  await writeFile(at('base.raw'), GUEST);
  await qemu.run('create', '-q', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', at('top.qcow2'));
  await mkdir(at('spool'));
  await writeFile(at('top.qcow2.zst'), compressed('zstd', await readFile(at('top.qcow2'))));
  await expect(content(at('top.qcow2.zst'))).rejects.toMatchObject({ code: 'refused' });
  const image = await open(at('top.qcow2.zst'), { allowReferences: true, spool: at('spool') });
  try {
    expect(image.info.references).toMatchObject([{ name: 'base.raw', resolved: at('base.raw') }]);
    expectBytes(await image.read(0, GUEST.length), GUEST, 'through its backing file');
  } finally {
    await image.close();
  }
});

test('map, compare and check take them as well', async () => {
  const [path, other] = [await wrap('gzip', 'a.qcow2.gz', 'qcow2'), await wrap('bzip2', 'b.vdi.bz2', 'vdi')];
  expect(await compare(path, other)).toMatchObject({ identical: true, a: { format: 'qcow2' }, b: { format: 'vdi' } });
  expect(await check(path)).toMatchObject({ format: 'qcow2', corruptions: 0, leaks: 0 });
  const files = new Set<string | undefined>();
  for await (const { file } of map(path)) {
    files.add(file);
  }
  expect(files).toContain(path);
});

test('zeros take no room in the temporary file, but count', async () => {
  const zeros = compressed('gzip', Buffer.alloc(64 * MiB));
  await writeFile(at('zeros.raw.gz'), Buffer.concat(Array.from({ length: 4 }, () => zeros)));
  const image = await open(at('zeros.raw.gz'));
  try {
    expect(image.virtualSize).toBe(4 * 64 * MiB);
  } finally {
    await image.close();
  }
  expect((await convert(at('zeros.raw.gz'), at('out.raw'), { noSync: true })).target.allocatedSize).toBeLessThan(MiB);
  await expect(convert(at('zeros.raw.gz'), at('again.raw'), { maxOutput: 200 * MiB })).rejects.toMatchObject({
    code: 'limit',
    message: expect.stringContaining('decompresses to more than 200 MiB, too much for a file of its size'),
  });
});

test('one wrapping is taken off, not two', async () => {
  await writeFile(at('disk.raw.gz.xz'), compressed('xz', compressed('gzip', GUEST)));
  await expect(info(at('disk.raw.gz.xz'))).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining('is gzip within xz; one wrapping is taken off'),
  });
});

test('a compressed image is no base', async () => {
  const base = await wrap('gzip', 'base.raw.gz');
  await expect(convert(at('plain.raw'), at('out.qcow2'), { base })).rejects.toMatchObject({
    code: 'usage',
    message: expect.stringContaining('is compressed with gzip'),
  });
});

test('a temporary file that has no room says so, and what to do', async () => {
  const path = await wrap('gzip', 'disk.raw.gz');
  const script = `ulimit -f ${(512 * KiB) / KiB}; exec "$0" "$@"`;
  const args = ['-c', script, process.execPath, command, 'info', '--spool', dir, path];
  const { status, stderr } = spawnSync('bash', args, { encoding: 'utf8' });
  expect(stderr).toMatch(
    /cannot write a temporary file, after \S+ \S+ of it: file too large .*; name a directory with more space with --spool=DIR/,
  );
  expect(status).toBe(4);
});

test('cancelling ends the decompression', async () => {
  const path = await wrap('gzip', 'disk.raw.gz');
  const signal = AbortSignal.abort();
  await expect(convert(path, at('out.raw'), { signal })).rejects.toMatchObject({ code: 'aborted' });
});
