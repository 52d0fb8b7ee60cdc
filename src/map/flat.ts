import type { Layout } from './layout.ts';

/** Guest byte n at n: raw files, flat extents, and how a read fills memory. */
export const FLAT: Layout = {
  kind: 'flat',
  dataStart: 0,
  blockSize: 4096,
  dataAlign: 1,
  dataPhase: 0,
  prefixBytes: 0,
  prefixFill: 0,
};
