import type { ByteSource } from '../io/types.ts';

/** Where extents of kind `data` and `compressed` point: one entry an open file. */
export interface DataFile {
  source: ByteSource;
  /** How `compressed` extents of this file are stored. */
  codec?: SourceCodec;
}

export interface SourceCodec {
  /** `deflate` is RFC 1951, `zlib` RFC 1950, `zstd` RFC 8878 (one frame or several, with anything behind them). */
  name: 'deflate' | 'zlib' | 'zstd';
  /** Decoded bytes of one unit; the last unit of the disk may decode to fewer. Power of two, at most 4 MiB. */
  unit: number;
  /**
   * `grain-marker`: the stored bytes begin with VMDK's marker (u64 LE sector of the unit, u32 LE length), which is
   * checked against the unit's place; `none`: the stream begins at the extent's offset.
   */
  framing: 'none' | 'grain-marker';
}
