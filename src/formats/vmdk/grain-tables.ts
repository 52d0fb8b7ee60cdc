/**
 * The block map of an extent with a directory and tables of u32 sector numbers: hosted (VMDK 5.0 §Grain table) and COWD.
 */
import { showNumber, VdconvError } from '../../base/errors.ts';
import { illegalValue } from '../../base/struct.ts';
import { isAligned, SECTOR, type Sectors, sectorsToBytes } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import { type BatchBuilder, type ExtentBatch, Kind } from '../../map/extents.ts';
import { TABLE_PIECE } from './limits.ts';
import type { Window } from './sparse-extent.ts';

/** Grain directory and grain table entries are u32 sector numbers. */
export const ENTRY_BYTES = 4;
/** Grain table entry: nothing here, the parent shows. */
const GTE_UNALLOCATED = 0;
/** Grain table entry: a grain of zeros (hosted: flag bit 2). No real grain can begin at sector 1, with or without it. */
export const GTE_ZEROED = 1;

/** Where an extent's tables are, and what they may say. */
export interface GrainTables {
  source: ByteSource;
  /** Byte offset of the grain directory in use. */
  gdAt: number;
  numGTEsPerGT: number;
  grainSize: Sectors;
  /** Each grain is a zlib stream behind a marker. */
  compressed: boolean;
  /** Grains begin here, after header and tables in front. */
  firstGrain: Sectors;
}

/** `count` u32 entries at byte `at`. */
export async function readEntries(source: ByteSource, at: number, count: number, what: string): Promise<Uint32Array> {
  const bytes = await source.read(at, count * ENTRY_BYTES, what);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries = new Uint32Array(count);
  for (let i = 0; i < count; i += 1) {
    entries[i] = view.getUint32(i * ENTRY_BYTES, true);
  }
  return entries;
}

/** Bytes of the marker before a compressed grain: u64 sector of the disk, u32 size of the stream. */
const GRAIN_MARKER = 12;

/** Pushes the extents of `window` to `out`, and yields batches as they fill; the last stays in `out`. */
export async function* grainExtents(
  extent: GrainTables,
  window: Window,
  out: BatchBuilder,
): AsyncGenerator<ExtentBatch> {
  const { source, gdAt } = extent;
  const gtCoverage = coverageOf(extent);
  const gtEnd = Math.ceil(window.to / gtCoverage);
  const perPiece = TABLE_PIECE / ENTRY_BYTES;
  for (let piece = Math.floor(window.from / gtCoverage); piece < gtEnd; piece += perPiece) {
    const gdes = await readEntries(
      source,
      gdAt + piece * ENTRY_BYTES,
      Math.min(perPiece, gtEnd - piece),
      'grain directory',
    );
    for (let i = 0; i < gdes.length; ) {
      if (out.full) {
        yield out.take();
      }
      const tables = adjacentTables(extent, gdes, i);
      const part = {
        ...window,
        from: Math.max(window.from, (piece + i) * gtCoverage),
        to: Math.min(window.to, (piece + i + tables) * gtCoverage),
      };
      const run = { extent, firstGT: piece + i, at: (gdes[i] as number) * SECTOR };
      if (run.at === 0 || isHole(run, tables)) {
        out.push(window.base + part.from, part.to - part.from, Kind.unallocated);
      } else {
        yield* grains(run, await readTables(run, tables), part, out);
      }
      i += tables;
    }
  }
}

/** Bytes of the guest's disk that one grain table maps. */
function coverageOf({ grainSize, numGTEsPerGT }: GrainTables): number {
  return sectorsToBytes(grainSize) * numGTEsPerGT;
}

/** How many tables from entry `i` on are read, or skipped, together: they are absent, or follow one another in the file. */
function adjacentTables(extent: GrainTables, gdes: Uint32Array, i: number): number {
  const gtBytes = extent.numGTEsPerGT * ENTRY_BYTES;
  const first = gdes[i] as number;
  const step = first === 0 ? 0 : gtBytes / SECTOR;
  const max = first === 0 ? gdes.length : isAligned(gtBytes, SECTOR) ? TABLE_PIECE / gtBytes : 1;
  let count = 1;
  while (count < max && gdes[i + count] === first + count * step) {
    count += 1;
  }
  return count;
}

/** Grain tables that follow one another in the file. */
interface TableRun {
  extent: GrainTables;
  /** Index of the first one in the grain directory. */
  firstGT: number;
  /** Its byte offset. */
  at: number;
}

/** Tables that were laid out and never written: zeros without being read (1 GiB of them for an empty disk of 16 TiB). */
function isHole({ extent, at }: TableRun, tables: number): boolean {
  const end = at + tables * extent.numGTEsPerGT * ENTRY_BYTES;
  return end <= extent.source.size && extent.source.dataRuns?.(at, end, 1).length === 0;
}

async function readTables(run: TableRun, tables: number): Promise<Uint32Array> {
  const count = tables * run.extent.numGTEsPerGT;
  const { size, name } = run.extent.source;
  if (run.at + count * ENTRY_BYTES > size) {
    throw new VdconvError(
      'truncated',
      `grain table ${run.firstGT} at offset ${showNumber(run.at)} passes the end of the file at ${size}`,
      { file: name, format: 'vmdk', field: 'grain directory', offset: run.at },
    );
  }
  return readEntries(run.extent.source, run.at, count, 'grain table');
}

function* grains(run: TableRun, gtes: Uint32Array, part: Window, out: BatchBuilder): Generator<ExtentBatch> {
  const { grainSize, compressed } = run.extent;
  const grainBytes = sectorsToBytes(grainSize);
  const origin = run.firstGT * coverageOf(run.extent);
  const end = Math.ceil((part.to - origin) / grainBytes);
  for (let i = Math.floor((part.from - origin) / grainBytes); i < end; ) {
    if (out.full) {
      yield out.take();
    }
    const gte = gtes[i] as number;
    const next = compressed && gte > GTE_ZEROED ? i + 1 : runEnd(gtes, i, end, grainSize);
    const grain = origin + i * grainBytes;
    const from = Math.max(part.from, grain);
    const to = Math.min(part.to, origin + next * grainBytes);
    if (gte === GTE_UNALLOCATED) {
      out.push(part.base + from, to - from, Kind.unallocated);
    } else if (gte === GTE_ZEROED) {
      out.push(part.base + from, to - from, Kind.zero);
    } else {
      checkPlace(run, i, gte, compressed ? GRAIN_MARKER + 1 : to - grain);
      const skip = from - grain;
      if (compressed) {
        const stored = storedBound(run, gtes, i);
        out.push(part.base + from, to - from, Kind.compressed, part.file, gte * SECTOR, stored, skip);
      } else {
        out.push(part.base + from, to - from, Kind.data, part.file, gte * SECTOR + skip);
      }
    }
    i = next;
  }
}

/** End of the entries from `i` on that say one thing: nothing, zeros, or grains that follow one another in the file. */
function runEnd(gtes: Uint32Array, i: number, end: number, grainSize: number): number {
  const first = gtes[i] as number;
  const step = first > GTE_ZEROED ? grainSize : 0;
  let next = i + 1;
  while (next < end && gtes[next] === first + (next - i) * step) {
    next += 1;
  }
  return next;
}

/**
 * At most this many bytes belong to compressed grain `i`. Its exact size is in its marker, among the data; grains do not
 * overlap, so the next one of the table ends it, and no writer exceeds two grains (qemu limit).
 */
function storedBound(run: TableRun, gtes: Uint32Array, i: number): number {
  const at = gtes[i] as number;
  let bound = Math.min(2 * sectorsToBytes(run.extent.grainSize), run.extent.source.size - at * SECTOR);
  let next = i + 1;
  while (next < gtes.length && (gtes[next] as number) <= GTE_ZEROED) {
    next += 1;
  }
  const after = gtes[next] ?? 0;
  if (after > at) {
    bound = Math.min(bound, sectorsToBytes(after - at));
  }
  return bound;
}

function checkPlace(run: TableRun, i: number, gte: number, bytes: number): void {
  const { numGTEsPerGT, firstGrain, source } = run.extent;
  const wrong = (code: 'corrupt' | 'truncated', says: string) =>
    illegalValue(
      code,
      `grain table ${run.firstGT + Math.floor(i / numGTEsPerGT)}`,
      `entry ${i % numGTEsPerGT}`,
      showNumber(gte),
      { file: source.name, format: 'vmdk' },
      run.at + i * ENTRY_BYTES,
      says,
    );
  if (gte < firstGrain) {
    throw wrong('corrupt', `grains begin at sector ${firstGrain}, after header and tables; VMDK 5.0 §Grain table`);
  }
  if (gte * SECTOR + bytes > source.size) {
    throw wrong('truncated', `the grain's ${bytes} bytes pass the end of the file at ${source.size}`);
  }
}
