// What is measured: for each case the command of vdconv, those of its peers, and the ratio that it must reach.
import { join } from 'node:path';

/** qemu-img's names, and the file of each format that `make images` builds. */
const QEMU = { raw: 'raw', qcow2: 'qcow2', vmdk: 'vmdk', vhd: 'vpc', vhdx: 'vhdx', vdi: 'vdi' };
const SOURCES = {
  raw: ['disk.raw', 'raw'],
  qcow2: ['disk.qcow2', 'qcow2'],
  vmdk: ['disk.vmdk', 'vmdk'],
  vhd: ['disk.vhd', 'vhd'],
  vhdx: ['disk.vhdx', 'vhdx'],
  vdi: ['disk.vdi', 'vdi'],
  zlib: ['disk-zlib.qcow2', 'qcow2'],
  zstd: ['disk-zstd.qcow2', 'qcow2'],
  stream: ['disk-stream.vmdk', 'vmdk'],
  huge: ['huge.qcow2', 'qcow2'],
  noise: ['noise.raw', 'raw'],
};
/** Kinds of output: format, options of vdconv, options of qemu-img. */
const TARGETS = {
  ...Object.fromEntries(Object.keys(QEMU).map((format) => [format, [format, [], []]])),
  zlib: ['qcow2', ['-c'], ['-c']],
  zstd: ['qcow2', ['-c', '-o', 'compression_type=zstd'], ['-c', '-o', 'compression_type=zstd']],
  stream: ['vmdk', ['-c'], ['-o', 'subformat=streamOptimized']],
};
const PLAIN = Object.keys(QEMU);

/** `A-B` and its limit: the ratio to the best peer that issue and documents promise. */
export const CASES = {
  ...Object.fromEntries(PLAIN.flatMap((from) => PLAIN.map((to) => [`${from}-${to}`, 1]))),
  'raw-vmdk': 0.4,
  'raw-zlib': 0.35,
  'raw-stream': 0.2,
  'raw-zstd': 0.5,
  'zlib-raw': 0.45,
  'zlib-qcow2': 0.45,
  'zlib-vhdx': 0.45,
  'stream-raw': 0.3,
  'stream-qcow2': 0.3,
  'stream-vhd': 0.3,
  'zstd-raw': 0.5,
  'zlib-zlib': 0.1,
  'huge-raw': 0.2,
  'huge-qcow2': 0.2,
  'huge-map': 0.2,
  'huge-measure': 0.2,
  'huge-compare': 0.2,
  'noise-zlib': 0.4,
  'raw-compare': 0.5,
  'raw-digest': 0.5,
};

/** Cases by group, for `--pairs`. */
export const GROUPS = {
  plain: PLAIN.flatMap((from) => PLAIN.map((to) => `${from}-${to}`)),
  compress: ['raw-zlib', 'raw-stream', 'raw-zstd', 'noise-zlib', 'zlib-zlib'],
  decompress: ['zlib-raw', 'zlib-qcow2', 'zlib-vhdx', 'stream-raw', 'stream-qcow2', 'stream-vhd', 'zstd-raw'],
  huge: ['huge-raw', 'huge-qcow2', 'huge-map', 'huge-measure', 'huge-compare'],
  read: ['raw-compare', 'raw-digest'],
  quick: [
    'raw-raw',
    'raw-qcow2',
    'qcow2-raw',
    'vmdk-qcow2',
    'raw-vhd',
    'zlib-raw',
    'huge-qcow2',
    'raw-compare',
    'raw-digest',
  ],
};

/** @returns `{ source, from, to?, sides: { name: { command, output? } } }`; the first side is vdconv. */
export function caseOf(name, { dir, vdconv, threads, sync }) {
  const [fromKind, toKind] = name.split('-');
  const [file, from] = SOURCES[fromKind];
  const source = join(dir, file);
  const m = threads === undefined ? [] : ['-m', threads];
  const qemuFrom = QEMU[from];
  const target = TARGETS[toKind];
  if (target !== undefined) {
    const [to, ours, theirs] = target;
    const out = (side) => join(dir, 'out', `${side}.${to}`);
    // Neither side syncs, or both do: qemu-img writes through the cache mode that -t names.
    const noSync = sync ? [] : ['--no-sync'];
    const cache = sync ? ['-t', 'writeback'] : [];
    const qemu = (...flags) => [
      'qemu-img',
      'convert',
      ...flags,
      ...cache,
      '-f',
      qemuFrom,
      '-O',
      QEMU[to],
      ...theirs,
      source,
    ];
    return {
      source,
      from,
      to,
      sides: {
        vdconv: {
          command: [...vdconv, 'convert', '-q', ...noSync, ...m, '-f', from, '-O', to, ...ours, source, out('vdconv')],
          output: out('vdconv'),
        },
        'qemu-img': { command: [...qemu(), out('qemu')], output: out('qemu') },
        'qemu-img -W -m 16': { command: [...qemu('-W', '-m', '16'), out('qemu-w')], output: out('qemu-w') },
        ...(from === 'raw' && to === 'raw'
          ? { cp: { command: ['cp', '--sparse=auto', '--reflink=never', source, out('cp')], output: out('cp') } }
          : {}),
      },
    };
  }
  const other = fromKind === 'huge' ? join(dir, 'huge-copy.qcow2') : join(dir, 'disk.qcow2');
  const sides = {
    map: {
      vdconv: { command: [...vdconv, 'map', '--output=json', source] },
      'qemu-img': { command: ['qemu-img', 'map', '--output=json', source] },
    },
    measure: {
      vdconv: { command: [...vdconv, 'measure', '-O', 'qcow2', '--fast', source] },
      'qemu-img': { command: ['qemu-img', 'measure', '-O', 'qcow2', source] },
    },
    compare: {
      vdconv: { command: [...vdconv, 'compare', '-q', '-f', from, '-F', 'qcow2', source, other] },
      'qemu-img': { command: ['qemu-img', 'compare', '-q', '-f', qemuFrom, '-F', 'qcow2', source, other] },
    },
    digest: {
      vdconv: { command: [...vdconv, 'digest', source] },
      sha256sum: { command: ['sha256sum', source] },
    },
  }[toKind];
  return { source, from, sides };
}
