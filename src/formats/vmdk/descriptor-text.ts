/** The descriptor as vdconv writes it: in the order that VirtualBox demands and the spelling that qemu searches for. */
import { stableId } from '../../base/stable-id.ts';
import { GiB, SECTOR, type Sectors, sectorsToBytes } from '../../base/units.ts';
import { NO_PARENT } from './descriptor.ts';
import type { AdapterType, Subformat } from './options.ts';

export interface DescriptorValues {
  subformat: Subformat;
  capacity: Sectors;
  adapterType: AdapterType;
  hwVersion: number;
}

/** Sectors kept for the descriptor. VirtualBox adds its UUIDs to it in place, so it needs room; qemu reads as many. */
export const DESCRIPTOR_SECTORS = 20;

/** The text, padded with NUL to its place in the file. VMDK 5.0 §The descriptor file. */
export function encodeDescriptor(values: DescriptorValues): Uint8Array {
  const geometry = diskGeometry(values.capacity, values.adapterType);
  const text = `# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=${contentId(values)}
parentCID=${NO_PARENT}
createType="${values.subformat}"

# Extent description
RW ${values.capacity} SPARSE "disk.vmdk"

# The Disk Data Base 
#DDB

ddb.adapterType = "${values.adapterType}"
ddb.geometry.cylinders = "${geometry.cylinders}"
ddb.geometry.heads = "${geometry.heads}"
ddb.geometry.sectors = "${geometry.sectors}"
ddb.virtualHWVersion = "${values.hwVersion}"
`;
  const padded = new Uint8Array(DESCRIPTOR_SECTORS * SECTOR);
  padded.set(new TextEncoder().encode(text));
  return padded;
}

/** What VMware products choose. Geometry never changes the size: the guest sees every sector. */
export function diskGeometry(
  capacity: Sectors,
  adapterType: AdapterType,
): { cylinders: number; heads: number; sectors: number } {
  const bytes = sectorsToBytes(capacity);
  const [heads, sectors, most] =
    adapterType === 'ide'
      ? [16, 63, 16383]
      : bytes < GiB
        ? [64, 32, 65535]
        : bytes < 2 * GiB
          ? [128, 32, 65535]
          : [255, 63, 65535];
  return { cylinders: Math.min(Math.floor(capacity / (heads * sectors)), most), heads, sectors };
}

/** CID: the same size and options give the same one, never one of the reserved fffffffe and ffffffff. */
function contentId({ subformat, capacity, adapterType, hwVersion }: DescriptorValues): string {
  const [a = 0, b = 0, c = 0, d = 0] = stableId('vmdk', subformat, capacity, adapterType, hwVersion);
  const cid = ((a * 256 + b) * 256 + c) * 256 + d;
  return Math.min(cid, 0xfffffffd).toString(16).padStart(8, '0');
}
