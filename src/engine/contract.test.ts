/**
 * The engine contract: what every layout and sink promises whatever threads and chunks do, held against each engine that
 * runs here, and the engines against each other.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { openFileSource } from '../io/file-source.ts';
import { memorySource } from '../io/memory-source.ts';
import type { DataFile } from '../map/data-file.ts';
import { BatchBuilder, type BlockMap, Kind } from '../map/extents.ts';
import { type Layout, Placed } from '../map/layout.ts';
import { slice } from '../map/slice.ts';
import {
  type Copied,
  copyToFile,
  ENGINES,
  guestBytes,
  mapOf,
  native,
  portable,
  rawFile,
  TestWriter,
} from '../testing/engine-copy.ts';
import { ModelDisk, type Run } from '../testing/model-disk.ts';
import { anyDisk, seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import type { CopyOptions, Engine } from './contract.ts';
import { copyToStream } from './stream.ts';

const base: Layout = {
  kind: 'blocks',
  dataStart: 64 * KiB,
  blockSize: 64 * KiB,
  dataAlign: 64 * KiB,
  dataPhase: 0,
  prefixBytes: 0,
  prefixFill: 0,
};
const tables = { blocks: 8, bytes: 4 * KiB, align: 4 * KiB, marker: 0, place: 'before' as const };
const deflate = {
  name: 'deflate' as const,
  level: 6,
  windowBits: 12,
  packing: 1,
  framing: 'none' as const,
  incompressible: 'plain' as const,
  maxShare: 65535,
};

/** Blocks smaller than every chunk, larger than every chunk, prefixed, flat. */
const LAYOUTS: Record<string, Layout> = {
  flat: { ...base, kind: 'flat', dataStart: 0 },
  'small blocks with tables': {
    ...base,
    blockSize: 4 * KiB,
    dataAlign: 4 * KiB,
    tables,
    side: { every: MiB, bytes: 4 * KiB },
  },
  'blocks of 8 MiB': { ...base, blockSize: 8 * MiB, dataAlign: MiB },
  'prefixed blocks of 2 MiB': { ...base, blockSize: 2 * MiB, dataAlign: 4 * KiB, prefixBytes: 512, prefixFill: 0xff },
  'tables after their blocks': { ...base, tables: { ...tables, marker: 512, place: 'after' } },
};

/** The same to a stream. What the passes see may differ. */
async function copyStreamed(
  engine: Engine,
  disk: ModelDisk,
  layout: Layout,
  options: CopyOptions,
  [first, second] = [disk, disk],
) {
  const path = join(await tempDir(), 'stream');
  const fd = openSync(path, 'w');
  const passes = [second, first];
  try {
    const result = await copyToStream(engine, {
      files: [rawFile(disk)],
      map: () => mapOf(passes.pop() as ModelDisk),
      writer: () => new TestWriter(layout),
      ...{ virtualSize: disk.size, layout, to: { fd }, name: path, options },
    });
    return { result, bytes: readFileSync(path) };
  } finally {
    closeSync(fd);
  }
}

const disk = seededDisk(11, 66 * MiB + 1234);
const source = rawFile(disk);

for (const { name, engine, varied } of ENGINES) {
  if (typeof engine === 'string') {
    describe.skip(`the ${name} engine (${engine})`, () => it('keeps the contract', () => {}));
  } else {
    describe(`the ${name} engine`, () => contract(engine, varied));
  }
}

function contract(engine: Engine, varied: CopyOptions[]): void {
  describe.each(Object.entries(LAYOUTS))('%s', (_name, layout) => {
    it('holds the guest bytes, and is the same for every thread count, delay and chunk size', async () => {
      const first = await copyToFile(engine, disk, [source], layout, { threads: 1 });
      expect(guestBytes(disk, layout, first).equals(disk.bytes(0, disk.size))).toBe(true);
      for (const options of varied) {
        const again = await copyToFile(engine, disk, [source], layout, options);
        expect(again.writer.seen, JSON.stringify(options)).toEqual(first.writer.seen);
        expect(again.bytes.equals(first.bytes), JSON.stringify(options)).toBe(true);
      }
    }, 120_000);

    it('is the same bytes to a stream', async () => {
      const plain = await copyToFile(engine, disk, [source], layout, {});
      const streamed = await copyStreamed(engine, disk, layout, varied.at(-1) as CopyOptions);
      expect(streamed.result.size).toBe(plain.result.size);
      expect(streamed.bytes.equals(plain.bytes)).toBe(true);
    }, 60_000);
  });

  describe('compressed blocks', () => {
    it.each([64 * KiB, 2 * MiB])(
      'of %d bytes hold the guest bytes whatever threads and chunks do',
      async (blockSize) => {
        const layout: Layout = { ...base, blockSize, dataAlign: blockSize, dataStart: blockSize, codec: deflate };
        const first = await copyToFile(engine, disk, [source], layout, { threads: 1 });
        expect(first.writer.seen.some(([kind]) => kind === Placed.compressed)).toBe(true);
        // Some blocks of 64 KiB are random and do not shrink; no block of 2 MiB is random throughout.
        expect(first.writer.seen.some(([kind]) => kind === Placed.plain)).toBe(blockSize === 64 * KiB);
        expect(guestBytes(disk, layout, first).equals(disk.bytes(0, disk.size))).toBe(true);
        for (const options of varied.slice(-2)) {
          expect((await copyToFile(engine, disk, [source], layout, options)).bytes.equals(first.bytes)).toBe(true);
        }
      },
      120_000,
    );

    it('are refused by a stream whose places depend on their sizes', async () => {
      const layout = { ...base, codec: deflate };
      const job = {
        files: [source],
        map: () => mapOf(disk),
        virtualSize: disk.size,
        layout,
        to: { fd: 1 },
        name: 'out',
        options: {},
      };
      await expect(copyToStream(engine, { ...job, writer: () => new TestWriter(layout) })).rejects.toMatchObject({
        code: 'unsupported',
        message: 'out: compressed blocks cannot be written to a pipe in this format; write to a file, or without -c',
      });
    });
  });

  describe('sources', () => {
    it('are read from a descriptor as from the ring', async () => {
      const path = join(await tempDir(), 'disk.raw');
      await disk.writeRawFile(path);
      const file = await openFileSource(path);
      const fromFile = await copyToFile(engine, disk, [{ source: file }], base, {});
      await file.close();
      const fromRing = await copyToFile(engine, disk, [source], base, {});
      expect(fromFile.bytes.equals(fromRing.bytes)).toBe(true);
    });

    it('decode whole and clipped units', async () => {
      const unit = 64 * KiB;
      const content = Buffer.from(seededDisk(5, 3 * unit).bytes(0, 3 * unit)).fill('text ', 0, unit);
      const stored = [0, 1, 2].map((i) => deflateRawSync(content.subarray(i * unit, (i + 1) * unit)));
      const file: DataFile = {
        source: memorySource(Buffer.concat([...stored, Buffer.alloc(9)]), 'units'),
        codec: { name: 'deflate', unit, framing: 'none' },
      };
      const at = (i: number) => stored.slice(0, i).reduce((n, s) => n + s.length, 0);
      const map = async function* (from: number, to: number): BlockMap {
        const out = new BatchBuilder();
        for (let i = 0; i < 3; i += 1) {
          const start = Math.max(from, i * unit);
          const end = Math.min(to, (i + 1) * unit);
          if (start < end) {
            // The bound may reach into the next unit, or behind the file's end.
            out.push(
              start,
              end - start,
              Kind.compressed,
              0,
              at(i),
              (stored[i] as Buffer).length + 500,
              start - i * unit,
            );
          }
        }
        yield out.take();
      };
      for (const [from, to] of [
        [0, 3 * unit],
        [100, 3 * unit - 100],
        [unit - 1, unit + 1],
        [unit + 5, 2 * unit - 5],
      ] as const) {
        const read = await engine.read([file], map(from, to), from, to - from);
        expect(Buffer.compare(read, content.subarray(from, to)), `[${from}, ${to})`).toBe(0);
      }
    });

    it('that end before their map are an error, not zeros', async () => {
      const short: DataFile = { source: memorySource(new Uint8Array(5000), 'short.img') };
      const map = async function* (): BlockMap {
        const out = new BatchBuilder();
        out.push(0, 8192, Kind.data, 0, 0);
        yield out.take();
      };
      await expect(engine.read([short], map(), 0, 8192)).rejects.toMatchObject({
        code: 'truncated',
        message: 'short.img: 8192 bytes of guest data at offset 0 are missing: the file ends at 5000',
      });
    });

    it('that do not decode are an error naming the place', async () => {
      const file: DataFile = {
        source: memorySource(new Uint8Array(4096).fill(0xff), 'bad.qcow2'),
        codec: { name: 'deflate', unit: 64 * KiB, framing: 'none' },
      };
      const map = async function* (): BlockMap {
        const out = new BatchBuilder();
        out.push(0, 64 * KiB, Kind.compressed, 0, 1024, 512);
        yield out.take();
      };
      await expect(engine.read([file], map(), 0, 64 * KiB)).rejects.toMatchObject({
        code: 'corrupt',
        offset: 1024,
        message: 'bad.qcow2: the compressed data does not decode (stored at offset 1024 (0x400))',
      });
    });

    it('that end inside a compressed unit are truncated, unless what is there decodes', async () => {
      const stored = deflateRawSync(Buffer.from(seededDisk(2, 64 * KiB).bytes(0, 64 * KiB)).fill('text ', 0, 9000));
      const read = (there: number, bound: number) => {
        const file: DataFile = {
          source: memorySource(stored.subarray(0, there), 'cut.qcow2'),
          codec: { name: 'deflate', unit: 64 * KiB, framing: 'none' },
        };
        const map = async function* (): BlockMap {
          const out = new BatchBuilder();
          out.push(0, 64 * KiB, Kind.compressed, 0, 0, bound);
          yield out.take();
        };
        return engine.read([file], map(), 0, 64 * KiB);
      };
      const half = Math.floor(stored.length / 2);
      await expect(read(half, stored.length)).rejects.toMatchObject({
        code: 'truncated',
        message: `cut.qcow2: the compressed data at offset 0 is cut off: the file ends at ${half}`,
      });
      await expect(read(half, half)).rejects.toMatchObject({ code: 'corrupt' });
      expect(await read(stored.length, stored.length + 500)).toHaveLength(64 * KiB);
    });

    it("pass on a source's own error", async () => {
      const broken = {
        ...memorySource(new Uint8Array(MiB), 'x'),
        read: () => Promise.reject(new Error('the link is down')),
      };
      const job = copyToFile(engine, seededDisk(11, MiB), [{ source: broken }], base, {});
      await expect(job).rejects.toThrow('the link is down');
    });
  });

  describe('a job', () => {
    it('stops soon after an abort', async () => {
      const controller = new AbortController();
      let reads = 0;
      const counted = {
        ...source.source,
        read: async (...args: Parameters<typeof source.source.read>) => {
          reads += 1;
          if (reads === 5) {
            controller.abort('enough');
          }
          return source.source.read(...args);
        },
      };
      const options = { threads: 2, chunkBytes: 64 * KiB, signal: controller.signal };
      await expect(copyToFile(engine, disk, [{ source: counted }], base, options)).rejects.toMatchObject({
        code: 'aborted',
        message: 'cancelled',
        cause: 'enough',
      });
      // What every thread had under way.
      expect(reads).toBeLessThan(5 + 2 * 16);
      const before = { signal: AbortSignal.abort() };
      await expect(copyToFile(engine, disk, [{ source: counted }], base, before)).rejects.toThrow('cancelled');
    });

    // The portable engine's writes are libuv's: one that nobody reads keeps its thread until the pipe is closed.
    it.runIf(engine.name === 'native')('stops soon after an abort though nobody reads its pipe', async () => {
      const path = join(await tempDir(), 'fifo');
      execFileSync('mkfifo', [path]);
      const fd = openSync(path, 'r+');
      const size = 8 * MiB;
      const layout: Layout = { ...base, kind: 'flat', dataStart: 0 };
      const job = {
        files: [source],
        virtualSize: size,
        layout,
        to: { fd },
        name: path,
        writer: () => new TestWriter(layout),
      };
      // Data, and the zeros at the end, which are written when the workers are done.
      for (const kind of [Kind.data, Kind.zero]) {
        const map = async function* (): BlockMap {
          const out = new BatchBuilder();
          out.push(0, size, kind, 0, 0);
          yield out.take();
        };
        const signal = AbortSignal.timeout(100);
        const begun = performance.now();
        await expect(copyToStream(engine, { ...job, map, options: { signal } })).rejects.toMatchObject({
          code: 'aborted',
        });
        expect(performance.now() - begun).toBeLessThan(1500);
      }
      closeSync(fd);
    });

    it("ends with what the progress callback throws, and with a source's error before those that follow", async () => {
      const failing = {
        ...memorySource(new Uint8Array(MiB), 'x'),
        read: async () => {
          await new Promise((resolve) => setTimeout(resolve, 300));
          throw new Error('the link is down');
        },
      };
      const onProgress = (): void => {
        throw new Error('no progress');
      };
      const job = (options: CopyOptions) =>
        copyToFile(engine, seededDisk(11, MiB), [{ source: failing }], base, options);
      await expect(job({ onProgress })).rejects.toThrow(
        engine.name === 'native' ? 'no progress' : /no progress|link is down/,
      );
      await expect(job({})).rejects.toThrow('the link is down');
    });

    it('ends with what the map throws', async () => {
      const map = async function* (): BlockMap {
        yield* [];
        throw new TypeError('the table is bad');
      };
      await expect(copyToFile(engine, disk, [source], base, {}, map())).rejects.toThrow('the table is bad');
    });

    it('ends with what the writer throws, and refuses a map with a gap', async () => {
      const gap = async function* (): BlockMap {
        const out = new BatchBuilder();
        out.push(4096, 4096, Kind.zero);
        yield out.take();
      };
      await expect(copyToFile(engine, disk, [source], base, {}, gap())).rejects.toMatchObject({
        code: 'internal',
        message: expect.stringMatching(/^the block map goes from 0 to \[4096/),
      });
    });

    it('says what the system says of a write', async () => {
      const path = join(await tempDir(), 'read-only');
      await writeFile(path, '');
      const fd = openSync(path, 'r');
      const sink = { kind: 'file', fd, name: 'out.img' } as const;
      const job = engine.copy({
        files: [source],
        map: mapOf(disk),
        virtualSize: disk.size,
        layout: base,
        sink,
        options: {},
      });
      await expect(job).rejects.toMatchObject({
        code: 'write',
        message: expect.stringMatching(/^out\.img: cannot write .*EBADF\)?$/),
      });
      closeSync(fd);
    });

    it('reports progress up to the whole', async () => {
      const seen: number[] = [];
      await copyToFile(engine, disk, [source], base, { onProgress: (done, total) => seen.push(done / total) });
      expect(seen.at(-1)).toBe(1);
      expect(seen).toEqual([...seen].sort((a, b) => a - b));
    });

    it('refuses a layout that it does not implement', async () => {
      const layout = { ...base, blockSize: 3 * 4096 };
      await expect(copyToFile(engine, disk, [source], layout, {})).rejects.toMatchObject({
        code: 'internal',
        message: expect.stringMatching(/^layout: block/),
      });
    });

    it.each(['data elsewhere', 'more data', 'less data at the front', 'less data at the end', 'no data'])(
      'says that the source changed between the passes of a stream: %s',
      async (what) => {
        const whole = seededDisk(11, 2 * MiB);
        const runs = [...whole.runs];
        const run = (start: number, length: number): Run => ({ start, length, pattern: 'random' });
        const half = runs.slice(0, runs.length / 2);
        const [before, after] = {
          'data elsewhere': [[run(0, 4096), run(32 * KiB, 4096)], [run(0, 16 * KiB)]],
          'more data': [half, runs],
          'less data at the front': [runs, runs.slice(runs.length / 2)],
          'less data at the end': [runs, half],
          'no data': [runs, []],
        }[what] as [Run[], Run[]];
        const model = (some: Run[]) => new ModelDisk(whole.size, some, 11);
        const layout = LAYOUTS['small blocks with tables'] as Layout;
        await expect(copyStreamed(engine, whole, layout, {}, [model(before), model(after)])).rejects.toMatchObject({
          code: 'changed',
          message: 'model: the source changed while it was read: its second reading differs from the first',
        });
      },
    );
  });
}

const powers = (least: number, most: number) =>
  fc.constantFrom(...Array.from({ length: Math.log2(most / least) + 1 }, (_, i) => least * 2 ** i));

/** Plain layouts of any shape. */
const anyLayout: fc.Arbitrary<Layout> = fc
  .record({
    kind: fc.constantFrom('blocks' as const, 'blocks' as const, 'blocks' as const, 'flat' as const),
    dataStart: fc.integer({ min: 0, max: 200 * KiB }),
    blockSize: powers(512, 2 * MiB),
    looseness: powers(1, 8),
    phase: fc.constantFrom(0, 0, 0.5),
    prefixBytes: fc.constantFrom(0, 512, 700),
    prefixFill: fc.integer({ min: 0, max: 255 }),
    tables: fc.option(
      fc.record({
        blocks: fc.integer({ min: 1, max: 64 }),
        bytes: fc.constantFrom(512, 4096),
        align: powers(512, 4096),
        marker: fc.constantFrom(0, 512),
        place: fc.constantFrom('before' as const, 'after' as const),
      }),
      { nil: undefined },
    ),
    side: fc.option(fc.record({ every: powers(8 * KiB, MiB), bytes: fc.constantFrom(512, 4096) }), { nil: undefined }),
  })
  .map(({ looseness, phase, tables, side, ...shape }) => {
    const { blockSize, kind } = shape;
    const layout = { ...shape, dataAlign: blockSize * looseness, dataPhase: blockSize * looseness * phase };
    // Flat has no tables, and streams only from the first byte.
    return kind === 'flat'
      ? { ...layout, dataStart: 0 }
      : { ...layout, ...(tables && { tables }), ...(side && { side }) };
  });

/** Layouts that compress as QCOW2 does, sharing clusters, and as streamOptimized VMDK does. */
const anyCompressed: fc.Arbitrary<Layout> = fc
  .record({
    blockSize: powers(4 * KiB, 2 * MiB),
    level: fc.integer({ min: 1, max: 9 }),
    windowBits: fc.constantFrom(12, 15),
    grains: fc.boolean(),
    maxShare: fc.constantFrom(1, 3, 65535),
  })
  .map(({ blockSize, grains, maxShare, ...codec }) => ({
    ...{ ...base, blockSize, dataAlign: grains ? 512 : blockSize, dataStart: 2 * MiB },
    ...(grains ? { tables: { ...tables, marker: 512, place: 'after' as const } } : {}),
    codec: grains
      ? {
          ...codec,
          windowBits: 15,
          name: 'zlib',
          packing: 512,
          framing: 'grain-marker',
          maxShare: 0,
          incompressible: 'compressed',
        }
      : { ...codec, name: 'deflate', packing: 1, framing: 'none', maxShare, incompressible: 'plain' },
  }));

const anyOptions = fc.record({
  threads: fc.integer({ min: 1, max: 4 }),
  chunkBytes: powers(64 * KiB, 2 * MiB),
  zeroGranularity: fc.constantFrom(0, 512, 4096, 64 * KiB),
});

/**
 * The disk in three kinds of units, in turn: plain, compressed, and compressed of which a part is overwritten by plain
 * bytes. Units that are all zero have no place.
 */
function mixed(disk: ModelDisk): { files: DataFile[]; map: () => BlockMap } {
  const unit = 64 * KiB;
  const stored: Buffer[] = [];
  const out = new BatchBuilder(3 * Math.ceil(disk.size / unit));
  let offset = 0;
  for (let start = 0; start < disk.size; start += unit) {
    const length = Math.min(unit, disk.size - start);
    const bytes = disk.bytes(start, length);
    const cut = [length, 0, Math.min(1000, length)][(start / unit) % 3] as number;
    if (bytes.every((byte) => byte === 0)) {
      out.push(start, length, Kind.zero);
      continue;
    }
    if (cut > 0) {
      out.push(start, cut, Kind.data, 0, start);
    }
    if (cut < length) {
      const stream = deflateRawSync(bytes);
      out.push(start + cut, length - cut, Kind.compressed, 1, offset, stream.length + 10, cut);
      stored.push(stream);
      offset += stream.length;
    }
  }
  const codec = { name: 'deflate', unit, framing: 'none' } as const;
  const batch = out.take();
  return {
    files: [rawFile(disk), { source: memorySource(Buffer.concat(stored), 'units'), codec }],
    map: async function* () {
      yield batch;
    },
  };
}

describe.skipIf(typeof native === 'string')('both engines', () => {
  /** The copies of a disk by both. */
  async function both(disk: ModelDisk, layout: Layout, options: CopyOptions): Promise<Copied[]> {
    const { files, map } = mixed(disk);
    const copies: Copied[] = [];
    for (const engine of [native as Engine, portable]) {
      copies.push(await copyToFile(engine, disk, files, layout, options, map()));
    }
    return copies;
  }

  function expectSame([a, b]: Copied[]): void {
    expect(b?.result).toEqual(a?.result);
    expect(b?.writer.seen).toEqual(a?.writer.seen);
    expect(Buffer.compare(a?.bytes as Buffer, b?.bytes as Buffer)).toBe(0);
  }

  it.each(Object.entries(LAYOUTS))('write the same bytes: %s', async (_name, layout) => {
    expectSame(await both(seededDisk(3, 20 * MiB + 77), layout, {}));
  });

  it('write the same bytes in any plain layout', async () => {
    await fc.assert(
      fc.asyncProperty(anyDisk(), anyLayout, anyOptions, async (disk, layout, options) => {
        expectSame(await both(disk, layout, options));
      }),
      { numRuns: 60 },
    );
  });

  it('write the same bytes to a stream, and foresee the same', async () => {
    await fc.assert(
      fc.asyncProperty(anyDisk({ maxSize: MiB }), anyLayout, anyOptions, async (disk, layout, options) => {
        const [a, b] = [
          await copyStreamed(native as Engine, disk, layout, options),
          await copyStreamed(portable, disk, layout, options),
        ];
        expect(b.result).toEqual(a.result);
        expect(Buffer.compare(a.bytes, b.bytes)).toBe(0);
      }),
      { numRuns: 30 },
    );
  });

  it('write the same content in any compressed layout', async () => {
    await fc.assert(
      fc.asyncProperty(anyDisk(), anyCompressed, anyOptions, async (disk, layout, options) => {
        const content = Buffer.from(disk.bytes(0, disk.size));
        const copies = await both(disk, layout, options);
        for (const copy of copies) {
          expect(guestBytes(disk, layout, copy).equals(content)).toBe(true);
        }
        const stored = copies.map(({ writer }) =>
          writer.seen.flatMap(([kind, index]) => (kind < Placed.table ? [index] : [])),
        );
        expect(stored[1]).toEqual(stored[0]);
        expect(copies[1]?.result.dataBytes).toBe(copies[0]?.result.dataBytes);
      }),
      { numRuns: 40 },
    );
  });

  it('read the same', async () => {
    const disk = seededDisk(6, 3 * MiB + 9);
    const { files, map } = mixed(disk);
    const within = fc.tuple(fc.nat(disk.size - 1), fc.nat(disk.size - 1));
    await fc.assert(
      fc.asyncProperty(within, async ([a, b]) => {
        const [from, length] = [Math.min(a, b), Math.abs(a - b) + 1];
        for (const engine of [native as Engine, portable]) {
          const read = await engine.read(files, slice(map(), from, from + length), from, length);
          expect(Buffer.compare(read, disk.bytes(from, length)), engine.name).toBe(0);
        }
      }),
      { numRuns: 40 },
    );
  });
});
