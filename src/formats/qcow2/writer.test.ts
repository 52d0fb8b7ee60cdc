/** Writing: hand-checked bytes, and images that QEMU and our own reader must find right. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GiB, isPowerOfTwo, KiB, MiB, TiB } from '../../base/units.ts';
import { refusingGate } from '../../io/gate.ts';
import { memorySource } from '../../io/memory-source.ts';
import { checked } from '../../map/checked.ts';
import { Kind } from '../../map/extents.ts';
import { type Allocation, type Layout, type Piece, Placed } from '../../map/layout.ts';
import { collect } from '../../testing/map-model.ts';
import { ModelDisk } from '../../testing/model-disk.ts';
import { need, qemuImg } from '../../testing/oracles.ts';
import { anyDisk, seededDisk } from '../../testing/seeded-disk.ts';
import { tempDir } from '../../testing/tmp.ts';
import type { WritePlan, Writer } from '../format.ts';
import { qcow2 } from './index.ts';

const CLUSTER_SIZES = Array.from({ length: 13 }, (_, i) => 512 * 2 ** i);

function plan(virtualSize: number, clusterSize: number, compress = false): WritePlan {
  const defaults = Object.fromEntries(qcow2.options.map((option) => [option.key, option.default]));
  const request = { virtualSize, options: { ...defaults, cluster_size: clusterSize }, compress };
  return (qcow2.plan as NonNullable<typeof qcow2.plan>)(request);
}

/** An allocation of `entries`: [kind, index, blocks, offset, stored]. */
function allocation(entries: readonly (readonly number[])[]): Allocation {
  const column = (n: number) => entries.map((entry) => entry[n] as number);
  return {
    count: entries.length,
    kind: Uint8Array.from(column(0)),
    index: Float64Array.from(column(1)),
    blocks: Float64Array.from(column(2)),
    offset: Float64Array.from(column(3)),
    stored: Uint32Array.from(column(4)),
  };
}

/** A model of the engine's placement for this layout, written from src/map/layout.ts: one cluster, table or blob at a time. */
class Model {
  readonly #layout: Layout;
  #frontier: number;
  #sides = 0;
  #group = -1;
  /** The open blob cluster: where the next blob begins, where the cluster ends. */
  #blob = 0;
  #blobEnd = 0;
  #shared = 0;
  readonly entries: number[][] = [];

  constructor(layout: Layout) {
    this.#layout = layout;
    this.#frontier = layout.dataStart;
  }

  /** One cluster at the frontier, after the refcount blocks that are due there. */
  #take(): number {
    const side = this.#layout.side as NonNullable<Layout['side']>;
    while (this.#frontier >= this.#sides * side.every) {
      this.entries.push([Placed.side, this.#sides, 0, this.#frontier, 0]);
      this.#sides += 1;
      this.#frontier += side.bytes;
    }
    this.#frontier += this.#layout.blockSize;
    return this.#frontier - this.#layout.blockSize;
  }

  /** @param stored bytes of the compressed block; 0: plain. @returns its place. */
  place(block: number, stored: number): number {
    const { tables, codec, blockSize } = this.#layout;
    const group = Math.floor(block / (tables?.blocks as number));
    if (group !== this.#group) {
      this.#group = group;
      this.entries.push([Placed.table, group, 0, this.#take(), 0]);
      // The table comes after the refcount blocks that were due before it.
    }
    if (stored === 0) {
      const offset = this.#take();
      this.entries.push([Placed.plain, block, 1, offset, 0]);
      return offset;
    }
    const shares = this.#blob < this.#blobEnd && this.#shared < (codec?.maxShare as number);
    if (shares && this.#blob + stored <= this.#blobEnd) {
      this.#shared += 1;
    } else {
      const before = this.#blobEnd;
      const cluster = this.#take();
      this.#blob = shares && before === cluster ? this.#blob : cluster;
      this.#blobEnd = cluster + blockSize;
      this.#shared = 1;
    }
    this.entries.push([Placed.compressed, block, 0, this.#blob, stored]);
    this.#blob += stored;
    return this.#blob - stored;
  }

  /** Refcount blocks for an image in which nothing was placed. */
  finish(): number {
    const side = this.#layout.side as NonNullable<Layout['side']>;
    while (this.#frontier > this.#sides * side.every) {
      this.entries.push([Placed.side, this.#sides, 0, this.#frontier, 0]);
      this.#sides += 1;
      this.#frontier += side.bytes;
    }
    return this.#frontier;
  }
}

/** Stores the blocks of a disk that are not zero, hands the allocation over in batches of `batch`, puts it all together. */
function build(disk: ModelDisk, planned: WritePlan, batch: number): Uint8Array {
  const { blockSize, codec } = planned.layout;
  const model = new Model(planned.layout);
  const data: Piece[] = [];
  for (let block = 0; block * blockSize < disk.size; block += 1) {
    const bytes = new Uint8Array(blockSize);
    bytes.set(disk.bytes(block * blockSize, Math.min(blockSize, disk.size - block * blockSize)));
    if (bytes.some((byte) => byte !== 0)) {
      const packed = codec && deflateRawSync(bytes, { level: codec.level, windowBits: codec.windowBits, memLevel: 9 });
      const small = packed !== undefined && packed.length < blockSize ? packed : undefined;
      data.push({ offset: model.place(block, small?.length ?? 0), bytes: small ?? bytes });
    }
  }
  const hostEnd = model.finish();
  return assemble(planned.writer(), model.entries, batch, hostEnd, data);
}

/** The file: nothing may be written twice, or beyond its end, and the header must come last. */
function assemble(writer: Writer, entries: number[][], batch: number, hostEnd: number, data: Piece[]): Uint8Array {
  const metadata: Piece[] = [];
  for (let at = 0; at < entries.length; at += batch) {
    metadata.push(...writer.add(allocation(entries.slice(at, at + batch))));
  }
  const { pieces, size } = writer.finish(hostEnd);
  metadata.push(...pieces);
  expect(metadata.at(-1)?.offset).toBe(0);
  const file = new Uint8Array(size);
  let end = 0;
  for (const { offset, bytes } of [...metadata, ...data].sort((a, b) => a.offset - b.offset)) {
    expect(offset).toBeGreaterThanOrEqual(end);
    end = offset + bytes.length;
    expect(end).toBeLessThanOrEqual(size);
    file.set(bytes, offset);
  }
  return file;
}

async function guestBytes(file: Uint8Array): Promise<Uint8Array> {
  const image = await qcow2.open(memorySource(file, 'written'), { gate: refusingGate() });
  const disk = new Uint8Array(image.virtualSize);
  for (const e of await collect(checked(image.extents(0, image.virtualSize), 0, image.virtualSize))) {
    if (e.kind === Kind.data) {
      disk.set(file.subarray(e.offset, e.offset + e.length), e.start);
    } else if (e.kind === Kind.compressed) {
      disk.set(
        inflateRawSync(file.subarray(e.offset, e.offset + e.stored)).subarray(e.skip, e.skip + e.length),
        e.start,
      );
    }
  }
  return disk;
}

function hexAt(file: Uint8Array, offset: number, length: number): string {
  return Buffer.from(file.subarray(offset, offset + length)).toString('hex');
}

describe('bytes', () => {
  test('a disk of one sector, compressed, in clusters of 512 bytes', () => {
    // Header, refcount table, L1, refcount block, L2, data; the place of each follows from the order alone.
    const disk = new ModelDisk(512, [{ start: 0, length: 512, pattern: 'text' }], 1);
    const file = build(disk, plan(512, 512, true), 100);
    expect(file.length).toBe(6 * 512);
    expect(hexAt(file, 0, 120)).toBe(
      '514649fb00000003000000000000000000000000000000090000000000000200' +
        '0000000000000001000000000000040000000000000002000000000100000000' +
        '000000000000000000000000000000000000000000000000000000000000000000000004000000700000000000000000' +
        '0000000000000000',
    );
    expect(hexAt(file, 0x200, 16)).toBe('00000000000006000000000000000000');
    expect(hexAt(file, 0x400, 16)).toBe('80000000000008000000000000000000');
    expect(hexAt(file, 0x600, 14)).toBe('0001000100010001000100010000');
    expect(hexAt(file, 0x800, 16)).toBe('4000000000000a000000000000000000');
  });

  test('F: the compressed descriptor of 600 bytes at 0x50064 in clusters of 64 KiB', () => {
    const writer = plan(64 * KiB, 64 * KiB, true).writer();
    writer.add(
      allocation([
        [Placed.side, 0, 0, 0x30000, 0],
        [Placed.table, 0, 0, 0x40000, 0],
        [Placed.compressed, 0, 0, 0x50064, 600],
      ]),
    );
    const table = writer.finish(0x60000).pieces.find(({ offset }) => offset === 0x40000);
    expect(hexAt(table?.bytes as Uint8Array, 0, 8)).toBe('4040000000050064');
  });

  test('host offsets beyond 4 GiB', () => {
    const writer = plan(64 * KiB, 64 * KiB).writer();
    const offset = 5 * TiB;
    const pieces = writer.add(
      allocation([
        [Placed.side, 0, 0, 0x30000, 0],
        [Placed.table, 0, 0, offset, 0],
        [Placed.plain, 0, 1, offset + 64 * KiB, 0],
        [Placed.side, 2560, 0, offset + 128 * KiB, 0],
      ]),
    );
    const done = writer.finish(offset + 256 * KiB);
    const at = (place: number) => [...pieces, ...done.pieces].find((piece) => piece.offset === place)?.bytes;
    expect(hexAt(at(offset) as Uint8Array, 0, 8)).toBe('8000050000010000');
    expect(hexAt(at(0x20000) as Uint8Array, 0, 8)).toBe('8000050000000000');
    expect(hexAt(at(0x10000) as Uint8Array, 2560 * 8, 8)).toBe('0000050000020000');
  });

  test('blobs that share a host cluster, and one that straddles into the next', () => {
    const writer = plan(8 * 512, 512, true).writer();
    writer.add(
      allocation([
        [Placed.side, 0, 0, 0x600, 0],
        [Placed.table, 0, 0, 0x800, 0],
        [Placed.compressed, 0, 0, 0xa00, 300],
        [Placed.compressed, 1, 0, 0xb2c, 100],
        [Placed.compressed, 2, 0, 0xb90, 200],
      ]),
    );
    const block = writer.finish(0xe00).pieces.find(({ offset }) => offset === 0x600);
    expect(hexAt(block?.bytes as Uint8Array, 0, 16)).toBe('00010001000100010001000300010000');
  });

  test('a refcount block leaves as soon as nothing more can come into its range', () => {
    const clusterSize = 512;
    const disk = seededDisk(3, MiB);
    const planned = plan(disk.size, clusterSize);
    const model = new Model(planned.layout);
    for (let block = 0; block < 1024; block += 1) {
      model.place(block, 0);
    }
    const writer = planned.writer();
    const early = writer.add(allocation(model.entries));
    const sides = model.entries.filter(([kind]) => kind === Placed.side).map((entry) => entry[3]);
    expect(sides.length).toBeGreaterThan(3);
    const written = new Set(early.map(({ offset }) => offset));
    expect(sides.map((offset) => written.has(offset as number))).toEqual(sides.map((_, i) => i < sides.length - 1));
  });

  test('but for the one whose last host cluster may still take a compressed cluster', () => {
    const planned = plan(MiB, 512, true);
    const model = new Model(planned.layout);
    const first = model.place(0, 300);
    for (let block = 1; block < 1000; block += 1) {
      model.place(block, 0);
    }
    const writer = planned.writer();
    const block0 = model.entries.find(([kind]) => kind === Placed.side)?.[3];
    expect(writer.add(allocation(model.entries)).map(({ offset }) => offset)).not.toContain(block0);
    expect(model.place(1000, 200)).toBe(first + 300);
    writer.add(allocation(model.entries.slice(-1)));
    const last = writer.finish(model.finish()).pieces.find(({ offset }) => offset === block0)?.bytes;
    expect(hexAt(last as Uint8Array, (first / 512) * 2, 4)).toBe('00020001');
  });

  test('the same allocation gives the same bytes, however it is cut', () => {
    const disk = seededDisk(7, 300 * KiB);
    const planned = plan(disk.size, 4096, true);
    const whole = build(disk, planned, 1000);
    expect(Buffer.from(build(disk, planned, 1)).equals(whole)).toBe(true);
  });

  test('a block without its table is a defect, not an image', () => {
    const writer = plan(MiB, 64 * KiB).writer();
    expect(() => writer.add(allocation([[Placed.plain, 0, 1, 0x30000, 0]]))).toThrow(/before its L2 table/);
  });

  test('a refcount block without a place is a defect, not an image', () => {
    expect(() =>
      plan(MiB, 64 * KiB)
        .writer()
        .finish(0x30000),
    ).toThrow(/refcount block 0/);
  });
});

describe('plan', () => {
  test('what is placed where, with the default cluster size', () => {
    expect(plan(10 * GiB, 64 * KiB)).toMatchObject({
      virtualSize: 10 * GiB,
      notes: [],
      layout: {
        kind: 'blocks',
        dataStart: 3 * 64 * KiB,
        blockSize: 64 * KiB,
        dataAlign: 64 * KiB,
        tables: { blocks: 8192, bytes: 64 * KiB, align: 64 * KiB, marker: 0, place: 'before' },
        side: { every: 2 * GiB, bytes: 64 * KiB },
      },
    });
    expect(plan(10 * GiB, 64 * KiB).layout.codec).toBeUndefined();
    expect(plan(10 * GiB, 64 * KiB, true).layout.codec).toMatchObject({ name: 'deflate', level: 6, windowBits: 12 });
  });

  test.each([
    [1, 512],
    [1000, 1024],
    [MiB + 1, MiB + 512],
    [MiB + 512, MiB + 512],
  ])('a disk of %i bytes becomes %i', (size, padded) => {
    const planned = plan(size, 64 * KiB);
    expect(planned.virtualSize).toBe(padded);
    expect(planned.notes).toEqual(size === padded ? [] : [expect.stringContaining(`${padded - size} zero bytes`)]);
  });

  test('a disk too large for the clusters: the size that would do', () => {
    expect(() => plan(64 * TiB, 512)).toThrow(/64 TiB is too large .* 512 B; use -o cluster_size=16384/);
    expect(() => plan(128 * GiB + 512, 512)).toThrow(/cluster_size=1024/);
    expect(plan(64 * TiB, 16 * KiB).virtualSize).toBe(64 * TiB);
  });

  test('a disk too large for any clusters', () => {
    expect(() => plan(2 ** 53 - 512, 2 * MiB)).toThrow(
      /^a disk of 8 PiB is too large for QCOW2 with clusters of 2 MiB$/,
    );
  });

  test('an option that QCOW2 does not know', () => {
    const option = qcow2.options.find(({ key }) => key === 'cluster_size');
    for (const wrong of [0, 256, 511, 513, 3 * KiB, 4 * MiB, Number.NaN, '64k']) {
      expect(() => option?.check?.(wrong)).toThrow(/cluster_size is .* power of two from 512 to 2M/);
    }
    for (const right of CLUSTER_SIZES) {
      expect(isPowerOfTwo(right)).toBe(true);
      expect(() => option?.check?.(right)).not.toThrow();
    }
  });
});

test('the refcount table in front has room for the fullest image, and no cluster too many', () => {
  // In clusters of 512 bytes a table cluster names 64 blocks for 128 KiB each: its border is a file of 8 MiB, which a
  // full disk of about 7.84 MiB makes.
  const clusters = new Set<number>();
  let fullest = 0;
  for (let size = 7.81 * MiB; size < 7.86 * MiB; size += 512) {
    const planned = plan(size, 512);
    const model = new Model(planned.layout);
    for (let block = 0; block * 512 < planned.virtualSize; block += 1) {
      model.place(block, 0);
    }
    const hostEnd = model.finish();
    const writer = planned.writer();
    writer.add(allocation(model.entries));
    const table = writer.finish(hostEnd).pieces.find(({ offset }) => offset === 512)?.bytes as Uint8Array;
    const blocks = model.entries.filter(([kind]) => kind === Placed.side).length;
    expect(blocks).toBeGreaterThan((table.length / 512 - 1) * 64 - 1);
    expect(blocks).toBeLessThanOrEqual(table.length / 8);
    clusters.add(table.length / 512);
    fullest = Math.max(fullest, blocks);
  }
  expect(clusters).toEqual(new Set([1, 2]));
  expect(fullest).toBeGreaterThan(64);
});

describe.each(CLUSTER_SIZES)('clusters of %i bytes', (clusterSize) => {
  const maxSize = clusterSize <= 4 * KiB ? 512 * KiB : 5 * MiB;
  test.each([false, true])('what is written is read, compressed: %s', { timeout: 60_000 }, async (compress) => {
    await fc.assert(
      fc.asyncProperty(anyDisk({ maxSize }), fc.integer({ min: 1, max: 300 }), async (disk, batch) => {
        const planned = plan(disk.size, clusterSize, compress);
        const read = await guestBytes(build(disk, planned, batch));
        expect(read.length).toBe(planned.virtualSize);
        expect(Buffer.from(read.subarray(0, disk.size)).equals(disk.bytes(0, disk.size))).toBe(true);
      }),
      { numRuns: 4 },
    );
  });

  test.for([false, true])(
    'QEMU finds it clean and the same, compressed: %s',
    { timeout: 60_000 },
    async (compress, ctx) => {
      const qemu = need(ctx, qemuImg());
      const dir = await tempDir();
      const disk = seededDisk(clusterSize + Number(compress), 3 * MiB + 512);
      const [raw, file] = [join(dir, 'disk.raw'), join(dir, 'disk.qcow2')];
      await disk.writeRawFile(raw);
      await writeFile(file, build(disk, plan(disk.size, clusterSize, compress), 50));
      const { exit, ...found } = await qemu.check(file, 'qcow2');
      expect(found).toMatchObject({ 'check-errors': 0 });
      expect(found.corruptions).toBeUndefined();
      expect(found.leaks).toBeUndefined();
      expect(exit).toBe(0);
      expect((await qemu.compare(raw, 'raw', file, 'qcow2')).message).toMatch(/identical/);
    },
  );

  test('QEMU finds an empty disk clean', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    for (const size of [0, 512, 5 * MiB]) {
      const file = join(dir, `${size}.qcow2`);
      await writeFile(file, build(new ModelDisk(size, [], 1), plan(size, clusterSize), 10));
      expect(await qemu.check(file, 'qcow2')).toMatchObject({ exit: 0 });
      expect((await qemu.info(file, 'qcow2'))['virtual-size']).toBe(size);
    }
  });
});

test('the header is the one that QEMU writes, but for the places of the tables', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const file = join(await tempDir(), 'theirs.qcow2');
  for (const clusterSize of [512, 4096, 8192, 65536]) {
    await qemu.run('create', '-q', '-f', 'qcow2', '-o', `cluster_size=${clusterSize}`, file, '1M');
    const theirs = new Uint8Array(await readFile(file)).slice(0, 512);
    const ours = build(new ModelDisk(MiB, [], 1), plan(MiB, clusterSize), 10).slice(0, 512);
    // l1_table_offset and refcount_table_offset.
    theirs.fill(0, 40, 56);
    ours.fill(0, 40, 56);
    expect(hexAt(ours, 0, 512)).toBe(hexAt(theirs, 0, 512));
  }
});
