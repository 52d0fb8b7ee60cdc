/**
 * `check` of a QCOW2: every reference is counted anew and compared with the refcounts. Leaks and corruptions are counted
 * as `qemu-img check` counts them; what it does not look for is marked in the code that does.
 */
import { VdconvError } from '../../../base/errors.ts';
import { divCeil } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import type { CheckContext, CheckedImage } from '../../check.ts';
import { has, Incompatible } from '../features.ts';
import { type Header, readHeader } from '../header.ts';
import { headerV3 } from '../layout.ts';
import { checkBitmaps } from './bitmaps.ts';
import { CopiedFlags } from './copied.ts';
import { type L1Table, L1Walk } from './l1-tables.ts';
import { Refcounts } from './refcounts.ts';
import { MAX_HOST_CLUSTERS, References } from './references.ts';
import { checkSnapshots } from './snapshots.ts';

export async function checkQcow2(source: ByteSource, context: CheckContext): Promise<CheckedImage> {
  const { findings } = context;
  const header = await readHeader(source);
  const { clusterSize, origin } = header;
  if (divCeil(source.size, clusterSize) > MAX_HOST_CLUSTERS) {
    const what = `the file has ${source.size} bytes, more than 2^31 clusters of ${clusterSize}`;
    throw new VdconvError('limit', what, { ...origin, field: 'clusterBits' });
  }
  noteFlags(header, context);
  const references = new References(header, source, findings);
  references.add(0, clusterSize, 1, () => ({ table: 'header', offset: 0 }));
  const snapshots = await checkSnapshots(source, header, findings);
  const { l1TableOffset: offset, l1Size: entries } = header;
  const active: L1Table = { offset, entries, times: 1, active: true, name: 'L1 table' };
  const walk = new L1Walk(source, header, references, phase(context, 0));
  await walk.run([active, ...snapshots.tables]);
  await checkDataFile(source, header, walk.totals.externalEnd, context);
  countTables(header, snapshots.length, references);
  await checkBitmaps(source, header, references, findings);
  const refcounts = await Refcounts.read(source, header);
  refcounts.countBlocks(references, findings);
  const highest = await refcounts.compare(references, phase(context, 1));
  await new CopiedFlags(source, header, refcounts, phase(context, 2)).check(active);
  return {
    imageEndOffset: (highest + 1) * clusterSize,
    totalClusters: divCeil(header.virtualSize, clusterSize),
    allocatedClusters: walk.totals.allocated,
    fragmentedClusters: walk.totals.fragmented,
    compressedClusters: walk.totals.compressed,
    unreferencedBytes: Math.max(0, source.size - references.counts.owned() * clusterSize),
  };
}

/** QCOW2 §External data file: it has what the tables promise. QEMU opens it, and does not look how long it is. */
async function checkDataFile(source: ByteSource, header: Header, end: number, context: CheckContext): Promise<void> {
  const name = header.extensions.dataFile;
  if (name === undefined || !has(header.incompatibleFeatures, Incompatible.externalDataFile)) {
    return;
  }
  const { gate, findings } = context;
  try {
    const data = await gate.open({ kind: 'data-file', name, format: 'raw' }, source);
    if (data.size < end) {
      const what = `is needed up to ${end}, it ends at ${data.size}`;
      findings.corruption(() => ({ table: 'external data file', file: data.name, what }));
    }
    await data.close();
  } catch (error) {
    if (!(error instanceof VdconvError) || error.code !== 'refused') {
      throw error;
    }
    findings.note(() => ({ table: 'external data file', what: `was not looked at: ${error.what}` }));
  }
}

const PHASES = 3;

/** Tables are read, refcounts compared, tables read again: each about a third of the time. */
function phase(context: CheckContext, number: number): CheckContext {
  const progress = (done: number, total: number) => context.progress(number + done / Math.max(1, total), PHASES);
  return { ...context, progress };
}

/** What has no entries to look at: snapshot table, refcount table and encryption header. */
function countTables(header: Header, snapshotBytes: number, references: References): void {
  const { snapshotsOffset, refcountTableOffset, refcountTableClusters, clusterSize } = header;
  const { encryption } = header.extensions;
  references.add(snapshotsOffset, snapshotBytes, 1, () => ({ table: 'snapshot table', offset: snapshotsOffset }));
  references.add(refcountTableOffset, refcountTableClusters * clusterSize, 1, () => ({
    table: 'refcount table',
    offset: refcountTableOffset,
  }));
  if (encryption !== undefined) {
    const { offset, length } = encryption;
    references.add(offset, length, 1, () => ({ table: 'encryption header', offset }));
  }
}

function noteFlags(header: Header, { findings }: CheckContext): void {
  const bit = (n: number) => has(header.incompatibleFeatures, n);
  const { offset } = headerV3.fields.incompatibleFeatures;
  const note = (what: string) => findings.note(() => ({ table: 'incompatible features', offset, what }));
  if (bit(Incompatible.dirty)) {
    note('the dirty bit is set: the image was not closed cleanly, and its refcounts may be stale');
  }
  if (bit(Incompatible.corrupt)) {
    note('the corrupt bit is set: QEMU found the image damaged and does not write to it');
  }
}
