import type { ByteSource, Reference } from '../../io/types.ts';
import type { Image } from '../format.ts';
import { Autoclear, Compatible, encryption, has, Incompatible, obstacle } from './features.ts';
import { type Header, readHeader } from './header.ts';
import { CompressionType } from './layout.ts';
import { blockMap } from './map.ts';
import { readSnapshots, type Snapshot } from './snapshots.ts';

export async function openQcow2(source: ByteSource): Promise<Image> {
  const header = await readHeader(source);
  const snapshots = header.nbSnapshots > 0 ? await readSnapshots(source, header) : [];
  const blocked = obstacle(header);
  const parent = backingReference(header);
  const dataFile = dataFileReference(header);
  return {
    format: 'qcow2',
    subformat: `v${header.version}`,
    virtualSize: header.virtualSize,
    tableBytes: header.l1Size * 8,
    dataFiles: [{ source, codec: { name: 'deflate', unit: header.clusterSize, framing: 'none' } }],
    ...(parent === undefined ? {} : { parent }),
    facts: {
      blockSize: header.clusterSize,
      references: [parent, dataFile].filter((reference) => reference !== undefined),
      snapshots,
      encrypted: header.cryptMethod !== 0,
      // Only the L2 tables know, and reading them all is not for a fact.
      compressed: false,
      dirty: has(header.incompatibleFeatures, Incompatible.dirty),
      warnings: warnings(header, snapshots),
      details: details(header),
    },
    async *extents(start, end) {
      if (blocked !== undefined) {
        throw blocked;
      }
      yield* blockMap(source, header, start, end);
    },
  };
}

function backingReference(header: Header): Reference | undefined {
  const format = header.extensions.backingFormat;
  return header.backingFile === undefined
    ? undefined
    : { kind: 'backing', name: header.backingFile, ...(format === undefined ? {} : { format }) };
}

/** Without incompatible feature bit 2 the name means nothing. */
function dataFileReference(header: Header): Reference | undefined {
  const name = header.extensions.dataFile;
  return name === undefined || !has(header.incompatibleFeatures, Incompatible.externalDataFile)
    ? undefined
    : { kind: 'data-file', name, format: 'raw' };
}

function warnings(header: Header, snapshots: readonly Snapshot[]): string[] {
  const list: string[] = [];
  if (has(header.incompatibleFeatures, Incompatible.dirty)) {
    list.push('the image was not closed cleanly (dirty bit): the guest may have been writing to it');
  }
  if (header.size !== header.virtualSize) {
    list.push(
      `the header says ${header.size} bytes, no multiple of 512: the disk has ${header.virtualSize}, as in QEMU`,
    );
  }
  if (snapshots.length > 0) {
    list.push(`the image has internal snapshots (${snapshots.length}): only its active state is read`);
  }
  if (header.extensions.bitmaps !== undefined) {
    list.push(`the image has dirty bitmaps (${header.extensions.bitmaps.nbBitmaps}): they are not read`);
  }
  return list;
}

/** `compat` is qemu-img's word for the version. */
function details(header: Header): Record<string, unknown> {
  const { extensions } = header;
  const external = has(header.incompatibleFeatures, Incompatible.externalDataFile);
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
    ...(external ? { dataFileRaw: has(header.autoclearFeatures, Autoclear.rawExternalData) } : {}),
    ...(header.cryptMethod === 0 ? {} : { encryption: encryption(header) }),
    ...(extensions.bitmaps === undefined ? {} : { bitmaps: extensions.bitmaps.nbBitmaps }),
  };
}
