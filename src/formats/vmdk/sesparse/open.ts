/** Opens an seSparse extent: what ESXi keeps the writes since a snapshot in, on VMFS 6 and from 2 TiB on. */
import { type ErrorCode, showNumber } from '../../../base/errors.ts';
import { illegalValue } from '../../../base/struct.ts';
import { divCeil, SECTOR, sectorsToBytes } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import type { SparseExtent } from '../sparse-extent.ts';
import { ConstHeader, ENTRY_BYTES, GRAIN_SECTORS, GTES_PER_GT, VolatileHeader } from './layout.ts';
import { seSparseExtents } from './tables.ts';

export async function openSeSparse(source: ByteSource): Promise<SparseExtent> {
  const origin = { file: source.name, format: 'vmdk', at: 0 };
  const bytes = await source.read(0, Math.min(SECTOR, source.size), ConstHeader.name);
  const header = ConstHeader.decode(bytes, origin);
  const wrong = (code: ErrorCode, field: keyof ConstHeader & `${string}${'Offset' | 'Size'}`, says: string) =>
    illegalValue(
      code,
      ConstHeader.name,
      field,
      showNumber(header[field]),
      origin,
      ConstHeader.fields[field].offset,
      says,
    );
  const past = `passes the end of the file at ${source.size}`;
  const volatileAt = sectorsToBytes(header.volatileHeaderOffset);
  if (volatileAt + SECTOR > source.size) {
    throw wrong('truncated', 'volatileHeaderOffset', `the volatile header ${past}`);
  }
  const changing = await source.read(volatileAt, SECTOR, VolatileHeader.name);
  VolatileHeader.decode(changing, { ...origin, at: volatileAt });
  const numGTs = divCeil(header.capacity, GRAIN_SECTORS * GTES_PER_GT);
  const gdBytes = numGTs * ENTRY_BYTES;
  if (gdBytes > sectorsToBytes(header.grainDirSize)) {
    throw wrong('corrupt', 'grainDirSize', `${header.capacity} sectors need a directory of ${gdBytes} bytes`);
  }
  if (sectorsToBytes(header.grainDirOffset) + gdBytes > source.size) {
    throw wrong('truncated', 'grainDirOffset', `the directory's ${gdBytes} bytes there pass the end of the file`);
  }
  return {
    source,
    capacity: header.capacity,
    capacityField: { name: 'capacity', offset: ConstHeader.fields.capacity.offset },
    grainBytes: sectorsToBytes(GRAIN_SECTORS),
    compressed: false,
    dirty: false,
    warnings: [],
    details: { version: header.version, grainSize: header.grainSize, numGTEsPerGT: GTES_PER_GT },
    extents: (window, out) => seSparseExtents(source, header, window, out),
  };
}
