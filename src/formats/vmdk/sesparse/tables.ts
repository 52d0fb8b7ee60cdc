/** The block map of an seSparse extent, from its directory and tables of u64 entries. */
import { showNumber } from '../../../base/errors.ts';
import { illegalValue } from '../../../base/struct.ts';
import { sectorsToBytes } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import { type BatchBuilder, type ExtentBatch, Kind } from '../../../map/extents.ts';
import { TABLE_PIECE } from '../limits.ts';
import type { Window } from '../sparse-extent.ts';
import {
  type ConstHeader,
  ENTRY_BYTES,
  GDE_TABLE,
  GRAIN_SECTORS,
  GrainType,
  GT_SECTORS,
  GTES_PER_GT,
} from './layout.ts';

const GRAIN_BYTES = sectorsToBytes(GRAIN_SECTORS);
const GT_BYTES = sectorsToBytes(GT_SECTORS);
/** Bytes of the guest's disk that one table maps: 16 MiB. */
const COVERAGE = GRAIN_BYTES * GTES_PER_GT;

/** Entries as pairs of u32, low half first. */
type Entries = Uint32Array;

export async function* seSparseExtents(
  source: ByteSource,
  header: ConstHeader,
  window: Window,
  out: BatchBuilder,
): AsyncGenerator<ExtentBatch> {
  const gdAt = sectorsToBytes(header.grainDirOffset);
  const end = Math.ceil(window.to / COVERAGE);
  const perPiece = TABLE_PIECE / ENTRY_BYTES;
  for (let first = Math.floor(window.from / COVERAGE); first < end; first += perPiece) {
    const count = Math.min(perPiece, end - first);
    const gdes = await readPairs(source, gdAt + first * ENTRY_BYTES, count, 'grain directory');
    for (let i = 0; i < count; ) {
      if (out.full) {
        yield out.take();
      }
      const absent = isAbsent(gdes, i);
      let next = i + 1;
      while (absent && next < count && isAbsent(gdes, next)) {
        next += 1;
      }
      const part = {
        ...window,
        from: Math.max(window.from, (first + i) * COVERAGE),
        to: Math.min(window.to, (first + next) * COVERAGE),
      };
      if (absent) {
        out.push(window.base + part.from, part.to - part.from, Kind.unallocated);
      } else {
        const at = tablePlace(source, header, gdes, i, gdAt + (first + i) * ENTRY_BYTES);
        const gtes = await readPairs(source, at, GTES_PER_GT, 'grain table');
        yield* grains({ source, header, origin: (first + i) * COVERAGE, at, gtes }, part, out);
      }
      i = next;
    }
  }
}

function isAbsent(gdes: Entries, i: number): boolean {
  return gdes[2 * i] === 0 && gdes[2 * i + 1] === 0;
}

/** Byte offset of the table that directory entry `i` names; the entry itself lies at `at`. */
function tablePlace(source: ByteSource, header: ConstHeader, gdes: Entries, i: number, at: number): number {
  const [number, high] = [gdes[2 * i] as number, gdes[2 * i + 1] as number];
  const value = `0x${hex(high)}${hex(number)}`;
  const wrong = (code: 'corrupt' | 'truncated', says: string) =>
    illegalValue(code, 'grain directory', 'entry', value, { file: source.name, format: 'vmdk' }, at, says);
  if (high !== GDE_TABLE) {
    throw wrong('corrupt', 'the upper half must be 0x10000000; seSparse 2.1 §Grain directory');
  }
  const place = sectorsToBytes(header.grainTablesOffset) + number * GT_BYTES;
  if ((number + 1) * GT_SECTORS > header.grainTablesSize) {
    throw wrong('corrupt', `there is room for ${Math.floor(header.grainTablesSize / GT_SECTORS)} tables`);
  }
  if (place + GT_BYTES > source.size) {
    throw wrong('truncated', `table ${number} passes the end of the file at ${source.size}`);
  }
  return place;
}

interface Table {
  source: ByteSource;
  header: ConstHeader;
  /** First byte of the extent that it maps. */
  origin: number;
  /** Its byte offset. */
  at: number;
  gtes: Entries;
}

function* grains(table: Table, part: Window, out: BatchBuilder): Generator<ExtentBatch> {
  const { origin } = table;
  const end = Math.ceil((part.to - origin) / GRAIN_BYTES);
  for (let i = Math.floor((part.from - origin) / GRAIN_BYTES); i < end; ) {
    if (out.full) {
      yield out.take();
    }
    const place = placeOf(table, i, part.to);
    let next = i + 1;
    // Grains that follow one another, or say the same: one extent.
    for (const step = place < 0 ? 0 : GRAIN_BYTES; next < end; next += 1) {
      if (placeOf(table, next, part.to) !== place + (next - i) * step) {
        break;
      }
    }
    const grain = origin + i * GRAIN_BYTES;
    const from = Math.max(part.from, grain);
    const length = Math.min(part.to, origin + next * GRAIN_BYTES) - from;
    if (place < 0) {
      out.push(part.base + from, length, place === ZERO ? Kind.zero : Kind.unallocated);
    } else {
      out.push(part.base + from, length, Kind.data, part.file, place + (from - grain));
    }
    i = next;
  }
}

/** What {@link placeOf} gives for a grain that has no place. */
const UNALLOCATED = -1;
const ZERO = -2;

/** Byte offset of grain `i` of a table, {@link UNALLOCATED} or {@link ZERO}. Only what the disk has below `end` must be there. */
function placeOf({ source, header, origin, at, gtes }: Table, i: number, end: number): number {
  const [low, high] = [gtes[2 * i] as number, gtes[2 * i + 1] as number];
  const type = high >>> 28;
  const wrong = (code: 'corrupt' | 'truncated', says: string) =>
    illegalValue(
      code,
      `grain table at ${showNumber(at)}`,
      `entry ${i}`,
      `0x${hex(high)}${hex(low)}`,
      { file: source.name, format: 'vmdk' },
      at + i * ENTRY_BYTES,
      says,
    );
  switch (type) {
    case GrainType.unallocated:
      if (high !== 0 || low !== 0) {
        throw wrong('corrupt', 'an unallocated grain is 0; seSparse 2.1 §Grain table');
      }
      return UNALLOCATED;
    case GrainType.unmapped:
    case GrainType.zero:
      return ZERO;
    case GrainType.allocated: {
      // The low 12 bits of a grain's number lie above its high 48.
      const number = ((high & 0xffff) * 2 ** 32 + low) * 4096 + ((high >>> 16) & 0xfff);
      const place = sectorsToBytes(header.grainsOffset) + number * GRAIN_BYTES;
      if (place + Math.min(GRAIN_BYTES, end - origin - i * GRAIN_BYTES) > source.size) {
        throw wrong('truncated', `grain ${number} passes the end of the file at ${source.size}`);
      }
      return place;
    }
    default:
      throw wrong('corrupt', `a grain of type ${type}, which is none; seSparse 2.1 §Grain table`);
  }
}

async function readPairs(source: ByteSource, at: number, count: number, what: string): Promise<Entries> {
  const bytes = await source.read(at, count * ENTRY_BYTES, what);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const halves = new Uint32Array(2 * count);
  for (let i = 0; i < halves.length; i += 1) {
    halves[i] = view.getUint32(i * 4, true);
  }
  return halves;
}

function hex(half: number): string {
  return half.toString(16).padStart(8, '0');
}
