/** QCOW2 §L2 table entry: what a guest cluster is, and where. */
import { VdconvError } from '../../base/errors.ts';
import { illegalValue } from '../../base/struct.ts';
import { SECTOR } from '../../base/units.ts';
import { type BatchBuilder, Kind } from '../../map/extents.ts';
import type { Header } from './header.ts';
import { compressedOffsetBits, Entry, MAX_OFFSET_BITS } from './layout.ts';

const HIGH = 2 ** 32;

/** A part of an L2 table, or of several that follow each other in the file and on the disk. */
export interface TablePart {
  header: Header;
  entries: DataView;
  /** File offset of the first entry. */
  tableAt: number;
  /** Guest offset of the first entry's cluster; the map is wanted for [from, to) only. */
  guest: number;
  from: number;
  to: number;
  fileSize: number;
}

/** Decodes entries from `i` on until `out` is full. @returns the first entry that was not taken. */
export function decodeClusters(table: TablePart, i: number, out: BatchBuilder): number {
  const { entries, guest, from, to } = table;
  const { clusterSize, version } = table.header;
  const count = entries.byteLength / 8;
  let index = i;
  while (index < count && !out.full) {
    const high = entries.getUint32(index * 8);
    const low = entries.getUint32(index * 8 + 4);
    const cluster = guest + index * clusterSize;
    const start = cluster < from ? from : cluster;
    index += 1;
    if ((high | low) === 0) {
      while (index < count && entries.getUint32(index * 8) === 0 && entries.getUint32(index * 8 + 4) === 0) {
        index += 1;
      }
      const stop = Math.min(to, guest + index * clusterSize);
      out.push(start, stop - start, Kind.unallocated);
      continue;
    }
    const length = Math.min(to, cluster + clusterSize) - start;
    if ((high & Entry.compressedHigh) !== 0) {
      pushCompressed(table, index - 1, high, low, start, length, start - cluster, out);
      continue;
    }
    const offset = (high & Entry.offsetHigh) * HIGH + ((low & Entry.offsetLow) >>> 0); // u32
    if ((high & Entry.l2ReservedHigh) !== 0 || (low & Entry.l2ReservedLow) !== 0) {
      throw illegalEntry(table, index - 1, 'bits 1 to 8 and 56 to 61 are reserved; QCOW2 §Standard Cluster Descriptor');
    }
    if ((low & (clusterSize - 1) & Entry.offsetLow) !== 0) {
      throw illegalEntry(table, index - 1, `clusters begin at multiples of the cluster size ${clusterSize}`);
    }
    if ((low & Entry.zeroLow) !== 0) {
      if (version === 2) {
        throw illegalEntry(table, index - 1, 'version 2 has no zero flag; QCOW2 §Standard Cluster Descriptor');
      }
      out.push(start, length, Kind.zero);
    } else if (offset === 0) {
      // COPIED without an offset: qemu writes it for clusters that it has given up.
      out.push(start, length, Kind.unallocated);
    } else {
      const data = offset + (start - cluster);
      if (data + length > table.fileSize || inL1(table.header, offset)) {
        throw badPlace(table, index - 1, offset, data + length);
      }
      out.push(start, length, Kind.data, 0, data);
    }
  }
  return index;
}

/**
 * The descriptor counts sectors, so `stored` is a bound on the stream and not its length: the last sector is seldom
 * used up and may lie beyond the end of the file, which need not end at a sector either (QEMU ends it with the stream).
 * So the stream's end must be judged by whoever decodes it; here only a start that is not in the file, or a region
 * that ends a whole cluster behind it, which QEMU's check calls an error too.
 */
function pushCompressed(
  table: TablePart,
  index: number,
  high: number,
  low: number,
  start: number,
  length: number,
  skip: number,
  out: BatchBuilder,
): void {
  const { clusterBits, clusterSize } = table.header;
  const x = compressedOffsetBits(clusterBits) - 32;
  const offset = (high & (2 ** x - 1)) * HIGH + low;
  const additionalSectors = (high & (Entry.compressedHigh - 1)) >>> x;
  const stored = (additionalSectors + 1) * SECTOR - (offset % SECTOR);
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

function illegalEntry(table: TablePart, index: number, says: string): VdconvError {
  const at = table.tableAt + index * 8;
  const hex = (half: number) => table.entries.getUint32(half).toString(16).padStart(8, '0');
  const value = `0x${hex(index * 8)}${hex(index * 8 + 4)}`;
  const name = `entry of guest offset ${table.guest + index * table.header.clusterSize}`;
  return illegalValue('corrupt', 'QCOW2 L2 table', name, value, table.header.origin, at, says);
}

/**
 * Every byte that the guest sees must be in the file. What a last cluster has beyond the end of the disk may be missing:
 * older QEMU did not write it. Missing bytes before that are a truncated file, though QEMU reads them as zeros.
 */
function badPlace(table: TablePart, index: number, offset: number, end: number): VdconvError {
  if (inL1(table.header, offset)) {
    return illegalEntry(table, index, 'it points into the L1 table');
  }
  const at = table.tableAt + index * 8;
  const guest = table.guest + index * table.header.clusterSize;
  const what = `L2 table: the cluster of guest offset ${guest} lies at ${offset} to ${end}, the file ends at ${table.fileSize}`;
  return new VdconvError('truncated', `${what} (entry at offset ${at})`, {
    ...table.header.origin,
    field: 'L2 table',
    offset: at,
  });
}
