/** Snapshots, data files, backing formats and bitmaps of images that qemu-img wrote, through the whole product. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { convert, info, map, open } from '../index.ts';
import { expectBytes, expectGuest, guestBytes } from '../testing/guest.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { qemuIo } from '../testing/qemu-io.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { snapshot as directory } from '../testing/snapshot.ts';
import { tempDir } from '../testing/tmp.ts';

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
});
const at = (name: string) => join(dir, name);

describe('internal snapshots', () => {
  /** Two states of a disk that grew in between, with a compressed and a plain part, and a third that is current. */
  async function three(extended: boolean): Promise<{ image: string; first: Uint8Array; second: Uint8Array }> {
    const qemu = need({ skip: () => expect.unreachable() }, qemuImg());
    const disk = seededDisk(3, MiB);
    await disk.writeRawFile(at('in.raw'));
    const image = at('disk.qcow2');
    const options = `extended_l2=${extended ? 'on' : 'off'}`;
    await qemu.convert('-f', 'raw', '-O', 'qcow2', '-c', '-o', options, at('in.raw'), image);
    const first = guestBytes(disk);
    await qemu.run('snapshot', '-c', 'first', image);
    await qemu.run('resize', '-q', image, '2M');
    await qemuIo(image, 'qcow2', 'write -P 7 100k 200k', 'write -P 8 1500k 20k');
    const second = new Uint8Array(2 * MiB);
    second.set(first);
    second.fill(7, 100 * KiB, 300 * KiB).fill(8, 1500 * KiB, 1520 * KiB);
    await qemu.run('snapshot', '-c', 'second', image);
    await qemuIo(image, 'qcow2', 'write -P 9 0 2M');
    return { image, first, second };
  }

  test.for([false, true])('each state is read, with its size (extended L2: %s)', async (extended, ctx) => {
    need(ctx, qemuImg());
    const { image, first, second } = await three(extended);
    await expectGuest(image, new Uint8Array(2 * MiB).fill(9));
    await expectGuest(image, first, { snapshot: 'first' }, [[0.1, 0.5]]);
    await expectGuest(image, second, { snapshot: '2' }, [[0.1, 0.5]]);
    const result = await convert(image, at('out.raw'), { snapshot: 'first', noSync: true });
    expectBytes(await readFile(at('out.raw')), first, 'out.raw');
    expect(result.source.virtualSize).toBe(MiB);
    expect(result.notes).toEqual(["2 internal snapshots are not carried over: only snapshot 'first' is converted"]);
    let end = 0;
    for await (const { start, length } of map(image, { snapshot: 'second' })) {
      expect(start).toBe(end);
      end = start + length;
    }
    expect(end).toBe(2 * MiB);
    const found = await info(image);
    expect(found.snapshots).toMatchObject([
      { id: '1', name: 'first', virtualSize: MiB },
      { id: '2', name: 'second', virtualSize: 2 * MiB },
    ]);
    expect(Math.abs((found.snapshots[0]?.time ?? 0) - Date.now() / 1000)).toBeLessThan(600);
  });

  test("over a backing file: what the snapshot does not have is the backing file's", async (ctx) => {
    const qemu = need(ctx, qemuImg());
    await writeFile(at('base.raw'), Buffer.alloc(MiB, 1));
    const image = at('top.qcow2');
    await qemu.run('create', '-q', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', image);
    await qemuIo(image, 'qcow2', 'write -P 2 64k 64k');
    await qemu.run('snapshot', '-c', 'one', image);
    await qemuIo(image, 'qcow2', 'write -P 3 0 1M');
    const want = new Uint8Array(MiB).fill(1).fill(2, 64 * KiB, 128 * KiB);
    await expectGuest(image, want, { snapshot: 'one', allowReferences: true });
    await expectGuest(image, new Uint8Array(MiB).fill(3), { allowReferences: true });
  });

  test("are QCOW2's alone; one that is not there leaves no file", async (ctx) => {
    const qemu = need(ctx, qemuImg());
    await writeFile(at('disk.raw'), Buffer.alloc(MiB, 1));
    const raw = { snapshot: 'x', noSync: true };
    await expect(convert(at('disk.raw'), at('out.qcow2'), raw)).rejects.toMatchObject({ code: 'usage' });
    await expect(convert(at('disk.raw'), at('out.qcow2'), raw)).rejects.toThrow(
      /raw images have no internal snapshots/,
    );
    await qemu.run('create', '-q', '-f', 'qcow2', at('disk.qcow2'), '1M');
    const before = await directory(dir);
    await expect(convert(at('disk.qcow2'), at('out.raw'), raw)).rejects.toThrow(/there is none/);
    expect(await directory(dir)).toEqual(before);
  });
});

describe('external data file', () => {
  test.for([false, true])('is followed where that is allowed, else refused (raw: %s)', async (isRaw, ctx) => {
    const qemu = need(ctx, qemuImg());
    const disk = seededDisk(8, MiB + 512);
    await disk.writeRawFile(at('in.raw'));
    const image = at('disk.qcow2');
    const options = `data_file=${at('data')},data_file_raw=${isRaw ? 'on' : 'off'}`;
    await qemu.convert('-f', 'raw', '-O', 'qcow2', '-o', options, at('in.raw'), image);
    const before = await directory(dir);
    const refused = convert(image, at('out.raw'), { noSync: true });
    await expect(refused).rejects.toMatchObject({ code: 'refused', field: 'data-file' });
    await expect(refused).rejects.toThrow(
      `refers to data file '${at('data')}'; references are not followed by default`,
    );
    expect(await directory(dir)).toEqual(before);
    expect((await info(image)).references).toEqual([
      { kind: 'data-file', name: at('data'), format: 'raw', resolved: at('data') },
    ]);
    await expectGuest(image, guestBytes(disk), { allowReferences: true }, [[0.3, 0.6]]);
    for await (const { kind, file, start, offset } of map(image, { allowReferences: true })) {
      expect(kind === 'data' ? [file, offset] : []).toEqual(kind === 'data' ? [at('data'), start] : []);
    }
  });

  test('may not be the target, and a missing one is named', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const image = at('disk.qcow2');
    await qemu.run('create', '-q', '-f', 'qcow2', '-o', `data_file=${at('data')}`, image, '1M');
    await qemuIo(image, 'qcow2', 'write -P 5 0 64k');
    const options = { allowReferences: true, force: true, noSync: true, targetFormat: 'raw' };
    await expect(convert(image, at('data'), options)).rejects.toThrow(/is the same file as the source/);
    expect((await stat(at('data'))).size).toBe(MiB);
    await qemu.run('create', '-q', '-f', 'qcow2', '-o', `data_file=${at('other')}`, at('gone.qcow2'), '1M');
    const { unlink } = await import('node:fs/promises');
    await unlink(at('other'));
    await expect(convert(at('gone.qcow2'), at('out.raw'), options)).rejects.toThrow(/data file .* does not exist/);
  });
});

test('a backing format that is not known is named, not guessed', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  await writeFile(at('base'), Buffer.alloc(MiB, 1));
  await qemu.run('create', '-q', '-f', 'qcow2', '-u', '-b', 'base', '-F', 'raw', at('top.qcow2'), '1M');
  const bytes = await readFile(at('top.qcow2'));
  const where = bytes.indexOf('raw', 0x70, 'latin1');
  bytes.write('zip', where, 'latin1');
  await writeFile(at('top.qcow2'), bytes);
  const failure = open(at('top.qcow2'), { allowReferences: true });
  await expect(failure).rejects.toMatchObject({ code: 'unsupported', field: 'backing' });
  await expect(failure).rejects.toThrow(/said to be of format 'zip'/);
});

test('bitmaps are listed as qemu-img lists them', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const image = at('disk.qcow2');
  await qemu.run('create', '-q', '-f', 'qcow2', image, '4M');
  await qemu.run('bitmap', '--add', image, 'one');
  await qemu.run('bitmap', '--add', '--disable', '-g', '4096', image, 'second bitmap');
  const theirs = (await qemu.info(image, 'qcow2'))['format-specific']?.data.bitmaps as { flags: string[] }[];
  const want = theirs.map(({ flags, ...rest }) => ({ ...rest, enabled: flags.includes('auto') }));
  expect(want).toHaveLength(2);
  expect((await info(image)).bitmaps).toEqual(want);
  const { notes } = await convert(image, at('out.raw'), { noSync: true });
  expect(notes).toEqual(['2 dirty bitmaps are not carried over']);
});
