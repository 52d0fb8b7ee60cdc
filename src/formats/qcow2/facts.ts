/** What `info` tells of an image. */
import { VdconvError } from '../../base/errors.ts';
import { alignDown, SECTOR } from '../../base/units.ts';
import type { ByteSource, Reference } from '../../io/types.ts';
import type { ImageFacts } from '../format.ts';
import { type Bitmap, readBitmaps } from './bitmaps.ts';
import { dataFileReference, isExternal } from './data-file.ts';
import { Compatible, encryption, has, Incompatible, isRawExternal } from './features.ts';
import type { Header } from './header.ts';
import { CompressionType } from './layout.ts';
import type { Snapshot } from './snapshots.ts';

export async function imageFacts(
  source: ByteSource,
  header: Header,
  parent: Reference | undefined,
  snapshots: readonly Snapshot[],
): Promise<ImageFacts> {
  const bitmaps = await listBitmaps(source, header);
  return {
    blockSize: header.clusterSize,
    references: [parent, dataFileReference(header)].filter((reference) => reference !== undefined),
    snapshots: snapshots.map(({ id, name, time, virtualSize }) => ({
      id,
      name,
      time,
      ...(virtualSize === undefined ? {} : { virtualSize }),
    })),
    bitmaps: bitmaps.list,
    encrypted: header.cryptMethod !== 0,
    // Only the L2 tables know, and reading them all is not for a fact.
    compressed: false,
    dirty: has(header.incompatibleFeatures, Incompatible.dirty),
    warnings: warnings(header, bitmaps),
    details: details(header),
  };
}

interface Bitmaps {
  list: readonly Bitmap[];
  /** Why there is no list. */
  fault?: VdconvError;
}

/** A directory that lies keeps no disk from being read. */
async function listBitmaps(source: ByteSource, header: Header): Promise<Bitmaps> {
  try {
    return { list: await readBitmaps(source, header) };
  } catch (fault) {
    if (fault instanceof VdconvError && fault.code !== 'read') {
      return { list: [], fault };
    }
    throw fault;
  }
}

function warnings(header: Header, bitmaps: Bitmaps): string[] {
  const list: string[] = [];
  if (has(header.incompatibleFeatures, Incompatible.dirty)) {
    list.push('the image was not closed cleanly (dirty bit): the guest may have been writing to it');
  }
  if (header.size !== alignDown(header.size, SECTOR)) {
    list.push(
      `the header says ${header.size} bytes, no multiple of 512: the disk has ${header.virtualSize}, as in QEMU`,
    );
  }
  if (bitmaps.fault !== undefined) {
    list.push(`its dirty bitmaps cannot be listed: ${bitmaps.fault.message}`);
  }
  return list;
}

/** `compat` is qemu-img's word for the version. */
function details(header: Header): Record<string, unknown> {
  const { extensions } = header;
  const external = isExternal(header);
  return {
    compat: header.version === 2 ? '0.10' : '1.1',
    clusterBits: header.clusterBits,
    refcountBits: 2 ** header.refcountOrder,
    lazyRefcounts: has(header.compatibleFeatures, Compatible.lazyRefcounts),
    compressionType: header.compressionType === CompressionType.zstd ? 'zstd' : 'zlib',
    corrupt: has(header.incompatibleFeatures, Incompatible.corrupt),
    extendedL2: has(header.incompatibleFeatures, Incompatible.extendedL2),
    l1Size: header.l1Size,
    ...(header.backingFile === undefined ? {} : { backingFile: header.backingFile }),
    ...(extensions.backingFormat === undefined ? {} : { backingFormat: extensions.backingFormat }),
    ...(external ? { dataFile: extensions.dataFile ?? null } : {}),
    ...(external ? { dataFileRaw: isRawExternal(header) } : {}),
    ...(header.cryptMethod === 0 ? {} : { encryption: encryption(header) }),
  };
}
