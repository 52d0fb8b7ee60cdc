/** Copies by an engine alone, with a writer that marks its tables: for tests of the engines. */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateRawSync, inflateSync } from 'node:zlib';
import { expect } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import type { CopyJob, CopyOptions, CopyResult, Engine } from '../engine/contract.ts';
import { nativeEngine } from '../engine/native.ts';
import { portableEngine } from '../engine/portable.ts';
import { memorySource } from '../io/memory-source.ts';
import type { DataFile } from '../map/data-file.ts';
import { BatchBuilder, type BlockMap, Kind } from '../map/extents.ts';
import { type Allocation, type Layout, type Piece, Placed, type TargetCodec, type Writer } from '../map/layout.ts';
import type { ModelDisk } from './model-disk.ts';
import { tempDir } from './tmp.ts';

/** Marks tables with their numbers, so that a test sees them in the output. Keeps the allocation, block by block. */
export class TestWriter implements Writer {
  readonly seen: [kind: Placed, index: number, offset: number, stored: number][] = [];
  readonly #layout: Layout;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  add(batch: Allocation): Piece[] {
    const pieces: Piece[] = [];
    for (let i = 0; i < batch.count; i += 1) {
      const [kind, index, offset] = [batch.kind[i] as Placed, batch.index[i] as number, batch.offset[i] as number];
      const { tables, side, prefixBytes, blockSize } = this.#layout;
      for (let n = 0; n < (batch.blocks[i] as number); n += 1) {
        const place = kind === Placed.zero ? 0 : offset + n * (prefixBytes + blockSize);
        this.seen.push([kind, index + n, place, batch.stored[i] as number]);
      }
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
export async function* mapOf(disk: ModelDisk): BlockMap {
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

export interface Copied {
  bytes: Buffer;
  writer: TestWriter;
  result: CopyResult;
}

export async function copyToFile(
  engine: Engine,
  disk: ModelDisk,
  files: DataFile[],
  layout: Layout,
  options: CopyOptions,
  map = mapOf(disk),
  more: Partial<CopyJob> = {},
): Promise<Copied> {
  const path = join(await tempDir(), 'out');
  const fd = openSync(path, 'w+');
  try {
    const writer = new TestWriter(layout);
    const sink = { kind: 'file', fd, name: path } as const;
    const job = { files, map, virtualSize: disk.size, layout, sink, writer, options, ...more };
    const result = await engine.copy(job);
    const bytes = Buffer.alloc(result.size);
    readFileSync(path).copy(bytes);
    return { bytes, writer, result };
  } finally {
    closeSync(fd);
  }
}

/** The guest's bytes out of an output, by its allocation alone. */
export function guestBytes(disk: ModelDisk, layout: Layout, { bytes, writer }: Copied): Buffer {
  if (layout.kind === 'flat') {
    return bytes.subarray(layout.dataStart, layout.dataStart + disk.size);
  }
  const guest = Buffer.alloc(Math.ceil(disk.size / layout.blockSize) * layout.blockSize);
  for (const [kind, index, offset, stored] of writer.seen) {
    const to = index * layout.blockSize;
    if (kind === Placed.plain) {
      bytes.copy(guest, to, offset, offset + layout.blockSize);
    } else if (kind === Placed.compressed) {
      decoded(layout.codec as TargetCodec, index * layout.blockSize, bytes.subarray(offset, offset + stored)).copy(
        guest,
        to,
      );
    }
  }
  return guest.subarray(0, disk.size);
}

/** Independent of the engines' codecs, and strict about the window: zlib refuses longer distances. */
function decoded({ name, windowBits, framing }: TargetCodec, start: number, stored: Buffer): Buffer {
  const marker = framing === 'none' ? 0 : 12;
  if (marker > 0) {
    expect([stored.readBigUInt64LE(0), stored.readUInt32LE(8)]).toEqual([BigInt(start / 512), stored.length - marker]);
  }
  const stream = stored.subarray(marker);
  // Output in small pieces: in one piece, Node's zlib would not look at the window.
  const options = { windowBits, chunkSize: 4096 };
  return name === 'deflate' ? inflateRawSync(stream, options) : inflateSync(stream, options);
}

export function rawFile(disk: ModelDisk): DataFile {
  return { source: memorySource(disk.bytes(0, disk.size), 'model') };
}

export const native = nativeOrWhyNot();
export const portable = portableEngine();

/** The addon may be missing only where it could not have been built. */
function nativeOrWhyNot(): Engine | string {
  try {
    return nativeEngine();
  } catch (error) {
    if (process.env.CI || spawnSync('cargo', ['--version']).status === 0) {
      throw error;
    }
    return 'not built, and there is no cargo';
  }
}

/** Each engine with the options that must not change its output. The portable one has no threads. */
export const ENGINES: { name: string; engine: Engine | string; varied: CopyOptions[] }[] = [
  {
    name: 'native',
    engine: native,
    varied: [1, 2, 3, 8].flatMap((threads) =>
      [64 * KiB, MiB, 4 * MiB].map((chunkBytes) => ({ threads, chunkBytes, testJitter: 300 })),
    ),
  },
  { name: 'portable', engine: portable, varied: [{ chunkBytes: 64 * KiB }, { chunkBytes: 4 * MiB }] },
];
