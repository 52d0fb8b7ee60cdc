/** An allocation, handed to a writer a little at a time. */
import type { Allocation } from '../map/layout.ts';

/**
 * A writer may make a table of each entry, and a run of a whole table's blocks is one entry: a log of 64 Ki entries
 * would become gigabytes of tables at once.
 */
const ENTRIES = 64;

export function* partsOf(allocation: Allocation): Generator<Allocation> {
  const { count, kind, index, blocks, offset, stored } = allocation;
  for (let at = 0; at < count; at += ENTRIES) {
    const end = Math.min(count, at + ENTRIES);
    yield {
      count: end - at,
      kind: kind.subarray(at, end),
      index: index.subarray(at, end),
      blocks: blocks.subarray(at, end),
      offset: offset.subarray(at, end),
      stored: stored.subarray(at, end),
    };
  }
}
