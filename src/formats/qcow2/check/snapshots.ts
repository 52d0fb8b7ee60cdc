/** The snapshot table, and where the snapshots' L1 tables are. QCOW2 §Snapshots. */
import { escapeText } from '../../../base/errors.ts';
import { alignUp, isAligned, MiB } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import { type Findings, readPadded } from '../../check.ts';
import { has, Incompatible } from '../features.ts';
import type { Header } from '../header.ts';
import { MAX_L1_BYTES, MAX_SNAPSHOT_EXTRA_BYTES, MAX_SNAPSHOT_TABLE_BYTES, snapshotHeader } from '../layout.ts';
import type { L1Table } from './l1-tables.ts';

/** Version 3 wants the two sizes of the extra data: of the VM state and of the disk. */
const EXTRA_V3 = 16;
/** An entry is at most 40 + 1024 + 2 * 65535 bytes. */
const PIECE = MiB;

export interface SnapshotTable {
  /** Bytes. */
  length: number;
  /** Each table once, with the number of snapshots that have it. */
  tables: L1Table[];
}

export async function checkSnapshots(source: ByteSource, header: Header, findings: Findings): Promise<SnapshotTable> {
  const { nbSnapshots, snapshotsOffset, incompatibleFeatures } = header;
  const tables = new Map<string, L1Table>();
  if (nbSnapshots > 0 && has(incompatibleFeatures, Incompatible.externalDataFile)) {
    const what = `${nbSnapshots} snapshots in an image with an external data file`;
    findings.corruption(() => ({ table: 'snapshot table', offset: snapshotsOffset, what }));
  }
  let piece: Uint8Array = new Uint8Array(0);
  let pieceAt = snapshotsOffset;
  let at = snapshotsOffset;
  for (let i = 0; i < nbSnapshots; i += 1) {
    at = alignUp(at, 8);
    if (at + PIECE / 4 > pieceAt + piece.length) {
      pieceAt = at;
      piece = await readPadded(source, at, PIECE, 'QCOW2 snapshot table');
    }
    const fields = snapshotHeader.peek(piece, at - pieceAt);
    const entryAt = at;
    const place = () => ({ table: `snapshot table entry ${i}`, offset: entryAt });
    const length = snapshotHeader.size + fields.extraDataSize + fields.idStrSize + fields.nameSize;
    if (fields.extraDataSize > MAX_SNAPSHOT_EXTRA_BYTES) {
      const what = `extraDataSize is ${fields.extraDataSize}, more than ${MAX_SNAPSHOT_EXTRA_BYTES}: the table is not read further`;
      findings.corruption(() => ({ ...place(), what }));
      break;
    }
    at += length;
    if (entryAt + length > source.size || at - snapshotsOffset > MAX_SNAPSHOT_TABLE_BYTES) {
      const what = `its ${length} bytes pass the end of the file at ${source.size} or 64 MiB of the table`;
      findings.corruption(() => ({ ...place(), what }));
      break;
    }
    if (header.version === 3 && fields.extraDataSize < EXTRA_V3) {
      const what = `extraDataSize is ${fields.extraDataSize}; version 3 needs ${EXTRA_V3}`;
      findings.corruption(() => ({ ...place(), what }));
    }
    const nameAt = entryAt - pieceAt + length - fields.nameSize;
    const name = new TextDecoder().decode(piece.subarray(nameAt, nameAt + Math.min(fields.nameSize, 64)));
    if (!isAligned(fields.l1TableOffset, header.clusterSize)) {
      const what = `its L1 table at ${fields.l1TableOffset} does not begin at a multiple of the cluster size`;
      findings.corruption(() => ({ ...place(), what }));
    } else if (fields.l1Size * 8 > MAX_L1_BYTES) {
      const what = `its L1 table has ${fields.l1Size} entries, more than ${MAX_L1_BYTES / 8}`;
      findings.corruption(() => ({ ...place(), what }));
    } else {
      const key = `${fields.l1TableOffset} ${fields.l1Size}`;
      const known = tables.get(key);
      if (known !== undefined) {
        known.times += 1;
      } else {
        const table = { offset: fields.l1TableOffset, entries: fields.l1Size, times: 1, active: false };
        tables.set(key, { ...table, name: `L1 table of snapshot '${escapeText(name)}'` });
      }
    }
  }
  return { length: at - snapshotsOffset, tables: [...tables.values()] };
}
