/** What the size of a disk decides about its image: the tables in front, and whether the format can hold it. */
import { VdconvError } from '../../base/errors.ts';
import { divCeil, formatSize } from '../../base/units.ts';
import { l1EntriesNeeded } from './header.ts';
import {
  compressedOffsetBits,
  ENTRY_BYTES,
  EXTENDED_ENTRY_BYTES,
  MAX_L1_BYTES,
  MAX_REFCOUNT_TABLE_BYTES,
} from './layout.ts';
import { MAX_CLUSTER, type Settings } from './options.ts';

/** Offsets are exact as numbers up to here. */
const MAX_SAFE_BITS = 53;

/** In front: header (one cluster) | refcount table | L1 table. */
export interface Geometry {
  settings: Settings;
  clusterBits: number;
  clusterSize: number;
  /** Bytes of an L2 entry, and entries of an L2 table. */
  l2EntrySize: number;
  l2Entries: number;
  /** Host clusters whose reference counts a refcount block holds. */
  refcountsPerBlock: number;
  virtualSize: number;
  refcountTableOffset: number;
  refcountTableClusters: number;
  l1TableOffset: number;
  l1Size: number;
  /** Clusters in front of everything that is allocated. */
  frontClusters: number;
}

/** Throws `limit` where the format cannot hold the disk, naming the next cluster size that would do, if any. */
export function layOut(virtualSize: number, settings: Settings, compress: boolean): Geometry {
  const { clusterSize } = settings;
  const geometry = measure(virtualSize, settings, compress);
  if (geometry !== undefined) {
    return geometry;
  }
  let larger = clusterSize * 2;
  while (larger <= MAX_CLUSTER && measure(virtualSize, { ...settings, clusterSize: larger }, compress) === undefined) {
    larger *= 2;
  }
  const what = `a disk of ${formatSize(virtualSize)} is too large for QCOW2 with clusters of ${formatSize(clusterSize)}`;
  const hint = larger <= MAX_CLUSTER ? `use -o cluster_size=${larger}` : undefined;
  throw new VdconvError('limit', what, { format: 'qcow2', hint });
}

/**
 * The refcount table is in front, so it is made for the most that the image can have: B clusters besides refcount blocks
 * (header, refcount table, L1, every L2 table, and one cluster for each of the guest's: a compressed one takes a new
 * host cluster or none, one in a data file none), and S blocks of E refcounts each. The least S = ceil((B + S) / E) is enough: block k is placed
 * only where k * E clusters are taken and another one follows, so a block S, the next one, would need more than
 * S * E >= B + S clusters. (An image without data has no other one; its B is smaller by those of the guest.)
 */
function measure(virtualSize: number, settings: Settings, compress: boolean): Geometry | undefined {
  const { clusterSize, refcountBits } = settings;
  const l2EntrySize = settings.extendedL2 ? EXTENDED_ENTRY_BYTES : ENTRY_BYTES;
  const l1Needed = l1EntriesNeeded(virtualSize, clusterSize, l2EntrySize);
  // Readers exist that refuse a table of no entries.
  const l1Size = Math.max(1, l1Needed);
  const l1Clusters = divCeil(l1Size * 8, clusterSize);
  const guestClusters = settings.dataFile === '' ? divCeil(virtualSize, clusterSize) : 0;
  const refcountsPerBlock = (clusterSize * 8) / refcountBits;
  let refcountTableClusters = 1;
  let total = 0;
  for (let blocks = 1, before = 0; blocks !== before; ) {
    before = blocks;
    refcountTableClusters = divCeil(blocks * 8, clusterSize);
    total = 1 + refcountTableClusters + l1Clusters + l1Needed + guestClusters + blocks;
    blocks = divCeil(total, refcountsPerBlock);
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
    settings,
    clusterBits,
    clusterSize,
    l2EntrySize,
    l2Entries: clusterSize / l2EntrySize,
    refcountsPerBlock,
    virtualSize,
    refcountTableOffset: clusterSize,
    refcountTableClusters,
    l1TableOffset: (1 + refcountTableClusters) * clusterSize,
    l1Size,
    frontClusters: 1 + refcountTableClusters + l1Clusters,
  };
}
