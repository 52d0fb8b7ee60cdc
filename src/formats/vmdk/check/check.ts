/** `check` of a VMDK: its descriptor, and every extent file that it names. */
import { escapeText } from '../../../base/errors.ts';
import { LIMITS } from '../../../base/limits.ts';
import { KiB, sectorsToBytes } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import type { CheckContext, CheckedImage } from '../../check.ts';
import { openCowd } from '../cowd/open.ts';
import { checkLines, FLAT, standaloneDescriptor } from '../described.ts';
import type { Descriptor, DescriptorExtent } from '../descriptor.ts';
import { Flag, SparseExtentHeader } from '../hosted/layout.ts';
import { type FileKind, fileKind } from '../kind.ts';
import { embeddedDescriptor } from '../monolithic.ts';
import { openSeSparse } from '../sesparse/open.ts';
import { type CheckedExtent, checkHosted } from './hosted.ts';
import { checkMapped } from './mapped.ts';

export async function checkVmdk(source: ByteSource, context: CheckContext): Promise<CheckedImage> {
  const head = await source.read(0, Math.min(64 * KiB, source.size), 'VMDK header');
  const kind = fileKind(head);
  if (kind === 'descriptor') {
    return checkDescribed(source, await standaloneDescriptor(source, LIMITS), context);
  }
  if (kind === 'hosted' && head.length >= SparseExtentHeader.size) {
    const { capacity, descriptorOffset } = SparseExtentHeader.peek(head);
    // A header of capacity 0 holds nothing but a descriptor.
    if (capacity === 0 && descriptorOffset !== 0) {
      const descriptor = await embeddedDescriptor(source, SparseExtentHeader.peek(head), LIMITS);
      return checkDescribed(source, descriptor, context);
    }
  }
  const extent = await checkSparse(source, kind, context, undefined);
  if (kind === 'hosted') {
    await checkOwnDescriptor(source, extent.header as SparseExtentHeader, context);
  }
  return result([extent]);
}

interface Checked extends Omit<CheckedExtent, 'header'> {
  header?: SparseExtentHeader;
}

async function checkSparse(
  source: ByteSource,
  kind: FileKind | undefined,
  context: CheckContext,
  file: string | undefined,
): Promise<Checked> {
  switch (kind) {
    case 'cowd':
      return checkMapped(await openCowd(source), context, file);
    case 'seSparse':
      return checkMapped(await openSeSparse(source), context, file);
    default:
      return checkHosted(source, context, file);
  }
}

/** What a file says of itself in its descriptor is what its header says. A piece of a split disk has none. */
async function checkOwnDescriptor(
  source: ByteSource,
  header: SparseExtentHeader,
  context: CheckContext,
): Promise<void> {
  const { findings } = context;
  if (header.descriptorOffset === 0) {
    return;
  }
  const descriptor = await findings.attempt(() => embeddedDescriptor(source, header, LIMITS));
  if (descriptor === undefined) {
    return;
  }
  const offset = sectorsToBytes(header.descriptorOffset);
  const corrupt = (what: string) => findings.corruption(() => ({ table: 'descriptor', offset, what }));
  const sectors = descriptor.extents.reduce((sum, line) => sum + line.sectors, 0);
  if (sectors > header.capacity) {
    corrupt(`its extents have ${sectors} sectors, the header's capacity is ${header.capacity}`);
  }
  const isStream = descriptor.createType.toLowerCase() === 'streamoptimized';
  if (isStream !== ((header.flags & Flag.compressed) !== 0)) {
    corrupt(`createType is ${escapeText(descriptor.createType)}, and grains are ${isStream ? 'not ' : ''}compressed`);
  }
}

async function checkDescribed(
  source: ByteSource,
  descriptor: Descriptor,
  context: CheckContext,
): Promise<CheckedImage> {
  checkLines(descriptor, source);
  const flat: FlatPart[] = [];
  const extents: Checked[] = [];
  for (const line of descriptor.extents) {
    const { name, type, access, sectors } = line;
    if (name === undefined || type === 'ZERO' || access === 'NOACCESS' || sectors === 0) {
      continue;
    }
    const extent = await context.gate.open({ kind: 'extent', name }, source);
    try {
      if (FLAT.has(type)) {
        checkFlat(extent, line, flat, context);
      } else {
        const checked = await checkExtent(extent, line, context);
        if (checked !== undefined) {
          extents.push(checked);
        }
      }
    } finally {
      await extent.close();
    }
  }
  return result(extents);
}

interface FlatPart {
  name: string | undefined;
  offset: number;
  end: number;
}

function checkFlat(extent: ByteSource, line: DescriptorExtent, before: FlatPart[], { findings }: CheckContext): void {
  const offset = sectorsToBytes(line.offset);
  const end = offset + sectorsToBytes(line.sectors);
  const place = { table: 'extent description', file: extent.name };
  if (end > extent.size) {
    const what = `the descriptor says bytes ${offset} to ${end}, the file ends at ${extent.size}`;
    findings.corruption(() => ({ ...place, what }));
  }
  if (before.some((other) => other.name === line.name && other.offset < end && offset < other.end)) {
    const what = `bytes ${offset} to ${end} are part of another extent too`;
    findings.corruption(() => ({ ...place, what }));
  }
  before.push({ name: line.name, offset, end });
}

/** Damage of one extent does not keep the others from being looked at. */
async function checkExtent(
  extent: ByteSource,
  line: DescriptorExtent,
  context: CheckContext,
): Promise<Checked | undefined> {
  const { findings } = context;
  const kind = fileKind(await extent.read(0, Math.min(8, extent.size), 'VMDK extent'));
  const checked = await findings.attempt(() => checkSparse(extent, kind, context, extent.name));
  const capacity = checked?.header?.capacity;
  if (capacity !== undefined && line.sectors > capacity) {
    const what = `capacity is ${capacity} sectors, the descriptor says ${line.sectors}`;
    findings.corruption(() => ({ table: 'header', offset: 12, file: extent.name, what }));
  }
  return checked;
}

function result(extents: readonly Checked[]): CheckedImage {
  if (extents.length === 0) {
    return {};
  }
  const sum = (key: 'allocated' | 'fragmented' | 'compressed' | 'unreferencedBytes') =>
    extents.reduce((total, extent) => total + extent[key], 0);
  return {
    allocatedClusters: sum('allocated'),
    fragmentedClusters: sum('fragmented'),
    compressedClusters: sum('compressed'),
    unreferencedBytes: sum('unreferencedBytes'),
  };
}
