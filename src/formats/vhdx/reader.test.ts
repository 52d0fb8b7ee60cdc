/** Reading: what QEMU writes, and what no tool here does: differencing disks, 4 KiB sectors, damaged copies. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GiB, KiB, MiB } from '../../base/units.ts';
import { openFileSource } from '../../io/file-source.ts';
import { refusingGate } from '../../io/gate.ts';
import { memorySource } from '../../io/memory-source.ts';
import type { ByteSource } from '../../io/types.ts';
import { checked } from '../../map/checked.ts';
import { coalesce } from '../../map/coalesce.ts';
import { Kind } from '../../map/extents.ts';
import { overlay } from '../../map/overlay.ts';
import { collect, extent } from '../../testing/map-model.ts';
import { need, qemuImg } from '../../testing/oracles.ts';
import { qemuIo } from '../../testing/qemu-io.ts';
import { seededDisk } from '../../testing/seeded-disk.ts';
import { tempDir } from '../../testing/tmp.ts';
import { type HandMade, handMade, noise, seal } from '../../testing/vhdx-image.ts';
import type { Image } from '../format.ts';
import { vhdx } from './index.ts';

function open(bytes: Uint8Array | ByteSource): Promise<Image> {
  const source = bytes instanceof Uint8Array ? memorySource(bytes, 'made.vhdx') : bytes;
  return vhdx.open(source, { gate: refusingGate() });
}

/** What the guest sees of the layers, top first. */
async function guestOf(layers: readonly Image[], start = 0, end?: number): Promise<Buffer> {
  const [top, ...below] = layers as [Image, ...Image[]];
  const stop = end ?? top.virtualSize;
  const mapOf = ([image, ...rest]: readonly Image[], to: number): ReturnType<Image['extents']> => {
    const own = checked((image as Image).extents(start, to), start, to);
    const end = Math.min(to, rest[0]?.virtualSize ?? 0);
    return end <= start ? own : overlay(own, mapOf(rest, end), (image as Image).dataFiles.length);
  };
  const files = [top, ...below].flatMap(({ dataFiles }) => dataFiles);
  const out = Buffer.alloc(stop - start);
  for (const { start: at, length, kind, file, offset } of await collect(mapOf([top, ...below], stop))) {
    if (kind === Kind.data) {
      out.set((await files[file]?.source.read(offset, length, 'guest data')) ?? [], at - start);
    }
  }
  return out;
}

const mapOf = async (image: Image) => collect(coalesce(image.extents(0, image.virtualSize)));

describe('what QEMU writes', () => {
  test.for([
    ['dynamic', '1M', 'on'],
    ['dynamic', '2M', 'off'],
    ['dynamic', '8M', 'on'],
    ['dynamic', '256M', 'off'],
    ['fixed', '1M', 'on'],
    ['fixed', '16M', 'on'],
  ] as const)('%s, blocks of %s, ZERO blocks %s', async ([subformat, blockSize, zero], ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const disk = seededDisk(blockSize.length, 20 * MiB + 512);
    const [raw, file] = [join(dir, 'raw'), join(dir, 'theirs.vhdx')];
    await disk.writeRawFile(raw);
    const options = `subformat=${subformat},block_size=${blockSize},block_state_zero=${zero}`;
    await qemu.convert('-f', 'raw', '-O', 'vhdx', '-o', options, raw, file);
    const source = await openFileSource(file, {});
    const image = await open(source);
    expect(image).toMatchObject({ format: 'vhdx', subformat, virtualSize: disk.size, facts: { warnings: [] } });
    expect((await guestOf([image])).equals(Buffer.from(disk.bytes(0, disk.size)))).toBe(true);
    await source.close();
  });

  test('chunks beyond the first: the BAT has an entry for a bitmap after each', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const file = join(await tempDir(), 'theirs.vhdx');
    await qemu.run('create', '-q', '-f', 'vhdx', '-o', 'block_size=256M', file, '9G');
    await qemuIo(file, 'vhdx', 'write -P 0x11 4095M 2M', 'write -P 0x22 8589934592 4k');
    const source = await openFileSource(file, {});
    const image = await open(source);
    expect([...new Set(await guestOf([image], 4095 * MiB, 4097 * MiB))]).toEqual([0x11]);
    expect([...new Set(await guestOf([image], 8 * GiB, 8 * GiB + 4096))]).toEqual([0x22]);
    const data = (await mapOf(image)).filter(({ kind }) => kind === Kind.data).map(({ start }) => start / (256 * MiB));
    expect(data).toEqual([15, 32]);
    await source.close();
  });

  test('a disk of no bytes', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const file = join(await tempDir(), 'theirs.vhdx');
    await qemu.run('create', '-q', '-f', 'vhdx', file, '0');
    const image = await open(new Uint8Array(await readFile(file)));
    expect([image.virtualSize, await mapOf(image)]).toEqual([0, []]);
  });
});

describe('states of blocks', () => {
  const [first, second] = [noise(1, MiB), noise(2, MiB)];
  const states: HandMade = {
    size: 8 * MiB,
    // Reserved bits 3 to 19 and the places of absent blocks mean nothing.
    bat: { 0: [0, 9], 1: [1, 0], 2: [2, 4], 3: [3, 7], 4: [6, 5], 5: [6, 4], 6: [6 + 0xffff8, 6], 7: [0, 0] },
    data: { 4: second, 5: first, 6: first },
  };

  test('each reads as the specification says', async () => {
    const image = await open(handMade(states));
    const [a, b, c, end] = [MiB, 4 * MiB, 7 * MiB, 8 * MiB];
    expect(await mapOf(image)).toEqual([
      extent(0, a, Kind.unallocated),
      extent(a, b - a, Kind.zero),
      extent(b, MiB, Kind.data, { offset: 5 * MiB }),
      extent(5 * MiB, MiB, Kind.data, { offset: 4 * MiB }),
      extent(6 * MiB, MiB, Kind.data, { offset: 6 * MiB }),
      extent(c, end - c, Kind.unallocated),
    ]);
  });

  test('any part of the map is that part of the whole', async () => {
    const image = await open(handMade(states));
    const whole = await guestOf([image]);
    const border = fc.integer({ min: 0, max: states.size });
    await fc.assert(
      fc.asyncProperty(border, border, async (a, b) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        expect((await guestOf([image], from, to)).equals(whole.subarray(from, to))).toBe(true);
      }),
      { numRuns: 20 },
    );
  });

  test('the last block may be cut off behind the end of the disk, as older QEMU left it', async () => {
    const file = handMade({ size: MiB + 512, bat: { 0: [6, 4], 1: [6, 5] }, data: { 4: first, 5: second } });
    const image = await open(file.subarray(0, 5 * MiB + 512));
    expect((await guestOf([image])).equals(Buffer.concat([first, second.subarray(0, 512)]))).toBe(true);
  });

  test('slots of bitmaps are not looked at without a parent: QEMU before 8.0 left rubbish there', async () => {
    const file = handMade({
      size: 5 * GiB,
      blockMiB: 256,
      bat: { 16: [7, 1], 17: [6, 4] },
      data: { 4: first },
      miB: 260,
    });
    const image = await open(file);
    expect((await guestOf([image], 4 * GiB, 4 * GiB + MiB)).equals(first)).toBe(true);
  });
});

/** A child over a base of three blocks; sectors 0 and 9 of its first block are its own, and half of the next bitmap byte. */
describe.each([512, 4096])('a differencing disk with sectors of %i bytes', (sector) => {
  const base: HandMade = {
    size: 4 * MiB,
    sector,
    bat: { 0: [6, 4], 1: [6, 5], 2: [6, 6], 3: [6, 7] },
    data: { 4: noise(1, MiB), 5: noise(2, MiB), 6: noise(3, MiB), 7: noise(4, MiB) },
    dataWriteGuid: '33221100554477668899aabbccddeeff',
  };
  const ratio = sector * 8;
  const bitmap = new Uint8Array(MiB);
  bitmap.set([0x01, 0x02, 0xf0, 0xff, 0xff, 0x0f]);
  // The second block's bits begin after those of the first: all of it from its last sector but one.
  bitmap[(2 * MiB) / sector / 8 - 1] = 0x40;
  const child: HandMade = {
    size: 4 * MiB,
    sector,
    bat: { 0: [7, 4], 1: [7, 5], 2: [2, 0], 3: [0, 0], [ratio]: [6, 6] },
    data: { 4: noise(5, MiB), 5: noise(6, MiB), 6: bitmap },
    locator: {
      parent_linkage: '{00112233-4455-6677-8899-AABBCCDDEEFF}',
      relative_path: '..\\dir\\base.vhdx',
      absolute_win32_path: '\\\\?\\C:\\dir\\base.vhdx',
    },
  };

  /** By the specification, a sector at a time. */
  function wanted(): Buffer {
    const bytes = Buffer.concat([1, 2, 3, 4].map((seed) => noise(seed, MiB)));
    for (let n = 0; n < (2 * MiB) / sector; n += 1) {
      if (((bitmap[Math.floor(n / 8)] as number) & (1 << (n % 8))) !== 0) {
        const at = n * sector;
        const own = noise(at < MiB ? 5 : 6, MiB);
        bytes.set(own.subarray(at % MiB, (at % MiB) + sector), at);
      }
    }
    return bytes.fill(0, 2 * MiB, 3 * MiB);
  }

  test('its own sectors, zeros, and the parent', async () => {
    const layers = [await open(handMade(child)), await open(handMade(base))];
    expect((await guestOf(layers)).equals(wanted())).toBe(true);
  });

  test('bits are read from the least significant on', async () => {
    const map = await mapOf(await open(handMade(child)));
    const own = map
      .filter(({ kind }) => kind === Kind.data)
      .map((e) => [e.start / sector, e.length / sector, e.offset]);
    expect(own).toEqual([
      [0, 1, 4 * MiB],
      [9, 1, 4 * MiB + 9 * sector],
      [20, 24, 4 * MiB + 20 * sector],
      [(2 * MiB) / sector - 2, 1, 6 * MiB - 2 * sector],
    ]);
  });

  test('any part of it, across and within sectors', async () => {
    const layers = [await open(handMade(child)), await open(handMade(base))];
    const whole = wanted();
    const border = fc.oneof(fc.integer({ min: 0, max: 64 * KiB }), fc.integer({ min: 0, max: 4 * MiB }));
    await fc.assert(
      fc.asyncProperty(border, border, async (a, b) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        expect((await guestOf(layers, from, to)).equals(whole.subarray(from, to))).toBe(true);
      }),
      { numRuns: 20 },
    );
  });

  test('the parent is named as a path of this system', async () => {
    const image = await open(handMade(child));
    expect(image.subformat).toBe('differencing');
    expect(image.parent).toEqual({ kind: 'parent', name: '../dir/base.vhdx', format: 'vhdx' });
    expect(image.facts.references).toEqual([image.parent]);
    expect(image.facts.details).toMatchObject({
      parentLinkage: '00112233-4455-6677-8899-aabbccddeeff',
      parentLocator: child.locator,
      logicalSectorSize: sector,
    });
    const parent = await open(handMade(base));
    expect(parent.facts.details.dataWriteGuid).toBe(image.facts.details.parentLinkage);
  });

  test('a bitmap of another chunk', async () => {
    const chunk = sector * 2 ** 23;
    const far: HandMade = {
      ...child,
      size: chunk + 2 * MiB,
      bat: { [ratio + 1]: [7, 4], [ratio + 2]: [7, 5], [2 * ratio + 1]: [6, 6] },
    };
    const image = await open(handMade(far));
    const near = (await mapOf(await open(handMade({ ...child, size: 2 * MiB })))).filter(
      ({ kind }) => kind === Kind.data,
    );
    const got = (await collect(coalesce(image.extents(chunk, chunk + 2 * MiB)))).filter(
      ({ kind }) => kind === Kind.data,
    );
    expect(got).toEqual(near.map((e) => ({ ...e, start: e.start + chunk })));
  });
});

test('a BAT of more than one piece: chunks are whole in each', async () => {
  // 7710 chunks of 16 blocks and a bitmap are a piece of 1 MiB; these are the blocks from the border on.
  const block = 7710 * 16;
  const index = 7710 * 17;
  const file = handMade({
    size: (block + 3) * 256 * MiB,
    blockMiB: 256,
    bat: { [index]: [7, 512], [index + 1]: [7, 256], [index + 16]: [6, 5] },
    data: { 5: new Uint8Array(MiB).fill(0x01) },
    miB: 768,
    locator: { parent_linkage: '{00112233-4455-6677-8899-aabbccddeeff}', relative_path: 'base.vhdx' },
  });
  for (const table of [196608, 262144]) {
    file.writeUInt32LE(2 * MiB, table + 16 + 24);
  }
  const image = await open(seal(file));
  const own = [];
  for (const e of await collect(image.extents(256 * MiB, (block + 2) * 256 * MiB))) {
    if (e.kind === Kind.data) {
      own.push([e.start - block * 256 * MiB, e.length, e.offset]);
    }
  }
  // One sector of eight, in each of the two blocks.
  const wanted = Array.from({ length: (2 * 256 * MiB) / 4096 }, (_, i) => {
    const at = i * 4096;
    return [at, 512, at < 256 * MiB ? 512 * MiB + at : at];
  });
  expect(own).toEqual(wanted);
});

describe('the path to the parent', () => {
  const linkage = '{00112233-4455-6677-8899-aabbccddeeff}';
  test.each([
    [{ volume_path: '\\\\?\\Volume{1}\\dir\\v.vhdx', absolute_win32_path: 'C:\\a.vhdx' }, 'v.vhdx'],
    [{ absolute_win32_path: '\\\\?\\UNC\\host\\share\\a.vhdx' }, 'a.vhdx'],
    [{ absolute_win32_path: 'C:\\a.vhdx', relative_path: '.\\r.vhdx' }, './r.vhdx'],
  ] as const)('%j: %s', async (paths, name) => {
    const image = await open(handMade({ size: MiB, locator: { parent_linkage: linkage, ...paths } }));
    expect(image.parent?.name).toBe(name);
  });

  test('the second linkage is there where it is not zero', async () => {
    const locator = { parent_linkage: linkage, relative_path: 'r' };
    const of = async (parent_linkage2: string) =>
      (await open(handMade({ size: MiB, locator: { ...locator, parent_linkage2 } }))).facts.details.parentLinkage2;
    expect(await of('{FF112233-4455-6677-8899-aabbccddeeff}')).toBe('ff112233-4455-6677-8899-aabbccddeeff');
    expect(await of('{00000000-0000-0000-0000-000000000000}')).toBeUndefined();
  });
});

describe('damaged copies', () => {
  const good = () => handMade({ size: MiB, bat: { 0: [6, 4] }, data: { 4: noise(1, MiB) } });

  async function warnings(file: Uint8Array): Promise<readonly string[]> {
    const image = await open(file);
    expect((await guestOf([image])).equals(noise(1, MiB))).toBe(true);
    return image.facts.warnings;
  }

  test('either header, and it is said', async () => {
    for (const [at, damaged, used] of [
      [65536, 1, 2],
      [131072, 2, 1],
    ] as const) {
      const file = good();
      file[at + 100] = 1;
      expect(await warnings(file)).toEqual([`header ${damaged} is damaged: header ${used} is used`]);
    }
  });

  test('either region table, and it is said where the copy is used', async () => {
    const [first, second] = [good(), good()];
    first[196608 + 1000] = 1;
    expect(await warnings(first)).toEqual(['region table 1 is damaged: its copy is used']);
    second[262144 + 1000] = 1;
    expect(await warnings(second)).toEqual([]);
  });

  test('the header with the higher sequence number counts, beyond 2^53 too', async () => {
    const guid = async (first: bigint, second: bigint) => {
      const file = good();
      [first, second].forEach((sequence, i) => {
        file.writeBigUInt64LE(sequence, 65536 * (i + 1) + 8);
        file.fill(0xa0 + i, 65536 * (i + 1) + 32, 65536 * (i + 1) + 48);
      });
      return String((await open(seal(file))).facts.details.dataWriteGuid).slice(0, 2);
    };
    expect(await guid(5n, 4n)).toBe('a0');
    expect(await guid(4n, 5n)).toBe('a1');
    expect(await guid(2n ** 64n - 1n, 2n ** 64n - 2n)).toBe('a0');
    expect(await guid(2n ** 63n, 2n ** 63n + 1n)).toBe('a1');
  });

  test('two identical headers, as Disk2vhd writes', async () => {
    const file = good();
    file.copy(file, 131072, 65536, 65536 + 4096);
    expect(await warnings(file)).toEqual([]);
  });
});

test('what is worth knowing is said once', async () => {
  const file = handMade({ size: MiB, sector: 4096 });
  // A sixth item, of a user.
  file.writeUInt16LE(6, 2 * MiB + 10);
  Buffer.from('aa'.repeat(16), 'hex').copy(file, 2 * MiB + 32 + 160);
  Buffer.from('00020100 10000000 01000000'.replaceAll(' ', ''), 'hex').copy(file, 2 * MiB + 32 + 160 + 16);
  const image = await open(file);
  expect(image.facts.warnings).toEqual([
    expect.stringContaining('sectors have 4096 bytes'),
    'the image has metadata items of its users (1): they are not read',
  ]);
  expect(image.facts.details).toMatchObject({ creator: 'made by hand', physicalSectorSize: 4096, logLength: MiB });
});

test('a BAT that was never written is not read', async () => {
  const bytes = handMade({ size: 64 * GiB });
  const source = memorySource(bytes, 'holes.vhdx');
  let read = 0;
  const counting: ByteSource = {
    name: source.name,
    size: source.size,
    read(offset, length, what) {
      read += offset >= 3 * MiB ? length : 0;
      return source.read(offset, length, what);
    },
    dataRuns: (start) => (start >= 3 * MiB ? new Float64Array() : Float64Array.of(start, start + 1)),
    close: source.close,
  };
  const image = await open(counting);
  expect(await mapOf(image)).toEqual([extent(0, 64 * GiB, Kind.unallocated)]);
  expect(read).toBe(0);
});

test('probe: the signature, and nothing else', () => {
  const sample = (head: Uint8Array) => ({ head, tail: head, size: head.length });
  expect(vhdx.probe(sample(Buffer.from('vhdxfile')))).toBe(true);
  expect(vhdx.probe(sample(handMade({ size: MiB }).subarray(0, 65536)))).toBe(true);
  expect(vhdx.probe(sample(Buffer.from('vhdxfil')))).toBe(false);
  expect(vhdx.probe(sample(Buffer.from('vhdxfilE')))).toBe(false);
  expect(vhdx.probe(sample(Buffer.from('conectix')))).toBe(false);
  expect(vhdx.probe(sample(new Uint8Array()))).toBe(false);
});
