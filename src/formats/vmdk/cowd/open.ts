/** Opens a COWD extent: what ESX keeps the writes since a snapshot in, on VMFS 5 and below 2 TiB. */
import { type ErrorCode, showNumber } from '../../../base/errors.ts';
import { illegalValue } from '../../../base/struct.ts';
import { divCeil, SECTOR, sectorsToBytes } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import { ENTRY_BYTES, type GrainTables, grainExtents } from '../grain-tables.ts';
import type { SparseExtent } from '../sparse-extent.ts';
import { CowdHeader, GTES_PER_GT } from './layout.ts';

export async function openCowd(source: ByteSource): Promise<SparseExtent> {
  const origin = { file: source.name, format: 'vmdk', at: 0 };
  const bytes = await source.read(0, Math.min(CowdHeader.size, source.size), CowdHeader.name);
  const header = CowdHeader.decode(bytes, origin);
  const { version, flags, numSectors, grainSize, gdOffset, numGDEntries } = header;
  const wrong = (code: ErrorCode, field: 'gdOffset' | 'numGDEntries', says: string) =>
    illegalValue(
      code,
      CowdHeader.name,
      field,
      showNumber(header[field]),
      origin,
      CowdHeader.fields[field].offset,
      says,
    );
  const numGTs = divCeil(numSectors, GTES_PER_GT * grainSize);
  if (numGDEntries < numGTs) {
    throw wrong('corrupt', 'numGDEntries', `${numSectors} sectors in grains of ${grainSize} need ${numGTs}`);
  }
  const gdEnd = sectorsToBytes(gdOffset) + numGTs * ENTRY_BYTES;
  if (gdEnd > source.size) {
    throw wrong('truncated', 'gdOffset', `${numGTs} entries there pass the end of the file at ${source.size}`);
  }
  const dirty = header.uncleanShutdown !== 0;
  const tables: GrainTables = {
    source,
    gdAt: sectorsToBytes(gdOffset),
    numGTEsPerGT: GTES_PER_GT,
    grainSize,
    compressed: false,
    // Tables and grains follow the directory in the order of their making.
    firstGrain: divCeil(gdEnd, SECTOR),
  };
  return {
    source,
    capacity: numSectors,
    capacityField: { name: 'numSectors', offset: CowdHeader.fields.numSectors.offset },
    grainBytes: sectorsToBytes(grainSize),
    compressed: false,
    dirty,
    warnings: dirty
      ? ['the redo log was not closed properly (uncleanShutdown is set): its last writes may be missing']
      : [],
    details: { version, flags, grainSize, numGTEsPerGT: GTES_PER_GT },
    extents: (window, out) => grainExtents(tables, window, out),
  };
}
