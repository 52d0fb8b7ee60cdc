/** The descriptor as vdconv writes it: in the order that VirtualBox demands and the spelling that qemu searches for. */
import { VdconvError } from '../../../base/errors.ts';
import { stableId } from '../../../base/stable-id.ts';
import { SECTOR, type Sectors } from '../../../base/units.ts';
import { NO_PARENT } from '../descriptor.ts';
import type { DiskDatabase } from './disk-database.ts';
import type { Subformat } from './options.ts';

export interface DescriptorValues {
  createType: Subformat;
  capacity: Sectors;
  /** Lines of the extent description. */
  extents: readonly string[];
  database: DiskDatabase['entries'];
  /** The layer below. */
  parent?: { cid: string; name: string } | undefined;
  /** Fresh ids: random bytes in place of the content's. */
  randomId?: Uint8Array | undefined;
}

/** Sectors kept for the descriptor. VirtualBox adds its UUIDs to it in place, so it needs room; qemu reads as many. */
export const DESCRIPTOR_SECTORS = 20;

/** VMDK 5.0 §The descriptor file. @param fingerprint of the disk's content, where it is known by now. */
export function encodeDescriptor(values: DescriptorValues, fingerprint?: Uint8Array): Uint8Array {
  const { createType, extents, database, parent } = values;
  const hint = parent === undefined ? '' : `parentFileNameHint="${parent.name}"\n`;
  return new TextEncoder().encode(`# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=${contentId(values, fingerprint)}
parentCID=${parent?.cid ?? NO_PARENT}
createType="${createType}"
${hint}
# Extent description
${extents.join('\n')}

# The Disk Data Base 
#DDB

${database.map(([name, value]) => `ddb.${name} = "${value}"\n`).join('')}`);
}

/** The same inside a sparse file, padded with NUL to its place there. */
export function embedDescriptor(values: DescriptorValues, fingerprint?: Uint8Array): Uint8Array {
  const text = encodeDescriptor(values, fingerprint);
  const room = DESCRIPTOR_SECTORS * SECTOR;
  if (text.length >= room) {
    throw new VdconvError('limit', `the VMDK's descriptor would have ${text.length} bytes, there is room for ${room}`);
  }
  const padded = new Uint8Array(room);
  padded.set(text);
  return padded;
}

/** CID: the same content and options give the same one, never one of the reserved fffffffe and ffffffff. */
function contentId(values: DescriptorValues, fingerprint: Uint8Array | undefined): string {
  const { createType, capacity, database, parent, randomId } = values;
  const followsFrom = [randomId ?? fingerprint, createType, capacity, parent?.cid, ...database.flat()];
  const [a = 0, b = 0, c = 0, d = 0] = stableId('vmdk', ...followsFrom);
  const cid = ((a * 256 + b) * 256 + c) * 256 + d;
  return Math.min(cid, 0xfffffffd).toString(16).padStart(8, '0');
}
