/** Blocks without data, parts of a disk, and what a copy tells of the content: both engines against a plain model. */
import { deflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { memorySource } from '../io/memory-source.ts';
import type { DataFile } from '../map/data-file.ts';
import { BatchBuilder, type BlockMap, Kind } from '../map/extents.ts';
import { type Layout, Placed, type TableGroup } from '../map/layout.ts';
import { slice } from '../map/slice.ts';
import { copyToFile, ENGINES, guestBytes, mapOf, rawFile, TestWriter } from '../testing/engine-copy.ts';
import { ModelDisk } from '../testing/model-disk.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import type { Engine } from './contract.ts';
import { FINGERPRINT_BLOCK, Fingerprint } from './fingerprint.ts';

const blocks: Layout = {
  kind: 'blocks',
  dataStart: 64 * KiB,
  blockSize: 64 * KiB,
  dataAlign: 64 * KiB,
  dataPhase: 0,
  prefixBytes: 0,
  prefixFill: 0,
  tables: { blocks: 32, bytes: 4 * KiB, align: 4 * KiB, marker: 0, place: 'before' },
};
/** Larger than every chunk of the tests. */
const large: Layout = { ...blocks, blockSize: 8 * MiB, dataAlign: MiB };
const prefixed: Layout = { ...blocks, blockSize: 512 * KiB, dataAlign: 512, prefixBytes: 512, prefixFill: 0xff };
const CHUNKS = [64 * KiB, MiB, 4 * MiB];

for (const { name, engine } of ENGINES) {
  if (typeof engine === 'string') {
    describe.skip(`the ${name} engine (${engine})`, () => it('knows blocks without data', () => {}));
  } else {
    describe(`the ${name} engine`, () => {
      describe('a layer', () => layer(engine));
      describe('a layout that stores all', () => storesAll(engine));
      describe('content', () => content(engine));
    });
  }
}

/** Said by the map, in 64 KiB: 0 nothing, 1 zeros, 2 data, 3 data that is zeros. */
function layerOf(spec: number[], unit: number) {
  const bytes = Buffer.alloc(spec.length * unit);
  spec.forEach((what, i) => {
    if (what === 2) {
      bytes.fill(i + 1, i * unit + 100, (i + 1) * unit - 100);
    }
  });
  const map = async function* (): BlockMap {
    const out = new BatchBuilder();
    spec.forEach((what, i) => {
      const kind = ([Kind.unallocated, Kind.zero, Kind.data, Kind.data] as const)[what] as Kind;
      out.push(i * unit, unit, kind, 0, kind === Kind.data ? i * unit : 0);
    });
    yield out.take();
  };
  const disk = new ModelDisk(bytes.length, [], 0);
  const file: DataFile = { source: memorySource(bytes, 'layer') };
  return { bytes, map, disk, file };
}

function layer(engine: Engine): void {
  const layout = { ...blocks, explicitZeros: true };

  it.each(CHUNKS)('says which blocks are zeros and which are nothing (chunks of %d)', async (chunkBytes) => {
    const { map, disk, file, bytes } = layerOf([0, 1, 1, 2, 3, 0, 2], 64 * KiB);
    const copied = await copyToFile(engine, disk, [file], layout, { chunkBytes }, map());
    expect(copied.writer.seen).toEqual([
      [Placed.table, 0, 64 * KiB, 0],
      [Placed.zero, 1, 0, 0],
      [Placed.zero, 2, 0, 0],
      [Placed.plain, 3, 128 * KiB, 0],
      [Placed.zero, 4, 0, 0],
      [Placed.plain, 6, 192 * KiB, 0],
    ]);
    expect(guestBytes(disk, layout, copied).equals(bytes)).toBe(true);
  });

  it.each(CHUNKS)(
    'of blocks larger than a chunk stores a block whole where any part has data (%d)',
    async (chunkBytes) => {
      // Block 0: data at its end; 1: data at its start, nothing behind; 2: zeros in a part; 3: nothing; 4: zeros.
      const spec = [1, 1, 0, 2, 2, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1];
      const { map, disk, file, bytes } = layerOf(spec, 2 * MiB);
      const copied = await copyToFile(engine, disk, [file], { ...large, explicitZeros: true }, { chunkBytes }, map());
      expect(copied.writer.seen.map(([kind, index]) => [kind, index])).toEqual([
        [Placed.table, 0],
        [Placed.plain, 0],
        [Placed.plain, 1],
        [Placed.zero, 2],
        [Placed.zero, 4],
      ]);
      expect(guestBytes(disk, large, copied).equals(bytes)).toBe(true);
    },
  );

  it('stores no block for the data of its neighbours, however long the runs of zeros are', async () => {
    const { map, disk, file } = layerOf([0, 2, 0, 0, 1, 0, 2, 0], 64 * KiB);
    const copied = await copyToFile(engine, disk, [file], layout, { zeroGranularity: MiB }, map());
    expect(copied.writer.seen.map(([kind, index]) => [kind, index])).toEqual([
      [Placed.table, 0],
      [Placed.plain, 1],
      [Placed.zero, 4],
      [Placed.plain, 6],
    ]);
  });

  it.each(CHUNKS)('whose format has no entry for zeros stores them (chunks of %d)', async (chunkBytes) => {
    const { map, disk, file, bytes } = layerOf([0, 1, 1, 2, 3, 0, 2, 1], 64 * KiB);
    const stores = { ...layout, storeAll: true };
    const copied = await copyToFile(engine, disk, [file], stores, { chunkBytes }, map(), { keepStored: true });
    expect(copied.writer.seen.map(([kind, index]) => [kind, index])).toEqual([
      [Placed.table, 0],
      ...[1, 2, 3, 4, 6, 7].map((index) => [Placed.plain, index]),
    ]);
    expect(copied.result.stored).toEqual(Uint8Array.of(0b11011110));
    expect(guestBytes(disk, layout, copied).equals(bytes)).toBe(true);
  });

  it('compresses what has data and stores the zeros that -S 0 asks for', async () => {
    const { map, disk, file, bytes } = layerOf([0, 1, 2, 3, 0], 64 * KiB);
    const codec = {
      name: 'deflate',
      level: 6,
      windowBits: 12,
      packing: 1,
      framing: 'none',
      incompressible: 'plain',
      maxShare: 0,
    };
    const packed: Layout = { ...layout, codec: codec as never };
    const copied = await copyToFile(engine, disk, [file], packed, {}, map());
    expect(copied.writer.seen.map(([kind, index]) => [kind, index])).toEqual([
      [Placed.table, 0],
      [Placed.zero, 1],
      [Placed.compressed, 2],
      [Placed.zero, 3],
    ]);
    expect(guestBytes(disk, packed, copied).equals(bytes)).toBe(true);
    const options = { zeroGranularity: 0 };
    const all = await copyToFile(engine, disk, [file], layout, options, map(), { fingerprint: true });
    expect(all.writer.seen.map(([kind, index]) => [kind, index])).toEqual([
      [Placed.table, 0],
      ...[1, 2, 3].map((index) => [Placed.plain, index]),
    ]);
  });

  it('of a terabyte of zeros costs little', async () => {
    const disk = new ModelDisk(2 ** 40, [], 0);
    const map = async function* (): BlockMap {
      const out = new BatchBuilder();
      out.push(0, 2 ** 40, Kind.zero);
      yield out.take();
    };
    const wide: Layout = { ...layout, tables: { ...(blocks.tables as TableGroup), blocks: 8192 } };
    let zeros = 0;
    const writer = { add: () => [], finish: () => ({ pieces: [], size: 0 }) };
    writer.add = ((batch: { count: number; kind: Uint8Array; blocks: Float64Array }) => {
      for (let i = 0; i < batch.count; i += 1) {
        zeros += batch.kind[i] === Placed.zero ? (batch.blocks[i] as number) : 0;
      }
      return [];
    }) as never;
    const begun = performance.now();
    await copyToFile(engine, disk, [], wide, {}, map(), { writer });
    expect(zeros).toBe(2 ** 24);
    expect(performance.now() - begun).toBeLessThan(10_000);
  });
}

function storesAll(engine: Engine): void {
  it.each([
    ['blocks of 64 KiB', blocks],
    ['blocks of 8 MiB', large],
    ['prefixed blocks', prefixed],
  ])('gives every block a place: %s', async (_name, plain) => {
    const disk = seededDisk(7, 20 * MiB + 512);
    const layout = { ...plain, storeAll: true };
    const first = await copyToFile(engine, disk, [rawFile(disk)], layout, { threads: 1 }, mapOf(disk), {
      keepStored: true,
    });
    const placed = first.writer.seen.filter(([kind]) => kind === Placed.plain).map(([, index]) => index);
    expect(placed).toEqual(Array.from({ length: Math.ceil(disk.size / layout.blockSize) }, (_, i) => i));
    expect(guestBytes(disk, layout, first).equals(disk.bytes(0, disk.size))).toBe(true);
    const bits = placed.map((i) => (((first.result.stored as Uint8Array)[i >> 3] as number) >> (i & 7)) & 1);
    expect(bits.every((bit) => bit === 1)).toBe(true);
    for (const chunkBytes of CHUNKS) {
      const again = await copyToFile(engine, disk, [rawFile(disk)], layout, { chunkBytes, testJitter: 200 });
      expect(again.writer.seen).toEqual(first.writer.seen);
      expect(again.bytes.equals(first.bytes)).toBe(true);
    }
    if (layout.prefixBytes > 0) {
      const zero = first.writer.seen.find(
        ([kind, index]) => kind === Placed.plain && disk.bytes(index * layout.blockSize, 4096).every((b) => b === 0),
      );
      const at = (zero as (typeof first.writer.seen)[number])[2];
      expect(first.bytes.subarray(at - 512, at).every((b) => b === 0xff)).toBe(true);
    }
  });
}

function content(engine: Engine): void {
  const disk = seededDisk(21, 9 * MiB + 777);
  const whole = disk.bytes(0, disk.size);
  const model = new Fingerprint();
  for (let at = 0; at < whole.length; at += FINGERPRINT_BLOCK) {
    model.add(at / FINGERPRINT_BLOCK, whole.subarray(at, at + FINGERPRINT_BLOCK));
  }
  const fingerprint = { fingerprint: true };

  it('has one fingerprint, whatever chunks, granularity, layout and map say', async () => {
    const layouts: Layout[] = [{ ...blocks, kind: 'flat', dataStart: 0 }, blocks, large];
    for (const layout of layouts) {
      for (const options of [
        { chunkBytes: 64 * KiB },
        { zeroGranularity: 0 },
        { zeroGranularity: 512 },
        { threads: 3 },
      ]) {
        const { result } = await copyToFile(engine, disk, [rawFile(disk)], layout, options, mapOf(disk), fingerprint);
        expect(result.fingerprint, JSON.stringify(options)).toEqual(model.bytes());
      }
    }
    const { result } = await copyToFile(engine, disk, [rawFile(disk)], blocks, {});
    expect(result.fingerprint).toBeUndefined();
  });

  it('goes to the writer: the fingerprint, and what the file before kept', async () => {
    let told: unknown;
    const writer = new (class extends TestWriter {
      override finish(hostEnd: number, content?: object) {
        told = content;
        return super.finish(hostEnd);
      }
    })(blocks);
    const storedBefore = new Uint8Array([5]);
    const more = { ...fingerprint, storedBefore, writer };
    await copyToFile(engine, disk, [rawFile(disk)], blocks, {}, mapOf(disk), more);
    expect(told).toEqual({ fingerprint: model.bytes(), stored: storedBefore });
  });

  it('comes in parts, each with its own block 0, whose fingerprints add up', async () => {
    const cut = 4 * MiB + 64 * KiB;
    let so: Uint8Array | undefined;
    const guest: Buffer[] = [];
    for (const [start, end] of [
      [0, cut],
      [cut, disk.size],
    ] as const) {
      const more = {
        virtualSize: end - start,
        rangeStart: start,
        fingerprint: true,
        fingerprintSoFar: so,
        keepStored: true,
      };
      const map = slice(mapOf(disk), start, end);
      const copied = await copyToFile(engine, disk, [rawFile(disk)], blocks, {}, map, more);
      so = copied.result.fingerprint;
      const { stored } = copied.result;
      const seen = copied.writer.seen.filter(([kind]) => kind === Placed.plain).map(([, index]) => index);
      const last = Math.ceil((end - start) / blocks.blockSize);
      const bits = Array.from({ length: last }, (_, i) => i).filter(
        (i) => (((stored as Uint8Array)[i >> 3] as number) >> (i & 7)) & 1,
      );
      expect(bits).toEqual(seen);
      guest.push(guestBytes(new ModelDisk(end - start, [], 0), blocks, copied));
    }
    expect(Buffer.concat(guest).equals(whole)).toBe(true);
    expect(so).toEqual(model.bytes());
  });

  it('of a part decodes units that name their place on the whole disk', async () => {
    const unit = 64 * KiB;
    const stored = [0, 1].map((i) => {
      const stream = deflateRawSync(Buffer.alloc(unit, i + 1));
      const marker = Buffer.alloc(12);
      marker.writeBigUInt64LE(BigInt((i * unit) / 512));
      marker.writeUInt32LE(stream.length, 8);
      return Buffer.concat([marker, stream]);
    });
    const codec = { name: 'deflate', unit, framing: 'grain-marker' } as const;
    const file: DataFile = { source: memorySource(Buffer.concat(stored), 'grains'), codec };
    const map = async function* (): BlockMap {
      const out = new BatchBuilder();
      // The part begins inside the first unit.
      out.push(unit / 2, unit / 2, Kind.compressed, 0, 0, (stored[0] as Buffer).length, unit / 2);
      out.push(unit, unit, Kind.compressed, 0, (stored[0] as Buffer).length, (stored[1] as Buffer).length);
      yield out.take();
    };
    const part = new ModelDisk(1.5 * unit, [], 0);
    const copied = await copyToFile(engine, part, [file], blocks, {}, map(), { rangeStart: unit / 2 });
    const expected = Buffer.concat([Buffer.alloc(unit / 2, 1), Buffer.alloc(unit, 2)]);
    expect(guestBytes(part, blocks, copied).equals(expected)).toBe(true);
  });
}
