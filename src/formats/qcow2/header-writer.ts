/** The first cluster of an image that is written: header, extensions, backing file name. */
import { escapeText, VdconvError } from '../../base/errors.ts';
import { alignUp, formatSize } from '../../base/units.ts';
import { Autoclear, Compatible, encodeFeatureNames, Incompatible } from './features.ts';
import type { Geometry } from './geometry.ts';
import {
  CompressionType,
  ExtensionType,
  headerAdditional,
  headerExtension,
  headerV2,
  headerV3,
  MAGIC,
  MAX_BACKING_NAME,
} from './layout.ts';

/** What the header says of the layer below. */
export interface Backing {
  name: string;
  format: string;
}

/** As QEMU does: in smaller clusters the room is better kept for a backing file name. */
const SMALLEST_CLUSTER_WITH_NAMES = 8192;

/** Throws `usage` where a name is too long for the cluster. */
export function encodeHeader(geometry: Geometry, backing?: Backing): Uint8Array {
  const { version, refcountBits, lazyRefcounts, dataFileRaw } = geometry.settings;
  const parts = extensions(geometry, backing);
  const headerLength = version === 2 ? headerV2.size : headerV3.size + headerAdditional.size;
  const nameAt = headerLength + parts.reduce((sum, part) => sum + part.length, 0);
  const name = new TextEncoder().encode(backing?.name ?? '');
  if (nameAt + name.length > geometry.clusterSize || name.length > MAX_BACKING_NAME) {
    const most = Math.max(0, Math.min(MAX_BACKING_NAME, geometry.clusterSize - nameAt));
    const shown = escapeText(backing?.name ?? geometry.settings.dataFile);
    const what = `the name '${shown}' is too long for the header in a cluster of ${formatSize(geometry.clusterSize)}`;
    throw new VdconvError('usage', what, { format: 'qcow2', hint: `use larger clusters, or at most ${most} bytes` });
  }
  const v2 = {
    magic: MAGIC,
    version,
    backingFileOffset: name.length === 0 ? 0 : nameAt,
    backingFileSize: name.length,
    clusterBits: geometry.clusterBits,
    size: geometry.virtualSize,
    cryptMethod: 0,
    l1Size: geometry.l1Size,
    l1TableOffset: geometry.l1TableOffset,
    refcountTableOffset: geometry.refcountTableOffset,
    refcountTableClusters: geometry.refcountTableClusters,
    nbSnapshots: 0,
    snapshotsOffset: 0,
  };
  if (version === 2) {
    return joined(geometry.clusterSize, [headerV2.encode(v2), ...parts, name]);
  }
  const header = headerV3.encode({
    ...v2,
    incompatibleFeatures: incompatible(geometry),
    compatibleFeatures: bits([Compatible.lazyRefcounts, lazyRefcounts]),
    autoclearFeatures: bits([Autoclear.rawExternalData, dataFileRaw]),
    refcountOrder: Math.log2(refcountBits),
    headerLength,
  });
  const additional = headerAdditional.encode({ compressionType: compressionType(geometry) });
  return joined(geometry.clusterSize, [header, additional, ...parts, name]);
}

function compressionType({ settings }: Geometry): number {
  return settings.compressionType === 'zstd' ? CompressionType.zstd : CompressionType.deflate;
}

function incompatible({ settings }: Geometry): bigint {
  return bits(
    [Incompatible.externalDataFile, settings.dataFile !== ''],
    [Incompatible.compressionType, settings.compressionType === 'zstd'],
    [Incompatible.extendedL2, settings.extendedL2],
  );
}

function bits(...features: [number, boolean][]): bigint {
  return features.reduce((sum, [bit, set]) => (set ? sum | (1n << BigInt(bit)) : sum), 0n);
}

/** In QEMU's order. */
function extensions({ settings, clusterSize }: Geometry, backing: Backing | undefined): Uint8Array[] {
  const parts: Uint8Array[] = [];
  const add = (type: number, data: Uint8Array) => {
    const padded = new Uint8Array(alignUp(data.length, 8));
    padded.set(data);
    parts.push(headerExtension.encode({ type, length: data.length }), padded);
  };
  if (backing !== undefined) {
    add(ExtensionType.backingFormat, new TextEncoder().encode(backing.format));
  }
  if (settings.dataFile !== '') {
    add(ExtensionType.dataFile, new TextEncoder().encode(settings.dataFile));
  }
  if (settings.version === 3 && clusterSize >= SMALLEST_CLUSTER_WITH_NAMES) {
    add(ExtensionType.featureNames, encodeFeatureNames());
  }
  add(ExtensionType.end, new Uint8Array(0));
  return parts;
}

function joined(size: number, parts: readonly Uint8Array[]): Uint8Array {
  const cluster = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    cluster.set(part, at);
    at += part.length;
  }
  return cluster;
}
