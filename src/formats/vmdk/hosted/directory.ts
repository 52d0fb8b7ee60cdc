/** The grain directory: one u32 sector number a grain table. VMDK 5.0 §Grain directory. */
import { showNumber, VdconvError } from '../../../base/errors.ts';
import { SECTOR } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import { ENTRY_BYTES, readEntries } from '../grain-tables.ts';
import { TABLE_PIECE } from '../limits.ts';
import { Flag, SparseExtentHeader } from './layout.ts';

/**
 * Byte offset of the directory to use: the first one, or the redundant one where the first cannot be right.
 * @param tables the header, or the footer that replaces it.
 */
export async function chooseDirectory(
  source: ByteSource,
  tables: SparseExtentHeader,
  numGTs: number,
  warnings: string[],
): Promise<number> {
  const fault = await directoryFault(source, tables, 'gdOffset', numGTs);
  if (fault === undefined) {
    return Number(tables.gdOffset) * SECTOR;
  }
  const hasRedundant = (tables.flags & Flag.redundantDirectory) !== 0;
  if (hasRedundant && (await directoryFault(source, tables, 'rgdOffset', numGTs)) === undefined) {
    warnings.push(`${fault.what}; the redundant grain directory is used instead`);
    return Number(tables.rgdOffset) * SECTOR;
  }
  throw new VdconvError(fault.code, fault.what, {
    file: source.name,
    format: 'vmdk',
    field: fault.field,
    offset: fault.offset,
  });
}

interface Fault {
  code: 'corrupt' | 'truncated';
  what: string;
  field: string;
  offset: number;
}

/** Why a directory cannot be right: it, or a grain table that it names, does not lie in the file. */
async function directoryFault(
  source: ByteSource,
  tables: SparseExtentHeader,
  field: 'gdOffset' | 'rgdOffset',
  numGTs: number,
): Promise<Fault | undefined> {
  const name = field === 'gdOffset' ? 'grain directory' : 'redundant grain directory';
  const at = Number(tables[field]) * SECTOR;
  const placed = `${SparseExtentHeader.name}: ${field} is ${showNumber(tables[field])}`;
  const { offset } = SparseExtentHeader.fields[field];
  if (at === 0) {
    return { code: 'corrupt', what: `${placed} (must not be the header's own sector)`, field, offset };
  }
  if (at + numGTs * ENTRY_BYTES > source.size) {
    const what = `${placed}: ${numGTs} entries there pass the end of the file at ${source.size}`;
    return { code: 'truncated', what, field, offset };
  }
  const last = source.size - tables.numGTEsPerGT * ENTRY_BYTES;
  const perPiece = TABLE_PIECE / ENTRY_BYTES;
  for (let first = 0; first < numGTs; first += perPiece) {
    const start = at + first * ENTRY_BYTES;
    const entries = await readEntries(source, start, Math.min(perPiece, numGTs - first), name);
    const bad = entries.findIndex((entry) => entry !== 0 && entry * SECTOR > last);
    if (bad >= 0) {
      const offset = start + bad * ENTRY_BYTES;
      const what = `${name}: entry ${first + bad} is ${showNumber(entries[bad] as number)} at offset ${showNumber(offset)}: the grain table passes the end of the file at ${source.size}`;
      return { code: 'truncated', what, field: name, offset };
    }
  }
  return undefined;
}
