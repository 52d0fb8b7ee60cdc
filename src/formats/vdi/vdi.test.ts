/** Header, block map and what is refused: images typed by hand, none of them made by vdconv's own writer. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { VdconvError } from '../../base/errors.ts';
import { KiB, MiB } from '../../base/units.ts';
import { memorySource } from '../../io/memory-source.ts';
import type { ByteSource, ReferenceGate } from '../../io/types.ts';
import { checked } from '../../map/checked.ts';
import { Kind } from '../../map/extents.ts';
import { collect } from '../../testing/map-model.ts';
import type { Image } from '../format.ts';
import { vdi } from './index.ts';
import { Header, LchsGeometry } from './layout.ts';

const noReferences: ReferenceGate = {
  open: () => Promise.reject(new VdconvError('refused', 'no reference may be opened')),
  resolve: () => undefined,
};

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const open = (bytes: Uint8Array): Promise<Image> => vdi.open(memorySource(bytes, 'disk.vdi'), { gate: noReferences });
const whole = (image: Image) => collect(checked(image.extents(0, image.virtualSize), 0, image.virtualSize));
const probe = (bytes: Uint8Array) =>
  vdi.probe({ head: bytes.subarray(0, 64 * KiB), tail: bytes.subarray(-64 * KiB), size: bytes.length });

/** Hexadecimal by offset. */
type Patch = Record<number, string>;

/** What qemu-img writes for a disk of 5 MiB, but for the UUIDs and the text. */
const QEMU: Patch = {
  0: Buffer.from('<<< QEMU VM Virtual Disk Image >>>\n').toString('hex'),
  64: '7f10dabe 01000100 80010000 01000000',
  340: '00020000 00040000',
  360: '00020000',
  368: '0000500000000000 00001000 00000000 05000000 00000000',
  392: '04030201060508070910111213141516 00112233445566778899aabbccddeeff',
};

function patched(bytes: Buffer, ...patches: Patch[]): Buffer {
  for (const patch of patches) {
    for (const [at, text] of Object.entries(patch)) {
      hex(text).copy(bytes, Number(at));
    }
  }
  return bytes;
}

const [MAP, DATA] = [512, 1024];
const BLOCK = 4096;

/**
 * A disk of 17 KiB in blocks of 4 KiB: the map at 512, blocks from 1024 on. Blocks 0 and 1 follow one another in the file,
 * 2 is zeros, 3 free; of the last one, which the file has first, the disk's end leaves 1 KiB.
 */
function disk(patch: Patch = {}): Buffer {
  const small: Patch = {
    368: '0044000000000000 00100000 00000000 05000000 03000000',
    [MAP]: '01000000 02000000 feffffff ffffffff 00000000',
  };
  return patched(Buffer.alloc(DATA + 3 * BLOCK), QEMU, small, patch);
}

const PLACE = { file: 0, stored: 0, skip: 0 };
const EXTENTS = [
  { start: 0, length: 2 * BLOCK, kind: Kind.data, offset: DATA + BLOCK, ...PLACE },
  { start: 2 * BLOCK, length: BLOCK, kind: Kind.zero, offset: 0, ...PLACE },
  { start: 3 * BLOCK, length: BLOCK, kind: Kind.unallocated, offset: 0, ...PLACE },
  { start: 4 * BLOCK, length: KiB, kind: Kind.data, offset: DATA, ...PLACE },
];

describe('structures, byte for byte', () => {
  const origin = { file: 'vector', format: 'vdi', at: 0 };

  test('the header that qemu-img writes for 5 MiB', () => {
    const bytes = patched(Buffer.alloc(0x1c8), QEMU);
    const values = Header.decode(bytes, origin);
    expect(values).toMatchObject({
      version: 0x10001,
      headerSize: 0x180,
      imageType: 1,
      offsetBlocks: 512,
      offsetData: 1024,
      sectorSize: 512,
      diskSize: 5 * MiB,
      blockSize: MiB,
      blocksInImage: 5,
      blocksAllocated: 0,
    });
    expect(Header.encode(values)).toEqual(new Uint8Array(bytes));
  });

  test('the geometry behind VirtualBox’s header', () => {
    const bytes = patched(Buffer.alloc(56), { 0: '01000000 10000000 3f000000 00020000' });
    const values = LchsGeometry.decode(bytes, origin);
    expect(values).toMatchObject({ cylinders: 1, heads: 16, sectors: 63, sectorSize: 512 });
    expect(LchsGeometry.encode(values)).toEqual(new Uint8Array(bytes));
  });
});

describe('reading', () => {
  test('blocks become extents: those that follow one another are one, the last is cut by the end of the disk', async () => {
    const image = await open(disk());
    expect(image).toMatchObject({ format: 'vdi', subformat: 'dynamic', virtualSize: 17 * KiB });
    expect(image.facts).toMatchObject({
      blockSize: BLOCK,
      warnings: [],
      references: [],
      details: {
        version: '1.1',
        headerSize: 0x180,
        text: '<<< QEMU VM Virtual Disk Image >>>',
        comment: '',
        blocksInImage: 5,
        blocksAllocated: 3,
        uuidImage: '01020304-0506-0708-0910-111213141516',
        uuidModify: '33221100-5544-7766-8899-aabbccddeeff',
      },
    });
    expect(image.facts.details).not.toHaveProperty('uuidLink');
    expect(await whole(image)).toEqual(EXTENTS);
  });

  test('a part of the disk', async () => {
    const image = await open(disk());
    expect(await collect(image.extents(BLOCK + 100, 2 * BLOCK + 1))).toEqual([
      { start: BLOCK + 100, length: BLOCK - 100, kind: Kind.data, offset: DATA + 2 * BLOCK + 100, ...PLACE },
      { start: 2 * BLOCK, length: 1, kind: Kind.zero, offset: 0, ...PLACE },
    ]);
    expect(await collect(image.extents(5000, 5000))).toEqual([]);
  });

  test('the sheet’s disk: 64 KiB were written at 3 MiB of 5', async () => {
    const bytes = patched(Buffer.alloc(1049600), QEMU, {
      388: '01000000',
      512: 'ffffffff ffffffff ffffffff 00000000 ffffffff',
    });
    expect(await whole(await open(bytes))).toMatchObject([
      { start: 0, length: 3 * MiB, kind: Kind.unallocated },
      { start: 3 * MiB, length: MiB, kind: Kind.data, offset: 1024 },
      { start: 4 * MiB, length: MiB, kind: Kind.unallocated },
    ]);
  });

  test('a static disk with free blocks: the map says what there is, not the type', async () => {
    const image = await open(disk({ 76: '02000000' }));
    expect(image.subformat).toBe('static');
    expect(await whole(image)).toEqual(EXTENTS);
  });

  test.each<[string, Patch]>([
    ['version 1.0', { 68: '00000100' }],
    ['version 1.7', { 68: '07000100' }],
    ['VirtualBox’s longer header', { 72: '90010000', 456: '00000000 00000000 00000000 00020000' }],
    ['flag 0', { 80: '01000000' }],
    ['another text', { 0: '00'.repeat(64) }],
    ['fewer blocks counted than there are', { 388: '00000000' }],
  ])('legal: %s', async (_, patch) => {
    expect(await whole(await open(disk(patch)))).toEqual(EXTENTS);
  });

  test('a size that is no multiple of 512 stays as it is: VirtualBox makes such disks', async () => {
    const image = await open(disk({ 368: '0143000000000000' }));
    expect(image.virtualSize).toBe(0x4301);
    expect((await whole(image)).at(-1)).toMatchObject({ start: 4 * BLOCK, length: 0x301 });
  });

  test('text of the image is passed on as it is, whatever it does to a terminal', async () => {
    const { facts } = await open(disk({ 84: '1b5b326ae282ac00ff' }));
    expect(facts.details.comment).toBe('\x1b[2j€');
  });

  test('a map of 64 TiB is read in pieces of a MiB', async () => {
    const blocks = 64 * MiB;
    const front = patched(Buffer.alloc(512), QEMU, { 368: '0000000000400000', 384: '00000004' });
    front.writeUInt32LE(512 + blocks * 4, 344);
    const lengths: number[] = [];
    const source: ByteSource = {
      ...memorySource(front, 'large.vdi'),
      size: 512 + blocks * 4,
      read: async (at, length) => {
        lengths.push(length);
        return at === 0 ? Uint8Array.from(front.subarray(0, length)) : new Uint8Array(length).fill(0xff);
      },
    };
    const image = await vdi.open(source, { gate: noReferences });
    expect(await whole(image)).toMatchObject([{ start: 0, length: 2 ** 46, kind: Kind.unallocated }]);
    expect(lengths).toHaveLength(1 + 256);
    expect(Math.max(...lengths)).toBe(MiB);
  });

  test('more extents than a batch holds', async () => {
    const blocks = 10000;
    const data = 512 + 40448;
    const bytes = patched(Buffer.alloc(data + blocks * 512), QEMU, {});
    bytes.writeUInt32LE(data, 344);
    bytes.writeBigUInt64LE(BigInt(blocks * 512), 368);
    bytes.writeUInt32LE(512, 376);
    bytes.writeUInt32LE(blocks, 384);
    // Backwards: no block follows the one before.
    for (let i = 0; i < blocks; i += 1) {
      bytes.writeUInt32LE(blocks - 1 - i, 512 + 4 * i);
    }
    const got = await whole(await open(bytes));
    expect(got).toHaveLength(blocks);
    expect(got.every(({ start, offset }) => offset === data + (blocks - 1) * 512 - start)).toBe(true);
  });
});

describe('a part of another image', () => {
  test.each<[string, Patch, string, string, string, RegExp]>([
    ['undo', { 76: '03000000' }, 'undo', 'unsupported', 'imageType', /an undo image of VirtualBox.*; clone the disk/],
    [
      'differencing',
      { 76: '04000000' },
      'differencing',
      'corrupt',
      'imageType',
      /nothing names the other: uuidLink is/,
    ],
    [
      'dynamic with a parent’s change',
      { 440: '04030201' },
      'dynamic',
      'corrupt',
      'imageType',
      /nothing names the other/,
    ],
  ])('is described, and refused where it is read: %s', async (_, patch, subformat, code, field, message) => {
    const image = await open(disk(patch));
    expect(image).toMatchObject({ subformat, virtualSize: 17 * KiB });
    const refused = whole(image);
    await expect(refused).rejects.toMatchObject({ code, field, offset: 76, file: 'disk.vdi', format: 'vdi' });
    await expect(refused).rejects.toThrow(message);
  });

  const LINK = '04030201060508070910111213141516';

  test.each<[string, Patch]>([
    ['differencing', { 76: '04000000', 424: LINK }],
    ['dynamic', { 424: LINK }],
  ])('with a parent shows it where blocks are free: %s', async (subformat, patch) => {
    const image = await open(disk({ ...patch, [MAP + 8]: 'feffffff ffffffff' }));
    expect(image).toMatchObject({
      subformat,
      lineage: { field: 'uuidLink', parents: ['01020304-0506-0708-0910-111213141516'] },
    });
    expect(image.parent).toBeUndefined();
    expect(image.facts.details).toMatchObject({
      uuidLink: '01020304-0506-0708-0910-111213141516',
      uuidParentModify: '00000000-0000-0000-0000-000000000000',
    });
    const kinds = (await whole(image)).map(({ start, kind }) => [start / BLOCK, kind]);
    expect(kinds).toContainEqual([2, Kind.zero]);
    expect(kinds).toContainEqual([3, Kind.unallocated]);
  });

  test('both know the states of their images', async () => {
    const ids = { 392: LINK, 408: '11'.repeat(16), 424: '22'.repeat(16), 440: '33'.repeat(16) };
    expect((await open(disk({ 76: '04000000', ...ids }))).lineage).toEqual({
      field: 'uuidLink',
      own: '01020304-0506-0708-0910-111213141516',
      parents: ['22222222-2222-2222-2222-222222222222'],
      version: {
        field: 'uuidParentModify',
        own: '11111111-1111-1111-1111-111111111111',
        parent: '33333333-3333-3333-3333-333333333333',
      },
    });
  });
});

describe('metadata', () => {
  test('id, comment, creator and geometry', async () => {
    const text = Buffer.from('<<< Oracle VM VirtualBox Disk Image >>>\n').toString('hex');
    const patch = {
      0: text.padEnd(128, '0'),
      84: Buffer.from('grün\0x').toString('hex'),
      392: '04030201060508070910111213141516',
    };
    const plain = {
      uuid: '01020304-0506-0708-0910-111213141516',
      comment: 'grün',
      creator: 'Oracle VM VirtualBox Disk Image',
    };
    expect((await open(disk(patch))).metadata).toEqual(plain);
    const [legacy, lchs] = ['e8030000 04000000 11000000', '00040000 ff000000 3f000000'];
    expect((await open(disk({ ...patch, 348: legacy }))).metadata).toEqual({
      ...plain,
      geometry: { cylinders: 1000, heads: 4, sectors: 17 },
    });
    // Only where the header is long enough to have one.
    const both = { ...patch, 348: legacy, 456: lchs };
    expect((await open(disk(both))).metadata?.geometry).toMatchObject({ cylinders: 1000 });
    expect((await open(disk({ ...both, 72: '90010000' }))).metadata?.geometry).toEqual({
      cylinders: 1024,
      heads: 255,
      sectors: 63,
    });
  });

  test('none is none', async () => {
    expect((await open(disk({ 0: '00'.repeat(64), 392: '00'.repeat(16) }))).metadata).toEqual({});
  });
});

/** Name, what is changed, code, field, offset, part of the message. */
const ILLEGAL: [string, Patch, string, string, number, RegExp][] = [
  ['no signature', { 64: '00' }, 'wrong-format', 'signature', 64, /must be 3201962111/],
  ['version 2.0', { 68: '00000200' }, 'unsupported', 'version', 68, /vdconv reads version 1/],
  ['version 0.2', { 68: '02000000' }, 'unsupported', 'version', 68, /VDI version 0\.2.*clonemedium/],
  ['version 0.1', { 68: '01000000' }, 'unsupported', 'version', 68, /vdconv reads version 1/],
  ['header size 0', { 72: '00000000' }, 'corrupt', 'headerSize', 72, /at least 384/],
  ['header size 2^32 - 1', { 72: 'ffffffff' }, 'corrupt', 'headerSize', 72, /block map begins at 512/],
  ['type 0', { 76: '00000000' }, 'unsupported', 'imageType', 76, /one of 1, 2, 3, 4/],
  ['type 9', { 76: '09000000' }, 'unsupported', 'imageType', 76, /one of 1, 2, 3, 4/],
  ['flag 5', { 80: '20000000' }, 'unsupported', 'flags', 80, /bit 5/],
  ['map at 0', { 340: '00000000' }, 'corrupt', 'offsetBlocks', 340, /at least 512/],
  ['map at 513', { 340: '01020000' }, 'corrupt', 'offsetBlocks', 340, /multiple of 512/],
  ['map past the end', { 340: '00fe0000' }, 'truncated', 'offsetBlocks', 340, /would end at 65044, the file ends at/],
  ['data at 0', { 344: '00000000' }, 'corrupt', 'offsetData', 344, /at least 512/],
  ['data at 1025', { 344: '01040000' }, 'corrupt', 'offsetData', 344, /multiple of 512/],
  ['data over the map', { 344: '00020000' }, 'corrupt', 'offsetData', 344, /block map ends at 532/],
  ['data at the end', { 344: '00340000' }, 'truncated', 'entry 0', MAP, /the file ends at 13312/],
  ['sectors of 4096', { 360: '00100000' }, 'unsupported', 'sectorSize', 360, /must be 512/],
  ['sectors of 0', { 360: '00000000' }, 'unsupported', 'sectorSize', 360, /must be 512/],
  ['size 0', { 368: '0000000000000000' }, 'corrupt', 'diskSize', 368, /at least 1/],
  ['size 2^64 - 1', { 368: 'ffffffffffffffff' }, 'corrupt', 'diskSize', 368, /2\^53 - 1/],
  ['size 2^63', { 368: '0000000000000080' }, 'corrupt', 'diskSize', 368, /2\^53 - 1/],
  ['blocks of 0', { 376: '00000000' }, 'corrupt', 'blockSize', 376, /at least 512/],
  ['blocks of 3 MiB', { 376: '00003000' }, 'corrupt', 'blockSize', 376, /power of two/],
  ['blocks of 2 GiB', { 376: '00000080' }, 'limit', 'blockSize', 376, /at most 268435456/],
  ['bytes before each block', { 380: '00020000' }, 'unsupported', 'blockExtra', 380, /must be 0/],
  ['no blocks', { 384: '00000000' }, 'corrupt', 'blocksInImage', 384, /at least 1/],
  ['a block too few', { 384: '04000000' }, 'corrupt', 'blocksInImage', 384, /of 4096 has 5/],
  ['2^29 blocks', { 384: '00000020' }, 'limit', 'blocksInImage', 384, /at most 536870784/],
  ['2^32 - 1 blocks', { 384: 'ffffffff' }, 'limit', 'blocksInImage', 384, /at most 536870784/],
  ['more blocks than the file', { 384: '80ffff1f' }, 'truncated', 'offsetBlocks', 340, /map of 536870784 blocks/],
  ['more allocated than there are', { 388: '06000000' }, 'corrupt', 'blocksAllocated', 388, /blocksInImage is 5/],
  ['2^32 - 1 allocated', { 388: 'ffffffff' }, 'corrupt', 'blocksAllocated', 388, /blocksInImage is 5/],
  ['a block past the end', { [MAP + 4]: '03000000' }, 'truncated', 'entry 1', MAP + 4, /go to 17408, the file ends/],
  ['a block that is none', { [MAP + 4]: '05000000' }, 'corrupt', 'entry 1', MAP + 4, /the image has 5 blocks/],
  ['block 2^32 - 3', { [MAP + 4]: 'fdffffff' }, 'corrupt', 'entry 1', MAP + 4, /the image has 5 blocks/],
];

test.each(ILLEGAL)('refused: %s', async (_, patch, code, field, offset, message) => {
  const refused = open(disk(patch)).then(whole);
  await expect(refused).rejects.toMatchObject({ code, field, offset, file: 'disk.vdi', format: 'vdi' });
  await expect(refused).rejects.toThrow(message);
});

test.each([
  ['400 bytes of header', disk().subarray(0, 400), /VDI header at 0 needs 456 bytes, 400 are there/],
  ['70 bytes', disk().subarray(0, 70), /70 are there/],
  ['cut within a block', disk().subarray(0, DATA + 3 * BLOCK - 1), /entry 1 is 2 .*the file ends at 13311/],
  ['cut within the map', disk().subarray(0, MAP + 12), /would end at 532, the file ends at 524/],
])('truncated: %s', async (_, bytes, message) => {
  const refused = open(bytes).then(whole);
  await expect(refused).rejects.toMatchObject({ code: 'truncated' });
  await expect(refused).rejects.toThrow(message);
});

test('what the disk does not need of its last block may be missing', async () => {
  const bytes = disk({ [MAP]: 'ffffffff ffffffff' });
  expect((await whole(await open(bytes.subarray(0, DATA + KiB)))).at(-1)).toEqual(EXTENTS.at(-1));
});

test('probing goes by the signature alone', async () => {
  expect(probe(disk())).toBe(true);
  expect(probe(disk({ 0: '00'.repeat(64) }))).toBe(true);
  expect(probe(disk({ 68: '02000000' }))).toBe(true);
  expect(probe(disk({ 64: '00' }))).toBe(false);
  expect(probe(disk().subarray(0, 67))).toBe(false);
  expect(probe(new Uint8Array(0))).toBe(false);
  await expect(open(new Uint8Array(4096))).rejects.toMatchObject({ code: 'wrong-format' });
});

test('a disk of random bytes in header and map is read within its file, or refused with a code', async () => {
  const at = fc.oneof(
    fc.integer({ min: 64, max: 83 }),
    fc.integer({ min: 336, max: 391 }),
    fc.integer({ min: MAP, max: MAP + 19 }),
  );
  const change = fc.tuple(at, fc.oneof(fc.constantFrom(0, 1, 2, 4, 128, 254, 255), fc.nat(255)));
  let opened = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), fc.nat(30), async (changes, cut) => {
      const patch = Object.fromEntries(changes.map(([i, value]) => [i, value.toString(16).padStart(2, '0')]));
      const bytes = disk(patch).subarray(0, cut < 24 ? undefined : cut * 512);
      try {
        for (const { kind, offset, length } of await whole(await open(bytes))) {
          expect(kind !== Kind.data || offset + length <= bytes.length).toBe(true);
        }
        opened += 1;
      } catch (error) {
        expect(error).toBeInstanceOf(VdconvError);
        expect(['internal', 'read']).not.toContain((error as VdconvError).code);
      }
    }),
    { numRuns: 3000 },
  );
  // The rules are not so strict that nothing passes.
  expect(opened).toBeGreaterThan(100);
});
