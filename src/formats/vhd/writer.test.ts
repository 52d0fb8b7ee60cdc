/** Images that the plan, a simple allocator and the writer make together, read by others and by our own reader. */
import { open as openFile, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GiB, KiB, MiB, SECTOR, TiB } from '../../base/units.ts';
import { openFileSource } from '../../io/file-source.ts';
import { refusingGate } from '../../io/gate.ts';
import { memorySource } from '../../io/memory-source.ts';
import type { ByteSource } from '../../io/types.ts';
import { checked } from '../../map/checked.ts';
import { Kind } from '../../map/extents.ts';
import { type Allocation, type Layout, type Piece, Placed } from '../../map/layout.ts';
import { expectBytes, guestBytes } from '../../testing/guest.ts';
import { collect } from '../../testing/map-model.ts';
import { ModelDisk } from '../../testing/model-disk.ts';
import { need, qemuImg } from '../../testing/oracles.ts';
import { anyDisk } from '../../testing/seeded-disk.ts';
import { tempDir } from '../../testing/tmp.ts';
import type { OptionValue, WritePlan } from '../format.ts';
import { vhd } from './index.ts';
import { options } from './options.ts';

function plan(virtualSize: number, more: Record<string, OptionValue> = {}): WritePlan {
  const defaults = Object.fromEntries(options.map((option) => [option.key, option.default]));
  const request = { virtualSize, options: { ...defaults, ...more }, compress: false };
  return (vhd.plan as NonNullable<typeof vhd.plan>)(request);
}

/** One allocation entry: kind, index, blocks, offset. */
type Entry = [Placed, number, number, number];

function batch(entries: readonly Entry[]): Allocation {
  const column = (i: number) => entries.map((entry) => entry[i] as number);
  return {
    count: entries.length,
    kind: Uint8Array.from(column(0)),
    index: Float64Array.from(column(1)),
    blocks: Float64Array.from(column(2)),
    offset: Float64Array.from(column(3)),
    stored: new Uint32Array(entries.length),
  };
}

/** Places the blocks that hold something as the layout says, one behind the other. */
function allocate(disk: ModelDisk, layout: Layout): { entries: Entry[]; data: Piece[]; hostEnd: number } {
  const { blockSize, dataAlign, prefixBytes, prefixFill } = layout;
  const entries: Entry[] = [];
  const data: Piece[] = [];
  if (layout.kind === 'flat') {
    return { entries, data: [{ offset: layout.dataStart, bytes: guestBytes(disk) }], hostEnd: disk.size };
  }
  let frontier = layout.dataStart;
  for (let index = 0; index * blockSize < disk.size; index += 1) {
    const bytes = disk.bytes(index * blockSize, Math.min(blockSize, disk.size - index * blockSize));
    if (bytes.some((byte) => byte !== 0)) {
      const offset = Math.ceil((frontier + prefixBytes - layout.dataPhase) / dataAlign) * dataAlign + layout.dataPhase;
      entries.push([Placed.plain, index, 1, offset]);
      data.push({ offset: offset - prefixBytes, bytes: new Uint8Array(prefixBytes).fill(prefixFill) });
      data.push({ offset, bytes });
      frontier = offset + blockSize;
    }
  }
  return { entries, data, hostEnd: frontier };
}

/** All pieces of an image. Fails where two overlap or the size cuts one. */
function make(disk: ModelDisk, { layout, writer }: WritePlan, batchSize = 3): { pieces: Piece[]; size: number } {
  const { entries, data, hostEnd } = allocate(disk, layout);
  const w = writer();
  const pieces = [...data];
  for (let at = 0; at < entries.length; at += batchSize) {
    pieces.push(...w.add(batch(entries.slice(at, at + batchSize))));
  }
  const { pieces: last, size } = w.finish(hostEnd);
  pieces.push(...last);
  pieces.sort((a, b) => a.offset - b.offset);
  let end = 0;
  for (const { offset, bytes } of pieces) {
    expect(offset).toBeGreaterThanOrEqual(end);
    end = offset + bytes.length;
  }
  expect(end).toBeLessThanOrEqual(size);
  return { pieces, size };
}

function inMemory(disk: ModelDisk, planned: WritePlan, batchSize?: number): Uint8Array {
  const { pieces, size } = make(disk, planned, batchSize);
  const file = new Uint8Array(size);
  for (const { offset, bytes } of pieces) {
    file.set(bytes, offset);
  }
  return file;
}

async function onDisk(path: string, disk: ModelDisk, planned: WritePlan): Promise<string> {
  const { pieces, size } = make(disk, planned);
  const file = await openFile(path, 'w');
  for (const { offset, bytes } of pieces) {
    await file.write(bytes, 0, bytes.length, offset);
  }
  await file.truncate(size);
  await file.close();
  return path;
}

/** The guest's bytes through our reader. */
async function guestOf(source: ByteSource): Promise<Uint8Array> {
  const image = await vhd.open(source, { gate: refusingGate() });
  const guest = new Uint8Array(image.virtualSize);
  for (const { start, length, kind, offset } of await collect(
    checked(image.extents(0, guest.length), 0, guest.length),
  )) {
    if (kind === Kind.data) {
      guest.set(await source.read(offset, length, 'data'), start);
    }
  }
  return guest;
}

async function guestOfFile(path: string): Promise<Uint8Array> {
  const source = await openFileSource(path);
  try {
    return await guestOf(source);
  } finally {
    await source.close();
  }
}

const run = (start: number, length: number, pattern: 'text' | 'random' | 'zeros') => ({ start, length, pattern });

/** Blocks 0, 2 and 9 of 2 MiB, as in the sheet's vector, and a last sector. */
const TWENTY = new ModelDisk(
  20 * MiB,
  [run(0, 4096, 'text'), run(4 * MiB, MiB, 'random'), run(19 * MiB, 512, 'text')],
  3,
);
const ODD = new ModelDisk(9 * MiB + 3 * SECTOR, [run(3 * MiB, 3 * MiB, 'random'), run(9 * MiB, 3 * SECTOR, 'text')], 5);
const EMPTY = new ModelDisk(MiB, [], 1);
/** Beyond the largest geometry, and beyond the entries that the writer holds at once. */
const LARGE = new ModelDisk(
  200 * GiB + SECTOR,
  [run(0, 4096, 'text'), run(31 * GiB, 4 * MiB, 'text'), run(200 * GiB, SECTOR, 'random')],
  7,
);

describe('the bytes', () => {
  const at = (file: Uint8Array, offset: number, length: number) =>
    Buffer.from(file.subarray(offset, offset + length)).toString('hex');

  test('a dynamic disk of 20 MiB: the sheet’s BAT and header', () => {
    const file = inMemory(TWENTY, plan(20 * MiB));
    expect(at(file, 1536, 40)).toBe(`00000007ffffffff0000100f${'f'.repeat(48)}00002017`);
    expect(at(file, 1576, 472)).toBe('f'.repeat(944));
    expect(at(file, 512, 40)).toBe('6378737061727365ffffffffffffffff0000000000000600000100000000000a00200000fffff46d');
    expect(at(file, 552, 984)).toBe('0'.repeat(1968));
    // Bitmap of the first block, in the gap before its data.
    expect(at(file, 7 * 512, 512)).toBe('f'.repeat(1024));
    expect(file.length % 4096).toBe(0);
    expect(file.length).toBe(0x2017 * 512 + 512 + 2 * MiB + 4096);
    expect(at(file, file.length - 512, 512)).toBe(at(file, 0, 512));
  });

  test('the footer: Hyper-V’s creator, exact size, and the geometry beside it', () => {
    const file = inMemory(TWENTY, plan(20 * MiB, { subformat: 'fixed' }));
    expect(file.length).toBe(20 * MiB + 512);
    const footer = file.subarray(20 * MiB);
    expect(at(footer, 0, 64)).toBe(
      '636f6e65637469780000000200010000ffffffffffffffff0000000077696e20000600035769326b' +
        '00000000014000000000000001400000025a041100000002',
    );
    expect(at(footer, 84, 428)).toBe('0'.repeat(856));
    // The one's complement of the sum of all but the checksum.
    const sum = footer.reduce((total, byte, i) => total + (i >= 64 && i < 68 ? 0 : byte), 0);
    expect(Buffer.from(footer).readUInt32BE(64)).toBe(2 ** 32 - 1 - sum);
  });

  test('force_size writes the geometry that no reader goes by, and changes nothing else of the size', () => {
    const file = Buffer.from(inMemory(TWENTY, plan(20 * MiB, { force_size: true })));
    expect(at(file, 56, 4)).toBe('ffff10ff');
    expect(file.readBigUInt64BE(48)).toBe(BigInt(20 * MiB));
  });

  test('the same request gives the same bytes, another one another id', () => {
    const id = (planned: WritePlan) => at(inMemory(TWENTY, planned), 68, 16);
    const one = id(plan(20 * MiB));
    expectBytes(inMemory(TWENTY, plan(20 * MiB), 1), inMemory(TWENTY, plan(20 * MiB), 1000), 'in other batches');
    const others = [
      id(plan(20 * MiB, { force_size: true })),
      id(plan(20 * MiB, { block_size: MiB })),
      at(inMemory(TWENTY, plan(20 * MiB, { subformat: 'fixed' })), 20 * MiB + 68, 16),
    ];
    expect(new Set([one, ...others]).size).toBe(4);
    expect(one).toMatch(/^.{12}8.{3}[89ab]/);
  });

  test.each([
    ['512 KiB', 512 * KiB, 512, 0x100 + 8],
    ['4 MiB', 4 * MiB, 1024, 0x2000 + 8],
    ['32 MiB', 32 * MiB, 8192, 0x10000 + 16],
  ])('blocks of %s: the bitmap’s size, and entries at its first sector', (_, blockSize, bitmap, step) => {
    const { layout, writer } = plan(4 * blockSize, { block_size: blockSize });
    expect(layout).toMatchObject({ blockSize, prefixBytes: bitmap, prefixFill: 255, dataAlign: 4096, dataPhase: 0 });
    const stride = step * 512;
    const entries: Entry[] = [
      [Placed.plain, 1, 1, 16 * KiB],
      [Placed.plain, 3, 1, 16 * KiB + stride],
    ];
    const w = writer();
    const pieces = [...w.add(batch(entries)), ...w.finish(16 * KiB + stride + blockSize).pieces];
    const bat = pieces.find(({ offset }) => offset === 1536)?.bytes ?? new Uint8Array(16);
    const first = 32 - bitmap / 512;
    expect(at(bat, 0, 16)).toBe(['ffffffff', word(first), 'ffffffff', word(first + step)].join(''));
  });

  test('blocks of one entry follow one another at bitmap and block', () => {
    const w = plan(20 * MiB).writer();
    w.add(batch([[Placed.plain, 3, 2, 4096]]));
    const bat = w.finish(4096 + 4 * MiB + 512).pieces.find(({ offset }) => offset === 1536)?.bytes ?? new Uint8Array();
    expect(at(bat, 12, 8)).toBe(word(7) + word(7 + 4097));
  });

  const word = (n: number) => n.toString(16).padStart(8, '0');
});

describe('qemu-img', () => {
  test.for([
    ['dynamic', TWENTY, {}],
    ['dynamic of an odd number of sectors', ODD, {}],
    ['dynamic in blocks of 512 KiB', ODD, { block_size: 512 * KiB }],
    ['dynamic in blocks of 32 MiB', ODD, { block_size: 32 * MiB }],
    ['dynamic with force_size', ODD, { force_size: true }],
    ['dynamic without data', EMPTY, {}],
    ['dynamic of 200 GiB', LARGE, {}],
    ['dynamic of 200 GiB in blocks of 512 KiB', LARGE, { block_size: 512 * KiB }],
    ['fixed', TWENTY, { subformat: 'fixed' }],
    ['fixed of an odd number of sectors', ODD, { subformat: 'fixed', force_size: true }],
  ] as const)('reads what we write, to the byte: %s', async ([, disk, more], ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const raw = join(dir, 'disk.raw');
    await disk.writeRawFile(raw);
    const path = await onDisk(join(dir, 'disk.vhd'), sparse(disk), plan(disk.size, more));
    expect(await qemu.compare(raw, 'raw', path, 'vpc')).toMatchObject({ identical: true, sizeB: disk.size });
  });

  test.for([
    ['dynamic', 10 * MiB, [], 302 * 4 * 17 * 512],
    ['dynamic', 10 * MiB, ['force_size=on'], 10 * MiB],
    ['fixed', 1 * MiB, [], 31 * 4 * 17 * 512],
    ['fixed', 1 * MiB, ['force_size=on'], 1 * MiB],
  ] as const)('writes what we read: %s of %d bytes, %s', async ([subformat, size, more, exact], ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const [raw, path] = [join(dir, 'disk.raw'), join(dir, 'disk.vhd')];
    const disk = new ModelDisk(size, [run(0, 70_000, 'text'), run(size - 5000, 5000, 'random')], 9);
    await disk.writeRawFile(raw);
    await qemu.convert('-f', 'raw', '-O', 'vpc', '-o', [`subformat=${subformat}`, ...more].join(), raw, path);
    // qemu's own size: it rounds up to whole cylinders, and converting must not trim that silently.
    expect(await qemu.size(path, 'vpc')).toBe(exact);
    const bytes = new Uint8Array(await readFile(path));
    const tail = bytes.subarray(-64 * KiB);
    expect(vhd.probe({ head: bytes.subarray(0, 64 * KiB), tail, size: bytes.length })).toBe(true);
    expectBytes(await guestOfFile(path), guestBytes(disk, exact), path);
  });

  test('an empty disk of 2040 GiB takes its tables', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const path = join(await tempDir(), 'disk.vhd');
    await onDisk(path, new ModelDisk(0, [], 1), plan(2040 * GiB));
    expect((await stat(path)).size).toBeLessThan(5 * MiB);
    expect(await qemu.size(path, 'vpc')).toBe(2040 * GiB);
  });
});

/** For disks too large to look at block by block: only blocks near a run exist for the allocator. */
function sparse(disk: ModelDisk): ModelDisk {
  const { bytes } = disk;
  const near = (offset: number, end: number) => disk.runs.some((r) => r.start < end && offset < r.start + r.length);
  const none = new Uint8Array(0);
  return Object.assign(Object.create(disk) as ModelDisk, {
    size: disk.size,
    bytes: (offset: number, length: number) =>
      near(offset, offset + length) ? bytes.call(disk, offset, length) : none,
  });
}

test('our reader finds every block where it was placed, and no other', async () => {
  const dir = await tempDir();
  const planned = plan(LARGE.size);
  const path = await onDisk(join(dir, 'disk.vhd'), sparse(LARGE), planned);
  const source = await openFileSource(path);
  const image = await vhd.open(source, { gate: refusingGate() });
  expect(image).toMatchObject({ subformat: 'dynamic', virtualSize: LARGE.size, facts: { warnings: [] } });
  const mapped = (await collect(image.extents(0, LARGE.size))).filter(({ kind }) => kind !== Kind.unallocated);
  const block = 2 * MiB;
  const placed = allocate(sparse(LARGE), planned.layout).entries.map(([, index, , offset]) => ({
    start: index * block,
    end: Math.min((index + 1) * block, LARGE.size),
    offset,
  }));
  expect(placed.length).toBe(4);
  expect(mapped.map(({ start, length, offset }) => ({ start, end: start + length, offset }))).toEqual(placed);
  expect(mapped.every(({ offset }) => offset % 4096 === 0)).toBe(true);
  await source.close();
});

test('any disk in any layout reads as it was', async () => {
  const choices = fc.record({
    subformat: fc.constantFrom('dynamic', 'fixed'),
    block_size: fc.constantFrom(512 * KiB, MiB, 2 * MiB, 4 * MiB),
    force_size: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(anyDisk({ maxSize: 6 * MiB, unit: SECTOR }), choices, async (disk, more) => {
      const file = inMemory(disk, plan(disk.size, more));
      expectBytes(await guestOf(memorySource(file, 'disk.vhd')), guestBytes(disk), `${disk}`);
    }),
    { numRuns: 60 },
  );
});

describe('sizes', () => {
  test('a size that is no multiple of 512 grows, and the plan says so', () => {
    const { virtualSize, notes } = plan(MiB + 1);
    expect(virtualSize).toBe(MiB + SECTOR);
    expect(notes).toEqual([expect.stringContaining('grows by 511 zero bytes')]);
    expect(plan(MiB + SECTOR)).toMatchObject({ virtualSize: MiB + SECTOR, notes: [] });
  });

  test('a fixed disk is made in one pass, its size does not depend on where data end', () => {
    const { front, layout, writer } = plan(MiB, { subformat: 'fixed' });
    expect([front, layout.kind, layout.dataStart]).toEqual([[], 'flat', 0]);
    expect(writer().add(batch([]))).toEqual([]);
    expect(writer().finish(0)).toMatchObject({ pieces: [{ offset: MiB }], size: MiB + 512 });
    expect(plan(MiB).front).toBeUndefined();
  });

  test.each([
    ['0 bytes', () => plan(0), 'limit', /from 512 bytes to 2040 GiB/],
    ['over 2040 GiB', () => plan(2040 * GiB + 1), 'limit', /2040 GiB; write vhdx/],
    ['over 2040 GiB, fixed', () => plan(2041 * GiB, { subformat: 'fixed' }), 'limit', /2040 GiB/],
    [
      'a block beyond 2 TiB of file',
      () =>
        plan(2040 * GiB, { block_size: 512 * KiB })
          .writer()
          .add(batch([[Placed.plain, 0, 1, 2 * TiB + 512]])),
      'limit',
      /BAT reaches 2 TiB; choose a larger block_size/,
    ],
    ['block_size 3M', () => checkOf('block_size')(3 * MiB), 'usage', /block_size is 3 MiB: .*from 512k to 32M/],
    ['block_size 64k', () => checkOf('block_size')(64 * KiB), 'usage', /512k to 32M/],
    ['block_size 64M', () => checkOf('block_size')(64 * MiB), 'usage', /512k to 32M/],
  ])('refused: %s', (_, attempt, code, message) => {
    expect(attempt).toThrow(expect.objectContaining({ code }));
    expect(attempt).toThrow(message);
  });

  const checkOf = (key: string) => options.find((option) => option.key === key)?.check ?? (() => {});
});
