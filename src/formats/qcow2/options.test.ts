/** What `-o` makes of an image: headers and tables typed in by hand, and options that exclude each other. */
import { describe, expect, test } from 'vitest';
import { GiB, KiB, MiB } from '../../base/units.ts';
import { type Allocation, type Piece, Placed } from '../../map/layout.ts';
import type { BaseImage, OptionValue, WritePlan, WriteRequest } from '../format.ts';
import { qcow2 } from './index.ts';
import { options } from './options.ts';

const DEFAULTS = Object.fromEntries(options.map((option) => [option.key, option.default]));

function plan(virtualSize: number, given: Record<string, OptionValue>, request: Partial<WriteRequest> = {}): WritePlan {
  const whole = { virtualSize, options: { ...DEFAULTS, ...given }, compress: false, ...request };
  return (qcow2.plan as NonNullable<typeof qcow2.plan>)(whole);
}

/** [kind, index, blocks, offset, stored]. */
function allocation(entries: readonly (readonly number[])[]): Allocation {
  const column = (n: number) => entries.map((entry) => entry[n] as number);
  return {
    count: entries.length,
    kind: Uint8Array.from(column(0)),
    index: Float64Array.from(column(1)),
    blocks: Float64Array.from(column(2)),
    offset: Float64Array.from(column(3)),
    stored: Uint32Array.from(column(4)),
  };
}

/** The pieces of an image in which `entries` were placed, up to `hostEnd`. */
function pieces(planned: WritePlan, entries: readonly (readonly number[])[], hostEnd: number): Piece[] {
  const writer = planned.writer();
  const early = writer.add(allocation(entries));
  const { tables = [], pieces: late } = writer.finish(hostEnd, {});
  return [...early, ...tables, ...late];
}

/** Bytes [at, at + length) of the file in hexadecimal, whichever piece has them. */
function hexAt(list: readonly Piece[], at: number, length: number): string {
  const piece = list.find(({ offset, bytes }) => offset <= at && at + length <= offset + bytes.length) as Piece;
  return Buffer.from(piece.bytes.subarray(at - piece.offset, at - piece.offset + length)).toString('hex');
}
const plain = (text: string) => text.replaceAll(/\s/g, '');

/** The header of an empty disk of 1 MiB. */
const header = (given: Record<string, OptionValue>, request: Partial<WriteRequest> = {}) => {
  const planned = plan(MiB, given, request);
  return pieces(planned, [[Placed.side, 0, 0, planned.layout.dataStart, 0]], planned.layout.dataStart + 65536);
};

const BASE: BaseImage = {
  name: 'e.qcow2',
  path: '/disks/e.qcow2',
  format: 'qcow2',
  virtualSize: MiB,
  metadata: {},
  changed: 0,
  facts: {
    blockSize: 65536,
    references: [],
    snapshots: [],
    encrypted: false,
    compressed: false,
    dirty: false,
    warnings: [],
    details: {},
  },
};

describe('header', () => {
  test('compat=0.10: nothing behind byte 71 but the end of the extensions', () => {
    for (const compat of ['0.10', 'v2']) {
      const list = header({ compat });
      expect(hexAt(list, 0, 8)).toBe('514649fb00000002');
      expect(hexAt(list, 72, 65536 - 72)).toBe('00'.repeat(65536 - 72));
    }
    expect(hexAt(header({ compat: 'v3' }), 0, 8)).toBe('514649fb00000003');
  });

  test('features: incompatible at 72, compatible at 80, autoclear at 88, refcount_order at 96', () => {
    const at72 = (given: Record<string, OptionValue>) => hexAt(header(given), 72, 32);
    expect(at72({})).toBe(plain('0000000000000000 0000000000000000 0000000000000000 00000004 00000070'));
    expect(at72({ lazy_refcounts: true })).toBe(
      plain('0000000000000000 0000000000000001 0000000000000000 00000004 00000070'),
    );
    expect(at72({ extended_l2: true, refcount_bits: 1 })).toBe(
      plain('0000000000000010 0000000000000000 0000000000000000 00000000 00000070'),
    );
    expect(at72({ compression_type: 'zstd', refcount_bits: 64 })).toBe(
      plain('0000000000000008 0000000000000000 0000000000000000 00000006 00000070'),
    );
    expect(hexAt(header({ compression_type: 'zstd' }), 104, 8)).toBe('0100000000000000');
  });

  test('G: a backing file, its format before the feature names, its name behind them', () => {
    const list = header({}, { base: BASE });
    expect(hexAt(list, 8, 12)).toBe(plain('0000000000000210 00000007'));
    expect(hexAt(list, 0x70, 24)).toBe(plain('e2792aca 00000005 71636f7732 000000 6803f857 00000180'));
    expect(hexAt(list, 0x210, 8)).toBe(plain('652e71636f7732 00'));
  });

  test('a backing file in version 2: the extension at byte 72', () => {
    const list = header({ compat: '0.10' }, { base: { ...BASE, name: '/d/b', format: 'vhd' } });
    // QEMU's name of VHD.
    expect(hexAt(list, 72, 24)).toBe(plain('e2792aca 00000003 767063 0000000000 00000000 00000000'));
    expect(hexAt(list, 8, 12)).toBe(plain('0000000000000060 00000004'));
    expect(hexAt(list, 0x60, 5)).toBe('2f642f6200');
  });

  test('a backing file whose name QEMU would take for a protocol', () => {
    expect(hexAt(header({}, { base: { ...BASE, name: 'a:b' } }), 0x210, 6)).toBe('2e2f613a6200');
    expect(hexAt(header({}, { base: { ...BASE, name: 'd/a:b' } }), 0x210, 6)).toBe('642f613a6200');
  });

  test('H: a raw data file', () => {
    const list = header({ data_file: 'x2.raw', data_file_raw: true });
    expect(hexAt(list, 72, 24)).toBe(plain('0000000000000004 0000000000000000 0000000000000002'));
    expect(hexAt(list, 0x70, 16)).toBe(plain('44415441 00000006 78322e726177 0000'));
  });
});

describe('tables', () => {
  const at = (n: number) => n * 65536;

  test('clusters that hide the base', () => {
    const planned = plan(MiB, {}, { base: BASE });
    expect(planned.layout.explicitZeros).toBe(true);
    const list = pieces(
      planned,
      [
        [Placed.side, 0, 0, at(3), 0],
        [Placed.table, 0, 0, at(4), 0],
        [Placed.zero, 1, 2, 0, 0],
        [Placed.plain, 3, 1, at(5), 0],
      ],
      at(6),
    );
    expect(hexAt(list, at(4), 40)).toBe(
      plain('0000000000000000 0000000000000001 0000000000000001 8000000000050000 0000000000000000'),
    );
    expect(hexAt(list, at(3), 14)).toBe('0001'.repeat(6) + '0000');
  });

  test('extended L2: a bitmap behind each entry', () => {
    const planned = plan(GiB, { extended_l2: true }, { base: BASE, compress: true });
    // Half as many clusters to a table.
    expect(planned.layout.tables).toMatchObject({ blocks: 4096, bytes: 65536 });
    const list = pieces(
      planned,
      [
        [Placed.side, 0, 0, at(3), 0],
        [Placed.table, 1, 0, at(4), 0],
        [Placed.plain, 4096, 1, at(5), 0],
        [Placed.zero, 4097, 1, 0, 0],
        [Placed.compressed, 4098, 1, at(6) + 100, 600],
      ],
      at(7),
    );
    expect(hexAt(list, at(4), 64)).toBe(
      plain(`8000000000050000 00000000ffffffff 0000000000000000 ffffffff00000000
             4040000000060064 0000000000000000 0000000000000000 0000000000000000`),
    );
    expect(hexAt(list, at(2), 24)).toBe(plain('0000000000000000 8000000000040000 0000000000000000'));
  });

  test.each([
    [1, '3f', 1],
    [2, '5505', 3],
    [4, '111111', 15],
    [8, '010101010101', 255],
    [16, '0001'.repeat(6), 65535],
    [32, '00000001'.repeat(6), 2 ** 31],
    [64, '0000000000000001'.repeat(6), 2 ** 31],
  ])('reference counts of %i bits: six clusters in use', (refcount_bits, want, maxShare) => {
    const planned = plan(MiB, { refcount_bits }, { compress: true });
    expect(planned.layout.side).toEqual({ every: ((65536 * 8) / refcount_bits) * 65536, bytes: 65536 });
    expect(planned.layout.codec?.maxShare).toBe(maxShare);
    const list = pieces(
      planned,
      [
        [Placed.side, 0, 0, at(3), 0],
        [Placed.table, 0, 0, at(4), 0],
        [Placed.plain, 0, 1, at(5), 0],
      ],
      at(6),
    );
    expect(hexAt(list, at(3), want.length / 2 + 1)).toBe(`${want}00`);
  });

  test.each([
    [2, '5509'],
    [4, '111121'],
    [8, '010101010102'],
    [64, `${'0000000000000001'.repeat(5)}0000000000000002`],
  ])('reference counts of %i bits: the sixth cluster is used twice', (refcount_bits, want) => {
    const list = pieces(
      plan(MiB, { refcount_bits }, { compress: true }),
      [
        [Placed.side, 0, 0, at(3), 0],
        [Placed.table, 0, 0, at(4), 0],
        [Placed.compressed, 0, 1, at(5), 100],
        [Placed.compressed, 1, 1, at(5) + 100, 100],
      ],
      at(6),
    );
    expect(hexAt(list, at(3), want.length / 2 + 1)).toBe(`${want}00`);
  });
});

describe('layout', () => {
  test('preallocation: every cluster has its place; the space of it, or zeros, where that is asked for', () => {
    expect(plan(MiB, {}).layout.storeAll).toBeUndefined();
    expect(plan(MiB, { preallocation: 'metadata' })).toMatchObject({ layout: { storeAll: true } });
    expect(plan(MiB, { preallocation: 'metadata' })).not.toHaveProperty('preallocation');
    expect(plan(MiB, { preallocation: 'falloc' })).toMatchObject({
      layout: { storeAll: true },
      preallocation: 'falloc',
    });
    expect(plan(MiB, { preallocation: 'full' })).toMatchObject({ layout: { storeAll: true }, preallocation: 'full' });
  });

  test('codec: by type, level and window', () => {
    const codec = (given: Record<string, OptionValue>, level?: number) =>
      plan(MiB, given, { compress: true, level }).layout.codec;
    expect(codec({})).toMatchObject({ name: 'deflate', level: 6, windowBits: 12 });
    expect(codec({ deflate_window: '32k' }, 9)).toMatchObject({ name: 'deflate', level: 9, windowBits: 15 });
    expect(codec({ compression_type: 'zstd' })).toMatchObject({ name: 'zstd', level: 3 });
    expect(codec({ compression_type: 'zstd' }, 9)).toMatchObject({ name: 'zstd', level: 9 });
  });

  test('version 2 over a base: it has no zero flag, so zeros are stored', () => {
    const v2 = { compat: '0.10' };
    expect(plan(MiB, v2, { base: BASE })).toMatchObject({ layout: { explicitZeros: true, storeAll: true } });
    expect(plan(MiB, v2, { base: BASE })).not.toHaveProperty('preallocation');
    const packed = plan(MiB, v2, { base: BASE, compress: true });
    expect(packed).toMatchObject({ layout: { explicitZeros: true }, preallocation: 'full' });
    expect(packed.layout.storeAll).toBeUndefined();
  });

  test('a data file: its bytes first, then the image, which has none', () => {
    const planned = plan(MiB + 512, { data_file: 'sub/d.raw' });
    expect(planned).toMatchObject({ layout: { kind: 'blocks' }, range: { start: MiB + 512, end: MiB + 512 } });
    expect(planned.siblings).toMatchObject([
      { name: 'sub/d.raw', keepStored: true, layout: { kind: 'flat', blockSize: 65536 } },
    ]);
    expect(planned.notes).toEqual([expect.stringContaining('QEMU looks for')]);
    expect(plan(MiB, { data_file: '/d' }).notes).toEqual([]);
    expect(plan(MiB, { data_file: 'd', data_file_raw: true }).siblings).toMatchObject([{ keepStored: false }]);
  });
});

test('tables of a data file: those that data needs, or all', () => {
  // 512-byte clusters: 64 to a table, L1 of 4 entries at 0x400, tables from 0x600 on.
  const given = { data_file: 'd', cluster_size: 512 };
  const stored = new Uint8Array(32);
  stored[8] = 0b101;
  stored[31] = 0x80;
  const of = (more: Record<string, OptionValue>) => {
    const { tables = [], size } = plan(128 * KiB, { ...given, ...more })
      .writer()
      .finish(0, { stored });
    return { list: [...tables], size };
  };
  const some = of({});
  // Header, refcount table, L1, two tables, a refcount block.
  expect(some.size).toBe(6 * 512);
  expect(hexAt(some.list, 0x400, 32)).toBe(
    plain('0000000000000000 8000000000000600 0000000000000000 8000000000000800'),
  );
  expect(hexAt(some.list, 0x600, 32)).toBe(
    plain('8000000000008000 0000000000000000 8000000000008400 0000000000000000'),
  );
  expect(hexAt(some.list, 0x800 + 504, 8)).toBe('800000000001fe00');
  expect(hexAt(some.list, 0x200, 16)).toBe(plain('0000000000000a00 0000000000000000'));
  expect(hexAt(some.list, 0xa00, 14)).toBe(`${'0001'.repeat(6)}0000`);
  expect(some.list.at(-1)?.offset).toBe(0);
  for (const all of [{ data_file_raw: true }, { preallocation: 'metadata' }]) {
    const { list, size } = of(all);
    expect(size).toBe(8 * 512);
    expect(hexAt(list, 0x600, 24)).toBe(plain('8000000000000000 8000000000000200 8000000000000400'));
    expect(hexAt(list, 0xc00 + 504, 8)).toBe('800000000001fe00');
  }
});

describe('refused', () => {
  test.each<[Record<string, OptionValue>, Partial<WriteRequest>, RegExp]>([
    [{ compat: '0.10', refcount_bits: 8 }, {}, /compat=0.10 has reference counts of 16 bits only/],
    [{ compat: '0.10', lazy_refcounts: true }, {}, /compat=0.10 has no lazy_refcounts/],
    [{ compat: 'v2', compression_type: 'zstd' }, {}, /compat=0.10 has no zstd/],
    [{ compat: '0.10', extended_l2: true }, {}, /compat=0.10 has no extended_l2/],
    [{ compat: '0.10', data_file: 'd' }, {}, /compat=0.10 has no data_file/],
    [{ extended_l2: true, cluster_size: 8192 }, {}, /extended_l2 needs a cluster_size of at least 16k/],
    [{ data_file_raw: true }, {}, /data_file_raw needs a data_file/],
    [{ data_file: 'd' }, { compress: true }, /a data_file holds plain clusters only: leave out -c/],
    [{ data_file: 'd' }, { base: BASE }, /leave out -B/],
    [{ preallocation: 'metadata' }, { compress: true }, /leave out -c or preallocation/],
    [{ preallocation: 'full' }, { base: BASE }, /preallocation would hide the base/],
    [
      { cluster_size: 512 },
      { base: { ...BASE, name: 'n'.repeat(400) } },
      /too long for the header.*512 B; use larger clusters, or at most \d+ bytes/,
    ],
    [{}, { base: { ...BASE, name: 'n'.repeat(1024) } }, /too long for the header.*at most 1023 bytes/],
    [{ data_file: 'n'.repeat(500), cluster_size: 512 }, {}, /too long for the header/],
  ])('%j %j', (given, request, says) => {
    expect(() => plan(MiB, given, request)).toThrow(says);
    expect(() => plan(MiB, given, request)).toThrow(expect.objectContaining({ code: 'usage' }));
  });

  test('values', () => {
    const check = (key: string, value: OptionValue) => options.find((o) => o.key === key)?.check?.(value);
    for (const wrong of [0, 3, 128, -1, 1.5]) {
      expect(() => check('refcount_bits', wrong)).toThrow(/refcount_bits is .*power of two from 1 to 64/);
    }
    for (const wrong of ['nbd:x', 'json:{}', 'a:b', 'a\nb', 'a\0']) {
      expect(() => check('data_file', wrong)).toThrow(/data_file: neither control characters nor a colon/);
    }
    expect(() => check('data_file', './a:b')).not.toThrow();
  });
});
