/** Opens one hosted sparse extent: its header, and where its grain directory is. */
import { type ErrorCode, showNumber } from '../../../base/errors.ts';
import { illegalValue, type Origin } from '../../../base/struct.ts';
import { divCeil, SECTOR, sectorsToBytes } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import { type GrainTables, grainExtents } from '../grain-tables.ts';
import type { SparseExtent } from '../sparse-extent.ts';
import { chooseDirectory } from './directory.ts';
import { readFooter } from './footer.ts';
import { GrainStream } from './grain-stream.ts';
import { Flag, GD_AT_END, MAX_COMPRESSED_GRAIN, NEWLINE_TEST, SparseExtentHeader } from './layout.ts';

export interface HostedExtent extends SparseExtent {
  header: SparseExtentHeader;
}

export interface HostedHeader {
  header: SparseExtentHeader;
  /** What says where the tables are: the header, or the footer that replaces it. */
  front: SparseExtentHeader;
  /** Byte offset of the footer, if there is one. */
  footerAt?: number;
}

export async function readHostedHeader(source: ByteSource, warnings: string[]): Promise<HostedHeader> {
  const origin = { file: source.name, format: 'vmdk', at: 0 };
  const bytes = await source.read(0, Math.min(SECTOR, source.size), SparseExtentHeader.name);
  const header = SparseExtentHeader.decode(bytes, origin);
  checkHeader(header, source, origin);
  if (header.uncleanShutdown !== 0) {
    warnings.push('the image was not closed properly (uncleanShutdown is set): its last writes may be missing');
  }
  // What is read forward gets to its footer last.
  if (header.gdOffset !== GD_AT_END || source.forwardOnly === true) {
    return { header, front: header };
  }
  const { footer, at } = await readFooter(source, header, warnings);
  return { header, front: footer, footerAt: at };
}

export async function openHosted(source: ByteSource): Promise<HostedExtent> {
  const warnings: string[] = [];
  const { header, front } = await readHostedHeader(source, warnings);
  const { version, flags, capacity, grainSize, numGTEsPerGT, compressAlgorithm } = header;
  const compressed = (flags & Flag.compressed) !== 0;
  return {
    source,
    header,
    capacity,
    capacityField: { name: 'capacity', offset: SparseExtentHeader.fields.capacity.offset },
    grainBytes: sectorsToBytes(grainSize),
    compressed,
    dirty: header.uncleanShutdown !== 0,
    warnings,
    details: { version, flags, grainSize, numGTEsPerGT, compressAlgorithm },
    extents: await grainsOf(source, header, front, warnings),
  };
}

async function grainsOf(
  source: ByteSource,
  header: SparseExtentHeader,
  front: SparseExtentHeader,
  warnings: string[],
): Promise<SparseExtent['extents']> {
  if (front.gdOffset === GD_AT_END) {
    const grains = new GrainStream(source, header);
    return (window, out) => grains.extents(window, out);
  }
  const { flags, capacity, grainSize, numGTEsPerGT, overHead: firstGrain } = header;
  const numGTs = divCeil(capacity, grainSize * numGTEsPerGT);
  const gdAt = await chooseDirectory(source, front, numGTs, warnings);
  const compressed = (flags & Flag.compressed) !== 0;
  const tables: GrainTables = { source, gdAt, numGTEsPerGT, grainSize, compressed, firstGrain };
  return (window, out) => grainExtents(tables, window, out);
}

/** Whether a file that begins so says first all that it says of its grains, or says it grain by grain. */
export function readsForward(head: Uint8Array): boolean {
  if (head.length < SECTOR) {
    return false;
  }
  const { flags, gdOffset, capacity } = SparseExtentHeader.peek(head);
  const compressed = (flags & Flag.compressed) !== 0;
  // Compressed grains behind tables in front (qemu's): how long the last one is, only the end of the file tells.
  return capacity > 0 && compressed === (gdOffset === GD_AT_END);
}

/** The rules between fields. */
function checkHeader(header: SparseExtentHeader, source: ByteSource, origin: Origin): void {
  const { fields, name } = SparseExtentHeader;
  const wrong = (code: ErrorCode, field: keyof SparseExtentHeader, value: string, says: string) =>
    illegalValue(code, name, field, value, origin, origin.at + fields[field].offset, says);
  const flags = fields.flags.show(header.flags);
  const has = (flag: number) => (header.flags & flag) !== 0;
  if (has(Flag.newlineTest) && NEWLINE_TEST.some((byte, i) => header.newlineTest[i] !== byte)) {
    const says = 'must be 0a 20 0d 0a: the file was damaged by a transfer in text mode';
    throw wrong('corrupt', 'newlineTest', fields.newlineTest.show(header.newlineTest), says);
  }
  if (has(Flag.compressed) !== (header.compressAlgorithm === 1)) {
    const says = `must be 1 with flag bit 16 and 0 without it; flags are ${flags}`;
    throw wrong('corrupt', 'compressAlgorithm', `${header.compressAlgorithm}`, says);
  }
  if (has(Flag.compressed) !== has(Flag.markers)) {
    throw wrong('unsupported', 'flags', flags, 'compressed grains (bit 16) and markers (bit 17) only come together');
  }
  if (has(Flag.compressed) && header.grainSize > MAX_COMPRESSED_GRAIN) {
    const says = `vdconv takes at most ${MAX_COMPRESSED_GRAIN} where grains are compressed`;
    throw wrong('limit', 'grainSize', showNumber(header.grainSize), says);
  }
  if (sectorsToBytes(header.overHead) > source.size) {
    const says = `the file ends at ${source.size}, within its own metadata`;
    throw wrong('truncated', 'overHead', showNumber(header.overHead), says);
  }
}
