/** Opens a VMDK: finds its descriptor, the extents that it consists of and the parent that it names. */
import { escapeText, VdconvError } from '../../base/errors.ts';
import { LIMITS, type Limits } from '../../base/limits.ts';
import { KiB } from '../../base/units.ts';
import type { ByteSource, Reference } from '../../io/types.ts';
import type { Image, Lineage, OpenContext } from '../format.ts';
import { openDescribed, standaloneDescriptor } from './described.ts';
import { type Descriptor, NO_PARENT } from './descriptor.ts';
import { diskMap } from './disk-map.ts';
import { imageFacts } from './facts.ts';
import { SparseExtentHeader } from './hosted/layout.ts';
import { fileKind } from './kind.ts';
import { diskMetadata } from './metadata.ts';
import { type Disk, embeddedDescriptor, openMonolithic, withoutDescriptor } from './monolithic.ts';

export async function openVmdk(source: ByteSource, context: OpenContext): Promise<Image> {
  const { limits = LIMITS } = context;
  const head = await source.read(0, Math.min(64 * KiB, source.size), 'VMDK header');
  const details = { file: source.name, format: 'vmdk' };
  switch (fileKind(head)) {
    case 'hosted': {
      const descriptor = await headerOfDescriptor(source, head, limits);
      if (descriptor !== undefined) {
        return openByDescriptor(source, descriptor, context);
      }
      const monolithic = await openMonolithic(source, limits);
      return makeImage(monolithic.descriptor, monolithic.disk, findParent(monolithic.descriptor, source));
    }
    case 'descriptor':
      return openByDescriptor(source, await standaloneDescriptor(source, limits), context);
    case 'cowd':
      throw withoutDescriptor('one ESX redo log (COWD, vmfsSparse)', details);
    case 'seSparse':
      throw withoutDescriptor('one ESX SE sparse extent (seSparse)', details);
    default:
      throw new VdconvError('wrong-format', 'not a VMDK: neither KDMV, COWD, seSparse nor a descriptor', details);
  }
}

async function openByDescriptor(source: ByteSource, descriptor: Descriptor, context: OpenContext): Promise<Image> {
  // All that the text alone can get wrong is found before a file is opened.
  const parent = findParent(descriptor, source);
  return makeImage(descriptor, await openDescribed(source, descriptor, context), parent);
}

/** A header of capacity 0 holds nothing but a descriptor; its other fields mean nothing. */
async function headerOfDescriptor(
  source: ByteSource,
  head: Uint8Array,
  limits: Limits,
): Promise<Descriptor | undefined> {
  if (head.length < SparseExtentHeader.size) {
    return undefined;
  }
  const header = SparseExtentHeader.peek(head);
  const alone = header.capacity === 0 && header.descriptorOffset !== 0;
  return alone ? embeddedDescriptor(source, header, limits) : undefined;
}

function makeImage(descriptor: Descriptor, { extents, dataFiles }: Disk, { parent, warnings }: Parent): Image {
  // The extents that have a file of their own, each once.
  const names = dataFiles.length > 1 ? new Set(descriptor.extents.flatMap(({ name }) => name ?? [])) : [];
  const references: Reference[] = [...names].map((name) => ({ kind: 'extent', name }));
  return {
    format: 'vmdk',
    subformat: descriptor.createType,
    virtualSize: extents.reduce((sum, { bytes }) => sum + bytes, 0),
    dataFiles,
    ...(parent === undefined ? {} : { parent }),
    lineage: lineage(descriptor),
    metadata: diskMetadata(descriptor),
    facts: imageFacts(descriptor, extents, parent === undefined ? references : [parent, ...references], warnings),
    extents: (start, end) => diskMap(extents, start, end),
  };
}

/** VMDK 5.0 §The descriptor file: a child's parentCID is its parent's CID. */
function lineage({ header }: Descriptor): Lineage {
  const [own, parent] = [header.get('cid'), header.get('parentcid')];
  return {
    field: 'parentCID',
    ...(own === undefined ? {} : { own }),
    ...(parent === undefined || parent.toLowerCase() === NO_PARENT ? {} : { parents: [parent] }),
  };
}

interface Parent {
  parent?: Reference;
  warnings: string[];
}

/** parentCID decides whether there is a parent, parentFileNameHint where it is. VMDK 5.0 §The descriptor file: header. */
function findParent({ header }: Descriptor, source: ByteSource): Parent {
  const name = header.get('parentfilenamehint') ?? '';
  const parentCid = header.get('parentcid')?.toLowerCase();
  if (parentCid === NO_PARENT) {
    const ignored = `parentFileNameHint '${escapeText(name)}' is ignored: parentCID says that there is no parent`;
    return { warnings: name === '' ? [] : [ignored] };
  }
  if (name !== '') {
    return { parent: { kind: 'parent', name: pathOf(name), format: 'vmdk' }, warnings: [] };
  }
  if (parentCid === undefined) {
    return { warnings: [] };
  }
  throw new VdconvError('corrupt', `parentCID is ${escapeText(parentCid)}, but parentFileNameHint names no file`, {
    file: source.name,
    format: 'vmdk',
    field: 'parentFileNameHint',
  });
}

/**
 * The hint as a path here: Windows' relative names are relative here too, and an absolute name of Windows or ESXi leads
 * nowhere on another machine, so that the parent is looked for beside the child. `parentCID` tells whether it is the one.
 */
function pathOf(hint: string): string {
  return /^([A-Za-z]:|\\|\/vmfs\/)/.test(hint) ? hint.replace(/^.*[\\/]/s, '') : hint.replaceAll('\\', '/');
}
