/** QCOW2 §Extended L2 Entries: a cluster of 32 subclusters, each with two bits of its own. */
import { type BatchBuilder, Kind } from '../../map/extents.ts';
import { clusterOffset, illegalEntry, isPlaced, pushCompressed, pushData, type TablePart } from './entries.ts';
import { Entry, EXTENDED_ENTRY_BYTES, SUBCLUSTERS } from './layout.ts';

/**
 * Decodes entries until `out` is full. A cluster may become many extents, so progress is counted in subclusters, from
 * `i` on. @returns the first subcluster that was not taken.
 */
export function decodeSubclusters(table: TablePart, i: number, out: BatchBuilder): number {
  const { entries, guest, from, to } = table;
  const { clusterSize } = table.header;
  const size = clusterSize / SUBCLUSTERS;
  const count = (entries.byteLength / EXTENDED_ENTRY_BYTES) * SUBCLUSTERS;
  let at = i;
  while (at < count && !out.full) {
    const first = at % SUBCLUSTERS;
    const index = (at - first) / SUBCLUSTERS;
    const entry = index * EXTENDED_ENTRY_BYTES;
    const high = entries.getUint32(entry);
    const low = entries.getUint32(entry + 4);
    const zero = entries.getUint32(entry + 8);
    const allocated = entries.getUint32(entry + 12);
    const start = Math.max(from, guest + at * size);
    if ((high & Entry.compressedHigh) !== 0) {
      if ((zero | allocated) !== 0) {
        throw illegalEntry(table, index, 'a compressed cluster has no subclusters; QCOW2 §Extended L2 Entries');
      }
      const stop = Math.min(to, guest + (index + 1) * clusterSize);
      pushCompressed(table, index, high, low, start, stop - start, out);
      at += SUBCLUSTERS;
      continue;
    }
    const offset = placeOf(table, index, high, low, zero, allocated);
    const end = runEnd(zero, allocated, first);
    at += end - first;
    const stop = Math.min(to, guest + at * size);
    // A range may begin or end inside a cluster: of its other subclusters nothing is wanted.
    if (start < stop) {
      if (bit(allocated, first) === 1) {
        pushData(table, index, offset, start, stop - start, out);
      } else {
        out.push(start, stop - start, bit(zero, first) === 1 ? Kind.zero : Kind.unallocated);
      }
    }
  }
  return at;
}

/** Where the run of subclusters that say the same as `first` ends. */
function runEnd(zero: number, allocated: number, first: number): number {
  const differ = ((zero ^ -bit(zero, first)) | (allocated ^ -bit(allocated, first))) >>> first;
  // The lowest bit that is set.
  return differ === 0 ? SUBCLUSTERS : first + 31 - Math.clz32(differ & -differ);
}

function bit(bits: number, n: number): number {
  return (bits >>> n) & 1;
}

/** The cluster's host offset; the combinations that mean nothing are refused, as QEMU does. */
function placeOf(table: TablePart, index: number, high: number, low: number, zero: number, allocated: number): number {
  const offset = clusterOffset(table, index, high, low);
  if ((low & Entry.zeroLow) !== 0) {
    throw illegalEntry(table, index, 'bit 0 is reserved here; QCOW2 §Extended L2 Entries');
  }
  if ((zero & allocated) !== 0) {
    throw illegalEntry(table, index, 'a subcluster is allocated and zero at once; QCOW2 §Extended L2 Entries');
  }
  if (allocated !== 0 && !isPlaced(table, high, offset)) {
    throw illegalEntry(table, index, 'subclusters are allocated in no cluster; QCOW2 §Extended L2 Entries');
  }
  return offset;
}
