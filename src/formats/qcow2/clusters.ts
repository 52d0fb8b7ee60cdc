/** QCOW2 §L2 table entry: what a guest cluster is, and where. */
import { type BatchBuilder, Kind } from '../../map/extents.ts';
import { clusterOffset, illegalEntry, isPlaced, pushCompressed, pushData, type TablePart } from './entries.ts';
import { Entry } from './layout.ts';

const HIGH = 2 ** 32;

/** Decodes entries from `i` on until `out` is full. @returns the first entry that was not taken. */
export function decodeClusters(table: TablePart, i: number, out: BatchBuilder): number {
  const { entries, guest, from, to } = table;
  const { clusterSize, version, l1TableOffset } = table.header;
  const count = entries.byteLength / 8;
  const l1End = l1TableOffset + table.header.l1Size * 8;
  // Most entries are plain clusters in the image itself: for them these few steps are all that is done.
  const usualEnd = table.data.external ? 0 : table.data.size;
  const unusualLow = clusterSize - 1;
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
    const length = (to < cluster + clusterSize ? to : cluster + clusterSize) - start;
    if ((high & Entry.unusualHigh) === 0 && (low & unusualLow) === 0) {
      const offset = (high & Entry.offsetHigh) * HIGH + (low >>> 0); // u32
      const data = offset + (start - cluster);
      if (offset !== 0 && data + length <= usualEnd && (offset < l1TableOffset || offset >= l1End)) {
        out.push(start, length, Kind.data, 0, data);
        continue;
      }
    }
    if ((high & Entry.compressedHigh) !== 0) {
      pushCompressed(table, index - 1, high, low, start, length, out);
      continue;
    }
    const offset = clusterOffset(table, index - 1, high, low);
    if ((low & Entry.zeroLow) !== 0) {
      if (version === 2) {
        throw illegalEntry(table, index - 1, 'version 2 has no zero flag; QCOW2 §Standard Cluster Descriptor');
      }
      out.push(start, length, Kind.zero);
    } else if (isPlaced(table, high, offset)) {
      pushData(table, index - 1, offset, start, length, out);
    } else {
      // COPIED without an offset: qemu writes it for clusters that it has given up.
      out.push(start, length, Kind.unallocated);
    }
  }
  return index;
}
