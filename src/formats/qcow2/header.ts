/** Reads the header, its extensions and the backing file name, and proves that what they say is possible. */
import { showNumber, VdconvError } from '../../base/errors.ts';
import { illegalValue, type Origin, type StructValues } from '../../base/struct.ts';
import { alignDown, divCeil, isAligned, SECTOR } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import { type Extensions, imageText, readExtensions } from './extensions.ts';
import { Autoclear, checkConsistency, checkIncompatible, has, Incompatible } from './features.ts';
import {
  COMPRESSION_TYPE_OFFSET,
  CompressionType,
  ENTRY_BYTES,
  EXTENDED_ENTRY_BYTES,
  headerAdditional,
  headerV2,
  headerV3,
  MAX_BACKING_NAME,
  MAX_REFCOUNT_TABLE_BYTES,
  MIN_EXTENDED_CLUSTER_BITS,
} from './layout.ts';

type Fields = StructValues<typeof headerV3>;

export interface Header extends Fields {
  clusterSize: number;
  /** Bytes of an L2 entry: 16 with extended L2 entries. */
  l2EntrySize: number;
  /** Bytes that the guest sees. */
  virtualSize: number;
  /** A value of `CompressionType`, or an unknown one. */
  compressionType: number;
  /** Untrusted. */
  backingFile?: string;
  extensions: Extensions;
  origin: Origin;
}

export async function readHeader(source: ByteSource, salvage = false): Promise<Header> {
  const origin: Origin = { file: source.name, format: 'qcow2', at: 0 };
  const start = await source.read(0, Math.min(headerV3.size, source.size), headerV3.name);
  const fields = decodeHeader(start, origin);
  const clusterSize = 2 ** fields.clusterBits;
  if (fields.headerLength > clusterSize) {
    throw illegal(origin, fields, 'headerLength', `must be at most the cluster size ${clusterSize}`);
  }
  checkTables(fields, clusterSize, source, origin, salvage);
  const cluster = await source.read(0, Math.min(clusterSize, source.size), 'QCOW2 first cluster');
  const end = checkBackingName(fields, clusterSize, cluster.length, origin);
  const bitmapsValid = has(fields.autoclearFeatures, Autoclear.bitmaps);
  const header: Header = {
    ...fields,
    clusterSize,
    l2EntrySize: l2EntrySize(fields),
    // As QEMU does: a size that is no multiple of 512 is rounded down.
    virtualSize: alignDown(fields.size, SECTOR),
    compressionType: compressionType(fields, cluster, origin),
    extensions: readExtensions(cluster, fields.headerLength, end, origin, bitmapsValid),
    origin,
  };
  if (fields.backingFileOffset > 0 && fields.backingFileSize > 0) {
    const name = cluster.subarray(fields.backingFileOffset, fields.backingFileOffset + fields.backingFileSize);
    header.backingFile = imageText(name, 'QCOW2 backing file name', { ...origin, at: fields.backingFileOffset });
  }
  checkIncompatible(header);
  checkConsistency(header);
  return header;
}

/** Version 2 has no feature bits, 16-bit refcounts, and its extensions begin at byte 72. */
function decodeHeader(bytes: Uint8Array, origin: Origin): Fields {
  const v2 = headerV2.decode(bytes, origin);
  if (v2.version === 3) {
    return headerV3.decode(bytes, origin);
  }
  return {
    ...v2,
    incompatibleFeatures: 0n,
    compatibleFeatures: 0n,
    autoclearFeatures: 0n,
    refcountOrder: 4,
    headerLength: headerV2.size,
  };
}

/** L1 entries that map `virtualSize` bytes. QCOW2 §Cluster mapping: an L2 table is one cluster of entries. */
export function l1EntriesNeeded(virtualSize: number, clusterSize: number, entrySize: number): number {
  return divCeil(virtualSize, clusterSize * (clusterSize / entrySize));
}

function l2EntrySize({ incompatibleFeatures }: Fields): number {
  return has(incompatibleFeatures, Incompatible.extendedL2) ? EXTENDED_ENTRY_BYTES : ENTRY_BYTES;
}

/** The rules between fields, and of fields with the file: nothing is read before its place is known to exist. */
function checkTables(fields: Fields, clusterSize: number, source: ByteSource, origin: Origin, salvage: boolean): void {
  if (l2EntrySize(fields) !== ENTRY_BYTES && fields.clusterBits < MIN_EXTENDED_CLUSTER_BITS) {
    throw illegal(
      origin,
      fields,
      'clusterBits',
      `must be at least ${MIN_EXTENDED_CLUSTER_BITS} with extended L2 entries`,
    );
  }
  for (const field of ['l1TableOffset', 'refcountTableOffset', 'snapshotsOffset'] as const) {
    if (!isAligned(fields[field], clusterSize)) {
      throw illegal(origin, fields, field, `must be a multiple of the cluster size ${clusterSize}`);
    }
  }
  const needed = l1EntriesNeeded(alignDown(fields.size, SECTOR), clusterSize, l2EntrySize(fields));
  if (fields.l1Size < needed) {
    throw illegal(origin, fields, 'l1Size', `a disk of ${fields.size} bytes needs ${needed} entries`);
  }
  if (fields.refcountTableClusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES) {
    const says = `vdconv takes at most ${MAX_REFCOUNT_TABLE_BYTES / clusterSize}, a table of 8 MiB`;
    throw illegal(origin, fields, 'refcountTableClusters', says, 'limit');
  }
  if (fields.l1Size > 0 && fields.l1TableOffset === 0) {
    throw illegal(origin, fields, 'l1TableOffset', 'the first cluster holds the header');
  }
  if (fields.refcountTableOffset === 0) {
    throw illegal(origin, fields, 'refcountTableOffset', 'the first cluster holds the header');
  }
  const tables = [
    ['L1 table', 'l1TableOffset', fields.l1Size * 8],
    // Its content is never read, so a last cluster that was not written whole does no harm.
    ['refcount table', 'refcountTableOffset', 1],
  ] as const;
  for (const [table, field, length] of tables) {
    const end = fields[field] + length;
    // To be salvaged: what the table's missing part maps is lost, no more.
    if (length > 0 && end > source.size && !salvage) {
      const what = `${table} at offset ${fields[field]} ends at ${end}, the file at ${source.size}`;
      throw new VdconvError('truncated', what, { ...origin, field, offset: fields[field] });
    }
  }
}

/** @returns where the area of header extensions ends: at the backing file name, or with the first cluster. */
function checkBackingName(fields: Fields, clusterSize: number, present: number, origin: Origin): number {
  const { backingFileOffset: offset, backingFileSize: size, headerLength } = fields;
  if (offset === 0) {
    return Math.min(clusterSize, present);
  }
  if (offset > clusterSize || offset < headerLength) {
    const says = `must lie between the header and the end of the first cluster, ${headerLength} to ${clusterSize}`;
    throw illegal(origin, fields, 'backingFileOffset', says);
  }
  const room = Math.min(MAX_BACKING_NAME, clusterSize - offset);
  if (size > room) {
    const says = `must be at most ${room}: ${MAX_BACKING_NAME}, a qemu limit, and within the first cluster`;
    throw illegal(origin, fields, 'backingFileSize', says);
  }
  if (offset + size > present) {
    const what = `backing file name at offset ${offset} ends at ${offset + size}, the file at ${present}`;
    throw new VdconvError('truncated', what, { ...origin, field: 'backingFileOffset', offset });
  }
  return Math.min(offset, present);
}

/** The field is there when the header is longer than version 3's first 104 bytes; its absence means deflate. */
function compressionType(fields: Fields, cluster: Uint8Array, origin: Origin): number {
  if (fields.headerLength <= COMPRESSION_TYPE_OFFSET || fields.version === 2) {
    return CompressionType.deflate;
  }
  const at = { ...origin, at: COMPRESSION_TYPE_OFFSET };
  return headerAdditional.decode(cluster, at, COMPRESSION_TYPE_OFFSET).compressionType;
}

function illegal(
  origin: Origin,
  fields: Fields,
  field: keyof Fields,
  says: string,
  code: 'corrupt' | 'limit' = 'corrupt',
): VdconvError {
  const { offset } = headerV3.fields[field];
  return illegalValue(code, headerV3.name, field, showNumber(fields[field]), origin, offset, `${says}; QCOW2 §Header`);
}
