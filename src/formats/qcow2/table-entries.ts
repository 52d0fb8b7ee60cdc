/** Encodes entries of L1 and L2 tables. */
import type { Geometry } from './geometry.ts';
import { ENTRY_BYTES, Entry } from './layout.ts';

const HIGH = 2 ** 32;
const ALL_SUBCLUSTERS = 0xffffffff;

/** Writes an entry at byte `at` of a table: `flags` are bits of the high half that a host offset does not reach. */
export function setEntry(table: DataView, at: number, flags: number, offset: number): void {
  const low = offset % HIGH;
  table.setUint32(at, flags + (offset - low) / HIGH);
  table.setUint32(at + 4, low);
}

/** QCOW2 §Standard Cluster Descriptor: a cluster that is used once. Extended: all its subclusters are allocated. */
export function setStandard(table: DataView, entry: number, { l2EntrySize }: Geometry, offset: number): void {
  setEntry(table, entry * l2EntrySize, Entry.copiedHigh, offset);
  if (l2EntrySize !== ENTRY_BYTES) {
    table.setUint32(entry * l2EntrySize + 12, ALL_SUBCLUSTERS);
  }
}

/** A cluster that reads as zeros and has no place: the zero flag, or QCOW2 §Extended L2 Entries, that of each subcluster. */
export function setZero(table: DataView, entry: number, { l2EntrySize }: Geometry): void {
  if (l2EntrySize === ENTRY_BYTES) {
    setEntry(table, entry * l2EntrySize, 0, Entry.zeroLow);
  } else {
    table.setUint32(entry * l2EntrySize + 8, ALL_SUBCLUSTERS);
  }
}
