/** What the size of a disk decides about its image: the tables in front, and whether the format can hold it. */
import { VdconvError } from '../../base/errors.ts';
import { divCeil, formatSize } from '../../base/units.ts';
import { l1EntriesNeeded } from './header.ts';
import { compressedOffsetBits, ENTRY_BYTES, MAX_L1_BYTES, MAX_REFCOUNT_TABLE_BYTES } from './layout.ts';
import { MAX_CLUSTER } from './options.ts';

/** 16-bit refcounts: the default of QEMU, and the only width of version 2. */
export const REFCOUNT_ORDER = 4;
export const REFCOUNT_BYTES = 2;

/** Offsets are exact as numbers up to here. */
const MAX_SAFE_BITS = 53;

/** In front: header (one cluster) | refcount table | L1 table. */
export interface Geometry {
  clusterBits: number;
  clusterSize: number;
  virtualSize: number;
  refcountTableOffset: number;
  refcountTableClusters: number;
  l1TableOffset: number;
  l1Size: number;
  /** Clusters in front of everything that is allocated. */
  frontClusters: number;
}

/** Throws `limit` where the format cannot hold the disk, naming the next cluster size that would do, if any. */
export function layOut(virtualSize: number, clusterSize: number, compress: boolean): Geometry {
  const geometry = measure(virtualSize, clusterSize, compress);
  if (geometry !== undefined) {
    return geometry;
  }
  let larger = clusterSize * 2;
  while (larger <= MAX_CLUSTER && measure(virtualSize, larger, compress) === undefined) {
    larger *= 2;
  }
  const what = `a disk of ${formatSize(virtualSize)} is too large for QCOW2 with clusters of ${formatSize(clusterSize)}`;
  const hint = larger <= MAX_CLUSTER ? `use -o cluster_size=${larger}` : undefined;
  throw new VdconvError('limit', what, { format: 'qcow2', hint });
}

/**
 * The refcount table is in front, so it is made for the most that the image can have: B clusters besides refcount blocks
 * (header, refcount table, L1, every L2 table, and one cluster for each of the guest's: a compressed one takes a new
 * host cluster or none), and S blocks of E refcounts each. The least S = ceil((B + S) / E) is enough: block k is placed
 * only where k * E clusters are taken and another one follows, so a block S, the next one, would need more than
 * S * E >= B + S clusters. (An image without data has no other one; its B is smaller by those of the guest.)
 */
function measure(virtualSize: number, clusterSize: number, compress: boolean): Geometry | undefined {
  const l1Needed = l1EntriesNeeded(virtualSize, clusterSize, ENTRY_BYTES);
  // Readers exist that refuse a table of no entries.
  const l1Size = Math.max(1, l1Needed);
  const l1Clusters = divCeil(l1Size * 8, clusterSize);
  const guestClusters = divCeil(virtualSize, clusterSize);
  let refcountTableClusters = 1;
  let total = 0;
  for (let blocks = 1, before = 0; blocks !== before; ) {
    before = blocks;
    refcountTableClusters = divCeil(blocks * 8, clusterSize);
    total = 1 + refcountTableClusters + l1Clusters + l1Needed + guestClusters + blocks;
    blocks = divCeil(total, clusterSize / REFCOUNT_BYTES);
  }
  const clusterBits = Math.log2(clusterSize);
  const offsetBits = compress ? Math.min(MAX_SAFE_BITS, compressedOffsetBits(clusterBits)) : MAX_SAFE_BITS;
  if (
    l1Size * 8 > MAX_L1_BYTES ||
    refcountTableClusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES ||
    total * clusterSize > 2 ** offsetBits
  ) {
    return undefined;
  }
  return {
    clusterBits,
    clusterSize,
    virtualSize,
    refcountTableOffset: clusterSize,
    refcountTableClusters,
    l1TableOffset: (1 + refcountTableClusters) * clusterSize,
    l1Size,
    frontClusters: 1 + refcountTableClusters + l1Clusters,
  };
}
