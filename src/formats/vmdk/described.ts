/** A disk whose descriptor names its extents in other files: flat, split, or any mix. VMDK 5.0 §Extent description. */
import { escapeText, VdconvError } from '../../base/errors.ts';
import type { Limits } from '../../base/limits.ts';
import { formatSize, sectorsToBytes } from '../../base/units.ts';
import type { ByteSource, ReferenceGate } from '../../io/types.ts';
import type { OpenContext } from '../format.ts';
import { openCowd } from './cowd/open.ts';
import { type Descriptor, type DescriptorExtent, parseDescriptor } from './descriptor.ts';
import { checkFlat, type DiskExtent } from './disk-map.ts';
import { openHosted } from './hosted/open.ts';
import { fileKind } from './kind.ts';
import { MAX_CAPACITY } from './limits.ts';
import { type Disk, sparseDataFile, sparseDiskExtent } from './monolithic.ts';
import { openSeSparse } from './sesparse/open.ts';
import type { SparseExtent } from './sparse-extent.ts';

/** Extent types that lie in a file as the guest sees them. */
export const FLAT = new Set(['FLAT', 'VMFS']);
/** Extent types whose file has tables; of which family it is, the file itself says. */
const SPARSE = new Set(['SPARSE', 'VMFSSPARSE', 'SESPARSE']);

/** What other extent types are, for the error. */
const OTHER: Readonly<Record<string, string>> = {
  VSANSPARSE: 'a vSAN object',
  VMFSRDM: 'a raw device mapping',
  VMFSRAW: 'a device',
};

/** The descriptor that is a whole file. */
export async function standaloneDescriptor(source: ByteSource, limits: Limits): Promise<Descriptor> {
  const details = { file: source.name, format: 'vmdk', field: 'descriptor' };
  if (source.size > limits.descriptor) {
    const most = `vdconv takes at most ${formatSize(limits.descriptor)}; --limit=descriptor=N takes more`;
    throw new VdconvError('limit', `a descriptor of ${source.size} bytes; ${most}`, details);
  }
  const text = await source.read(0, source.size, 'VMDK descriptor');
  const nul = text.indexOf(0);
  if (nul >= 0 && !isPadding(text, nul)) {
    throw new VdconvError('corrupt', 'begins as a descriptor, but more than text follows', { ...details, offset: nul });
  }
  return parseDescriptor(text, source.name, limits);
}

/**
 * Zeros; or the end of the text once more and then zeros. QEMU replaces the content id in place, often by one of fewer
 * digits, and what its shorter text does not cover stays.
 */
function isPadding(text: Uint8Array, nul: number): boolean {
  const end = text.findLastIndex((byte) => byte !== 0) + 1;
  const stale = text.subarray(nul + 1, end);
  return stale.length < CID_DIGITS && stale.every((byte, i) => byte === text[nul - stale.length + i]);
}

/** VMDK 5.0 §The descriptor file: 32 bits in hexadecimal. */
const CID_DIGITS = 8;

/** Opens every extent file through the gate. What was opened is closed again where one fails. */
export async function openDescribed(
  source: ByteSource,
  descriptor: Descriptor,
  { gate, salvage = false }: OpenContext,
): Promise<Disk> {
  checkLines(descriptor, source);
  const disk: Disk = { extents: [], dataFiles: [{ source }] };
  // Several extents may be parts of one file.
  const flatFiles = new Map<string, number>();
  try {
    for (const line of descriptor.extents) {
      // Hidden from the guest (partitions of a physical disk), or zeros by themselves: no file is needed.
      if (line.name === undefined || line.type === 'ZERO' || line.access === 'NOACCESS') {
        disk.extents.push({ kind: 'zero', bytes: sectorsToBytes(line.sectors) });
      } else if (line.sectors > 0) {
        disk.extents.push(await openExtent(line, line.name, source, gate, disk, flatFiles, salvage));
      }
    }
  } catch (cause) {
    await Promise.allSettled(disk.dataFiles.slice(1).map((file) => file.source.close()));
    throw cause;
  }
  return disk;
}

/** What can be refused before any file is opened. */
export function checkLines({ extents }: Descriptor, source: ByteSource): void {
  const wrong = (code: 'corrupt' | 'limit' | 'unsupported', what: string) =>
    new VdconvError(code, what, { file: source.name, format: 'vmdk', field: 'extent description' });
  if (extents.length === 0) {
    throw wrong('corrupt', 'the descriptor has no extents');
  }
  if (extents.reduce((sum, { sectors }) => sum + sectors, 0) > MAX_CAPACITY) {
    throw wrong('limit', 'the extents are more than 64 TiB together');
  }
  for (const { type, name = '', access, sectors } of extents) {
    // Neither needs a file, whatever the rest of the line says.
    if (type === 'ZERO' || access === 'NOACCESS' || sectors === 0) {
      continue;
    }
    if (!SPARSE.has(type) && !FLAT.has(type)) {
      const what = OTHER[type] ?? 'an unknown extent type';
      throw wrong('unsupported', `extent '${escapeText(name)}' is ${what}: ${escapeText(type)} is not supported`);
    }
    if (name === source.name.replace(/^.*[\\/]/, '')) {
      throw wrong('corrupt', `extent '${escapeText(name)}' is the descriptor itself`);
    }
  }
}

async function openExtent(
  line: DescriptorExtent,
  name: string,
  from: ByteSource,
  gate: ReferenceGate,
  disk: Disk,
  flatFiles: Map<string, number>,
  salvage: boolean,
): Promise<DiskExtent> {
  const flat = FLAT.has(line.type);
  const known = flat ? flatFiles.get(name) : undefined;
  if (known !== undefined) {
    return flatExtent(line, known, disk, salvage);
  }
  const source = await gate.open({ kind: 'extent', name }, from);
  const file = disk.dataFiles.push({ source }) - 1;
  if (flat) {
    flatFiles.set(name, file);
    return flatExtent(line, file, disk, salvage);
  }
  const sparse = await openSparse(source);
  disk.dataFiles[file] = sparseDataFile(sparse);
  return sparseDiskExtent(sparse, line, file);
}

async function openSparse(source: ByteSource): Promise<SparseExtent> {
  switch (fileKind(await source.read(0, Math.min(MAGIC_BYTES, source.size), 'VMDK extent'))) {
    case 'cowd':
      return openCowd(source);
    case 'seSparse':
      return openSeSparse(source);
    default:
      // Whatever it is instead, it is refused there.
      return openHosted(source);
  }
}

/** What tells the families of sparse extents apart. */
const MAGIC_BYTES = 8;

/** All of the line must be there, or what is not is lost: the map says so where it comes to it. */
function flatExtent(line: DescriptorExtent, file: number, { dataFiles }: Disk, salvage: boolean): DiskExtent {
  const source = dataFiles[file]?.source as ByteSource;
  const extent = { bytes: sectorsToBytes(line.sectors), file, offset: sectorsToBytes(line.offset), source };
  if (!salvage) {
    checkFlat(extent, extent.bytes);
  }
  return { kind: 'flat', ...extent };
}
