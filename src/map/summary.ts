import { type BlockMap, Kind } from './extents.ts';

export interface MapSummary {
  /** As they were streamed; after `coalesce` the count does not depend on batches. */
  extents: number;
  /** Guest bytes of each kind. */
  unallocated: number;
  zero: number;
  data: number;
  compressed: number;
}

/** Walks a map to its end and adds up. */
export async function summary(map: BlockMap): Promise<MapSummary> {
  const bytes = new Float64Array(4);
  let extents = 0;
  for await (const batch of map) {
    extents += batch.count;
    for (let i = 0; i < batch.count; i += 1) {
      const kind = batch.kind[i] as number;
      bytes[kind] = (bytes[kind] as number) + (batch.length[i] as number);
    }
  }
  return {
    extents,
    unallocated: bytes[Kind.unallocated] as number,
    zero: bytes[Kind.zero] as number,
    data: bytes[Kind.data] as number,
    compressed: bytes[Kind.compressed] as number,
  };
}
