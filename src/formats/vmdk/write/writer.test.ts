/** Images that the plan, a simple allocator and the writer make together, read by others. */
import { open as openFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { GiB, KiB, MiB, SECTOR, TiB } from '../../../base/units.ts';
import { openFileSource } from '../../../io/file-source.ts';
import { refusingGate } from '../../../io/gate.ts';
import { Kind } from '../../../map/extents.ts';
import { type Allocation, type Layout, type Piece, Placed } from '../../../map/layout.ts';
import { collect } from '../../../testing/map-model.ts';
import { ModelDisk } from '../../../testing/model-disk.ts';
import { dissect, need, qemuImg } from '../../../testing/oracles.ts';
import { tempDir } from '../../../testing/tmp.ts';
import type { OptionValue, WriteRequest } from '../../format.ts';
import { vmdk } from '../index.ts';
import { options } from './options.ts';

const BLOCK = 64 * KiB;

function request(virtualSize: number, subformat: string, more: Record<string, OptionValue> = {}): WriteRequest {
  const defaults = Object.fromEntries(options.map((option) => [option.key, option.default]));
  return { virtualSize, options: { ...defaults, subformat, ...more }, compress: subformat === 'streamOptimized' };
}

function plan(asked: WriteRequest) {
  return (vmdk.plan as NonNullable<typeof vmdk.plan>)(asked);
}

/** One allocation entry: kind, index, blocks, offset, stored. */
type Entry = [Placed, number, number, number, number];

function batch(entries: readonly Entry[]): Allocation {
  const column = (i: number) => entries.map((entry) => entry[i] as number);
  return {
    count: entries.length,
    kind: Uint8Array.from(column(0)),
    index: Float64Array.from(column(1)),
    blocks: Float64Array.from(column(2)),
    offset: Float64Array.from(column(3)),
    stored: Uint32Array.from(column(4)),
  };
}

/** The blocks of a disk that hold something else than zeros. */
function* storedBlocks(disk: ModelDisk): Generator<[number, Uint8Array]> {
  let next = 0;
  for (const { start, length } of disk.runs) {
    for (let index = Math.max(next, Math.floor(start / BLOCK)); index * BLOCK < start + length; index += 1) {
      const bytes = disk.bytes(index * BLOCK, Math.min(BLOCK, disk.size - index * BLOCK));
      if (bytes.some((byte) => byte !== 0)) {
        yield [index, bytes];
      }
      next = index + 1;
    }
  }
}

/** Places the blocks of a disk as the layout says, the simplest way: everything at one frontier. */
function allocate(disk: ModelDisk, layout: Layout): { entries: Entry[]; data: Piece[]; hostEnd: number } {
  const entries: Entry[] = [];
  const data: Piece[] = [];
  const { codec, tables } = layout;
  let frontier = layout.dataStart;
  let group = -1;
  const up = (n: number, unit: number) => Math.ceil(n / unit) * unit;
  const endGroup = () => {
    if (tables !== undefined && group >= 0) {
      const offset = up(frontier + tables.marker, tables.align);
      entries.push([Placed.table, group, 0, offset, 0]);
      frontier = offset + tables.bytes;
    }
  };
  for (const [index, bytes] of storedBlocks(disk)) {
    if (tables !== undefined && Math.floor(index / tables.blocks) !== group) {
      endGroup();
      group = Math.floor(index / tables.blocks);
    }
    if (codec === undefined) {
      const last = entries.at(-1);
      if (last !== undefined && last[1] + last[2] === index) {
        last[2] += 1;
      } else {
        entries.push([Placed.plain, index, 1, frontier, 0]);
      }
      data.push({ offset: frontier, bytes });
      frontier += BLOCK;
    } else {
      const stream = deflateSync(bytes, { level: codec.level, windowBits: codec.windowBits });
      const framed = Buffer.alloc(12 + stream.length);
      framed.writeBigUInt64LE(BigInt((index * BLOCK) / SECTOR), 0);
      framed.writeUInt32LE(stream.length, 8);
      framed.set(stream, 12);
      const offset = up(frontier, codec.packing);
      entries.push([Placed.compressed, index, 1, offset, framed.length]);
      data.push({ offset, bytes: framed });
      frontier = up(offset + framed.length, codec.packing);
    }
  }
  endGroup();
  return { entries, data, hostEnd: frontier };
}

/** Writes a disk to `path`; gives what was placed. Fails where two pieces overlap or the size cuts one. */
async function write(disk: ModelDisk, asked: WriteRequest, path: string, batchSize = 3): Promise<Entry[]> {
  const { layout, writer } = plan(asked);
  const { entries, data, hostEnd } = allocate(disk, layout);
  const w = writer();
  const pieces = [...data];
  for (let at = 0; at < entries.length; at += batchSize) {
    pieces.push(...w.add(batch(entries.slice(at, at + batchSize))));
  }
  const { pieces: last, size } = w.finish(hostEnd);
  pieces.push(...last);
  pieces.sort((a, b) => a.offset - b.offset);
  const file = await openFile(path, 'w');
  let end = 0;
  for (const { offset, bytes } of pieces) {
    expect(offset).toBeGreaterThanOrEqual(end);
    end = offset + bytes.length;
    await file.write(bytes, 0, bytes.length, offset);
  }
  expect(end).toBeLessThanOrEqual(size);
  await file.truncate(size);
  await file.close();
  return entries;
}

/** Four tables' worth and more: both sides of 32 MiB, of 2 GiB, and a last grain of one sector. */
const LARGE = new ModelDisk(
  4 * GiB + SECTOR,
  [
    { start: 0, length: 4 * KiB, pattern: 'text' },
    { start: 32 * MiB - 8 * KiB, length: 200 * KiB, pattern: 'random' },
    { start: 2 * GiB - BLOCK, length: 3 * BLOCK, pattern: 'text' },
    { start: 3 * GiB, length: 1 * MiB, pattern: 'zeros' },
    { start: 4 * GiB, length: SECTOR, pattern: 'random' },
  ],
  3,
);
/** A size that dissect can read to its end. */
const SMALL = new ModelDisk(40 * MiB, [{ start: 31 * MiB, length: 2 * MiB, pattern: 'text' }], 5);
const EMPTY = new ModelDisk(1 * MiB, [], 1);

const SUBFORMATS = ['monolithicSparse', 'streamOptimized'] as const;

for (const subformat of SUBFORMATS) {
  test.for([
    ['4 GiB and a sector', LARGE],
    ['no data', EMPTY],
  ] as const)(`qemu-img reads ${subformat}: %s`, async ([, disk], ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const [raw, path] = [join(dir, 'disk.raw'), join(dir, 'disk.vmdk')];
    await disk.writeRawFile(raw);
    await write(disk, request(disk.size, subformat), path);
    expect(await qemu.compare(raw, 'raw', path, 'vmdk')).toMatchObject({ identical: true });
    expect(await qemu.check(path, 'vmdk')).toMatchObject({ exit: 0, 'check-errors': 0 });
  });

  test(`dissect reads ${subformat}`, async (ctx) => {
    const oracle = need(ctx, dissect());
    const path = join(await tempDir(), 'disk.vmdk');
    await write(SMALL, request(SMALL.size, subformat), path);
    expect(await oracle.content(path, 'vmdk')).toEqual({ size: SMALL.size, sha256: SMALL.sha256() });
  });

  test(`our reader finds every block of ${subformat} where it was placed, and no other`, async () => {
    const path = join(await tempDir(), 'disk.vmdk');
    const entries = await write(LARGE, request(LARGE.size, subformat), path);
    const source = await openFileSource(path);
    const image = await vmdk.open(source, { gate: refusingGate() });
    expect(image).toMatchObject({ subformat, virtualSize: LARGE.size, facts: { warnings: [], dirty: false } });
    const mapped = (await collect(image.extents(0, LARGE.size))).filter(({ kind }) => kind !== Kind.unallocated);
    const placed = entries.flatMap(([kind, index, blocks, offset]) =>
      kind === Placed.table
        ? []
        : [{ start: index * BLOCK, end: Math.min((index + blocks) * BLOCK, LARGE.size), offset }],
    );
    expect(mapped.map(({ start, length, offset }) => ({ start, end: start + length, offset }))).toEqual(placed);
    await source.close();
  });

  test(`${subformat} does not depend on how the allocation is batched`, async () => {
    const dir = await tempDir();
    const digests = [];
    for (const size of [1, 1000]) {
      const path = join(dir, `${size}.vmdk`);
      await write(SMALL, request(SMALL.size, subformat), path, size);
      const source = await openFileSource(path);
      digests.push(Buffer.from(await source.read(0, source.size, 'all')).toString('latin1'));
      await source.close();
    }
    expect(digests[0]).toBe(digests[1]);
  });

  test(`a ${subformat} of 0 bytes is refused: qemu-img writes one and cannot open it`, () => {
    expect(() => plan(request(0, subformat))).toThrow('a disk of 0 bytes; a VMDK has at least 512');
  });
}

test('a pipe has header and descriptor before the first grain', () => {
  const { front = [], writer, fingerprint } = plan(request(MiB, 'streamOptimized'));
  expect(front.map(({ offset }) => offset)).toEqual([0, SECTOR]);
  expect(fingerprint).toBe(undefined);
  const { pieces } = writer().finish(BLOCK);
  expect(pieces[0]?.offset).toBe(BLOCK);
  expect(pieces.slice(1)).toEqual(front);
});

test('a stream ends as VMware ends it: directory, footer, end of stream, each behind its marker', async () => {
  const path = join(await tempDir(), 'disk.vmdk');
  await write(SMALL, request(SMALL.size, 'streamOptimized'), path);
  const source = await openFileSource(path);
  const tail = Buffer.from(await source.read(source.size - 5 * SECTOR, 5 * SECTOR, 'tail'));
  const sectors = [0, 1, 2, 3, 4].map((i) => tail.subarray(i * SECTOR, (i + 1) * SECTOR));
  const marker = (numSectors: number, type: number) => {
    const bytes = Buffer.alloc(SECTOR);
    bytes[0] = numSectors;
    bytes[12] = type;
    return bytes;
  };
  expect(sectors[0]).toEqual(marker(1, 2));
  expect(sectors[2]).toEqual(marker(1, 3));
  expect(sectors[4]).toEqual(marker(0, 0));
  // The footer is the header but for gdOffset, which names the sector after the directory's marker.
  const header = Buffer.from(await source.read(0, SECTOR, 'header'));
  expect(header.readBigUInt64LE(56)).toBe(0xffffffffffffffffn);
  header.writeBigUInt64LE(BigInt(source.size / SECTOR - 4), 56);
  expect(sectors[3]).toEqual(header);
  await source.close();
});

test('the descriptor has its keys in the order that VirtualBox demands', () => {
  const { pieces } = plan(request(8 * GiB, 'monolithicSparse', { adapter_type: 'ide', hwversion: 21 }))
    .writer()
    .finish(0);
  const piece = pieces.find(({ offset }) => offset === SECTOR);
  expect(piece?.bytes).toHaveLength(20 * SECTOR);
  const text = Buffer.from(piece?.bytes ?? [])
    .toString()
    .replace(/\0+$/, '')
    .replace(/CID=[0-9a-f]{8}\n/, 'CID=X\n');
  expect(text).toBe(`# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=X
parentCID=ffffffff
createType="monolithicSparse"

# Extent description
RW 16777216 SPARSE "disk.vmdk"

# The Disk Data Base 
#DDB

ddb.adapterType = "ide"
ddb.geometry.cylinders = "16383"
ddb.geometry.heads = "16"
ddb.geometry.sectors = "63"
ddb.virtualHWVersion = "21"
`);
});

test('5 GiB takes the front that qemu-img gives it', () => {
  const { layout, writer } = plan(request(5 * GiB, 'monolithicSparse'));
  expect(layout.dataStart).toBe(720896);
  const { pieces, size } = writer().finish(layout.dataStart);
  expect(size).toBe(720896);
  const header = Buffer.from(pieces.find(({ offset }) => offset === 0)?.bytes ?? []);
  expect(header.subarray(0, 79).toString('hex')).toBe(
    '4b444d5601000000030000000000a0000000000080000000000000000100000000000000140000000000000000020000' +
      '150000000000000097020000000000008005000000000000000a200d0a0000',
  );
});

test('a size that is no multiple of 512 grows, and the plan says so', () => {
  const { virtualSize, notes } = plan(request(MiB + 1, 'monolithicSparse'));
  expect(virtualSize).toBe(MiB + SECTOR);
  expect(notes).toEqual([expect.stringContaining('grows by 511 zero bytes')]);
  expect(plan(request(MiB + SECTOR, 'streamOptimized'))).toMatchObject({ virtualSize: MiB + SECTOR, notes: [] });
});

test.each([
  [
    '-c without streamOptimized',
    () => plan({ ...request(MiB, 'monolithicSparse'), compress: true }),
    'usage',
    /-o subformat/,
  ],
  ['over 64 TiB', () => plan(request(64 * TiB + 1, 'streamOptimized')), 'limit', /64 TiB/],
  [
    'a grain beyond 2 TiB of file',
    () =>
      plan(request(3 * TiB, 'monolithicSparse'))
        .writer()
        .add(batch([[Placed.plain, 0, 1, 2 * TiB, 0]])),
    'limit',
    /tables reach 2 TiB/,
  ],
  [
    'compat6 beside another hwversion',
    () => plan({ ...request(MiB, 'vmfs', { compat6: true, hwversion: 7 }), given: new Set(['compat6', 'hwversion']) }),
    'usage',
    /compat6 is hwversion 6/,
  ],
  ['several files without a name', () => plan(request(MiB, 'vmfs')), 'usage', /cannot be written to a stream/],
  [
    'a name with a quote',
    () => plan({ ...request(MiB, 'monolithicFlat'), name: 'a"b.vmdk' }),
    'usage',
    /cannot name files with quotes/,
  ],
  [
    'more files than a descriptor may name',
    () => plan({ ...request(8 * TiB, 'twoGbMaxExtentFlat'), name: 'a.vmdk' }),
    'limit',
    /split into 4099 files/,
  ],
  ['hwversion 4.5', () => options.find(({ key }) => key === 'hwversion')?.check?.(4.5), 'usage', /whole number/],
])('refused: %s', (_, attempt, code, message) => {
  expect(attempt).toThrow(expect.objectContaining({ code }));
  expect(attempt).toThrow(message);
});
