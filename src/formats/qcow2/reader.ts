import type { ByteSource, Reference } from '../../io/types.ts';
import type { DataFile } from '../../map/data-file.ts';
import type { Image, OpenContext } from '../format.ts';
import { isExternal, openDataFile } from './data-file.ts';
import { imageFacts } from './facts.ts';
import { obstacle } from './features.ts';
import { type Header, readHeader } from './header.ts';
import { CompressionType } from './layout.ts';
import { blockMap } from './map.ts';
import { findSnapshot, headerOf } from './snapshot-state.ts';
import { readSnapshots } from './snapshots.ts';

/** @param context.snapshot id or name: the disk as it was then. */
export async function openQcow2(source: ByteSource, { gate, snapshot, salvage }: OpenContext): Promise<Image> {
  const active = await readHeader(source, salvage);
  const snapshots = active.nbSnapshots > 0 ? await readSnapshots(source, active) : [];
  const header = snapshot === undefined ? active : headerOf(findSnapshot(snapshots, snapshot, active), active, source);
  const parent = backingReference(header);
  const facts = await imageFacts(source, header, parent, snapshots);
  const blocked = obstacle(header, salvage);
  const { file, failure = blocked } = blocked === undefined ? await openDataFile(source, header, gate) : {};
  const data = { external: isExternal(header), size: file?.size ?? source.size };
  const codec = header.compressionType === CompressionType.zstd ? 'zstd' : 'deflate';
  const own: DataFile = { source, codec: { name: codec, unit: header.clusterSize, framing: 'none' } };
  return {
    format: 'qcow2',
    subformat: `v${header.version}`,
    virtualSize: header.virtualSize,
    tableBytes: header.l1Size * 8,
    dataFiles: [file === undefined ? own : { source: file }],
    ...(parent === undefined ? {} : { parent }),
    facts,
    async *extents(start, end) {
      if (failure !== undefined) {
        throw failure;
      }
      yield* blockMap(source, header, data, start, end);
    },
  };
}

function backingReference(header: Header): Reference | undefined {
  const format = header.extensions.backingFormat;
  return header.backingFile === undefined
    ? undefined
    : { kind: 'backing', name: header.backingFile, ...(format === undefined ? {} : { format }) };
}
