/**
 * Reading: the sheet's verified images typed in by hand, the maths of table entries, and images that QEMU wrote. What
 * is wrong with an image is in hostile.test.ts.
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { inflateRawSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { GiB, KiB, MiB, TiB } from '../../base/units.ts';
import { refusingGate } from '../../io/gate.ts';
import { memorySource } from '../../io/memory-source.ts';
import type { ByteSource } from '../../io/types.ts';
import { checked } from '../../map/checked.ts';
import { type Extent, Kind } from '../../map/extents.ts';
import { collect } from '../../testing/map-model.ts';
import type { ModelDisk } from '../../testing/model-disk.ts';
import { need, qemuImg } from '../../testing/oracles.ts';
import { seededDisk } from '../../testing/seeded-disk.ts';
import { tempDir } from '../../testing/tmp.ts';
import { hex, lines, sparseSource } from '../../testing/typed-image.ts';
import type { Image } from '../format.ts';
import { qcow2 } from './index.ts';
import { bitmapsExtension, featureName, headerExtension, headerV2, headerV3, snapshotHeader } from './layout.ts';
import { openQcow2 as open } from './reader.ts';

const openQcow2 = (source: ByteSource) => open(source, { gate: refusingGate() });

async function map(image: Image, start = 0, end = image.virtualSize): Promise<Extent[]> {
  return collect(checked(image.extents(start, end), start, end));
}

/** The guest's bytes as the block map says, decoded by Node's zlib. */
async function guestBytes(source: ByteSource, image: Image): Promise<Uint8Array> {
  const disk = new Uint8Array(image.virtualSize);
  for (const e of await map(image)) {
    if (e.kind === Kind.data) {
      disk.set(await source.read(e.offset, e.length, 'data'), e.start);
    } else if (e.kind === Kind.compressed) {
      const stored = await source.read(e.offset, Math.min(e.stored, source.size - e.offset), 'data');
      disk.set(new Uint8Array(inflateRawSync(stored)).subarray(e.skip, e.skip + e.length), e.start);
    }
  }
  return disk;
}

/** Vector A: an empty disk of 1 MiB in clusters of 512 bytes. */
const EMPTY_1M = {
  0: `514649fb 00000003 0000000000000000 00000000 00000009 0000000000100000 00000000 00000020
          0000000000000600 0000000000000200 00000001 00000000 0000000000000000`,
  72: '0000000000000000 0000000000000000 0000000000000000 00000004 00000068',
  512: '0000000000000400',
  1024: '0001 0001 0001 0001',
};

/** Vector B: a disk of one sector, 'A' throughout, compressed. */
const ONE_COMPRESSED = {
  0: `514649fb 00000003 0000000000000000 00000000 00000009 0000000000000200 00000000 00000001
          0000000000000600 0000000000000200 00000001 00000000 0000000000000000`,
  72: '0000000000000000 0000000000000000 0000000000000000 00000004 00000068',
  512: '0000000000000400',
  1024: '0001 0001 0001 0001 0001 0001',
  1536: '8000000000000800',
  2048: '4000000000000a00',
  2560: '73 74 1c 05 23 19 00 00',
};

describe('hand-typed images', () => {
  test('A: empty, 512-byte clusters, the file ends within the L1 cluster', async () => {
    const image = await openQcow2(sparseSource(1792, EMPTY_1M));
    expect(image.virtualSize).toBe(MiB);
    expect(lines(await map(image))).toEqual(['0+1048576 unallocated']);
    expect(image.facts).toMatchObject({ blockSize: 512, references: [], dirty: false, encrypted: false, warnings: [] });
    expect(image.facts.details).toMatchObject({ compat: '1.1', clusterBits: 9, refcountBits: 16, l1Size: 32 });
  });

  test('B: one compressed cluster; the file ends with its stream', async () => {
    const source = sparseSource(2568, ONE_COMPRESSED);
    const image = await openQcow2(source);
    expect(lines(await map(image))).toEqual(['0+512 compressed 2560/512 skip 0']);
    expect(image.dataFiles[0]?.codec).toEqual({ name: 'deflate', unit: 512, framing: 'none' });
    expect(await guestBytes(source, image)).toEqual(new Uint8Array(512).fill(0x41));
  });

  test('B: a part of the cluster begins inside its unit', async () => {
    const image = await openQcow2(sparseSource(2568, ONE_COMPRESSED));
    expect(lines(await map(image, 100, 300))).toEqual(['100+200 compressed 2560/512 skip 100']);
  });

  test('D: a stream as QEMU writes it, 64 KiB of A in 79 bytes', async () => {
    const source = sparseSource(0x50000 + 79, {
      0: `514649fb 00000002 0000000000000000 00000000 00000010 0000000000010000 00000000 00000001
          0000000000030000 0000000000010000 00000001 00000000 0000000000000000`,
      196608: '8000000000040000',
      262144: '4000000000050000',
      327680: 'edc18100 00000080 20b6fda5 16a90a00',
      [0x50000 + 78]: '6a',
    });
    const image = await openQcow2(source);
    expect(lines(await map(image))).toEqual(['0+65536 compressed 327680/512 skip 0']);
    expect(await guestBytes(source, image)).toEqual(new Uint8Array(65536).fill(0x41));
  });

  test('E: a zstd stream, 64 KiB of A in 20 bytes', async () => {
    const source = sparseSource(0x50014, {
      0: `514649fb 00000003 0000000000000000 00000000 00000010 0000000000010000 00000000 00000001
          0000000000030000 0000000000010000 00000001 00000000 0000000000000000`,
      72: '0000000000000008 0000000000000000 0000000000000000 00000004 00000070 01',
      65536: '0000000000020000',
      196608: '8000000000040000',
      262144: '4000000000050000',
      327680: '28b52ffd6000ff5500001041410100fb7f1d6001',
    });
    const image = await openQcow2(source);
    expect(image.dataFiles[0]?.codec).toEqual({ name: 'zstd', unit: 64 * KiB, framing: 'none' });
    expect(image.facts.details.compressionType).toBe('zstd');
    expect(lines(await map(image))).toEqual(['0+65536 compressed 327680/512 skip 0']);
  });

  test('G: an overlay names its backing file and its format', async () => {
    const image = await openQcow2(
      sparseSource(0x30008, {
        0: `514649fb 00000003 0000000000000210 00000007 00000010 0000000000100000 00000000 00000001
                0000000000030000 0000000000010000 00000001 00000000 0000000000000000`,
        72: '0000000000000000 0000000000000000 0000000000000000 00000004 00000070 0000000000000000',
        112: 'e2792aca 00000005 71636f7732 000000 6803f857 00000180',
        528: '65 2e 71 63 6f 77 32',
      }),
    );
    const backing = { kind: 'backing', name: 'e.qcow2', format: 'qcow2' };
    expect(image.parent).toEqual(backing);
    expect(image.facts.references).toEqual([backing]);
    expect(image.facts.details).toMatchObject({ backingFile: 'e.qcow2', backingFormat: 'qcow2' });
  });

  test('version 2: extensions begin at byte 72, the backing format among them', async () => {
    const image = await openQcow2(
      sparseSource(1792, {
        0: `514649fb 00000002 0000000000000060 00000004 00000009 0000000000100000 00000000 00000020
                0000000000000600 0000000000000200 00000001 00000000 0000000000000000`,
        72: 'e2792aca 00000003 726177 0000000000 00000000 00000000',
        96: '62 2e 7a 7a',
      }),
    );
    expect(image.subformat).toBe('v2');
    expect(image.parent).toEqual({ kind: 'backing', name: 'b.zz', format: 'raw' });
    expect(image.facts.details).toMatchObject({ compat: '0.10', refcountBits: 16 });
  });

  test('a size that is no multiple of 512 is rounded down, and said', async () => {
    const source = sparseSource(1792, { ...EMPTY_1M, 24: '00000000000003e8' });
    const image = await openQcow2(source);
    expect(image.virtualSize).toBe(512);
    expect(image.facts.warnings).toEqual([expect.stringContaining('1000 bytes')]);
  });

  test('a dirty image is read, with a warning', async () => {
    const image = await openQcow2(sparseSource(1792, { ...EMPTY_1M, 72: '0000000000000001', 96: '0000000400000068' }));
    expect(image.facts.dirty).toBe(true);
    expect(image.facts.warnings).toEqual([expect.stringContaining('dirty bit')]);
    expect(lines(await map(image))).toEqual(['0+1048576 unallocated']);
  });

  test('unknown extensions, compatible and autoclear bits mean nothing', async () => {
    const image = await openQcow2(
      sparseSource(1792, {
        ...EMPTY_1M,
        80: '8000000000000000 4000000000000000',
        104: '12345678 00000003 aabbcc00 00000000',
      }),
    );
    expect(lines(await map(image))).toEqual(['0+1048576 unallocated']);
  });

  test('a data file name without its feature bit is no reference', async () => {
    const parts = { ...EMPTY_1M, 104: '44415441 00000004 2f657463 00000000 00000000' };
    const image = await openQcow2(sparseSource(1792, parts));
    expect(image.facts.references).toEqual([]);
    expect(image.facts.details).not.toHaveProperty('dataFile');
  });

  test('snapshots are listed; only the active state is read', async () => {
    const image = await openQcow2(
      sparseSource(0xa00, {
        ...EMPTY_1M,
        60: '00000001 0000000000000800',
        2048: `0000000000060000 00000001 0001 0005 00000000 00000000 0000000000000000 00000000 00000018
                0000000000000000 0000000000100000 0000000000000000 31 736e617041 0000`,
      }),
    );
    expect(image.facts.snapshots).toEqual([{ id: '1', name: 'snapA', time: 0, virtualSize: MiB }]);
    expect(image.facts.warnings).toEqual([]);
  });
});

describe('table entries', () => {
  const zeroFlag = '0000000000000001';
  /** EMPTY_1M with an L2 table at 0x800 that begins with `entries`, in a file of `size` bytes. */
  const withL2 = (entries: string, size = 0x1000) =>
    openQcow2(sparseSource(size, { ...EMPTY_1M, 1536: '8000000000000800', 2048: entries }));

  test('data that continues in the file is one extent, data elsewhere another', async () => {
    const image = await withL2('8000000000000a00 8000000000000c00 0000000000000a00');
    expect(lines(await map(image, 0, 2048))).toEqual([
      '0+1024 data 2560',
      '1024+512 data 2560',
      '1536+512 unallocated',
    ]);
  });

  test('the zero flag means zeros, with a host cluster or without one', async () => {
    const image = await withL2(`${zeroFlag} 8000000000000a01 0000000000000000`);
    expect(lines(await map(image, 0, 1536))).toEqual(['0+1024 zero', '1024+512 unallocated']);
  });

  test('COPIED without an offset is an unallocated cluster', async () => {
    const image = await withL2('8000000000000000 8000000000000a00');
    expect(lines(await map(image, 0, 1024))).toEqual(['0+512 unallocated', '512+512 data 2560']);
  });

  test('a range that begins and ends inside clusters', async () => {
    const image = await withL2(`8000000000000a00 ${zeroFlag} 8000000000000c00`);
    expect(lines(await map(image, 500, 1030))).toEqual(['500+12 data 3060', '512+512 zero', '1024+6 data 3072']);
  });

  test('of the last cluster only what the guest sees must be in the file', async () => {
    // A disk of 64 KiB + 512 bytes in clusters of 4 KiB, the last of which has 512 bytes.
    const image = await openQcow2(
      sparseSource(0x4200, {
        0: `514649fb 00000002 0000000000000000 00000000 0000000c 0000000000010200 00000000 00000001
                 0000000000002000 0000000000001000 00000001 00000000 0000000000000000`,
        8192: '8000000000003000',
        12416: '8000000000004000',
      }),
    );
    expect(lines(await map(image))).toEqual(['0+65536 unallocated', '65536+512 data 16384']);
  });

  test('a host offset beyond 4 GiB', async () => {
    const image = await withL2('8000050000000000', 6 * TiB);
    expect(lines(await map(image, 0, 512))).toEqual([`0+512 data ${5 * TiB}`]);
  });

  // QCOW2 §Compressed Clusters Descriptor: the bit x where the sector count begins, for each cluster size.
  test.each([
    [9, 61],
    [10, 60],
    [11, 59],
    [12, 58],
    [13, 57],
    [14, 56],
    [15, 55],
    [16, 54],
    [17, 53],
    [18, 52],
    [19, 51],
    [20, 50],
    [21, 49],
  ])('the compressed descriptor with cluster_bits %i', async (clusterBits, x) => {
    const cluster = 2 ** clusterBits;
    const offset = 2 ** 48 + 0x64;
    const word = (n: bigint | number) => n.toString(16).padStart(16, '0');
    const image = await openQcow2(
      sparseSource(2 ** 48 + 2048, {
        0: `514649fb 00000002 0000000000000000 00000000 ${word(clusterBits).slice(8)} 0000000000000200 00000000 00000001
            ${word(3 * cluster)} ${word(cluster)} 00000001 00000000 0000000000000000`,
        [3 * cluster]: word(4 * cluster),
        [4 * cluster]: word((1n << 62n) | (1n << BigInt(x)) | BigInt(offset)),
      }),
    );
    expect(lines(await map(image))).toEqual([`0+512 compressed ${offset}/924 skip 0`]);
  });

  test('F: cluster_bits 16, offset 0x50064, 600 bytes', async () => {
    const image = await openQcow2(
      sparseSource(0x50064 + 600, {
        0: `514649fb 00000002 0000000000000000 00000000 00000010 0000000000010000 00000000 00000001
            0000000000030000 0000000000010000 00000001 00000000 0000000000000000`,
        196608: '8000000000040000',
        262144: '4040000000050064',
      }),
    );
    // Two sectors less the 100 bytes before the stream: a bound on its 600 bytes.
    expect(lines(await map(image))).toEqual(['0+65536 compressed 327780/924 skip 0']);
  });
});

describe('how much is read', () => {
  const header = (clusterBits: string, size: string, l1Size: string, l1: string) =>
    `514649fb 00000003 0000000000000000 00000000 ${clusterBits} ${size} 00000000 ${l1Size}
     ${l1} 0000000000010000 00000001 00000000 0000000000000000
     0000000000000000 0000000000000000 0000000000000000 00000004 00000068`;

  test('an empty disk of 64 TiB is its L1 table of 1 MiB and one extent', async () => {
    const source = sparseSource(0x120000, {
      0: header('00000010', '0000400000000000', '00020000', '0000000000020000'),
    });
    const image = await openQcow2(source);
    source.reads.length = 0;
    expect(lines(await map(image))).toEqual([`0+${64 * TiB} unallocated`]);
    expect(source.reads).toEqual([[0x20000, MiB]]);
  });

  test('L2 tables that follow each other in the file are read together, up to 1 MiB', async () => {
    const tables = 20;
    const l1 = Array.from({ length: tables }, (_, i) => (0x40000 + i * 0x10000).toString(16).padStart(16, '0'));
    const source = sparseSource(0x40000 + tables * 0x10000, {
      0: header('00000010', '0000000280000000', '00000014', '0000000000020000'),
      131072: l1.join(''),
    });
    const image = await openQcow2(source);
    source.reads.length = 0;
    expect(lines(await map(image))).toEqual([`0+${10 * GiB} unallocated`]);
    expect(source.reads).toEqual([
      [0x20000, tables * 8],
      [0x40000, MiB],
      [0x140000, 4 * 0x10000],
    ]);
  });

  test('a small range reads the entries it needs', async () => {
    const source = sparseSource(0x60000, {
      0: header('00000010', '0000000280000000', '00000014', '0000000000020000'),
      131080: '8000000000040000',
    });
    const image = await openQcow2(source);
    source.reads.length = 0;
    expect(lines(await map(image, 512 * MiB + 70000, 512 * MiB + 140000))).toEqual(['536940912+70000 unallocated']);
    expect(source.reads).toEqual([
      [0x20008, 8],
      [0x40008, 16],
    ]);
  });

  test('tables that are used many times over cost no memory: extents come in batches', async () => {
    // 64 KiB clusters; every L1 entry names one L2 table, whose entries name two clusters in turn.
    const entries = '80000000000500008000000000060000'.repeat(4096);
    const source = sparseSource(0x70000, {
      0: header('00000010', '0000000280000000', '00000014', '0000000000020000'),
      131072: '8000000000040000'.repeat(20),
      262144: entries,
    });
    let extents = 0;
    for await (const batch of (await openQcow2(source)).extents(0, 10 * GiB)) {
      expect(batch.count).toBeLessThanOrEqual(4096);
      extents += batch.count;
    }
    expect(extents).toBeGreaterThan(80000);
  });
});

describe('structures decode and encode to the same bytes', () => {
  const origin = { file: 'x', format: 'qcow2', at: 0 };
  test.each([
    [
      headerV2,
      `514649fb 00000002 0000000000000210 00000007 00000010 0000000000100000 00000000 00000001
       0000000000030000 0000000000010000 00000001 00000002 0000000000040000`,
    ],
    [
      headerV3,
      `514649fb 00000003 0000000000000210 00000007 00000010 0000000000100000 00000002 00000001
       0000000000030000 0000000000010000 00000001 00000002 0000000000040000
       0000000000000008 0000000000000001 0000000000000003 00000004 00000070`,
    ],
    [headerExtension, 'e2792aca 00000005'],
    [featureName, `00 01 ${'636f7272757074'} 20 ${'626974'} ${'00'.repeat(35)}`],
    [bitmapsExtension, '00000002 00000000 0000000000000040 0000000000010000'],
    [snapshotHeader, '0000000000060000 00000001 0001 0005 65000000 00000007 0000000000000009 0000000b 00000018'],
  ])('$0.name', (table, text) => {
    const bytes = hex(text);
    const values = table.decode(bytes, origin);
    expect(table.encode(values as never)).toEqual(bytes);
  });

  test('fields have the names and places of the specification', () => {
    const values = headerV3.decode(
      hex(`514649fb 00000003 0000000000000101 00000202 00000010 0000000000000303 00000001 00000404
           0000000000000505 0000000000000606 00000707 00000808 0000000000000909
           000000000000000a 000000000000000b 000000000000000c 00000005 00000068`),
      origin,
    );
    expect(values).toEqual({
      magic: 0x514649fb,
      version: 3,
      backingFileOffset: 0x101,
      backingFileSize: 0x202,
      clusterBits: 16,
      size: 0x303,
      cryptMethod: 1,
      l1Size: 0x404,
      l1TableOffset: 0x505,
      refcountTableOffset: 0x606,
      refcountTableClusters: 0x707,
      nbSnapshots: 0x808,
      snapshotsOffset: 0x909,
      incompatibleFeatures: 10n,
      compatibleFeatures: 11n,
      autoclearFeatures: 12n,
      refcountOrder: 5,
      headerLength: 104,
    });
  });
});

describe('probe', () => {
  const sample = (text: string) => ({ head: hex(text), tail: hex(text), size: hex(text).length });
  test.each([
    ['version 2', '514649fb 00000002', true],
    ['version 3', '514649fb 00000003', true],
    ['an unknown version is a broken image of this format', '514649fb 00000004', true],
    ['a file that ends after the magic number too', '514649fb', true],
    ['version 1 is another format', '514649fb 00000001', false],
    ['another magic number', '514649fc 00000003', false],
    ['an empty file', '', false],
    ['a file of one byte', '51', false],
  ])('%s', (_, text, is) => {
    expect(qcow2.probe(sample(text))).toBe(is);
  });
});

describe('images that QEMU wrote', () => {
  async function written(ctx: Parameters<typeof need>[0], disk: ModelDisk, ...args: string[]) {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const raw = join(dir, 'disk.raw');
    const file = join(dir, 'disk.qcow2');
    await disk.writeRawFile(raw);
    await qemu.convert('-f', 'raw', '-O', 'qcow2', ...args, raw, file);
    return file;
  }
  const load = async (file: string) => memorySource(new Uint8Array(await readFile(file)), file);

  const variants: Record<string, string[]> = {
    defaults: [],
    'version 2': ['-o', 'compat=0.10'],
    '512-byte clusters': ['-o', 'cluster_size=512'],
    '2 MiB clusters': ['-o', 'cluster_size=2M'],
    compressed: ['-c'],
    'compressed, version 2, 512-byte clusters': ['-c', '-o', 'compat=0.10,cluster_size=512'],
    'compressed, 4 KiB clusters': ['-c', '-o', 'cluster_size=4k'],
    'compressed, 2 MiB clusters': ['-c', '-o', 'cluster_size=2M'],
    'compressed, 1-bit refcounts': ['-c', '-o', 'refcount_bits=1'],
    'tables allocated in advance': ['-o', 'preallocation=metadata'],
  };
  for (const [name, args] of Object.entries(variants)) {
    test(name, { timeout: 60_000 }, async (ctx) => {
      const disk = seededDisk(20, 3 * MiB + 66 * KiB + 512);
      const file = await written(ctx, disk, ...args);
      const source = await load(file);
      const image = await openQcow2(source);
      expect(image.virtualSize).toBe(disk.size);
      expect(Buffer.from(await guestBytes(source, image)).equals(disk.bytes(0, disk.size))).toBe(true);
    });
  }

  test('zeroed clusters, a snapshot, a backing file', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    const file = join(dir, 'top.qcow2');
    await qemu.run('create', '-q', '-f', 'qcow2', join(dir, 'base.qcow2'), '1M');
    await qemu.run('create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', file);
    await promisify(execFile)('qemu-io', ['-c', 'write -z 64k 128k', '-c', 'write -P 7 256k 64k', file]);
    await qemu.run('snapshot', '-c', 'before', file);
    const source = await load(file);
    const image = await openQcow2(source);
    expect(image.parent).toEqual({ kind: 'backing', name: 'base.qcow2', format: 'qcow2' });
    expect(image.facts.snapshots).toMatchObject([{ id: '1', name: 'before', virtualSize: MiB }]);
    const found = await map(image);
    expect(found.map((e) => [e.start, e.length, e.kind])).toEqual([
      [0, 64 * KiB, Kind.unallocated],
      [64 * KiB, 128 * KiB, Kind.zero],
      [192 * KiB, 64 * KiB, Kind.unallocated],
      [256 * KiB, 64 * KiB, Kind.data],
      [320 * KiB, 704 * KiB, Kind.unallocated],
    ]);
    expect((await guestBytes(source, image)).subarray(256 * KiB, 320 * KiB)).toEqual(new Uint8Array(64 * KiB).fill(7));
  });
});
