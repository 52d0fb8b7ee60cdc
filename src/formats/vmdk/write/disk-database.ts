/** The disk database that vdconv writes: an option goes before what the source says, and that before the default. */
import { VdconvError } from '../../../base/errors.ts';
import { GiB, type Sectors, sectorsToBytes } from '../../../base/units.ts';
import type { WriteRequest } from '../../format.ts';
import type { DiskMetadata, Geometry, MetadataKey } from '../../metadata.ts';
import { encodeComment } from '../comment.ts';
import { diskId, isVmwareId, vmwareForm } from '../disk-id.ts';
import { ADAPTER_TYPES, type AdapterType, HW_VERSION, TOOLS_VERSION } from './options.ts';

export interface DiskDatabase {
  /** Names without `ddb.`, and values, in the order of the lines. */
  entries: readonly (readonly [name: string, value: string])[];
  /** What of the source's metadata stands in it, or was replaced because the user said so. */
  carried: readonly MetadataKey[];
}

export function diskDatabase(request: WriteRequest, capacity: Sectors): DiskDatabase {
  const { metadata = {} } = request;
  const said = (key: string) => request.given?.has(key) ?? true;
  const adapterType = adapterOf(request, said);
  const hwVersion = hwVersionOf(request, said);
  const toolsVersion = String(request.options.toolsversion || (accepts(TOOLS_VERSION, metadata.toolsVersion) ?? ''));
  // A geometry belongs to its controller.
  const kept = said('adapter_type') ? undefined : legalGeometry(metadata.geometry, adapterType);
  const geometry = kept ?? diskGeometry(capacity, adapterType);
  const uuid = diskId(String(request.options.uuid || metadata.uuid || ''));
  const comment = metadata.comment === undefined ? undefined : encodeComment(metadata.comment);
  const { logicalSectorSize = 512, physicalSectorSize = 512 } = metadata;
  const sectorSizes = logicalSectorSize !== 512 || physicalSectorSize !== 512;
  const entries: [string, string | number | undefined][] = [
    ['adapterType', adapterType],
    ['geometry.cylinders', geometry.cylinders],
    ['geometry.heads', geometry.heads],
    ['geometry.sectors', geometry.sectors],
    ['virtualHWVersion', hwVersion],
    ['toolsVersion', toolsVersion || undefined],
    ['logicalSectorSize', sectorSizes ? logicalSectorSize : undefined],
    ['physicalSectorSize', sectorSizes ? physicalSectorSize : undefined],
    uuid !== undefined && isVmwareId(uuid) ? ['uuid', vmwareForm(uuid)] : ['uuid.image', uuid],
    ['comment', comment || undefined],
  ];
  const replaced = { adapterType: 'adapter_type', hardwareVersion: 'hwversion' } as const;
  const carries: Record<keyof DiskMetadata, boolean> = {
    adapterType: said(replaced.adapterType) || adapterType === metadata.adapterType,
    hardwareVersion: said(replaced.hardwareVersion) || hwVersion === Number(metadata.hardwareVersion),
    toolsVersion: toolsVersion !== '',
    geometry: kept !== undefined || said('adapter_type'),
    uuid: uuid !== undefined,
    comment: comment !== undefined,
    logicalSectorSize: true,
    physicalSectorSize: true,
    creator: false,
    time: false,
  };
  return {
    entries: entries.flatMap(([name, value]) => (value === undefined ? [] : [[name, `${value}`] as const])),
    carried: (Object.keys(carries) as MetadataKey[]).filter((key) => carries[key]),
  };
}

function adapterOf({ options, metadata = {} }: WriteRequest, said: (key: string) => boolean): AdapterType {
  const source = ADAPTER_TYPES.find((type) => type === metadata.adapterType);
  return said('adapter_type') || source === undefined ? (options.adapter_type as AdapterType) : source;
}

function hwVersionOf(request: WriteRequest, said: (key: string) => boolean): number {
  const { options, metadata = {} } = request;
  const chosen = options.hwversion as number;
  if (options.compat6 === true) {
    if (request.given?.has('hwversion') === true && chosen !== 6) {
      throw new VdconvError('usage', `compat6 is hwversion 6, and hwversion ${chosen} was asked for too`);
    }
    return 6;
  }
  const source = Number(accepts(/^\d{1,2}$/, metadata.hardwareVersion) ?? 0);
  return said('hwversion') || source < HW_VERSION.min ? chosen : source;
}

function accepts(pattern: RegExp, text: string | undefined): string | undefined {
  return text !== undefined && pattern.test(text) ? text : undefined;
}

/** A geometry that a VMDK's controller can have. The one that a VHD counts its size in often is not. */
function legalGeometry(geometry: Geometry | undefined, adapterType: AdapterType): Geometry | undefined {
  const maxHeads = adapterType === 'ide' ? 16 : 255;
  const legal =
    geometry !== undefined && geometry.heads <= maxHeads && geometry.sectors <= 63 && geometry.cylinders <= 65535;
  return legal ? geometry : undefined;
}

/** What VMware products choose. Geometry never changes the size: the guest sees every sector. */
export function diskGeometry(capacity: Sectors, adapterType: AdapterType): Geometry {
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
