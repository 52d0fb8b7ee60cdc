/** Footers, headers, tables and maps: images typed by hand, none of them made by vdconv's own writer. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { VdconvError } from '../../base/errors.ts';
import { GiB, KiB, MiB, SECTOR } from '../../base/units.ts';
import { memorySource } from '../../io/memory-source.ts';
import type { ByteSource, ReferenceGate } from '../../io/types.ts';
import { checked } from '../../map/checked.ts';
import { extentAt, Kind } from '../../map/extents.ts';
import { collect } from '../../testing/map-model.ts';
import type { Image } from '../format.ts';
import { checksum } from './checksum.ts';
import { geometryOf } from './geometry.ts';
import { vhd } from './index.ts';
import { DynamicHeader, Footer } from './layout.ts';

const noReferences: ReferenceGate = {
  open: () => Promise.reject(new VdconvError('refused', 'no reference may be opened')),
  resolve: () => undefined,
};

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const open = (bytes: Uint8Array): Promise<Image> => vhd.open(memorySource(bytes, 'disk.vhd'), { gate: noReferences });
const whole = (image: Image) => collect(checked(image.extents(0, image.virtualSize), 0, image.virtualSize));

function probe(bytes: Uint8Array): boolean {
  return vhd.probe({ head: bytes.subarray(0, 64 * KiB), tail: bytes.subarray(-64 * KiB), size: bytes.length });
}

/** Hexadecimal by offset. */
type Patch = Record<number, string>;

function patched(bytes: Buffer, patch: Patch): Buffer {
  for (const [at, text] of Object.entries(patch)) {
    hex(text).copy(bytes, Number(at));
  }
  return bytes;
}

/** The sum as the specification's sample computes it. */
function seal(bytes: Buffer, at: number): Buffer {
  bytes.writeUInt32BE(0, at);
  let sum = 0;
  for (const byte of bytes) {
    sum += byte;
  }
  bytes.writeUInt32BE(~sum >>> 0, at); // u32
  return bytes;
}

/** Sealed after the patch. */
function footer(type: number, size: number, patch: Patch = {}): Buffer {
  const bytes = Buffer.alloc(512);
  hex(`636f6e6563746978 00000002 00010000 ${type === 2 ? 'ffffffffffffffff' : '0000000000000200'} 1e598ef7 77696e20
    00060003 5769326b`).copy(bytes);
  bytes.writeBigUInt64BE(BigInt(size), 40);
  bytes.writeBigUInt64BE(BigInt(size), 48);
  bytes.writeUInt32BE(type, 60);
  hex('6d2d5fc8eebade4c8ceede3a12db7c98').copy(bytes, 68);
  return seal(patched(bytes, patch), 64);
}

function header(entries: number, blockSize: number, patch: Patch = {}): Buffer {
  const bytes = Buffer.alloc(1024);
  hex('6378737061727365 ffffffffffffffff 0000000000000600 00010000').copy(bytes);
  bytes.writeUInt32BE(entries, 28);
  bytes.writeUInt32BE(blockSize, 32);
  return seal(patched(bytes, patch), 36);
}

const BLOCK = 4096;
const DISK = 2 * BLOCK + 1024;
const [BAT, FIRST, THIRD, END] = [1536, 2048, 6656, 11264];

interface Patches {
  footer?: Patch;
  header?: Patch;
  file?: Patch;
  type?: number;
  size?: number;
}

/**
 * A disk of 9 KiB in blocks of 4 KiB: sector 0 footer copy, 1 header, 3 BAT, 4 the bitmap of block 0 and its data, 13
 * those of block 2, of which the disk's end leaves 1 KiB. Block 1 is absent. The footer is sector 22.
 */
function dynamic({ type = 3, size = DISK, ...patch }: Patches = {}): Buffer {
  const end = footer(type, size, patch.footer);
  const bytes = Buffer.concat([end, header(3, BLOCK, patch.header), Buffer.alloc(END - BAT), end]);
  bytes.fill(0xff, BAT, BAT + 512);
  hex('00000004 ffffffff 0000000d').copy(bytes, BAT);
  bytes.fill(0xff, FIRST, FIRST + 1).fill(0x11, FIRST + 512, FIRST + 512 + BLOCK);
  bytes.fill(0xff, THIRD, THIRD + 1).fill(0x33, THIRD + 512, THIRD + 512 + BLOCK);
  return patched(bytes, patch.file ?? {});
}

function fixed(size = 4096, patch: Patch = {}): Buffer {
  return Buffer.concat([Buffer.alloc(size, 0x77), footer(2, size, patch)]);
}

const PLACE = { file: 0, stored: 0, skip: 0 };
const MAP = [
  { start: 0, length: 4096, kind: Kind.data, offset: FIRST + 512, ...PLACE },
  { start: 4096, length: 4096, kind: Kind.unallocated, offset: 0, ...PLACE },
  { start: 8192, length: 1024, kind: Kind.data, offset: THIRD + 512, ...PLACE },
];

describe('structures, byte for byte', () => {
  const origin = { file: 'vector', format: 'vhd', at: 0 };

  test('the footer of a 127 GiB disk of Hyper-V', () => {
    const bytes = Buffer.alloc(512);
    hex(`636f6e6563746978 00000002 00010000 0000000000000200 1e598ef7 77696e20 00060003 5769326b 0000001fc0000000
      0000001fc0000000 fefe10ff 00000003 ffffe9db 6d2d5fc8eebade4c8ceede3a12db7c98`).copy(bytes);
    const values = Footer.decode(bytes, origin);
    expect(values).toMatchObject({
      dataOffset: 512n,
      timeStamp: 0x1e598ef7,
      currentSize: 127 * GiB,
      cylinders: 65278,
      heads: 16,
      sectorsPerTrack: 255,
      diskType: 3,
      savedState: 0,
    });
    expect(checksum(bytes, 64)).toBe(0xffffe9db);
    expect(Footer.encode(values)).toEqual(new Uint8Array(bytes));
  });

  test('its dynamic header', () => {
    const bytes = Buffer.alloc(1024);
    hex('6378737061727365 ffffffffffffffff 0000000000000600 00010000 0000fe00 00200000 fffff379').copy(bytes);
    const values = DynamicHeader.decode(bytes, origin);
    expect(values).toMatchObject({ tableOffset: 1536, maxTableEntries: 65024, blockSize: 2 * MiB });
    expect(checksum(bytes, 36)).toBe(0xfffff379);
    expect(DynamicHeader.encode(values)).toEqual(new Uint8Array(bytes));
  });

  // From the sheet's qemu-img, Virtual PC and Hyper-V images.
  test.each([
    [20 * MiB, 602, 4, 17],
    [127 * GiB, 65278, 16, 255],
    [10 * MiB, 301, 4, 17],
    [2040 * GiB, 65535, 16, 255],
  ])('the geometry of %d bytes', (size, cylinders, heads, sectorsPerTrack) => {
    expect(geometryOf(size / SECTOR)).toEqual({ cylinders, heads, sectorsPerTrack });
  });

  test('a geometry never has more than the disk, and less than a cylinder less', () => {
    const max = 65535 * 16 * 255;
    fc.assert(
      fc.property(fc.oneof(fc.integer({ min: 1, max: 2 ** 22 }), fc.integer({ min: 1, max })), (sectors) => {
        const { cylinders, heads, sectorsPerTrack } = geometryOf(sectors);
        const rest = sectors - cylinders * heads * sectorsPerTrack;
        expect(rest >= 0 && rest < heads * sectorsPerTrack, `${sectors}`).toBe(true);
        expect(heads <= 16 && cylinders <= 65535).toBe(true);
      }),
    );
  });
});

describe('dynamic', () => {
  test('blocks become extents, the last one cut by the end of the disk', async () => {
    const image = await open(dynamic());
    expect(image).toMatchObject({ format: 'vhd', subformat: 'dynamic', virtualSize: DISK });
    expect(image.parent).toBeUndefined();
    expect(image.facts).toMatchObject({
      blockSize: BLOCK,
      warnings: [],
      references: [],
      details: {
        creatorApplication: 'win',
        creatorVersion: '6.3',
        creatorHostOS: 'Wi2k',
        timeStamp: 0x1e598ef7,
        uniqueId: '6d2d5fc8-eeba-de4c-8cee-de3a12db7c98',
        savedState: false,
        maxTableEntries: 3,
      },
    });
    expect(await whole(image)).toEqual(MAP);
  });

  test('a part of the disk', async () => {
    const image = await open(dynamic());
    expect(await collect(image.extents(4000, 8200))).toEqual([
      { start: 4000, length: 96, kind: Kind.data, offset: FIRST + 512 + 4000, ...PLACE },
      { start: 4096, length: 4096, kind: Kind.unallocated, offset: 0, ...PLACE },
      { start: 8192, length: 8, kind: Kind.data, offset: THIRD + 512, ...PLACE },
    ]);
    expect(await collect(image.extents(5000, 6000))).toMatchObject([{ start: 5000, length: 1000 }]);
    expect(await collect(image.extents(6000, 6000))).toEqual([]);
  });

  test('bits that are clear change nothing: what is stored is read, as every other reader does', async () => {
    expect(await whole(await open(dynamic({ file: { [FIRST]: '00' } })))).toEqual(MAP);
  });

  test('the bitmap of a block of 2 MiB has one sector: the sheet’s aligned disk of 20 MiB', async () => {
    const bytes = Buffer.alloc(0x2017 * 512 + 512 + 2 * MiB + 512);
    const end = footer(3, 20 * MiB);
    Buffer.concat([end, header(10, 2 * MiB)]).copy(bytes);
    expect(bytes.readUInt32BE(512 + 36)).toBe(0xfffff46d);
    bytes.fill(0xff, BAT, BAT + 512);
    hex('00000007 ffffffff 0000100f').copy(bytes, BAT);
    hex('00002017').copy(bytes, BAT + 9 * 4);
    end.copy(bytes, bytes.length - 512);
    const data = (await whole(await open(bytes))).filter(({ kind }) => kind === Kind.data);
    expect(data.map(({ start, length, offset }) => [start, length, offset])).toEqual([
      [0, 2 * MiB, 4096],
      [4 * MiB, 2 * MiB, 4096 + 2 * MiB + 4096],
      [18 * MiB, 2 * MiB, 4096 + 2 * (2 * MiB + 4096)],
    ]);
  });

  test('a block of 32 MiB has a bitmap of 16 sectors', async () => {
    const bytes = Buffer.alloc(2048 + 8192 + 32 * MiB + 512);
    Buffer.concat([footer(3, 32 * MiB), header(1, 32 * MiB), hex('00000004')]).copy(bytes);
    footer(3, 32 * MiB).copy(bytes, bytes.length - 512);
    expect(await whole(await open(bytes))).toMatchObject([{ start: 0, length: 32 * MiB, offset: 2048 + 8192 }]);
  });

  test('a BAT of 2040 GiB is read in pieces of a MiB', async () => {
    const size = 2040 * GiB;
    const bytes = Buffer.alloc(1536 + (size / (512 * KiB)) * 4 + 512, 0xff);
    Buffer.concat([footer(3, size), header(size / (512 * KiB), 512 * KiB)]).copy(bytes);
    footer(3, size).copy(bytes, bytes.length - 512);
    const lengths: number[] = [];
    const source = memorySource(bytes, 'large.vhd');
    const counted: ByteSource = {
      ...source,
      read: (at, length, what) => {
        lengths.push(length);
        return source.read(at, length, what);
      },
    };
    const image = await vhd.open(counted, { gate: noReferences });
    expect(await whole(image)).toMatchObject([{ start: 0, length: size, kind: Kind.unallocated }]);
    expect(Math.max(...lengths)).toBe(MiB);
    expect(lengths).toHaveLength(3 + 16);
  });

  test('saved state is said', async () => {
    const { facts } = await open(dynamic({ footer: { 84: '01' } }));
    expect(facts.details.savedState).toBe(true);
    expect(facts.warnings).toEqual([expect.stringContaining('saved state')]);
  });
});

describe('which footer', () => {
  const without = (bytes: Buffer, at: number) => Buffer.from(bytes).fill(0, at, at + 512);

  test.each([
    ['missing at the end', dynamic().subarray(0, END), /end of the file is missing.*copy at the start is used/],
    ['damaged at the end', dynamic({ file: { [END + 100]: '01' } }), /footer at offset 11264 is damaged.*copy/],
    ['zeros at the end', without(dynamic(), END), /end of the file is missing/],
    ['damaged at the start', dynamic({ file: { 100: '01' } }), /copy of the footer at the start.*is damaged/],
    ['missing at the start', without(dynamic(), 0), /copy of the footer at the start.*is damaged/],
  ])('%s: the other one serves, and that is said', async (_, bytes, warning) => {
    expect(probe(bytes)).toBe(true);
    const image = await open(bytes);
    expect(image.facts.warnings).toEqual([expect.stringMatching(warning)]);
    expect(await whole(image)).toEqual(MAP);
  });

  test('they differ: the one at the end is newer', async () => {
    const bytes = dynamic();
    footer(3, DISK - 512).copy(bytes, END);
    const image = await open(bytes);
    expect(image.virtualSize).toBe(DISK - 512);
    expect(image.facts.warnings).toEqual([expect.stringContaining('differ; the footer at the end is used')]);
  });

  test('both damaged', async () => {
    const bytes = dynamic({ file: { 100: '01', [END + 100]: '01' } });
    expect(probe(bytes)).toBe(true);
    await expect(open(bytes)).rejects.toMatchObject({ code: 'corrupt', field: 'checksum', offset: END + 64 });
  });

  test('neither is there', async () => {
    const bytes = without(without(dynamic(), 0), END);
    expect(probe(bytes)).toBe(false);
    await expect(open(bytes)).rejects.toMatchObject({ code: 'wrong-format' });
    await expect(open(Buffer.alloc(0))).rejects.toMatchObject({ code: 'wrong-format' });
    await expect(open(fixed().subarray(0, 4096 + 300))).rejects.toMatchObject({ code: 'wrong-format' });
  });
});

describe('fixed', () => {
  test('the file is the disk, holes are zeros', async () => {
    const bytes = fixed();
    const image = await vhd.open(
      { ...memorySource(bytes, 'disk.vhd'), dataRuns: () => Float64Array.of(512, 1024, 2048, 4608) },
      { gate: noReferences },
    );
    expect(image).toMatchObject({ subformat: 'fixed', virtualSize: 4096, facts: { blockSize: 0, warnings: [] } });
    expect(await whole(image)).toEqual([
      { start: 0, length: 512, kind: Kind.zero, offset: 0, ...PLACE },
      { start: 512, length: 512, kind: Kind.data, offset: 512, ...PLACE },
      { start: 1024, length: 1024, kind: Kind.zero, offset: 0, ...PLACE },
      { start: 2048, length: 2048, kind: Kind.data, offset: 2048, ...PLACE },
    ]);
  });

  test.each([
    ['a gap before the footer', Buffer.concat([Buffer.alloc(3 * 512), fixed()])],
    ['a footer of 511 bytes, as before Virtual PC 2004', fixed().subarray(0, 4096 + 511)],
    ['a sector after the footer', Buffer.concat([fixed(), Buffer.alloc(512)])],
    ['57 KiB after the footer', Buffer.concat([fixed(), Buffer.alloc(57 * KiB)])],
  ])('read all the same: %s', async (_, bytes) => {
    expect(probe(bytes)).toBe(true);
    const image = await open(bytes);
    expect(image.virtualSize).toBe(4096);
    expect(await whole(image)).toMatchObject([{ start: 0, length: 4096, kind: Kind.data, offset: 0 }]);
  });

  test('the guest’s own VHD at the start of the disk is data', async () => {
    const inner = dynamic();
    const image = await open(Buffer.concat([inner, footer(2, inner.length)]));
    expect(image).toMatchObject({ subformat: 'fixed', virtualSize: inner.length, facts: { warnings: [] } });
  });

  test('a disk that is shorter than its footer says is truncated, not filled', async () => {
    const refused = open(fixed(4096, { 48: '0000000000002000' }));
    await expect(refused).rejects.toMatchObject({ code: 'truncated', field: 'currentSize' });
    await expect(refused).rejects.toThrow('the footer says 8192 bytes, 4096 are there before it');
  });

  test('a fixed disk has no limit of 2040 GiB: what counts is the file', async () => {
    const size = 3 * 1024 * GiB;
    const end = footer(2, size);
    const read = async (at: number, length: number) =>
      Buffer.concat([Buffer.alloc(length), at + length === size + 512 ? end : Buffer.alloc(0)]).subarray(-length);
    const image = await vhd.open(
      { ...memorySource(Buffer.alloc(0), 'x'), size: size + 512, read },
      { gate: noReferences },
    );
    expect(image.virtualSize).toBe(size);
  });
});

describe('a raw disk is not taken for a VHD', () => {
  const disk = () => Buffer.alloc(256 * KiB, 0x55);
  test.each([
    ['that ends in the word', patched(disk(), { [256 * KiB - 512]: '636f6e6563746978' })],
    ['that begins with it', patched(disk(), { 0: '636f6e6563746978' })],
    ['whose guest keeps a fixed VHD near its end', Buffer.concat([disk(), fixed(), Buffer.alloc(4096)])],
    ['whose guest keeps a dynamic VHD near its end', Buffer.concat([disk(), dynamic(), Buffer.alloc(4096)])],
    ['of no bytes', Buffer.alloc(0)],
    ['of one byte', Buffer.alloc(1)],
    ['of 511 bytes', Buffer.alloc(511)],
  ])('%s', (_, bytes) => {
    expect(probe(bytes)).toBe(false);
  });

  test('a damaged footer is still one: the error is better than a raw copy with a footer in it', async () => {
    const bytes = fixed();
    bytes[4096 + 200] = 1;
    expect(probe(bytes)).toBe(true);
    await expect(open(bytes)).rejects.toThrow(/VHD footer: checksum is \d+ \(0x[0-9a-f]+\) at offset 4160 .*add up to/);
  });
});

describe('the size by creator', () => {
  // 8 cylinders of 1 head and 2 sectors: 8 KiB of 9.
  const CHS = '00080102';
  const CREATORS = {
    vpc: '76706320',
    win: '77696e20',
    qemu: '71656d75',
    vbox: '76626f78',
    d2v: '64327600',
    any: '7f1b5b31',
  };
  const disk = (creator: keyof typeof CREATORS, geometry = CHS, file: Patch = {}) =>
    open(dynamic({ size: 9 * KiB - 512, footer: { 28: CREATORS[creator], 56: geometry }, file }));
  const noThird: Patch = { [BAT + 8]: 'ffffffff' };

  test.each(['win', 'qemu', 'vbox', 'd2v', 'any'] as const)(
    '%s: currentSize, whatever the geometry',
    async (creator) => {
      const image = await disk(creator);
      expect(image.virtualSize).toBe(9 * KiB - 512);
      expect(image.facts.warnings).toEqual([]);
    },
  );

  test('Virtual PC: the geometry, where nothing is behind it', async () => {
    const image = await disk('vpc', CHS, noThird);
    expect(image.virtualSize).toBe(8 * KiB);
    expect(image.facts.warnings).toEqual([expect.stringContaining("geometry's is taken, as Virtual PC and QEMU do")]);
    expect((await whole(image)).at(-1)).toMatchObject({ start: 4096, length: 4096 });
  });

  test('Virtual PC: zeros that are stored behind the geometry are nothing', async () => {
    const zeros = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [THIRD + 512 * (i + 1), '00'.repeat(512)]));
    expect((await disk('vpc', CHS, zeros)).virtualSize).toBe(8 * KiB);
  });

  test('Virtual PC: currentSize, where data is behind the geometry', async () => {
    const image = await disk('vpc');
    expect(image.virtualSize).toBe(9 * KiB - 512);
    expect(image.facts.warnings).toEqual([expect.stringContaining('data is stored behind the geometry')]);
  });

  test.each([
    ['the largest geometry', 'ffff10ff'],
    ['no geometry', '00000000'],
    ['a geometry larger than the disk', '00090102'],
    ['a geometry that is a cylinder and more short', '00070102'],
  ])('Virtual PC: currentSize with %s', async (_, geometry) => {
    const image = await disk('vpc', geometry, noThird);
    expect([image.virtualSize, image.facts.warnings]).toEqual([9 * KiB - 512, []]);
  });
});

describe('differencing', () => {
  const LOCATORS = 512 + 576;
  const utf16be = (text: string) => Buffer.from(text, 'utf16le').swap16().toString('hex');
  const NAMED = { 64: utf16be('base.vhd'), 40: '00112233445566778899aabbccddeeff', 56: '1e598ef7' };
  const child = (patch: Patches = {}) => dynamic({ type: 4, ...patch, header: { ...NAMED, ...patch.header } });

  /** The locators' data lie behind the footer's copy of the file, as nothing says where they must. */
  function located(locators: [code: string, data: Buffer][], name = '') {
    const start = END + 512;
    let at = start;
    const fields: Patch = { 64: `${utf16be(name)}0000` };
    for (const [i, [code, data]] of locators.entries()) {
      const entry = Buffer.alloc(24);
      entry.write(code, 0, 'latin1');
      entry.writeUInt32BE(data.length, 4);
      entry.writeUInt32BE(data.length, 8);
      entry.writeBigUInt64BE(BigInt(at), 16);
      fields[576 + 24 * i] = entry.toString('hex');
      at += data.length;
    }
    const bytes = child({ header: fields });
    const end = footer(4, DISK);
    return Buffer.concat([bytes, ...locators.map(([, data]) => data), end]);
  }
  const win = (text: string) => Buffer.from(text, 'utf16le');

  test('the sheet’s bitmap: byte 0 = 0x04 is sector 5, byte 1 = 0x40 is sector 9', async () => {
    const block = 8 * KiB;
    const end = footer(4, block);
    const bytes = Buffer.concat([
      end,
      header(1, block, NAMED),
      hex('00000004'),
      Buffer.alloc(508, 0xff),
      hex('0440'),
      Buffer.alloc(510),
      Buffer.alloc(block, 0x22),
      end,
    ]);
    expect(await whole(await open(bytes))).toMatchObject([
      { start: 0, length: 5 * 512, kind: Kind.unallocated },
      { start: 5 * 512, length: 512, kind: Kind.data, offset: 2560 + 5 * 512 },
      { start: 6 * 512, length: 3 * 512, kind: Kind.unallocated },
      { start: 9 * 512, length: 512, kind: Kind.data, offset: 2560 + 9 * 512 },
      { start: 10 * 512, length: 6 * 512, kind: Kind.unallocated },
    ]);
  });

  test('any bitmap and any range read as the bits say, sector by sector', async () => {
    const bits = fc.uint8Array({ minLength: 1, maxLength: 1 });
    const edge = fc.nat(DISK);
    await fc.assert(
      fc.asyncProperty(bits, bits, edge, edge, async (one, three, a, b) => {
        const image = await open(child({ file: { [FIRST]: toHex(one), [THIRD]: toHex(three) } }));
        const [start, end] = [Math.min(a, b), Math.max(a, b)];
        const got = await collect(checked(image.extents(start, end), start, end));
        const owner = (guest: number) => {
          const [byte, at] = guest < BLOCK ? [one[0], FIRST] : guest < 2 * BLOCK ? [0, 0] : [three[0], THIRD];
          const sector = Math.floor((guest % BLOCK) / 512);
          const isHere = (((byte as number) >> (7 - sector)) & 1) === 1;
          return isHere ? at + 512 + (guest % BLOCK) : undefined;
        };
        for (const { start: from, length, kind, offset } of got) {
          for (const guest of [from, from + length - 1]) {
            expect(kind === Kind.data ? offset + guest - from : undefined).toBe(owner(guest));
          }
          for (let guest = from; guest < from + length; guest += 256) {
            expect(kind === Kind.data ? offset + guest - from : undefined).toBe(owner(guest));
          }
        }
      }),
    );
  });

  test('runs of sectors are merged', async () => {
    const image = await open(child({ file: { [FIRST]: '3c' } }));
    expect((await whole(image)).slice(0, 3)).toMatchObject([
      { start: 0, length: 1024, kind: Kind.unallocated },
      { start: 1024, length: 2048, kind: Kind.data, offset: FIRST + 512 + 1024 },
      { start: 3072, length: 1024 + 4096, kind: Kind.unallocated },
    ]);
  });

  test('it tells who its parent is', async () => {
    const image = await open(child());
    expect(image).toMatchObject({
      subformat: 'differencing',
      parent: { kind: 'parent', name: 'base.vhd', format: 'vhd' },
    });
    expect(image.facts.references).toEqual([image.parent]);
    expect(image.facts.details).toMatchObject({
      parentUniqueId: '00112233-4455-6677-8899-aabbccddeeff',
      parentTimeStamp: 0x1e598ef7,
      parentUnicodeName: 'base.vhd',
      parentLocators: {},
    });
  });

  const REL: [string, Buffer] = ['W2ru', win('.\\base.vhd')];
  const ABS: [string, Buffer] = ['W2ku', win('C:\\vm\\absolute.vhd')];
  const MAC: [string, Buffer] = ['MacX', Buffer.from('file://localhost/Users/me/my%20base.vhd')];
  test.each<[string, string, [string, Buffer][], string]>([
    ['the relative path first', 'base.vhd', [ABS, MAC, REL], 'unicode.vhd'],
    ['a relative path upwards', '../up/base.vhd', [['W2ru', win('..\\up\\base.vhd\0junk')]], ''],
    ['an absolute path that is said to be relative', 'base.vhd', [['W2ru', win('D:\\vm\\base.vhd')]], ''],
    ['a Mac’s URL before the absolute path', '/Users/me/my base.vhd', [ABS, MAC], ''],
    ['the name of an absolute path, beside the child', 'absolute.vhd', [ABS], 'C:\\vm\\unicode.vhd'],
    ['the name of the header last', 'unicode.vhd', [['Wi2r', Buffer.from('x')]], 'C:\\vm\\unicode.vhd'],
  ])('its name: %s', async (_, name, locators, unicode) => {
    const image = await open(located(locators, unicode));
    expect(image.parent).toEqual({ kind: 'parent', name, format: 'vhd' });
  });

  test('locators as the image has them', async () => {
    const { facts } = await open(located([REL, ABS], 'unicode.vhd'));
    expect(facts.details).toMatchObject({
      parentUnicodeName: 'unicode.vhd',
      parentLocators: { W2ru: '.\\base.vhd', W2ku: 'C:\\vm\\absolute.vhd' },
    });
  });

  test.each<[string, Patch, string, string, number]>([
    ['no name at all', { 64: '0000' }, 'corrupt', 'parentUnicodeName', Number.NaN],
    ['a locator of 2^32 - 1 bytes', { 576: '57327275 00000000 ffffffff' }, 'limit', 'platformDataLength', LOCATORS + 8],
    [
      'a locator past the end',
      { 600: '57326b75 00000000 00000010 00000000 0000000100000000' },
      'truncated',
      'platformDataOffset',
      LOCATORS + 24 + 16,
    ],
    [
      'a locator at 2^64 - 1',
      { 576: '57327275 00000000 00000010 00000000 ffffffffffffffff' },
      'corrupt',
      'platformDataOffset',
      LOCATORS + 16,
    ],
  ])('refused: %s', async (_, patch, code, field, offset) => {
    const error = await open(child({ header: patch })).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code, field, file: 'disk.vhd', format: 'vhd' });
    expect((error as VdconvError).offset ?? Number.NaN).toBe(offset);
  });
});

const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const ONES = 'ffffffffffffffff';

/** Of a dynamic disk. Name, what is changed, code, field, offset (the footer's: in it), part of the message. */
const ILLEGAL: [string, Patches, string, string, number, RegExp][] = [
  ['format version 2.0', { footer: { 12: '00020000' } }, 'unsupported', 'fileFormatVersion', 12, /must be 65536/],
  ['header at 0, over the footer copy', { footer: { 16: '0000000000000000' } }, 'corrupt', 'dataOffset', 16, /behind/],
  ['header at 2^40', { footer: { 16: '0000010000000000' } }, 'truncated', 'dataOffset', 16, /in the file's 11776/],
  ['header at no sector', { footer: { 16: '0000000000000201' } }, 'corrupt', 'dataOffset', 16, /multiple of 512/],
  ['header nowhere', { footer: { 16: ONES } }, 'truncated', 'dataOffset', 16, /0xffffffffffffffff/],
  ['size 2^64 - 1', { footer: { 48: ONES } }, 'corrupt', 'currentSize', 48, /2\^53 - 1/],
  ['size 2^63', { footer: { 48: '8000000000000000' } }, 'corrupt', 'currentSize', 48, /2\^53 - 1/],
  ['size 0', { footer: { 48: '0000000000000000' } }, 'corrupt', 'currentSize', 48, /at least 512/],
  ['size of no sectors', { footer: { 48: '0000000000002401' } }, 'corrupt', 'currentSize', 48, /multiple of 512/],
  ['size 2041 GiB', { footer: { 48: '000001fe40000000' } }, 'limit', 'currentSize', 48, /at most 2040 GiB/],
  ['type 0', { footer: { 60: '00000000' } }, 'unsupported', 'diskType', 60, /2 fixed, 3 dynamic or 4/],
  ['type 5', { footer: { 60: '00000005' } }, 'unsupported', 'diskType', 60, /2 fixed, 3 dynamic or 4/],
  ['type 9', { footer: { 60: '00000009' } }, 'unsupported', 'diskType', 60, /2 fixed, 3 dynamic or 4/],
  ['no header cookie', { header: { 0: '00' } }, 'corrupt', 'cookie', 512, /63 78 73 70/],
  ['BAT at 0', { header: { 16: '0000000000000000' } }, 'corrupt', 'tableOffset', 528, /at least 512/],
  [
    'BAT at 2^40',
    { header: { 16: '0000010000000000' } },
    'truncated',
    'tableOffset',
    528,
    /passes the end of the file/,
  ],
  ['BAT at 2^64 - 512', { header: { 16: 'fffffffffffffe00' } }, 'corrupt', 'tableOffset', 528, /2\^53 - 1/],
  ['BAT over the header', { header: { 16: '0000000000000400' } }, 'corrupt', 'tableOffset', 528, /header lies at/],
  ['header version 2', { header: { 24: '00020000' } }, 'unsupported', 'headerVersion', 536, /must be 65536/],
  ['no entries', { header: { 28: '00000000' } }, 'corrupt', 'maxTableEntries', 540, /of 4096 has 3/],
  ['an entry too few', { header: { 28: '00000002' } }, 'corrupt', 'maxTableEntries', 540, /of 4096 has 3/],
  ['2^32 - 1 entries', { header: { 28: 'ffffffff' } }, 'truncated', 'maxTableEntries', 540, /pass the end of the file/],
  ['blocks of 0', { header: { 32: '00000000' } }, 'corrupt', 'blockSize', 544, /at least 512/],
  ['blocks of 511', { header: { 32: '000001ff' } }, 'corrupt', 'blockSize', 544, /at least 512/],
  ['blocks of 3 MiB', { header: { 32: '00300000' } }, 'corrupt', 'blockSize', 544, /power of two/],
  ['blocks of 2 GiB', { header: { 32: '80000000' } }, 'limit', 'blockSize', 544, /at most 268435456/],
  ['header sum', { file: { [512 + 36]: '00000000' } }, 'corrupt', 'checksum', 548, /add up to/],
  ['header changed', { file: { [512 + 900]: '01' } }, 'corrupt', 'checksum', 548, /add up to/],
  ['a block past the end', { file: { [BAT]: '00001000' } }, 'truncated', 'entry 0', BAT, /pass the end of the data/],
  ['a block at 2 TiB', { file: { [BAT]: 'fffffffe' } }, 'truncated', 'entry 0', BAT, /pass the end of the data/],
  ['a block over the footer', { file: { [BAT + 4]: '0000000e' } }, 'truncated', 'entry 1', BAT + 4, /data at 11264/],
  ['a block over the footer copy', { file: { [BAT + 4]: '00000000' } }, 'corrupt', 'entry 1', BAT + 4, /footer copy/],
  ['a block over the header', { file: { [BAT + 4]: '00000002' } }, 'corrupt', 'entry 1', BAT + 4, /dynamic header/],
  ['a block over the BAT', { file: { [BAT + 4]: '00000003' } }, 'corrupt', 'entry 1', BAT + 4, /over the BAT/],
];

test.each(ILLEGAL)('refused: %s', async (_, patches, code, field, offset, message) => {
  const refused = open(dynamic(patches)).then(whole);
  const at = patches.footer === undefined ? 0 : END;
  await expect(refused).rejects.toMatchObject({ code, field, offset: at + offset, file: 'disk.vhd', format: 'vhd' });
  await expect(refused).rejects.toThrow(message);
});

test.each([
  [
    'a fixed disk’s footer at the start of a file',
    Buffer.concat([footer(2, 4096), Buffer.alloc(4096)]),
    'corrupt',
    'diskType',
  ],
  ['a disk cut within its last block', dynamic().subarray(0, THIRD + 1024), 'truncated', 'entry 2'],
  ['a disk cut within its header', dynamic().subarray(0, 1000), 'truncated', 'dataOffset'],
  ['a disk cut before its BAT', dynamic().subarray(0, BAT), 'truncated', 'tableOffset'],
])('refused: %s', async (_, bytes, code, field) => {
  expect(probe(bytes)).toBe(true);
  await expect(open(bytes).then(whole)).rejects.toMatchObject({ code, field });
});

test('what the disk does not need of its last block may be missing', async () => {
  const cut = dynamic().subarray(0, THIRD + 512 + 1024);
  expect(await whole(await open(cut))).toEqual(MAP);
});

test('more entries than blocks are legal', async () => {
  expect(await whole(await open(dynamic({ header: { 28: '00000004' } })))).toEqual(MAP);
});

test('a disk of random bytes in footer, header, BAT and bitmaps is read within its file, or refused with a code', async () => {
  const at = fc.oneof(fc.nat(511), fc.integer({ min: 512, max: BAT + 12 }), fc.constantFrom(FIRST, THIRD));
  const change = fc.tuple(at, fc.oneof(fc.constantFrom(0, 1, 2, 4, 8, 127, 128, 255), fc.nat(255)));
  let opened = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { minLength: 1, maxLength: 4 }),
      fc.constantFrom(3, 4),
      fc.integer({ min: 0, max: 23 }),
      async (changes, type, cut) => {
        const part = (from: number, to: number) =>
          Object.fromEntries(
            changes
              .filter(([i]) => i >= from && i < to)
              .map(([i, value]) => [i - (to > BAT ? 0 : from), value.toString(16).padStart(2, '0')]),
          );
        const bytes = dynamic({
          type,
          footer: part(0, 512),
          header: { ...(type === 4 ? { 64: '00780000' } : {}), ...part(512, BAT) },
          file: part(BAT, END),
        }).subarray(0, cut < 18 ? undefined : cut * 512);
        try {
          for (const { kind, offset, length } of await whole(await open(bytes))) {
            expect(kind !== Kind.data || offset + length <= bytes.length).toBe(true);
          }
          opened += 1;
        } catch (error) {
          expect(error).toBeInstanceOf(VdconvError);
          expect(['internal', 'read']).not.toContain((error as VdconvError).code);
        }
      },
    ),
    { numRuns: 3000 },
  );
  // The rules are not so strict that nothing passes.
  expect(opened).toBeGreaterThan(300);
});

test('one extent of a batch after another: a map of more extents than a batch holds', async () => {
  // 10000 blocks of 512 bytes, each behind its bitmap: none continues the one before.
  const blocks = 10000;
  const bat = Buffer.alloc(Math.ceil((blocks * 4) / 512) * 512, 0xff);
  const first = 3 + bat.length / 512;
  for (let i = 0; i < blocks; i += 1) {
    bat.writeUInt32BE(first + 2 * i, 4 * i);
  }
  const end = footer(3, blocks * 512);
  const bytes = Buffer.concat([end, header(blocks, 512), bat, Buffer.alloc(blocks * 1024), end]);
  const got = await whole(await open(bytes));
  expect(got).toHaveLength(blocks);
  expect(got.every(({ start, offset }) => offset === (first + 2 * (start / 512) + 1) * 512)).toBe(true);
  for await (const batch of (await open(bytes)).extents(0, 512)) {
    expect(extentAt(batch, 0)).toMatchObject({ start: 0, length: 512 });
  }
});
