/** The first cluster of an image that is written: header, feature name table, end of the extensions. */
import { encodeFeatureNames } from './features.ts';
import { type Geometry, REFCOUNT_ORDER } from './geometry.ts';
import { CompressionType, ExtensionType, headerAdditional, headerExtension, headerV3, MAGIC } from './layout.ts';

/** As QEMU does: in smaller clusters the room is better kept for a backing file name. */
const SMALLEST_CLUSTER_WITH_NAMES = 8192;

export function encodeHeader(geometry: Geometry): Uint8Array {
  const header = headerV3.encode({
    magic: MAGIC,
    version: 3,
    backingFileOffset: 0,
    backingFileSize: 0,
    clusterBits: geometry.clusterBits,
    size: geometry.virtualSize,
    cryptMethod: 0,
    l1Size: geometry.l1Size,
    l1TableOffset: geometry.l1TableOffset,
    refcountTableOffset: geometry.refcountTableOffset,
    refcountTableClusters: geometry.refcountTableClusters,
    nbSnapshots: 0,
    snapshotsOffset: 0,
    incompatibleFeatures: 0n,
    compatibleFeatures: 0n,
    autoclearFeatures: 0n,
    refcountOrder: REFCOUNT_ORDER,
    headerLength: headerV3.size + headerAdditional.size,
  });
  const parts = [header, headerAdditional.encode({ compressionType: CompressionType.deflate })];
  if (geometry.clusterSize >= SMALLEST_CLUSTER_WITH_NAMES) {
    const names = encodeFeatureNames();
    parts.push(headerExtension.encode({ type: ExtensionType.featureNames, length: names.length }), names);
  }
  parts.push(headerExtension.encode({ type: ExtensionType.end, length: 0 }));
  const cluster = new Uint8Array(geometry.clusterSize);
  let at = 0;
  for (const part of parts) {
    cluster.set(part, at);
    at += part.length;
  }
  return cluster;
}
