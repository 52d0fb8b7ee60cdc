/** Plans a QCOW2 image: which tables go in front, and what the engine may place behind them. */
import { alignUp, SECTOR } from '../../base/units.ts';
import { FLAT } from '../../map/flat.ts';
import type { Layout } from '../../map/layout.ts';
import type { BaseImage, SiblingFile, WritePlan, WriteRequest } from '../format.ts';
import { DataFileWriter } from './data-file-writer.ts';
import { type Geometry, layOut } from './geometry.ts';
import { type Backing, encodeHeader } from './header-writer.ts';
import { settingsOf } from './options.ts';
import { Qcow2Writer } from './writer.ts';

/** The engine counts in 32 bits. More compressed clusters than this never share a host cluster. */
const MAX_SHARE = 2 ** 31;

export function planQcow2(request: WriteRequest): WritePlan {
  const settings = settingsOf(request);
  const virtualSize = alignUp(request.virtualSize, SECTOR);
  const geometry = layOut(virtualSize, settings, request.compress);
  const backing = request.base === undefined ? undefined : backingOf(request.base);
  // Names that do not fit are found before any byte is moved.
  encodeHeader(geometry, backing);
  const padding = virtualSize - request.virtualSize;
  const { preallocation } = settings;
  const notes =
    padding === 0 ? [] : [`the disk grows by ${padding} zero bytes: QCOW2 sizes are multiples of 512 bytes`];
  if (settings.dataFile !== '' && !settings.dataFile.startsWith('/')) {
    // qemu 10: neither the image's directory nor any other is tried.
    notes.push(
      'QEMU looks for a relative data_file in its working directory: an absolute name is found from everywhere',
    );
  }
  const common = {
    virtualSize,
    notes,
    ...(preallocation === 'falloc' || preallocation === 'full' ? { preallocation } : {}),
  };
  if (settings.dataFile !== '') {
    return { ...common, ...planDataFile(geometry) };
  }
  return {
    ...common,
    // Compressed, zeros over the base are data like any other.
    ...(storesZeros(geometry, request) && request.compress ? { preallocation: 'full' } : {}),
    layout: layoutOf(geometry, request),
    writer: () => new Qcow2Writer(geometry, backing),
  };
}

/** Version 2 has no zero flag: what hides the base must be stored. */
function storesZeros({ settings }: Geometry, { base }: WriteRequest): boolean {
  return settings.version === 2 && base !== undefined;
}

/** QEMU takes a colon before the first slash for a protocol. Its name of VHD is older than the format's own. */
function backingOf({ name, format }: BaseImage): Backing {
  return { name: /^[^/]*:/.test(name) ? `./${name}` : name, format: format === 'vhd' ? 'vpc' : format };
}

function layoutOf(geometry: Geometry, request: WriteRequest): Layout {
  const { clusterSize, l2Entries, refcountsPerBlock, settings } = geometry;
  const layout: Layout = {
    kind: 'blocks',
    dataStart: geometry.frontClusters * clusterSize,
    blockSize: clusterSize,
    dataAlign: clusterSize,
    dataPhase: 0,
    prefixBytes: 0,
    prefixFill: 0,
    tables: { blocks: l2Entries, bytes: clusterSize, align: clusterSize, marker: 0, place: 'before' },
    side: { every: refcountsPerBlock * clusterSize, bytes: clusterSize },
  };
  if (request.base !== undefined) {
    layout.explicitZeros = true;
  }
  if (settings.preallocation !== 'off' || (storesZeros(geometry, request) && !request.compress)) {
    layout.storeAll = true;
  }
  if (request.compress) {
    const zstd = settings.compressionType === 'zstd';
    layout.codec = {
      name: zstd ? 'zstd' : 'deflate',
      // The defaults of both libraries, and QEMU's.
      level: request.level ?? (zstd ? 3 : 6),
      // 4 KiB unless asked: some readers inflate with this window, as QEMU's own streams allow.
      windowBits: settings.windowBits,
      packing: 1,
      framing: 'none',
      incompressible: 'plain',
      maxShare: Math.min(2 ** settings.refcountBits - 1, MAX_SHARE),
    };
  }
  return layout;
}

/** The data file first: what of it is zero, the image's tables need not map. */
function planDataFile(geometry: Geometry): Pick<WritePlan, 'layout' | 'range' | 'siblings' | 'writer'> {
  const { clusterSize, virtualSize, settings } = geometry;
  const flat: Layout = { ...FLAT, blockSize: clusterSize, dataAlign: clusterSize };
  const all = settings.dataFileRaw || settings.preallocation !== 'off';
  const data: SiblingFile = {
    name: settings.dataFile,
    layout: flat,
    keepStored: !all,
    writer: () => ({ add: () => [], finish: () => ({ pieces: [], size: virtualSize }) }),
  };
  return {
    siblings: [data],
    layout: { ...flat, kind: 'blocks' },
    range: { start: virtualSize, end: virtualSize },
    writer: () => new DataFileWriter(geometry, all),
  };
}
