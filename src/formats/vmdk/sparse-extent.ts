/** What every family of sparse extents (hosted, COWD, seSparse) is to the disk that it belongs to. */
import type { Sectors } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import type { BatchBuilder, ExtentBatch } from '../../map/extents.ts';

export interface SparseExtent {
  source: ByteSource;
  /** Of the guest's disk. */
  capacity: Sectors;
  /** The header's field that says so, for errors. */
  capacityField: { name: string; offset: number };
  grainBytes: number;
  /** Each grain is a zlib stream behind a marker. */
  compressed: boolean;
  /** It was not closed. */
  dirty: boolean;
  warnings: string[];
  /** Fields of its header, for `info`. */
  details: Readonly<Record<string, unknown>>;
  /** Pushes the extents of `window` to `out`, and yields batches as they fill; the last stays in `out`. */
  extents(window: Window, out: BatchBuilder): AsyncGenerator<ExtentBatch>;
}

/** What a part of an extent becomes in the block map. */
export interface Window {
  /** Bytes of the extent, [from, to). */
  from: number;
  to: number;
  /** Guest byte at which the extent begins. */
  base: number;
  /** Index of its file in `dataFiles`. */
  file: number;
}
