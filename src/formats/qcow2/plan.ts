/** Plans a QCOW2 image of version 3: which tables go in front, and what the engine may place behind them. */
import { alignUp, SECTOR } from '../../base/units.ts';
import type { Layout } from '../../map/layout.ts';
import type { WritePlan, WriteRequest } from '../format.ts';
import { type Geometry, layOut, REFCOUNT_BYTES } from './geometry.ts';
import { Qcow2Writer } from './writer.ts';

const MAX_REFCOUNT = 65535;

export function planQcow2(request: WriteRequest): WritePlan {
  const clusterSize = request.options.cluster_size as number;
  const virtualSize = alignUp(request.virtualSize, SECTOR);
  const geometry = layOut(virtualSize, clusterSize, request.compress);
  const padding = virtualSize - request.virtualSize;
  const notes =
    padding === 0 ? [] : [`the disk grows by ${padding} zero bytes: QCOW2 sizes are multiples of 512 bytes`];
  return {
    layout: layoutOf(geometry, request),
    virtualSize,
    notes,
    writer: () => new Qcow2Writer(geometry),
  };
}

function layoutOf(geometry: Geometry, request: WriteRequest): Layout {
  const { clusterSize } = geometry;
  const layout: Layout = {
    kind: 'blocks',
    dataStart: geometry.frontClusters * clusterSize,
    blockSize: clusterSize,
    dataAlign: clusterSize,
    dataPhase: 0,
    prefixBytes: 0,
    prefixFill: 0,
    tables: { blocks: clusterSize / 8, bytes: clusterSize, align: clusterSize, marker: 0, place: 'before' },
    side: { every: (clusterSize / REFCOUNT_BYTES) * clusterSize, bytes: clusterSize },
  };
  if (request.compress) {
    layout.codec = {
      name: 'deflate',
      level: request.level ?? 6,
      // 4 KiB: some readers inflate with this window, as QEMU's own streams allow.
      windowBits: 12,
      packing: 1,
      framing: 'none',
      incompressible: 'plain',
      maxShare: MAX_REFCOUNT,
    };
  }
  return layout;
}
