/** Images that lie: each illegal value is refused with a code, the field's name and its offset, in little time and memory. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ErrorCode, VdconvError } from '../../base/errors.ts';
import { KiB, MiB } from '../../base/units.ts';
import { refusingGate } from '../../io/gate.ts';
import { memorySource } from '../../io/memory-source.ts';
import type { ByteSource } from '../../io/types.ts';
import { checked } from '../../map/checked.ts';
import { Kind } from '../../map/extents.ts';
import { openQcow2 as open } from './reader.ts';

const openQcow2 = (source: ByteSource) => open(source, { gate: refusingGate() });

/** Hexadecimal by offset. */
type Patch = Record<number, string>;

/**
 * A disk of 64 KiB in clusters of 512 bytes: L1 at 0x600, its first L2 table at 0x800, which maps the first cluster to
 * 0xa00 and the second, compressed, to 0xc00 (vector B's stream). The file ends with it.
 */
const VALID: Patch = {
  0: '514649fb 00000003 0000000000000000 00000000 00000009 0000000000010000 00000000 00000002',
  40: '0000000000000600 0000000000000200 00000001 00000000 0000000000000000',
  72: '0000000000000000 0000000000000000 0000000000000000 00000004 00000070',
  512: '0000000000000400',
  1024: '0001 0001 0001 0001 0001 0001 0001',
  1536: '8000000000000800',
  2048: '8000000000000a00 4000000000000c00',
  2560: '44444444',
  3072: '73 74 1c 05 23 19 00 00',
};
const SIZE = 0xc08;

function image(patch: Patch, size = SIZE): Uint8Array {
  const bytes = new Uint8Array(size);
  for (const [offset, text] of [...Object.entries(VALID), ...Object.entries(patch)]) {
    const digits = text.replaceAll(/\s/g, '').match(/../g) ?? [];
    bytes.set(
      digits.map((pair) => Number.parseInt(pair, 16)).slice(0, Math.max(0, size - Number(offset))),
      Math.min(size, Number(offset)),
    );
  }
  return bytes;
}

/** A source that counts what is asked of it. */
function counted(bytes: Uint8Array): ByteSource & { total: number; largest: number } {
  const source = memorySource(bytes, 'bad.qcow2');
  const counts = { total: 0, largest: 0 };
  return Object.assign(counts, {
    name: source.name,
    size: source.size,
    async read(offset: number, length: number, what: string) {
      counts.total += length;
      counts.largest = Math.max(counts.largest, length);
      return source.read(offset, length, what);
    },
    close: source.close,
  });
}

async function readAll(source: ByteSource): Promise<void> {
  const opened = await openQcow2(source);
  for await (const _ of checked(opened.extents(0, opened.virtualSize), 0, opened.virtualSize)) {
    // Every extent is looked at by `checked`.
  }
}

async function refusal(bytes: Uint8Array): Promise<VdconvError> {
  const source = counted(bytes);
  const error = await readAll(source).then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(VdconvError);
  expect(source.largest).toBeLessThanOrEqual(2 * MiB);
  expect((error as VdconvError).message).toMatch(/^bad\.qcow2: [^\n]+$/);
  expect((error as VdconvError).format).toBe('qcow2');
  return error as VdconvError;
}

test('the image that the others are made from is read', async () => {
  await expect(readAll(memorySource(image({}), 'good'))).resolves.toBeUndefined();
});

/** Where the number in the header, in hexadecimal, lies; the code; what the message says. */
type Case = [name: string, patch: Patch, code: ErrorCode, says: RegExp];

const header: Case[] = [
  ['magic number', { 0: '514649fc' }, 'wrong-format', /magic is .* at offset 0 /],
  ['version 0', { 4: '00000000' }, 'unsupported', /version is 0 at offset 4 /],
  ['version 1', { 4: '00000001' }, 'unsupported', /version is 1 at offset 4 /],
  ['version 4', { 4: '00000004' }, 'unsupported', /version is 4 at offset 4 /],
  ['version 2^32-1', { 4: 'ffffffff' }, 'unsupported', /version is 4294967295/],
  ['cluster_bits 8', { 20: '00000008' }, 'corrupt', /clusterBits is 8 at offset 20 /],
  ['cluster_bits 22', { 20: '00000016' }, 'limit', /clusterBits is 22 at offset 20 .*at most 21/],
  ['cluster_bits 63', { 20: '0000003f' }, 'limit', /clusterBits is 63 at offset 20 /],
  ['cluster_bits 2^32-1', { 20: 'ffffffff' }, 'limit', /clusterBits is 4294967295/],
  ['size 2^64-1', { 24: 'ffffffffffffffff' }, 'limit', /size is .* at offset 24 .*2\^53/],
  ['size 2^63', { 24: '8000000000000000' }, 'limit', /size is .* at offset 24 /],
  ['size 2^64-511', { 24: 'fffffffffffffe01' }, 'limit', /size is .* at offset 24 /],
  ['crypt_method 7', { 32: '00000007' }, 'unsupported', /cryptMethod is 7 at offset 32 /],
  ['l1_size 0', { 36: '00000000' }, 'corrupt', /l1Size is 0 at offset 36 .*needs 2 entries/],
  ['l1_size 1', { 36: '00000001' }, 'corrupt', /l1Size is 1 at offset 36 .*needs 2 entries/],
  ['l1_size 0x7fffffff', { 36: '7fffffff' }, 'limit', /l1Size is .* at offset 36 .*4194304/],
  ['l1_size 2^32-1', { 36: 'ffffffff' }, 'limit', /l1Size is .* at offset 36 /],
  ['L1 table beyond the file by its length', { 36: '00000200' }, 'truncated', /L1 table at offset 1536 ends at 5632/],
  ['l1_table_offset + 8', { 40: '0000000000000608' }, 'corrupt', /l1TableOffset is .* at offset 40 .*multiple/],
  ['l1_table_offset 2^40', { 40: '0000010000000000' }, 'truncated', /L1 table at offset 1099511627776/],
  ['l1_table_offset near 2^63', { 40: '7fffffffffff0000' }, 'corrupt', /l1TableOffset is .* at offset 40 /],
  ['l1_table_offset 0', { 40: '0000000000000000' }, 'corrupt', /l1TableOffset is 0 at offset 40 .*header/],
  ['refcount_table_offset unaligned', { 48: '0000000000000201' }, 'corrupt', /refcountTableOffset .* at offset 48 /],
  ['refcount_table_offset 0', { 48: '0000000000000000' }, 'corrupt', /refcountTableOffset is 0 at offset 48 /],
  ['refcount_table_offset 2^40', { 48: '0000010000000000' }, 'truncated', /refcount table at offset 1099511627776/],
  ['refcount_table_clusters 0', { 56: '00000000' }, 'corrupt', /refcountTableClusters is 0 at offset 56 /],
  ['refcount_table_clusters 2^32-1', { 56: 'ffffffff' }, 'limit', /refcountTableClusters is .* at offset 56 .*8 MiB/],
  ['nb_snapshots 2^32-1', { 60: 'ffffffff' }, 'limit', /nbSnapshots is .* at offset 60 .*65536/],
  ['snapshots_offset unaligned', { 64: '0000000000000008' }, 'corrupt', /snapshotsOffset is 8 at offset 64 /],
  [
    'incompatible bit 5',
    { 72: '0000000000000020' },
    'unsupported',
    /incompatibleFeatures is 0x20 at offset 72 .*bit 5/,
  ],
  ['incompatible bit 63', { 72: '8000000000000000' }, 'unsupported', /at offset 72 .*bit 63/],
  ['corrupt bit', { 72: '0000000000000002' }, 'corrupt', /marked as corrupt.*offset 72.*qemu-img check -r all/],
  ['external data file', { 72: '0000000000000004' }, 'corrupt', /external data file.*offset 72/],
  [
    'extended L2, 512-byte clusters',
    { 72: '0000000000000010' },
    'corrupt',
    /clusterBits is 9 at offset 20 .*at least 14/,
  ],
  ['compression type 9', { 72: '0000000000000008', 104: '09' }, 'unsupported', /compressionType is 9 at offset 104 /],
  ['zstd without its feature bit', { 104: '01' }, 'corrupt', /compressionType is 1 at offset 104 .*bit 3/],
  ['feature bit 3 with type deflate', { 72: '0000000000000008' }, 'corrupt', /compressionType is 0 at offset 104 /],
  [
    'feature bit 3 with a header of 104 bytes',
    { 72: '0000000000000008', 100: '00000068' },
    'corrupt',
    /compressionType is 0 at offset 104 .*bit 3/,
  ],
  ['refcount_order 7', { 96: '00000007' }, 'corrupt', /refcountOrder is 7 at offset 96 /],
  ['header_length 72', { 100: '00000048' }, 'corrupt', /headerLength is 72 at offset 100 /],
  ['header_length 2^32-1', { 100: 'ffffffff' }, 'corrupt', /headerLength is .* at offset 100 .*cluster size 512/],
  ['AES', { 32: '00000001' }, 'unsupported', /encrypted, AES.*cryptMethod at offset 32/],
  ['LUKS without its header', { 32: '00000002' }, 'unsupported', /encrypted, LUKS.*cryptMethod at offset 32/],
];

const name: Case[] = [
  ['offset beyond the first cluster', { 8: '0000000000000201 00000001' }, 'corrupt', /backingFileOffset .* offset 8 /],
  ['offset in the header', { 8: '0000000000000060 00000001' }, 'corrupt', /backingFileOffset is 96 at offset 8 /],
  ['offset 2^64-1', { 8: 'ffffffffffffffff 00000001' }, 'corrupt', /backingFileOffset .* at offset 8 .*2\^53/],
  ['length 2^32-1', { 8: '0000000000000100 ffffffff' }, 'corrupt', /backingFileSize .* at offset 16 .*at most 256/],
  ['length beyond the cluster', { 8: '00000000000001f0 00000011' }, 'corrupt', /backingFileSize is 17 .*at most 16/],
  [
    'NUL inside',
    { 8: '0000000000000100 00000003', 256: '610062' },
    'corrupt',
    /backing file name: byte 1 is 0 at offset 257/,
  ],
];

const extensions: Case[] = [
  ['length 0x7fffffff', { 112: '12345678 7fffffff' }, 'corrupt', /extension 0x12345678: length is .* at offset 116 /],
  ['length that wraps', { 112: '12345678 fffffff9' }, 'corrupt', /length is 4294967289 .*at offset 116 /],
  [
    'length into the name',
    { 8: '0000000000000080 00000001', 112: '12345678 00000009' },
    'corrupt',
    /length is 9 at offset 116 /,
  ],
  [
    'backing format of 16 bytes',
    { 112: `e2792aca 00000010 ${'61'.repeat(16)}` },
    'corrupt',
    /length is 16 at offset 116 /,
  ],
  [
    'NUL in the backing format',
    { 112: 'e2792aca 00000002 6100' },
    'corrupt',
    /backing format name: byte 1 .* offset 121/,
  ],
  [
    'bitmaps, 2^32-1 of them',
    { 88: '0000000000000001', 112: '23852875 00000018 ffffffff' },
    'corrupt',
    /nbBitmaps .* offset 120 /,
  ],
  [
    'bitmaps, a directory of 2^64-1 bytes',
    { 88: '0000000000000001', 112: '23852875 00000018 00000001 00000000 ffffffffffffffff' },
    'corrupt',
    /bitmapDirectorySize is .* at offset 128 /,
  ],
  [
    'bitmaps, 8 bytes',
    { 88: '0000000000000001', 112: '23852875 00000008 00000001' },
    'corrupt',
    /length is 8 at offset 116 .*must be 24/,
  ],
  [
    'a feature name that moves the cursor',
    { 72: '0000000000000040', 112: '6803f857 00000030 00 06 1b5d303b0a' },
    'unsupported',
    /bit 6 "\\x1b\]0;\\x0a"/,
  ],
];

const tables: Case[] = [
  [
    'L1 entry: reserved bits',
    { 1536: '8100000000000800' },
    'corrupt',
    /L1 table: entry 0 is 0x81.* at offset 1536 .*reserved/,
  ],
  [
    'L1 entry: low reserved bits',
    { 1544: '8000000000000801' },
    'corrupt',
    /L1 table: entry 1 .* at offset 1544 .*reserved/,
  ],
  [
    'L1 entry: the L1 table itself',
    { 1536: '8000000000000600' },
    'corrupt',
    /L1 table: entry 0 .* inside the L1 table/,
  ],
  ['L1 entry: 2^40', { 1536: '8000010000000000' }, 'truncated', /L1 table: entry 0 at offset 1536 .*1099511627776/],
  ['L2 table that ends beyond the file', { 1536: '8000000000000c00' }, 'truncated', /L2 table at offset 3072 .*3584/],
  [
    'data: 2^40',
    { 2048: '8000010000000000' },
    'truncated',
    /guest offset 0 lies at 1099511627776 .*entry at offset 2048/,
  ],
  [
    'data: the largest offset',
    { 2048: '80fffffffffffe00' },
    'truncated',
    /guest offset 0 lies at .*entry at offset 2048/,
  ],
  [
    'data: the L1 table',
    { 2048: '8000000000000600' },
    'corrupt',
    /guest offset 0 is 0x8000000000000600 at offset 2048 .*L1/,
  ],
  ['data: reserved high bits', { 2048: '8100000000000a00' }, 'corrupt', /guest offset 0 .* at offset 2048 .*reserved/],
  [
    'data: reserved low bits',
    { 2064: '8000000000000b02' },
    'corrupt',
    /guest offset 1024 .* at offset 2064 .*reserved/,
  ],
  [
    'data: beyond the file by a byte',
    { 2048: '8000000000000c00' },
    'truncated',
    /lies at 3072 to 3584, the file ends at 3080/,
  ],
  [
    'compressed: beyond the file',
    { 2056: '4000010000000c00' },
    'truncated',
    /guest offset 512 lies at .*entry at offset 2056/,
  ],
  ['compressed: a cluster behind the file', { 2056: '6000000000000c00' }, 'truncated', /lies at 3072 to 4096/],
  ['compressed: the header', { 2056: '4000000000000100' }, 'corrupt', /guest offset 512 .* at offset 2056 .*header/],
  [
    'compressed: reserved offset bits',
    { 2056: '4100000000000c00' },
    'corrupt',
    /guest offset 512 .* at offset 2056 .*reserved/,
  ],
];

const snapshots: Case[] = [
  [
    'a table beyond the file',
    { 60: '00000001 0000010000000000' },
    'truncated',
    /snapshot table entry 0 at offset 1099511627776/,
  ],
  [
    'an entry that ends beyond the file',
    { 60: '00000001 0000000000000c00' },
    'truncated',
    /snapshot table entry 0 at offset 3072/,
  ],
  [
    'more extra data than QEMU takes',
    { 60: '00000001 0000000000000400', 1060: '00000401' },
    'limit',
    /snapshot table entry: extraDataSize is 1025 .*at offset 1060 /,
  ],
];

describe.each([
  ['header', header],
  ['backing file name', name],
  ['header extensions', extensions],
  ['tables', tables],
  ['snapshots', snapshots],
])('%s', (_, cases) => {
  test.each(cases)('%s', async (_, patch, code, says) => {
    const error = await refusal(image(patch));
    expect(error.message).toMatch(says);
    expect(error.code).toBe(code);
    expect(error.offset).toBeGreaterThanOrEqual(0);
    expect(error.field).toBeTruthy();
  });
});

describe('files that end too early', () => {
  test.each([4, 71, 103])('after %i bytes', async (size) => {
    expect(await refusal(image({}, size))).toMatchObject({ code: 'truncated', offset: 0 });
  });
  test.each([0x5ff, 0x600, 0x60f, 0x800, 0x9ff, 0xa00, 0xbff, 0xc00])('after %i bytes', async (size) => {
    expect(await refusal(image({}, size))).toMatchObject({ code: 'truncated' });
  });
});

test('data that lacks its last byte', async () => {
  expect(await refusal(image({}, 0xbff))).toMatchObject({ code: 'truncated', offset: 0x800 });
});

test('a compressed region may end less than a cluster behind the file', async () => {
  const region = { 2056: '6000000000000c00' };
  expect(await refusal(image(region, 0x1000 - 512))).toMatchObject({ code: 'truncated', offset: 0x808 });
  await expect(readAll(memorySource(image(region, 0x1000 - 511), 'good'))).resolves.toBeUndefined();
});

test('version 2 has no zero flag', async () => {
  const error = await refusal(image({ 4: '00000002', 2048: '8000000000000a01' }));
  expect(error).toMatchObject({ code: 'corrupt', offset: 0x800 });
  expect(error.message).toMatch(/version 2 has no zero flag/);
});

describe('clusters of 4 KiB', () => {
  const big: Patch = {
    0: '514649fb 00000003 0000000000000000 00000000 0000000c 0000000004000000 00000000 00000020',
    40: '0000000000002000 0000000000001000 00000001',
    8192: '8000000000003000',
    12288: '8000000000004000',
  };
  test.each<Case>([
    ['64 MiB in one L1 entry', { 36: '00000001' }, 'corrupt', /l1Size is 1 at offset 36 .*needs 32 entries/],
    [
      'an unaligned L2 table',
      { 8192: '8000000000003200' },
      'corrupt',
      /L1 table: entry 0 .* at offset 8192 .*multiple/,
    ],
    ['an unaligned cluster', { 12288: '8000000000004200' }, 'corrupt', /guest offset 0 .* at offset 12288 .*multiples/],
    ['extended L2', { 72: '0000000000000010' }, 'corrupt', /clusterBits is 12 at offset 20 /],
    ['a name of 1024 bytes', { 8: '0000000000000100 00000400' }, 'corrupt', /backingFileSize is 1024 .*at most 1023/],
    [
      'extensions without end',
      Object.fromEntries(Array.from({ length: 300 }, (_, i) => [0x70 + i * 8, '12345678 00000000'])),
      'limit',
      /more than 256 header extensions/,
    ],
  ])('%s', async (_, patch, code, says) => {
    const error = await refusal(image({ ...big, ...patch }, 0x5000));
    expect(error.message).toMatch(says);
    expect(error.code).toBe(code);
  });

  test('an L2 table that lies in itself is data like any other, once', async () => {
    const opened = await openQcow2(memorySource(image({ ...big, 12288: '8000000000003000' }, 0x5000), 'loop'));
    const batches = [];
    for await (const batch of opened.extents(0, opened.virtualSize)) {
      batches.push(batch);
    }
    expect(batches).toHaveLength(1);
    expect(batches[0]).toMatchObject({ count: 2 });
  });
});

describe('what may be described and not converted', () => {
  test('4 PiB', async () => {
    const bytes = new Uint8Array(7 * MiB);
    bytes.set(image({ 20: '00000015 0010000000000000 00000000 00002000 0000000000400000 0000000000200000' }));
    bytes.fill(0, 0x200, SIZE);
    const opened = await openQcow2(memorySource(bytes, 'huge'));
    expect(opened.virtualSize).toBe(2 ** 52);
  });

  test('an encrypted image', async () => {
    const { facts } = await openQcow2(memorySource(image({ 32: '00000002' }), 'luks'));
    expect(facts).toMatchObject({ encrypted: true, details: { encryption: 'LUKS' } });
  });

  test.each(['/etc/passwd', "json:{'driver':'raw','file.filename':'/etc/passwd'}"])(
    'an external data file %s',
    async (file) => {
      const bytes = new TextEncoder().encode(file);
      const text = Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
      const length = bytes.length.toString(16).padStart(8, '0');
      const patch = { 72: '0000000000000004', 88: '0000000000000002', 112: `44415441 ${length} ${text}` };
      const { facts } = await openQcow2(memorySource(image(patch), 'external'));
      expect(facts.references).toEqual([{ kind: 'data-file', name: file, format: 'raw' }]);
      expect(facts.details).toMatchObject({ dataFile: file, dataFileRaw: true });
    },
  );
});

test('a backing file name that is not UTF-8 names nothing that exists', async () => {
  const { parent } = await openQcow2(memorySource(image({ 8: '0000000000000100 00000004', 256: '61ff1b0a' }), 'name'));
  expect(parent).toEqual({ kind: 'backing', name: 'a\ufffd\x1b\n' });
});

test('65536 snapshots are read in bounded pieces', async () => {
  const entry = '0'.repeat(80);
  const patch = { 60: '00010000 0000000000001000', 4096: entry.repeat(65536) };
  const source = counted(image(patch, 0x1000 + 40 * 65536));
  const opened = await openQcow2(source);
  expect(opened.facts.snapshots).toHaveLength(65536);
  expect(source.largest).toBeLessThanOrEqual(MiB);
  expect(source.total).toBeLessThan(4 * MiB);
});

test('a snapshot table without end stops at 64 MiB', async () => {
  // Each entry has an id and a name of 65535 bytes.
  const length = 131112;
  const entry = Uint8Array.from({ length: 40 }, (_, i) => (i >= 12 && i < 16 ? 0xff : 0));
  const head = image({ 60: '00010000 0000000000001000' });
  let largest = 0;
  const source: ByteSource = {
    ...memorySource(head, 'bad.qcow2'),
    size: 2 ** 40,
    async read(offset, bytes) {
      largest = Math.max(largest, bytes);
      const out = new Uint8Array(bytes);
      out.set(head.subarray(offset, offset + bytes));
      for (let at = 0; offset >= 0x1000 && at + entry.length <= bytes; at += length) {
        out.set(entry, at);
      }
      return out;
    },
  };
  await expect(openQcow2(source)).rejects.toMatchObject({ code: 'limit', field: 'nbSnapshots', offset: 0x1000 });
  expect(largest).toBeLessThanOrEqual(MiB);
});

test('any bytes changed: read soundly, or refused with a code', async () => {
  const change = fc.tuple(
    fc.oneof(
      fc.integer({ min: 0, max: 0x78 }),
      fc.integer({ min: 0x600, max: 0x620 }),
      fc.integer({ min: 0x800, max: 0x9ff }),
    ),
    fc.oneof(fc.constantFrom(0, 1, 2, 0x7f, 0x80, 0xff), fc.integer({ min: 0, max: 255 })),
  );
  const changes = fc.array(change, { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(changes, fc.integer({ min: 0, max: SIZE + 4 * KiB }), async (list, size) => {
      const bytes = image({}, size);
      for (const [at, value] of list) {
        bytes[Math.min(at, size - 1)] = value;
      }
      const source = counted(bytes);
      try {
        const opened = await openQcow2(source);
        const end = Math.min(opened.virtualSize, MiB);
        for await (const batch of checked(opened.extents(0, end), 0, end)) {
          for (let i = 0; i < batch.count; i += 1) {
            if (batch.kind[i] === Kind.data) {
              expect((batch.offset[i] as number) + (batch.length[i] as number)).toBeLessThanOrEqual(size);
            }
          }
        }
      } catch (error) {
        expect(error).toBeInstanceOf(VdconvError);
        expect((error as VdconvError).code).not.toBe('internal');
      }
      expect(source.total).toBeLessThan(4 * MiB);
    }),
    { numRuns: 2000 },
  );
});
