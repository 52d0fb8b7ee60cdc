/** What the decoders of L2 entries share: a part of a table, the place of a cluster, and what is wrong with an entry. */
import { VdconvError } from '../../base/errors.ts';
import { illegalValue } from '../../base/struct.ts';
import { SECTOR } from '../../base/units.ts';
import { type BatchBuilder, Kind } from '../../map/extents.ts';
import type { Header } from './header.ts';
import { compressedOffsetBits, Entry, MAX_OFFSET_BITS } from './layout.ts';

const HIGH = 2 ** 32;

/** Where the guest's bytes lie: in the image itself, or QCOW2 §External data file. */
export interface DataPlace {
  external: boolean;
  /** Bytes of the file that holds plain clusters. */
  size: number;
}

/** A part of an L2 table, or of several that follow each other in the file and on the disk. */
export interface TablePart {
  header: Header;
  data: DataPlace;
  entries: DataView;
  /** File offset of the first entry. */
  tableAt: number;
  /** Guest offset of the first entry's cluster; the map is wanted for [from, to) only. */
  guest: number;
  from: number;
  to: number;
  fileSize: number;
}

/** QCOW2 §Standard Cluster Descriptor: the host offset, aligned, its reserved bits proved to be clear. */
export function clusterOffset(table: TablePart, index: number, high: number, low: number): number {
  const { clusterSize } = table.header;
  if ((high & Entry.l2ReservedHigh) !== 0 || (low & Entry.l2ReservedLow) !== 0) {
    throw illegalEntry(table, index, 'bits 1 to 8 and 56 to 61 are reserved; QCOW2 §Standard Cluster Descriptor');
  }
  if ((low & (clusterSize - 1) & Entry.offsetLow) !== 0) {
    throw illegalEntry(table, index, `clusters begin at multiples of the cluster size ${clusterSize}`);
  }
  return (high & Entry.offsetHigh) * HIGH + ((low & Entry.offsetLow) >>> 0); // u32
}

/**
 * Whether an entry without zero flag has a place: its offset is not 0, or QCOW2 §External data file, where the offset of
 * the first cluster is 0, COPIED says so.
 */
export function isPlaced(table: TablePart, high: number, offset: number): boolean {
  return offset !== 0 || (table.data.external && (high & Entry.copiedHigh) !== 0);
}

/** Plain bytes for guest bytes [start, start + length), which lie in the cluster at `offset`. */
export function pushData(
  table: TablePart,
  index: number,
  offset: number,
  start: number,
  length: number,
  out: BatchBuilder,
): void {
  const cluster = table.guest + index * table.header.clusterSize;
  const { external, size } = table.data;
  if (external && offset !== cluster) {
    throw illegalEntry(
      table,
      index,
      'in an external data file a cluster lies at its guest offset; QCOW2 §External data file',
    );
  }
  const data = offset + (start - cluster);
  if (data + length > size || (!external && inL1(table.header, offset))) {
    throw badPlace(table, index, offset, data + length);
  }
  out.push(start, length, Kind.data, 0, data);
}

/**
 * The descriptor counts sectors, so `stored` is a bound on the stream and not its length: the last sector is seldom
 * used up and may lie beyond the end of the file, which need not end at a sector either (QEMU ends it with the stream).
 * So the stream's end must be judged by whoever decodes it; here only a start that is not in the file, or a region
 * that ends a whole cluster behind it, which QEMU's check calls an error too.
 */
export function pushCompressed(
  table: TablePart,
  index: number,
  high: number,
  low: number,
  start: number,
  length: number,
  out: BatchBuilder,
): void {
  const { clusterBits, clusterSize } = table.header;
  const skip = start - (table.guest + index * clusterSize);
  const x = compressedOffsetBits(clusterBits) - 32;
  const offset = (high & (2 ** x - 1)) * HIGH + low;
  const additionalSectors = (high & (Entry.compressedHigh - 1)) >>> x;
  const stored = (additionalSectors + 1) * SECTOR - (offset % SECTOR);
  if (table.data.external) {
    throw illegalEntry(table, index, 'an external data file has no compressed clusters; QCOW2 §External data file');
  }
  if (offset >= 2 ** MAX_OFFSET_BITS) {
    throw illegalEntry(table, index, 'offset bits above 55 are reserved; QCOW2 §Compressed Clusters Descriptor');
  }
  if (offset < clusterSize) {
    throw illegalEntry(table, index, 'the first cluster holds the header');
  }
  if (offset >= table.fileSize || offset + stored >= table.fileSize + clusterSize) {
    throw badPlace(table, index, offset, offset + stored);
  }
  out.push(start, length, Kind.compressed, 0, offset, stored, skip);
}

/** Whether the cluster at `offset` is one of the L1 table's: never data or an L2 table. */
export function inL1({ l1TableOffset, l1Size }: Header, offset: number): boolean {
  return offset >= l1TableOffset && offset < l1TableOffset + l1Size * 8;
}

export function illegalEntry({ header, entries, tableAt, guest }: TablePart, index: number, says: string): VdconvError {
  const { l2EntrySize, clusterSize, origin } = header;
  let value = '0x';
  for (let at = index * l2EntrySize; at < (index + 1) * l2EntrySize; at += 4) {
    value += entries.getUint32(at).toString(16).padStart(8, '0');
  }
  const name = `entry of guest offset ${guest + index * clusterSize}`;
  return illegalValue('corrupt', 'QCOW2 L2 table', name, value, origin, tableAt + index * l2EntrySize, says);
}

/**
 * Every byte that the guest sees must be in the file. What a last cluster has beyond the end of the disk may be missing:
 * older QEMU did not write it. Missing bytes before that are a truncated file, though QEMU reads them as zeros.
 */
function badPlace(table: TablePart, index: number, offset: number, end: number): VdconvError {
  if (!table.data.external && inL1(table.header, offset)) {
    return illegalEntry(table, index, 'it points into the L1 table');
  }
  const at = table.tableAt + index * table.header.l2EntrySize;
  const guest = table.guest + index * table.header.clusterSize;
  const file = table.data.external ? `the data file ends at ${table.data.size}` : `the file ends at ${table.fileSize}`;
  const what = `L2 table: the cluster of guest offset ${guest} lies at ${offset} to ${end}, ${file}`;
  return new VdconvError('truncated', `${what} (entry at offset ${at})`, {
    ...table.header.origin,
    field: 'L2 table',
    offset: at,
  });
}
