/** The library as its users import it: what src/index.ts promises. */
import { createHash } from 'node:crypto';
import { readdirSync, readlinkSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import {
  type ConvertOptions,
  convert,
  engineName,
  escapeText,
  formatSize,
  formats,
  info,
  open,
  type Progress,
  parseSize,
  VdconvError,
  version,
} from '../index.ts';
import { expectBytes, expectGuest, guestBytes } from '../testing/guest.ts';
import { ModelDisk } from '../testing/model-disk.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import { smallestUnit, WRITERS } from '../testing/writers.ts';

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
});
const at = (name: string) => join(dir, name);

/** Odd, with runs that begin and end anywhere. */
const DISK = seededDisk(17, 3 * MiB + 77);

const sha256 = async (path: string) =>
  createHash('sha256')
    .update(await readFile(path))
    .digest('hex');

/** This process's descriptors of files in the test's directory. */
const openFiles = () =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith(dir) ? [path] : [];
    } catch {
      return [];
    }
  });

describe('about itself', () => {
  test('version, engine, formats', async () => {
    const manifest = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
    expect(version).toBe(manifest.version);
    expect((await engineName()).name).toMatch(/^(native|portable)$/);
    const list = formats();
    expect(list.map(({ name }) => name)).toEqual(expect.arrayContaining(['raw', 'qcow2', 'vmdk']));
    // The list is for other programs: it must survive JSON, and every default must be what its type says.
    expect(JSON.parse(JSON.stringify(list))).toEqual(list);
    for (const { type, default: value, choices } of list.flatMap(({ options }) => options)) {
      expect(typeof value).toBe(
        { flag: 'boolean', choice: 'string', text: 'string', number: 'number', size: 'number' }[type],
      );
      expect(choices ?? [value]).toContain(value);
    }
  });

  test('sizes and text', () => {
    expect(parseSize('1.5G', 'size')).toBe(1536 * MiB);
    expect(formatSize(parseSize('64k', 'size'))).toBe(formatSize(64 * KiB));
    expect(escapeText('a\x1b[2Jb\u202e')).toBe('a\\x1b[2Jb\\u{202e}');
  });
});

describe('an opened image', () => {
  test.for(WRITERS)('reads any range: $name', async (writer) => {
    await DISK.writeRawFile(at('in.raw'));
    const options = { targetFormat: writer.format.name, compress: writer.compress };
    const { target } = await convert(at('in.raw'), at('disk'), { ...options, targetOptions: smallestUnit(writer) });
    const want = guestBytes(DISK, target.virtualSize);
    const image = await open(at('disk'));
    expect(image).toMatchObject({ filename: at('disk'), format: writer.format.name, virtualSize: want.length });
    expect(image.info).toEqual(await info(at('disk')));
    const anyRange = fc
      .tuple(fc.nat(want.length), fc.oneof(fc.nat(700), fc.nat(want.length)))
      .map(([start, length]) => [start, Math.min(length, want.length - start)] as const);
    await fc.assert(
      fc.asyncProperty(fc.array(anyRange, { minLength: 1, maxLength: 4 }), async (ranges) => {
        // All at once: reads do not disturb each other.
        const read = await Promise.all(ranges.map(([start, length]) => image.read(start, length)));
        for (const [i, [start, length]] of ranges.entries()) {
          expectBytes(read[i] as Uint8Array, want.subarray(start, start + length), `[${start}, +${length})`);
        }
      }),
      { numRuns: 15 },
    );
    await image.close();
  });

  test('gives bytes of the caller’s own', async () => {
    await DISK.writeRawFile(at('in.raw'));
    const image = await open(at('in.raw'));
    const first = await image.read(0, MiB);
    first.fill(0xee);
    expectBytes(await image.read(0, MiB), guestBytes(DISK).subarray(0, MiB), 'read again');
    await image.close();
  });

  test('refuses what is not in the disk', async () => {
    await DISK.writeRawFile(at('in.raw'));
    const image = await open(at('in.raw'));
    const { virtualSize } = image;
    expect(await image.read(virtualSize, 0)).toHaveLength(0);
    for (const [offset, length] of [
      [virtualSize, 1],
      [0, virtualSize + 1],
      [-1, 1],
      [0, -1],
      [0.5, 1],
      [0, Number.NaN],
      [2 ** 53, 1],
    ] as const) {
      const attempt = image.read(offset, length);
      await expect(attempt, `${offset}, ${length}`).rejects.toBeInstanceOf(VdconvError);
      await expect(attempt).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining(`${offset}`) });
    }
    await image.close();
  });

  test('is closed when close has ended, and says so; what was being read is read', async () => {
    await DISK.writeRawFile(at('in.raw'));
    const image = await open(at('in.raw'));
    const under = image.read(0, DISK.size);
    await image.close();
    expectBytes(await under, guestBytes(DISK), 'read during close');
    expect(openFiles()).toEqual([]);
    // Another file takes the descriptor's number: its bytes are none of this image's.
    await writeFile(at('other.raw'), Buffer.alloc(DISK.size, 'other'));
    const other = await open(at('other.raw'));
    await expect(image.read(0, 16)).rejects.toBeInstanceOf(VdconvError);
    await other.close();
  });
});

describe('progress', () => {
  test.for(WRITERS)('rises to the total and stops there: $name', async ({ format, compress }) => {
    const disk = new ModelDisk(6 * MiB + 1, [{ start: 0, length: 5 * MiB, pattern: 'text' }], 1);
    await disk.writeRawFile(at('in.raw'));
    const seen: Progress[] = [];
    const targetOptions = smallestUnit({ name: '', format, compress });
    const options: ConvertOptions = { targetFormat: format.name, compress, targetOptions, threads: 1 };
    const { target } = await convert(at('in.raw'), at('out'), { ...options, onProgress: (p) => seen.push({ ...p }) });
    const total = target.virtualSize;
    expect(seen.at(-1)).toEqual({ done: total, total });
    const done = seen.map((p) => p.done);
    expect(done).toEqual(done.toSorted((a, b) => a - b));
    expect(seen.every((p) => p.total === total && p.done >= 0 && p.done <= total)).toBe(true);
  });

  test('shows steps of work that takes long', async () => {
    const disk = new ModelDisk(16 * MiB, [{ start: 0, length: 16 * MiB, pattern: 'text' }], 1);
    await disk.writeRawFile(at('in.raw'));
    const seen: number[] = [];
    const options = {
      compress: true,
      compressLevel: 9,
      threads: 1,
      onProgress: ({ done }: Progress) => seen.push(done),
    };
    await convert(at('in.raw'), at('out.qcow2'), options);
    expect(seen.some((done) => done > 0 && done < disk.size)).toBe(true);
  });
});

describe('a signal', () => {
  test('that is aborted before: every operation says so, and touches nothing', async () => {
    await DISK.writeRawFile(at('in.raw'));
    const signal = AbortSignal.abort(new Error('not now'));
    for (const attempt of [
      () => convert(at('in.raw'), at('out.qcow2'), { signal }),
      () => open(at('in.raw'), { signal }),
      () => info(at('in.raw'), { signal }),
    ]) {
      const error = await attempt().catch((e: unknown) => e);
      expect(error).toBeInstanceOf(VdconvError);
      expect(error).toMatchObject({ code: 'aborted', message: 'cancelled' });
    }
    expect(readdirSync(dir)).toEqual(['in.raw']);
    expect(openFiles()).toEqual([]);
  });

  test('that is aborted at the first progress: an error soon, nothing left, nothing open', async () => {
    const disk = new ModelDisk(32 * MiB, [{ start: 0, length: 32 * MiB, pattern: 'text' }], 1);
    await disk.writeRawFile(at('in.raw'));
    const controller = new AbortController();
    const { signal } = controller;
    let asked = 0;
    const onProgress = () => {
      asked ||= performance.now();
      controller.abort();
    };
    const options: ConvertOptions = { compress: true, compressLevel: 9, threads: 2, signal, onProgress };
    await expect(convert(at('in.raw'), at('out.qcow2'), options)).rejects.toMatchObject({ code: 'aborted' });
    expect(performance.now() - asked).toBeLessThan(1000);
    expect(readdirSync(dir)).toEqual(['in.raw']);
    expect(openFiles()).toEqual([]);
  });

  test('that is aborted afterwards means nothing', async () => {
    await DISK.writeRawFile(at('in.raw'));
    const controller = new AbortController();
    await convert(at('in.raw'), at('out.qcow2'), { signal: controller.signal });
    controller.abort();
    await expectGuest(at('out.qcow2'), guestBytes(DISK, DISK.size + 512 - (DISK.size % 512)));
  });
});

test('the files of a conversion are closed when it has ended, well or badly', async () => {
  await DISK.writeRawFile(at('in.raw'));
  for (let i = 0; i < 3; i += 1) {
    await convert(at('in.raw'), at('out.qcow2'), { force: true });
    await expect(convert(at('out.qcow2'), at('in.raw'))).rejects.toMatchObject({ code: 'exists' });
    await expect(convert(at('in.raw'), at('x.raw'), { format: 'qcow2' })).rejects.toBeInstanceOf(VdconvError);
  }
  expect(openFiles()).toEqual([]);
});

describe('same input, same bytes out', () => {
  test.for(WRITERS)('whatever the threads, the time and the names: $name', async (writer) => {
    const disk = seededDisk(23, 5 * MiB + 512);
    await disk.writeRawFile(at('in.raw'));
    await disk.writeRawFile(at('other name.img'));
    const { format, compress } = writer;
    const options = { targetFormat: format.name, compress, targetOptions: smallestUnit(writer), force: true };
    const digests = new Set<string>();
    for (const threads of [undefined, 1, 2, 3, 4]) {
      await convert(at('in.raw'), at('out'), { ...options, threads });
      digests.add(await sha256(at('out')));
    }
    await convert(at('other name.img'), at('out'), options);
    digests.add(await sha256(at('out')));
    expect([...digests]).toHaveLength(1);
  });
});
