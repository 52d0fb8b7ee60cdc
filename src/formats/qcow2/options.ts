/** What `-o` takes, with qemu-img's keys and values, and what of it goes together. */
import { VdconvError } from '../../base/errors.ts';
import { isPowerOfTwo, KiB } from '../../base/units.ts';
import type { OptionSpec, OptionValue, WriteRequest } from '../format.ts';
import { MAX_CLUSTER_BITS, MIN_CLUSTER_BITS, MIN_EXTENDED_CLUSTER_BITS } from './layout.ts';

export const MIN_CLUSTER = 2 ** MIN_CLUSTER_BITS;
export const MAX_CLUSTER = 2 ** MAX_CLUSTER_BITS;

/** An image as it is to be: options that go together. */
export interface Settings {
  version: 2 | 3;
  clusterSize: number;
  refcountBits: number;
  compressionType: 'zlib' | 'zstd';
  extendedL2: boolean;
  lazyRefcounts: boolean;
  preallocation: 'off' | 'metadata' | 'falloc' | 'full';
  /** log2 of the window of deflate. */
  windowBits: 12 | 15;
  /** Name of the external data file; '': the image holds its data itself. */
  dataFile: string;
  dataFileRaw: boolean;
}

export const options: readonly OptionSpec[] = [
  {
    key: 'cluster_size',
    type: 'size',
    default: 64 * KiB,
    check: checkClusterSize,
    help: 'unit of allocation: a power of two from 512 to 2M',
  },
  {
    key: 'compat',
    type: 'choice',
    choices: ['0.10', '1.1', 'v2', 'v3'],
    default: '1.1',
    help: 'version: 1.1 or v3 is version 3, which QEMU 1.1 and later read; 0.10 or v2 is version 2',
  },
  {
    key: 'compression_type',
    type: 'choice',
    choices: ['zlib', 'zstd'],
    default: 'zlib',
    help: 'what -c compresses with; zstd needs QEMU 5.1 or later, and few other readers take it',
  },
  {
    key: 'deflate_window',
    type: 'choice',
    choices: ['4k', '32k'],
    default: '4k',
    help: 'history of zlib: 32k is smaller, QEMU reads it, readers that inflate as they read may not',
  },
  {
    key: 'extended_l2',
    type: 'flag',
    default: false,
    help: 'subclusters: 32 to a cluster, of at least 16k; for QEMU 5.2 and later',
  },
  {
    key: 'refcount_bits',
    type: 'number',
    default: 16,
    check: checkRefcountBits,
    help: 'width of reference counts: a power of two from 1 to 64',
  },
  { key: 'lazy_refcounts', type: 'flag', default: false, help: 'QEMU may postpone updates of reference counts' },
  {
    key: 'preallocation',
    type: 'choice',
    choices: ['off', 'metadata', 'falloc', 'full'],
    default: 'off',
    help: 'give every cluster its place (metadata), reserve the space too (falloc), or write zeros as well (full)',
  },
  {
    key: 'data_file',
    type: 'text',
    default: '',
    check: checkDataFile,
    help: "a second file, its name relative to OUT's directory, for the guest's bytes; OUT has the tables",
  },
  {
    key: 'data_file_raw',
    type: 'flag',
    default: false,
    help: 'the data file alone is a raw image of the disk as well',
  },
];

/** Throws `usage` where options exclude each other. */
export function settingsOf({ options: o, compress, base }: WriteRequest): Settings {
  const settings: Settings = {
    version: o.compat === '0.10' || o.compat === 'v2' ? 2 : 3,
    clusterSize: o.cluster_size as number,
    refcountBits: o.refcount_bits as number,
    compressionType: o.compression_type as Settings['compressionType'],
    extendedL2: o.extended_l2 as boolean,
    lazyRefcounts: o.lazy_refcounts as boolean,
    preallocation: o.preallocation as Settings['preallocation'],
    windowBits: o.deflate_window === '32k' ? 15 : 12,
    dataFile: o.data_file as string,
    dataFileRaw: o.data_file_raw as boolean,
  };
  const { version, clusterSize, extendedL2, preallocation, dataFile, dataFileRaw } = settings;
  const external = dataFile !== '';
  const faults: [boolean, string][] = [
    [version === 2 && settings.refcountBits !== 16, 'compat=0.10 has reference counts of 16 bits only'],
    [version === 2 && settings.lazyRefcounts, 'compat=0.10 has no lazy_refcounts'],
    [version === 2 && settings.compressionType === 'zstd', 'compat=0.10 has no zstd'],
    [version === 2 && extendedL2, 'compat=0.10 has no extended_l2'],
    [version === 2 && external, 'compat=0.10 has no data_file'],
    [extendedL2 && clusterSize < 2 ** MIN_EXTENDED_CLUSTER_BITS, 'extended_l2 needs a cluster_size of at least 16k'],
    [dataFileRaw && !external, 'data_file_raw needs a data_file'],
    [external && compress, 'a data_file holds plain clusters only: leave out -c'],
    [external && base !== undefined, 'an image with a data_file is written whole: leave out -B'],
    [
      preallocation !== 'off' && compress,
      'compressed clusters have no place in advance: leave out -c or preallocation',
    ],
    [preallocation !== 'off' && base !== undefined, 'preallocation would hide the base: leave out -B or preallocation'],
  ];
  for (const [wrong, says] of faults) {
    if (wrong) {
      throw new VdconvError('usage', `qcow2: ${says}`);
    }
  }
  return settings;
}

function checkClusterSize(value: OptionValue): void {
  if (typeof value !== 'number' || !isPowerOfTwo(value) || value < MIN_CLUSTER || value > MAX_CLUSTER) {
    throw new VdconvError('usage', `cluster_size is ${value}: it must be a power of two from 512 to 2M`);
  }
}

function checkRefcountBits(value: OptionValue): void {
  if (typeof value !== 'number' || !isPowerOfTwo(value) || value > 64) {
    throw new VdconvError('usage', `refcount_bits is ${value}: it must be a power of two from 1 to 64`);
  }
}

/** What QEMU would take for a protocol is no name of a file that it would find. */
function checkDataFile(value: OptionValue): void {
  const name = String(value);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is the purpose
  if (/[\u0000-\u001f\u007f]/.test(name) || /^[^/]*:/.test(name)) {
    throw new VdconvError('usage', 'data_file: neither control characters nor a colon before the first slash');
  }
}
