/** The engine contract, on the native engine: what every layout and sink promises whatever threads and chunks do. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { openFileSource } from '../io/file-source.ts';
import { memorySource } from '../io/memory-source.ts';
import type { DataFile } from '../map/data-file.ts';
import { BatchBuilder, type BlockMap, Kind } from '../map/extents.ts';
import { type Allocation, type Layout, type Piece, Placed, type Writer } from '../map/layout.ts';
import type { ModelDisk } from '../testing/model-disk.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import type { CopyOptions, CopyResult } from './contract.ts';
import { nativeEngine } from './native.ts';
import { copyToStream } from './stream.ts';

const engine = nativeEngine();

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

/** Marks tables with their numbers, so that a test sees them in the output. Keeps the allocation. */
class TestWriter implements Writer {
  readonly seen: [kind: Placed, index: number, blocks: number, offset: number, stored: number][] = [];
  readonly #layout: Layout;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  add(batch: Allocation): Piece[] {
    const pieces: Piece[] = [];
    for (let i = 0; i < batch.count; i += 1) {
      const [kind, index, offset] = [batch.kind[i] as Placed, batch.index[i] as number, batch.offset[i] as number];
      this.seen.push([kind, index, batch.blocks[i] as number, offset, batch.stored[i] as number]);
      const { tables, side } = this.#layout;
      if (kind === Placed.table && tables) {
        pieces.push({
          offset: offset - tables.marker,
          bytes: new Uint8Array(tables.marker + tables.bytes).fill(0x60 + (index % 16)),
        });
      } else if (kind === Placed.side && side) {
        pieces.push({ offset, bytes: new Uint8Array(side.bytes).fill(0x70 + (index % 16)) });
      }
    }
    return pieces;
  }

  finish(hostEnd: number) {
    const front = { offset: 0, bytes: new Uint8Array(this.#layout.dataStart).fill(0x50) };
    return { pieces: this.#layout.dataStart > 0 ? [front] : [], size: hostEnd };
  }
}

/** The disk's raw content in memory as one data file; the map tells data from holes. */
async function* mapOf(disk: ModelDisk): BlockMap {
  const out = new BatchBuilder(64);
  let at = 0;
  for (const run of disk.runs) {
    if (out.count > 60) {
      yield out.take();
    }
    if (run.start > at) {
      out.push(at, run.start - at, Kind.unallocated);
    }
    out.push(run.start, run.length, Kind.data, 0, run.start);
    at = run.start + run.length;
  }
  if (at < disk.size) {
    out.push(at, disk.size - at, Kind.zero);
  }
  yield out.take();
}

interface Copied {
  bytes: Buffer;
  writer: TestWriter;
  result: CopyResult;
}

async function copyToFile(
  disk: ModelDisk,
  files: DataFile[],
  layout: Layout,
  options: CopyOptions,
  map = mapOf(disk),
): Promise<Copied> {
  const path = join(await tempDir(), 'out');
  const fd = openSync(path, 'w+');
  try {
    const writer = new TestWriter(layout);
    const sink = { kind: 'file', fd, name: path } as const;
    const result = await engine.copy({ files, map, virtualSize: disk.size, layout, sink, writer, options });
    const bytes = Buffer.alloc(result.size);
    readFileSync(path).copy(bytes);
    return { bytes, writer, result };
  } finally {
    closeSync(fd);
  }
}

/** The guest's bytes out of an output, by its allocation alone. */
function guestBytes(disk: ModelDisk, layout: Layout, { bytes, writer }: Copied): Buffer {
  if (layout.kind === 'flat') {
    return bytes;
  }
  const guest = Buffer.alloc(Math.ceil(disk.size / layout.blockSize) * layout.blockSize);
  for (const [kind, index, blocks, offset, stored] of writer.seen) {
    for (let i = 0; i < blocks; i += 1) {
      const to = (index + i) * layout.blockSize;
      if (kind === Placed.plain) {
        const from = offset + i * (layout.prefixBytes + layout.blockSize);
        bytes.copy(guest, to, from, from + layout.blockSize);
      } else if (kind === Placed.compressed) {
        // Independent of the engine's codec, and strict about the window: zlib refuses distances above 4 KiB.
        inflateRawSync(bytes.subarray(offset, offset + stored), { windowBits: 12, chunkSize: 4096 }).copy(guest, to);
      }
    }
  }
  return guest.subarray(0, disk.size);
}

const disk = seededDisk(11, 66 * MiB + 1234);
const source: DataFile = { source: memorySource(disk.bytes(0, disk.size), 'model') };
const THREADS = [1, 2, 3, 8];
const CHUNKS = [64 * KiB, MiB, 4 * MiB];

describe.each(Object.entries(LAYOUTS))('%s', (_name, layout) => {
  it('holds the guest bytes, and is the same for every thread count, delay and chunk size', async () => {
    const first = await copyToFile(disk, [source], layout, { threads: 1 });
    expect(guestBytes(disk, layout, first).equals(disk.bytes(0, disk.size))).toBe(true);
    for (const chunkBytes of CHUNKS) {
      for (const threads of THREADS) {
        const again = await copyToFile(disk, [source], layout, { threads, chunkBytes, testJitter: 300 });
        expect(again.writer.seen, `${threads} threads, chunk ${chunkBytes}`).toEqual(first.writer.seen);
        expect(again.bytes.equals(first.bytes), `${threads} threads, chunk ${chunkBytes}`).toBe(true);
      }
    }
  }, 120_000);

  it('is the same bytes to a stream', async () => {
    const plain = await copyToFile(disk, [source], layout, {});
    const path = join(await tempDir(), 'stream');
    const fd = openSync(path, 'w');
    const common = { files: [source], map: () => mapOf(disk), virtualSize: disk.size, layout, fd, name: path };
    const result = await copyToStream(engine, {
      ...common,
      writer: () => new TestWriter(layout),
      options: { threads: 4, testJitter: 300 },
    });
    closeSync(fd);
    expect(result.size).toBe(plain.result.size);
    expect(readFileSync(path).equals(plain.bytes)).toBe(true);
  }, 60_000);
});

describe('compressed blocks', () => {
  it.each([64 * KiB, 2 * MiB])(
    'of %d bytes hold the guest bytes whatever threads and chunks do',
    async (blockSize) => {
      const layout: Layout = { ...base, blockSize, dataAlign: blockSize, dataStart: blockSize, codec: deflate };
      const first = await copyToFile(disk, [source], layout, { threads: 1 });
      expect(first.writer.seen.some(([kind]) => kind === Placed.compressed)).toBe(true);
      // Some blocks of 64 KiB are random and do not shrink; no block of 2 MiB is random throughout.
      expect(first.writer.seen.some(([kind]) => kind === Placed.plain)).toBe(blockSize === 64 * KiB);
      expect(guestBytes(disk, layout, first).equals(disk.bytes(0, disk.size))).toBe(true);
      for (const options of [
        { threads: 8, testJitter: 300 },
        { threads: 3, chunkBytes: 4 * MiB },
      ]) {
        expect((await copyToFile(disk, [source], layout, options)).bytes.equals(first.bytes)).toBe(true);
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
      fd: 1,
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
    const fromFile = await copyToFile(disk, [{ source: file }], base, {});
    await file.close();
    const fromRing = await copyToFile(disk, [source], base, {});
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
          out.push(start, end - start, Kind.compressed, 0, at(i), (stored[i] as Buffer).length + 500, start - i * unit);
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

  it("pass on a source's own error", async () => {
    const broken = {
      ...memorySource(new Uint8Array(MiB), 'x'),
      read: () => Promise.reject(new Error('the link is down')),
    };
    const job = copyToFile(seededDisk(11, MiB), [{ source: broken }], base, {});
    await expect(job).rejects.toThrow('the link is down');
  });
});

describe('a job', () => {
  it('stops soon after an abort', async () => {
    const controller = new AbortController();
    const slow = {
      ...source.source,
      read: async (...args: Parameters<typeof source.source.read>) => {
        controller.signal.aborted || setTimeout(() => controller.abort(), 20);
        return source.source.read(...args);
      },
    };
    const begun = performance.now();
    const options = { threads: 2, testJitter: 100_000, signal: controller.signal };
    await expect(copyToFile(disk, [{ source: slow }], base, options)).rejects.toMatchObject({
      code: 'aborted',
      message: 'cancelled',
    });
    expect(performance.now() - begun).toBeLessThan(800);
  });

  it('ends with what the map throws', async () => {
    const map = async function* (): BlockMap {
      yield* [];
      throw new TypeError('the table is bad');
    };
    await expect(copyToFile(disk, [source], base, {}, map())).rejects.toThrow('the table is bad');
  });

  it('ends with what the writer throws, and refuses a map with a gap', async () => {
    const gap = async function* (): BlockMap {
      const out = new BatchBuilder();
      out.push(4096, 4096, Kind.zero);
      yield out.take();
    };
    await expect(copyToFile(disk, [source], base, {}, gap())).rejects.toThrow(/the block map goes from 0 to \[4096/);
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
      message: /^out\.img: cannot write at offset \d+ .*\(EBADF\)$|^out\.img: cannot write at offset .*EBADF$/,
    });
    closeSync(fd);
  });

  it('reports progress up to the whole', async () => {
    const seen: number[] = [];
    await copyToFile(disk, [source], base, { onProgress: (done, total) => seen.push(done / total) });
    expect(seen.at(-1)).toBe(1);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });
});
