/** References of persistent bitmaps: directory, tables and their clusters. QCOW2 §Bitmaps. */
import { alignUp, isAligned, MiB } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import { type Findings, readPadded } from '../../check.ts';
import type { Header } from '../header.ts';
import { Entry } from '../layout.ts';
import { hostOffset } from './l2-tables.ts';
import type { References } from './references.ts';

/** QCOW2 §Bitmap directory: u64 table offset, u32 table entries, u32 flags, u8 type, u8, u16 name, u32 extra data. */
const ENTRY_BYTES = 24;
const PIECE = MiB;
/** qemu limit: 8 bytes an entry. */
const MAX_TABLE_ENTRIES = 0x8000000;
/** Ours, of all bitmap tables together: each entry maps a cluster of bits, 32 GiB of the disk with the defaults. */
const MAX_ENTRIES = 2 ** 26;

export async function checkBitmaps(
  source: ByteSource,
  header: Header,
  references: References,
  findings: Findings,
): Promise<void> {
  const { bitmaps } = header.extensions;
  if (bitmaps === undefined) {
    return;
  }
  const { bitmapDirectoryOffset: start, bitmapDirectorySize: size, nbBitmaps } = bitmaps;
  references.add(start, size, 1, () => ({ table: 'bitmap directory', offset: start }));
  let left = MAX_ENTRIES;
  let at = start;
  for (let i = 0; i < nbBitmaps; i += 1) {
    const entryAt = at;
    const place = () => ({ table: `bitmap directory entry ${i}`, offset: entryAt });
    const bytes = await readPadded(source, at, ENTRY_BYTES, 'QCOW2 bitmap directory');
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const table = Number(view.getBigUint64(0));
    const entries = view.getUint32(8);
    at += alignUp(ENTRY_BYTES + view.getUint16(18) + view.getUint32(20), 8);
    if (at > start + size) {
      const what = `it ends at ${at}, the directory at ${start + size}: the directory is not read further`;
      findings.corruption(() => ({ ...place(), what }));
      return;
    }
    references.add(table, entries * 8, 1, place);
    left -= entries;
    if (!isAligned(table, header.clusterSize) || entries > MAX_TABLE_ENTRIES || left < 0) {
      const what = `its table of ${entries} entries at ${table} is not aligned to clusters, or is too large`;
      findings.corruption(() => ({ ...place(), what }));
      continue;
    }
    await checkTable(source, header, { index: i, offset: table, entries }, references, findings);
  }
}

/** QCOW2 §Bitmap table: bits 9 to 55 are a cluster; without one, bit 0 says whether all bits are ones. */
async function checkTable(
  source: ByteSource,
  { clusterSize }: Header,
  table: { index: number; offset: number; entries: number },
  references: References,
  findings: Findings,
): Promise<void> {
  const end = Math.min(table.offset + table.entries * 8, source.size);
  for (let at = table.offset; at < end; at += PIECE) {
    const bytes = await source.read(at, Math.min(PIECE, end - at), 'QCOW2 bitmap table');
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let i = 0; i + 8 <= bytes.length; i += 8) {
      const high = view.getUint32(i);
      const low = view.getUint32(i + 4);
      if ((high | low) === 0) {
        continue;
      }
      const offset = hostOffset(high, low);
      const place = () => ({ table: `table of bitmap ${table.index}`, offset: at + i });
      const reserved = (high & ~Entry.offsetHigh) !== 0 || (low & (offset === 0 ? 0x1fe : 0x1ff)) !== 0;
      if (reserved || offset % clusterSize !== 0) {
        const what = 'reserved bits are not 0, or its cluster does not begin at a multiple of the cluster size';
        findings.corruption(() => ({ ...place(), what }));
      } else if (offset !== 0) {
        references.add(offset, clusterSize, 1, place);
      }
    }
  }
}
