/** One L2 table: the rules of its entries, and what they refer to. QCOW2 §L2 table entry, §Extended L2 Entries. */
import { SECTOR } from '../../../base/units.ts';
import type { Findings } from '../../check.ts';
import { has, Incompatible } from '../features.ts';
import type { Header } from '../header.ts';
import { compressedOffsetBits, Entry } from '../layout.ts';
import type { References } from './references.ts';

const HIGH = 2 ** 32;

export interface L2Totals {
  allocated: number;
  fragmented: number;
  compressed: number;
  /** Where the guest's bytes end that an external data file must have. */
  externalEnd: number;
}

export interface L2Table {
  header: Header;
  entries: DataView;
  /** File offset. */
  at: number;
  /** The first L1 entry that refers to it. */
  l1Index: number;
  /** How many L1 entries refer to it: of all tables, and of the active one. */
  times: { all: number; active: number };
  fileSize: number;
  references: References;
  findings: Findings;
  totals: L2Totals;
}

/** Bytes of an entry. */
export function entryBytes({ incompatibleFeatures }: Header): number {
  return has(incompatibleFeatures, Incompatible.extendedL2) ? 16 : 8;
}

export type EntryKind = 'compressed' | 'zero' | 'zeroAllocated' | 'data' | 'unallocated';

/** What QEMU takes an entry for; with extended L2 entries bit 0 means nothing. */
export function entryKind(high: number, low: number, extended: boolean, external: boolean): EntryKind {
  if ((high & Entry.compressedHigh) !== 0) {
    return 'compressed';
  }
  const isPlaced = (high & Entry.offsetHigh) !== 0 || (low & Entry.offsetLow) !== 0;
  if ((low & Entry.zeroLow) !== 0 && !extended) {
    return isPlaced ? 'zeroAllocated' : 'zero';
  }
  // The first cluster of an external data file lies at offset 0.
  return isPlaced || (external && (high & Entry.copiedHigh) !== 0) ? 'data' : 'unallocated';
}

export function hostOffset(high: number, low: number): number {
  return (high & Entry.offsetHigh) * HIGH + ((low & Entry.offsetLow) >>> 0); // u32
}

export function checkL2(table: L2Table): void {
  const { header, entries } = table;
  const size = entryBytes(header);
  const extended = size === 16;
  const external = has(header.incompatibleFeatures, Incompatible.externalDataFile);
  const walk = { ...table, extended, external, next: 0 };
  const isUsual = usualEntry(walk);
  for (let i = 0, at = 0; at + size <= entries.byteLength; i += 1, at += size) {
    const high = entries.getUint32(at);
    const low = entries.getUint32(at + 4);
    if (isUsual(high, low)) {
      continue;
    }
    const zeroBits = extended ? entries.getUint32(at + 8) : 0;
    const allocBits = extended ? entries.getUint32(at + 12) : 0;
    if ((high | low | zeroBits | allocBits) !== 0) {
      checkEntry(walk, i, high, low, zeroBits, allocBits);
    }
  }
}

interface Walk extends L2Table {
  extended: boolean;
  external: boolean;
  /** Where the next plain cluster would have to lie not to be a fragment; 0 before the first one. */
  next: number;
}

/** Takes the entries that nearly all are, whole clusters in the file with COPIED and nothing else, in a few steps. */
function usualEntry(walk: Walk): (high: number, low: number) => boolean {
  const { header, extended, external, fileSize, references, times, totals } = walk;
  const { clusterSize } = header;
  if (extended || external) {
    return () => false;
  }
  const { all, active } = times;
  return (high, low) => {
    const offset = (high & Entry.offsetHigh) * HIGH + (low >>> 0); // u32
    // As 32-bit numbers with a sign, which & gives.
    if ((high & ~Entry.offsetHigh) !== (Entry.copiedHigh | 0)) {
      return false;
    }
    if (offset === 0 || (low & (clusterSize - 1)) !== 0 || offset + clusterSize > fileSize) {
      return false;
    }
    if (!references.addCluster(offset / clusterSize, all)) {
      return false;
    }
    totals.allocated += active;
    totals.fragmented += walk.next !== 0 && offset !== walk.next ? active : 0;
    walk.next = offset + clusterSize;
    return true;
  };
}

function checkEntry(walk: Walk, i: number, high: number, low: number, zeroBits: number, allocBits: number): void {
  const { header, times, totals, references, extended, external, findings } = walk;
  const { clusterSize } = header;
  const place = () => placeOf(walk, i);
  const corrupt = (what: string) => findings.corruption(() => ({ ...place(), what }), times.all);
  const kind = entryKind(high, low, extended, external);
  if (kind === 'compressed') {
    checkCompressed(walk, i, high, low, (zeroBits | allocBits) !== 0);
    return;
  }
  if ((high & Entry.l2ReservedHigh) !== 0 || (low & Entry.l2ReservedLow) !== 0) {
    corrupt('bits 1 to 8 and 56 to 61 are reserved and not all 0');
  }
  if (kind === 'unallocated' && allocBits !== 0) {
    corrupt('subclusters are allocated in a cluster that has no place');
  }
  if (kind === 'zero' || kind === 'unallocated') {
    return;
  }
  if ((zeroBits & allocBits) !== 0) {
    corrupt('subclusters are both allocated and zero');
  }
  const offset = hostOffset(high, low);
  if (offset % clusterSize !== 0) {
    corrupt(`its cluster at ${offset} does not begin at a multiple of the cluster size ${clusterSize}`);
  }
  totals.allocated += times.active;
  totals.fragmented += walk.next !== 0 && offset !== walk.next ? times.active : 0;
  walk.next = offset + clusterSize;
  if (!external) {
    references.add(offset, clusterSize, times.all, place);
    if (kind === 'data' && times.active > 0) {
      checkBytes(walk, i, offset, allocBits);
    }
    return;
  }
  const guest = guestOffset(walk, i);
  if (kind === 'data' && times.active > 0) {
    totals.externalEnd = Math.max(totals.externalEnd, Math.min(guest + clusterSize, header.virtualSize));
  }
  if (kind === 'data' && offset !== guest) {
    corrupt(`its cluster at ${offset} does not lie at its guest offset, as in an external data file it must`);
  }
}

function checkCompressed(walk: Walk, i: number, high: number, low: number, hasBitmap: boolean): void {
  const { header, times, totals, references, external, findings } = walk;
  const place = () => placeOf(walk, i);
  const corrupt = (what: string) => findings.corruption(() => ({ ...place(), what }), times.all);
  if ((high & Entry.copiedHigh) !== 0) {
    corrupt('COPIED is set for a compressed cluster');
  }
  if (external) {
    corrupt('a compressed cluster in an image with an external data file');
    return;
  }
  if (hasBitmap) {
    corrupt('a compressed cluster with a subcluster bitmap that is not 0');
    return;
  }
  const x = compressedOffsetBits(header.clusterBits) - 32;
  const offset = (high & (2 ** x - 1)) * HIGH + low;
  const sectors = ((high & (Entry.compressedHigh - 1)) >>> x) + 1;
  references.add(offset, sectors * SECTOR - (offset % SECTOR), times.all, place);
  totals.allocated += times.active;
  totals.compressed += times.active;
  totals.fragmented += times.active;
}

/** QEMU reads what a cut file lacks of a last cluster as zeros and says nothing; here the guest's bytes must be there. */
function checkBytes(walk: Walk, i: number, offset: number, allocBits: number): void {
  const { header, fileSize, extended, references, findings, times } = walk;
  const { clusterSize, virtualSize } = header;
  // With subclusters only those up to the last one that is allocated hold bytes.
  const used = extended ? ((32 - Math.clz32(allocBits)) * clusterSize) / 32 : clusterSize;
  const end = offset + Math.min(used, virtualSize - guestOffset(walk, i));
  if (end > fileSize && end > offset && !references.isOutside(offset, clusterSize)) {
    const what = `its cluster lies at ${offset} and is needed up to ${end}, the file ends at ${fileSize}`;
    findings.corruption(() => ({ ...placeOf(walk, i), what }), times.all);
  }
}

function guestOffset({ header, l1Index, entries }: L2Table, i: number): number {
  const perTable = entries.byteLength / entryBytes(header);
  return (l1Index * perTable + i) * header.clusterSize;
}

function placeOf(table: L2Table, i: number) {
  const offset = table.at + i * entryBytes(table.header);
  return { table: `L2 entry of guest offset ${guestOffset(table, i)}`, offset };
}
