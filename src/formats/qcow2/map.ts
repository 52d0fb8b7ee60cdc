/**
 * QCOW2 §Cluster mapping: the block map that L1 and L2 tables say. Tables are read as the map is asked for, L2 tables
 * that follow each other in the file together, so memory does not depend on the size of the disk. Every loop runs over
 * guest addresses: tables that refer to each other or are used twice cost nothing extra.
 */
import { VdconvError } from '../../base/errors.ts';
import { illegalValue } from '../../base/struct.ts';
import { alignDown, alignUp, divCeil, MiB } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import { BatchBuilder, type BlockMap, Kind } from '../../map/extents.ts';
import { decodeClusters } from './clusters.ts';
import { type DataPlace, inL1, type TablePart } from './entries.ts';
import type { Header } from './header.ts';
import { ENTRY_BYTES, Entry, SUBCLUSTERS } from './layout.ts';
import { decodeSubclusters } from './subclusters.ts';

/** Bytes of a table read at a time; an L2 table of 2 MiB is read whole all the same. */
const PIECE = MiB;
const HIGH = 2 ** 32;

/** The block map of [start, end). Entries beyond `end` are neither read nor judged. */
export async function* blockMap(
  source: ByteSource,
  header: Header,
  data: DataPlace,
  start: number,
  end: number,
): BlockMap {
  const { clusterSize, l2EntrySize } = header;
  const span = clusterSize * (clusterSize / l2EntrySize);
  const out = new BatchBuilder();
  const last = divCeil(end, span);
  for (let first = alignDown(start, span) / span; first < last; ) {
    const count = Math.min(PIECE / 8, last - first);
    const bytes = await source.read(header.l1TableOffset + first * 8, count * 8, 'QCOW2 L1 table');
    const offsets = decodeL1(bytes, header, first, source.size);
    for (let i = 0; i < count; ) {
      const tables = adjacentTables(offsets, i, clusterSize);
      const from = Math.max(start, (first + i) * span);
      i += tables;
      const to = Math.min(end, (first + i) * span);
      const offset = offsets[i - tables] as number;
      if (offset === 0) {
        if (out.full) {
          yield out.take();
        }
        out.push(from, to - from, Kind.unallocated);
      } else {
        const guest = (first + i - tables) * span;
        yield* mapTables(source, { header, data, guest, from, to, fileSize: source.size }, offset, out);
      }
    }
    first += count;
  }
  if (out.count > 0) {
    yield out.take();
  }
}

/** Maps [from, to), of which the L2 tables at `offset` map all; the first of them begins at guest offset `guest`. */
async function* mapTables(
  source: ByteSource,
  part: Omit<TablePart, 'entries' | 'tableAt'>,
  offset: number,
  out: BatchBuilder,
): BlockMap {
  const { header, guest, from, to } = part;
  const { clusterSize, l2EntrySize } = header;
  const first = alignDown(from, clusterSize);
  const tableAt = offset + ((first - guest) / clusterSize) * l2EntrySize;
  const count = (alignUp(to, clusterSize) - first) / clusterSize;
  const length = count * l2EntrySize;
  if (tableAt + length > source.size) {
    const what = `L2 table at offset ${offset} is needed up to ${tableAt + length}, the file ends at ${source.size}`;
    throw new VdconvError('truncated', what, { ...header.origin, field: 'L2 table', offset });
  }
  const bytes = await source.read(tableAt, length, 'QCOW2 L2 table');
  const entries = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const table: TablePart = { ...part, entries, tableAt, guest: first };
  const [decode, units] =
    l2EntrySize === ENTRY_BYTES ? [decodeClusters, count] : [decodeSubclusters, count * SUBCLUSTERS];
  for (let i = decode(table, 0, out); i < units; i = decode(table, i, out)) {
    yield out.take();
  }
}

/** QCOW2 §L1 table entry. @returns the L2 offsets, 0 where there is no table. */
function decodeL1(bytes: Uint8Array, header: Header, first: number, fileSize: number): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const offsets = new Float64Array(bytes.length / 8);
  for (let i = 0; i < offsets.length; i += 1) {
    const high = view.getUint32(i * 8);
    const low = view.getUint32(i * 8 + 4);
    if ((high | low) === 0) {
      continue;
    }
    const offset = (high & Entry.offsetHigh) * HIGH + ((low & Entry.offsetLow) >>> 0); // u32
    const at = header.l1TableOffset + (first + i) * 8;
    const fault = (says: string) => {
      const value = `0x${high.toString(16).padStart(8, '0')}${low.toString(16).padStart(8, '0')}`;
      return illegalValue('corrupt', 'QCOW2 L1 table', `entry ${first + i}`, value, header.origin, at, says);
    };
    if ((high & Entry.l1ReservedHigh) !== 0 || (low & Entry.l1ReservedLow) !== 0) {
      throw fault('bits 0 to 8 and 56 to 62 are reserved; QCOW2 §L1 table entry');
    }
    if (offset % header.clusterSize !== 0) {
      throw fault(`its L2 table must begin at a multiple of the cluster size ${header.clusterSize}`);
    }
    if (inL1(header, offset)) {
      throw fault('its L2 table would lie inside the L1 table');
    }
    if (offset >= fileSize) {
      const what = `L1 table: entry ${first + i} at offset ${at} has its L2 table at ${offset}, the file ends at ${fileSize}`;
      throw new VdconvError('truncated', what, { ...header.origin, field: `L1 entry ${first + i}`, offset: at });
    }
    offsets[i] = offset;
  }
  return offsets;
}

/** How many entries from `i` on have no table, or else tables one after the other in the file that fit into a piece. */
function adjacentTables(offsets: Float64Array, i: number, clusterSize: number): number {
  const first = offsets[i] as number;
  const step = first === 0 ? 0 : clusterSize;
  const most = first === 0 ? offsets.length : Math.max(1, PIECE / clusterSize);
  let n = 1;
  while (n < most && i + n < offsets.length && offsets[i + n] === first + n * step) {
    n += 1;
  }
  return n;
}
