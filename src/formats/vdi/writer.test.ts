/** Images that the plan, a simple allocator and the writer make together, read by qemu-img and by our own reader. */
import { open as openFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GiB, MiB, SECTOR, TiB } from '../../base/units.ts';
import { openFileSource } from '../../io/file-source.ts';
import { refusingGate } from '../../io/gate.ts';
import { memorySource } from '../../io/memory-source.ts';
import type { ByteSource } from '../../io/types.ts';
import { checked } from '../../map/checked.ts';
import { Kind } from '../../map/extents.ts';
import { type Allocation, type Piece, Placed } from '../../map/layout.ts';
import { expectBytes, guestBytes } from '../../testing/guest.ts';
import { collect } from '../../testing/map-model.ts';
import { ModelDisk } from '../../testing/model-disk.ts';
import { need, qemuImg } from '../../testing/oracles.ts';
import { qemuIo } from '../../testing/qemu-io.ts';
import { anyDisk } from '../../testing/seeded-disk.ts';
import { tempDir } from '../../testing/tmp.ts';
import type { WritePlan, WriteRequest } from '../format.ts';
import { vdi } from './index.ts';
import { options } from './options.ts';

function plan(virtualSize: number, isStatic = false): WritePlan {
  return planOf({ virtualSize, options: { static: isStatic } });
}

function planOf(request: Partial<WriteRequest>): WritePlan {
  const defaults = Object.fromEntries(options.map((option) => [option.key, option.default]));
  const more = { virtualSize: 5 * MiB, compress: false, ...request, options: { ...defaults, ...request.options } };
  return (vdi.plan as NonNullable<typeof vdi.plan>)(more);
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

/** Places the blocks that hold something one behind the other; what follows one another is one entry. */
function allocate(disk: ModelDisk, { layout }: WritePlan): { entries: Entry[]; data: Piece[]; hostEnd: number } {
  const entries: Entry[] = [];
  const data: Piece[] = [];
  let frontier = layout.dataStart;
  const isFlat = layout.kind === 'flat';
  let next = 0;
  for (const { start, length } of disk.runs) {
    for (let index = Math.max(next, Math.floor(start / MiB)); index * MiB < start + length; index += 1) {
      next = index + 1;
      const bytes = disk.bytes(index * MiB, Math.min(MiB, disk.size - index * MiB));
      if (bytes.some((byte) => byte !== 0)) {
        const last = entries.at(-1);
        data.push({ offset: isFlat ? layout.dataStart + index * MiB : frontier, bytes });
        if (last !== undefined && last[1] + last[2] === index) {
          last[2] += 1;
        } else {
          entries.push([Placed.plain, index, 1, frontier]);
        }
        frontier += MiB;
      }
    }
  }
  return isFlat ? { entries: [], data, hostEnd: layout.dataStart + disk.size } : { entries, data, hostEnd: frontier };
}

/** All pieces of an image. Fails where two overlap or the size cuts one. */
function make(disk: ModelDisk, planned: WritePlan, batchSize = 3): { pieces: Piece[]; size: number } {
  const { entries, data, hostEnd } = allocate(disk, planned);
  const w = planned.writer();
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
  const image = await vdi.open(source, { gate: refusingGate() });
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

const FIVE = new ModelDisk(5 * MiB, [run(3 * MiB, 4096, 'text'), run(5 * MiB - SECTOR, SECTOR, 'random')], 3);
const ODD = new ModelDisk(9 * MiB + 3 * SECTOR, [run(3 * MiB, 3 * MiB, 'random'), run(9 * MiB, 3 * SECTOR, 'text')], 5);
const EMPTY = new ModelDisk(MiB, [], 1);
/** Its map is longer than what the writer holds at once, on both sides of a stretch without a block. */
const LARGE = new ModelDisk(
  300 * GiB + SECTOR,
  [run(0, 4096, 'text'), run(64 * GiB - 4096, 8192, 'text'), run(300 * GiB, SECTOR, 'random')],
  7,
);

describe('the bytes', () => {
  const at = (file: Uint8Array, offset: number, length: number) =>
    Buffer.from(file.subarray(offset, offset + length)).toString('hex');

  test('header and map of a dynamic disk', () => {
    const file = inMemory(FIVE, plan(5 * MiB));
    expect(file.length).toBe(3 * MiB);
    expect(Buffer.from(file.subarray(0, 64)).toString()).toBe('<<< vdconv Virtual Disk Image >>>\n'.padEnd(64, '\0'));
    expect(at(file, 64, 20)).toBe('7f10dabe01000100900100000100000000000000');
    expect(at(file, 84, 256)).toBe('0'.repeat(512));
    // Map at 512, data at 1 MiB, no geometry, sectors of 512.
    expect(at(file, 340, 28)).toBe('00020000000010000000000000000000000000000002000000000000');
    // 5 MiB in blocks of 1 MiB without extra: 5, of which 2 are there.
    expect(at(file, 368, 24)).toBe('000050000000000000001000000000000500000002000000');
    expect(at(file, 424, 32)).toBe('0'.repeat(64));
    expect(at(file, 456, 56)).toBe(`000000000000000000000000000200${'0'.repeat(82)}`);
    expect(at(file, 512, 20)).toBe('ffffffffffffffffffffffff00000000' + '01000000');
    expect(at(file, 532, 492)).toBe('f'.repeat(984));
  });

  test('header and map of a static disk', () => {
    const file = inMemory(FIVE, plan(5 * MiB, true));
    expect(file.length).toBe(6 * MiB);
    expect(at(file, 76, 4)).toBe('02000000');
    expect(at(file, 384, 8)).toBe('0500000005000000');
    expect(at(file, 512, 24)).toBe('000000000100000002000000030000000400000000000000');
  });

  test('UUIDs: two that differ, and of another request others; the form is version 8', () => {
    const ids = [plan(5 * MiB), plan(5 * MiB, true), plan(5 * MiB - SECTOR)].flatMap((planned) => {
      const file = inMemory(planned.virtualSize === 5 * MiB ? FIVE : new ModelDisk(5 * MiB - SECTOR, [], 1), planned);
      return [at(file, 392, 16), at(file, 408, 16)];
    });
    expect(new Set(ids).size).toBe(6);
    for (const id of ids) {
      expect(id).toMatch(/^.{14}8.[89ab]/);
    }
  });

  test('the same request gives the same bytes, however the allocation is batched', () => {
    expectBytes(inMemory(ODD, plan(ODD.size), 1), inMemory(ODD, plan(ODD.size), 1000), 'in other batches');
  });
});

describe('qemu-img', () => {
  test.for([
    ['dynamic', FIVE, false],
    ['dynamic of an odd number of sectors', ODD, false],
    ['dynamic without data', EMPTY, false],
    ['dynamic of 300 GiB', LARGE, false],
    ['static', FIVE, true],
    ['static of an odd number of sectors', ODD, true],
    ['static of 300 GiB', LARGE, true],
  ] as const)('reads what we write, to the byte: %s', async ([, disk, isStatic], ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const raw = join(dir, 'disk.raw');
    await disk.writeRawFile(raw);
    const path = await onDisk(join(dir, 'disk.vdi'), disk, plan(disk.size, isStatic));
    expect(await qemu.compare(raw, 'raw', path, 'vdi')).toMatchObject({ identical: true, sizeB: disk.size });
    expect(await qemu.check(path, 'vdi')).toMatchObject({ exit: 0, 'check-errors': 0 });
  });

  test.for([
    ['dynamic', 'static=off'],
    ['static', 'static=on'],
  ] as const)('writes what we read: %s', async ([subformat, option], ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const [raw, path] = [join(dir, 'disk.raw'), join(dir, 'disk.vdi')];
    await ODD.writeRawFile(raw);
    await qemu.convert('-f', 'raw', '-O', 'vdi', '-o', option, raw, path);
    const source = await openFileSource(path);
    expect(await vdi.open(source, { gate: refusingGate() })).toMatchObject({ subformat, virtualSize: ODD.size });
    await source.close();
    expectBytes(await guestOfFile(path), guestBytes(ODD), path);
  });

  test('goes on writing where we ended', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const path = await onDisk(join(dir, 'disk.vdi'), FIVE, plan(5 * MiB));
    await qemuIo(path, 'vdi', 'write -P 0x5a 0 4096');
    expect(await qemu.check(path, 'vdi')).toMatchObject({ exit: 0, 'check-errors': 0 });
    const want = guestBytes(FIVE).fill(0x5a, 0, 4096);
    expectBytes(await guestOfFile(path), want, path);
  });

  test('an empty disk of 64 TiB', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const path = join(await tempDir(), 'disk.vdi');
    await onDisk(path, new ModelDisk(0, [], 1), plan(64 * TiB));
    expect((await stat(path)).size).toBe(257 * MiB);
    expect(await qemu.size(path, 'vdi')).toBe(64 * TiB);
  });
});

test('any disk in either subformat reads as it was', async () => {
  await fc.assert(
    fc.asyncProperty(anyDisk({ maxSize: 6 * MiB, unit: SECTOR }), fc.boolean(), async (disk, isStatic) => {
      const file = inMemory(disk, plan(disk.size, isStatic));
      expectBytes(await guestOf(memorySource(file, 'disk.vdi')), guestBytes(disk), `${disk}`);
    }),
    { numRuns: 60 },
  );
});

describe('sizes and places', () => {
  test('a size that is no multiple of 512 grows, and the plan says so', () => {
    const { virtualSize, notes } = plan(MiB + 1);
    expect(virtualSize).toBe(MiB + SECTOR);
    expect(notes).toEqual([expect.stringContaining('grows by 511 zero bytes')]);
    expect(plan(MiB + SECTOR)).toMatchObject({ virtualSize: MiB + SECTOR, notes: [] });
  });

  test('data begin at the MiB behind the map', () => {
    // 262016 entries and the header's sector are a MiB.
    expect(plan(262016 * MiB).layout).toMatchObject({ kind: 'blocks', dataStart: MiB, blockSize: MiB, dataAlign: MiB });
    expect(plan(262016 * MiB + SECTOR).layout.dataStart).toBe(2 * MiB);
  });

  test('a static disk is made in one pass where its ids are random: its front is all that lies before data', () => {
    const random = { virtualSize: 200 * GiB, options: { static: true }, randomId: new Uint8Array(16) };
    const { front = [], layout, writer } = planOf(random);
    expect(layout.kind).toBe('flat');
    expect(front.map(({ offset, bytes }) => [offset, bytes.length])).toEqual([
      [0, 512],
      [512, 262144],
      [512 + 262144, 262144],
      [512 + 2 * 262144, 262144],
      [512 + 3 * 262144, 4 * 200 * 1024 - 3 * 262144],
    ]);
    expect(writer().finish(0).size).toBe(MiB + 200 * GiB);
    expect(writer().finish(0).pieces).toEqual(front);
    expect(plan(MiB).front).toBeUndefined();
    // Ids that follow from the content are known after it.
    expect(plan(MiB, true)).toMatchObject({ fingerprint: true });
    expect(plan(MiB, true).front).toBeUndefined();
  });

  test.each([
    ['0 bytes', () => plan(0), 'limit', /a disk of 0 bytes; a VDI has from 512 bytes/],
    ['more blocks than qemu takes', () => plan(0x1fffff80 * MiB + 1), 'limit', /536870784 MiB/],
    [
      'a block at no multiple of its size',
      () =>
        plan(MiB)
          .writer()
          .add(batch([[Placed.plain, 0, 1, MiB + 512]])),
      'internal',
      /a block at 1049088/,
    ],
  ])('refused: %s', (_, attempt, code, message) => {
    expect(attempt).toThrow(expect.objectContaining({ code }));
    expect(attempt).toThrow(message);
  });
});
