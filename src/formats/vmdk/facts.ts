/** What `info` says about a VMDK. */
import type { Reference } from '../../io/types.ts';
import type { ImageFacts } from '../format.ts';
import { type Descriptor, NO_PARENT } from './descriptor.ts';
import type { DiskExtent } from './disk-map.ts';

export function imageFacts(
  descriptor: Descriptor,
  extents: readonly DiskExtent[],
  references: readonly Reference[],
  warnings: readonly string[],
): ImageFacts {
  const sparse = extents.flatMap((extent) => (extent.kind === 'sparse' ? [extent.sparse] : []));
  return {
    blockSize: sparse[0]?.grainBytes ?? 0,
    references,
    snapshots: [],
    encrypted: false,
    compressed: sparse.some((extent) => extent.compressed),
    dirty: sparse.some((extent) => extent.dirty),
    warnings: [...warnings, ...sparse.flatMap((extent) => extent.warnings)],
    // Of the first sparse extent: the others of a split disk are made alike.
    details: { ...descriptorDetails(descriptor), ...sparse[0]?.details, extents: descriptor.extents },
  };
}

function descriptorDetails({ header, ddb, createType }: Descriptor): Record<string, unknown> {
  return known({
    createType,
    cid: header.get('cid')?.toLowerCase(),
    parentCid: header.get('parentcid')?.toLowerCase() ?? NO_PARENT,
    parentFileNameHint: header.get('parentfilenamehint'),
    changeTrackPath: header.get('changetrackpath'),
    longContentId: ddb.get('longcontentid'),
  });
}

/** Without the keys that the image does not have. */
function known(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}
