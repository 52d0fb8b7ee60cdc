/** A disk in one sparse file that holds its own descriptor: monolithicSparse, streamOptimized. */
import { type ErrorDetails, VdconvError } from '../../base/errors.ts';
import type { Limits } from '../../base/limits.ts';
import { formatSize, sectorsToBytes } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import type { DataFile } from '../../map/data-file.ts';
import { type Descriptor, type DescriptorExtent, parseDescriptor } from './descriptor.ts';
import type { DiskExtent } from './disk-map.ts';
import { SparseExtentHeader } from './hosted/layout.ts';
import { openHosted } from './hosted/open.ts';
import type { SparseExtent } from './sparse-extent.ts';

/** A disk's extents and the files that they lie in; the first is the image file itself. */
export interface Disk {
  extents: DiskExtent[];
  dataFiles: DataFile[];
}

export async function openMonolithic(
  source: ByteSource,
  limits: Limits,
): Promise<{ descriptor: Descriptor; disk: Disk }> {
  const sparse = await openHosted(source);
  const descriptor = await embeddedDescriptor(source, sparse.header, limits);
  const [line, second] = descriptor.extents;
  if (second !== undefined) {
    throw new VdconvError('unsupported', `its own descriptor names ${descriptor.extents.length} extents`, {
      file: source.name,
      format: 'vmdk',
      field: 'descriptor',
      offset: sectorsToBytes(sparse.header.descriptorOffset),
    });
  }
  const extents = [sparseDiskExtent(sparse, line, 0)];
  return { descriptor, disk: { extents, dataFiles: [sparseDataFile(sparse)] } };
}

/** The descriptor inside a sparse file; without one the file is a piece of a split disk. */
export async function embeddedDescriptor(
  source: ByteSource,
  header: SparseExtentHeader,
  limits: Limits,
): Promise<Descriptor> {
  const details = { file: source.name, format: 'vmdk' };
  const { descriptorOffset, descriptorSize } = header;
  if (descriptorOffset === 0) {
    const { offset } = SparseExtentHeader.fields.descriptorOffset;
    throw withoutDescriptor('one extent of a split disk', { ...details, field: 'descriptorOffset', offset });
  }
  const at = sectorsToBytes(descriptorOffset);
  const bytes = sectorsToBytes(descriptorSize);
  if (at + bytes > source.size) {
    throw new VdconvError('truncated', `the descriptor's ${bytes} bytes at ${at} pass the end of the file`, {
      ...details,
      field: 'descriptorSize',
      offset: SparseExtentHeader.fields.descriptorSize.offset,
    });
  }
  const text = await source.read(at, Math.min(bytes, limits.descriptor), 'VMDK descriptor');
  if (bytes > limits.descriptor && !text.includes(0)) {
    const what = `a descriptor of more than ${formatSize(limits.descriptor)}; --limit=descriptor=N takes more`;
    throw new VdconvError('limit', what, { ...details, field: 'descriptor', offset: at });
  }
  return parseDescriptor(text, source.name, limits);
}

/** An extent by itself: how large its disk is and over what it lies, only the descriptor says. */
export function withoutDescriptor(what: string, details: ErrorDetails): VdconvError {
  return new VdconvError('unsupported', `${what}, without a descriptor`, {
    field: 'descriptor',
    ...details,
    hint: 'name the disk by its descriptor, the small .vmdk text file beside it',
  });
}

/**
 * A sparse file as part of a disk. Its size is in its header and in the extent line; VirtualBox rounds the header up to
 * whole grains and shows the guest what the line says.
 */
export function sparseDiskExtent(sparse: SparseExtent, line: DescriptorExtent | undefined, file: number): DiskExtent {
  const { capacity, capacityField } = sparse;
  const sectors = line?.sectors ?? capacity;
  if (sectors > capacity) {
    throw new VdconvError('corrupt', `${capacityField.name} is ${capacity} sectors, the descriptor says ${sectors}`, {
      file: sparse.source.name,
      format: 'vmdk',
      field: capacityField.name,
      offset: capacityField.offset,
    });
  }
  if (sectors < capacity) {
    sparse.warnings.push(
      `the descriptor says ${sectors} sectors, the header ${capacity}: the descriptor's is taken; qemu-img takes the header's`,
    );
  }
  return { kind: 'sparse', bytes: sectorsToBytes(sectors), file, sparse };
}

export function sparseDataFile({ source, compressed, grainBytes }: SparseExtent): DataFile {
  return compressed ? { source, codec: { name: 'zlib', unit: grainBytes, framing: 'grain-marker' } } : { source };
}
