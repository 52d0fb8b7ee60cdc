/** Images that lie: each illegal value is refused with a code, the field's name and its offset, in little time and memory. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ErrorCode, VdconvError } from '../../base/errors.ts';
import { MiB } from '../../base/units.ts';
import { refusingGate } from '../../io/gate.ts';
import { memorySource } from '../../io/memory-source.ts';
import type { ByteSource } from '../../io/types.ts';
import { checked } from '../../map/checked.ts';
import { type HandMade, handMade, locatorItem, noise, PLACE, seal } from '../../testing/vhdx-image.ts';
import { vhdx } from './index.ts';

/** A source that counts what is asked of it. */
function counted(bytes: Uint8Array): ByteSource & { total: number; largest: number } {
  const source = memorySource(bytes, 'bad.vhdx');
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
  const opened = await vhdx.open(source, { gate: refusingGate() });
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
  expect(source.largest).toBeLessThanOrEqual(MiB);
  expect(source.total).toBeLessThanOrEqual(3 * MiB);
  expect((error as VdconvError).message).toMatch(/^bad\.vhdx: [^\n]+$/);
  expect((error as VdconvError).format).toBe('vhdx');
  return error as VdconvError;
}

/** A disk of 3 MiB: blocks at 4 and 5 MiB, the third not present. */
const DISK: HandMade = {
  size: 3 * MiB,
  bat: { 0: [6, 4], 1: [6, 5] },
  data: { 4: noise(1, MiB), 5: noise(2, MiB) },
};

/** The same over a parent; its first block is present in part. */
const CHILD: HandMade = {
  size: 3 * MiB,
  bat: { 0: [7, 4], 1: [2, 0], 4096: [6, 5] },
  data: { 4: noise(1, MiB), 5: noise(2, MiB) },
  locator: { parent_linkage: '{00112233-4455-6677-8899-aabbccddeeff}', relative_path: 'base.vhdx' },
};

/** Hexadecimal by offset. */
type Patch = Record<number, string>;

function patched(disk: HandMade, patch: Patch): Buffer {
  const file = handMade(disk);
  for (const [at, text] of Object.entries(patch)) {
    Buffer.from(text.replaceAll(' ', ''), 'hex').copy(file, Number(at));
  }
  return seal(file);
}

test.each([DISK, CHILD])('the images that the others are made from are read', async (disk) => {
  await expect(readAll(memorySource(handMade(disk), 'good'))).resolves.toBeUndefined();
});

type Case = [name: string, patch: Patch, code: ErrorCode, says: RegExp];

/** In both headers. */
const head = (at: number, text: string): Patch => ({ [65536 + at]: text, [131072 + at]: text });
/** In both region tables; entry 0 is the BAT's, entry 1 the metadata's. */
const regi = (at: number, text: string): Patch => ({ [196608 + at]: text, [262144 + at]: text });
const entry = (n: number, at: number, text: string): Patch => regi(16 + n * 32 + at, text);
const table = (at: number, text: string): Patch => ({ [PLACE.metadata + at]: text });
/** Entries of the metadata table: parameters, size, id, logical, physical sector, locator. */
const item = (n: number, at: number, text: string): Patch => table(32 + n * 32 + at, text);
const content = (at: number, text: string): Patch => ({ [PLACE.items + at]: text });
const bat = (index: number, text: string): Patch => ({ [PLACE.bat + index * 8]: text });

const headers: Case[] = [
  ['signature of the file', { 0: '78' }, 'wrong-format', /signature is .* at offset 0 .*"vhdxfile"/],
  ['second half of it', { 4: '00' }, 'wrong-format', /signatureEnd is .* at offset 4 /],
  ['version 0', head(66, '0000'), 'unsupported', /version is 0 at offset 131138 /],
  ['version 2', head(66, '0200'), 'unsupported', /version is 2 at offset 131138 /],
  ['logLength odd', head(68, '01001000'), 'corrupt', /logLength is 1048577 .* multiple of 1048576/],
  ['logLength 2^32-2^20', head(68, '0000f0ff'), 'truncated', /log lies at 1048576 to 4294967296, the file ends/],
  ['logOffset 0', head(72, '0000000000000000'), 'corrupt', /logOffset is 0 at offset 131144 /],
  ['logOffset odd', head(72, '0100100000000000'), 'corrupt', /logOffset is 1048577 .* at offset 131144 /],
  ['logOffset beyond the file', head(72, '0000000001000000'), 'truncated', /log lies at 4294967296 /],
  ['logOffset 2^63', head(72, '0000000000000080'), 'corrupt', /logOffset is about .* at offset 131144 .*2\^53/],
];

const regions: Case[] = [
  ['2048 regions', regi(8, '00080000'), 'corrupt', /entryCount is 2048 .* at offset 196616 .*2047/],
  ['2^32-1 regions', regi(8, 'ffffffff'), 'corrupt', /entryCount is 4294967295 /],
  ['no regions', regi(8, '00000000'), 'corrupt', /no bat region/],
  ['one region', regi(8, '01000000'), 'corrupt', /no metadata region/],
  [
    'the BAT twice',
    entry(1, 0, '6677c22d23f600429d64115e9bfd4a08'),
    'corrupt',
    /guid is 2dc27766-.* at offset 196656 .*another/,
  ],
  ['the metadata twice', entry(0, 0, '06a27c8b90479a4bb8fe575f050f886e'), 'corrupt', /guid is 8b7ca206-.*another/],
  [
    'an unknown required one',
    entry(0, 0, 'ff'),
    'unsupported',
    /guid is 2dc277ff-.* at offset 196624 .*required region/,
  ],
  ['offset odd', entry(0, 16, '0102300000000000'), 'corrupt', /fileOffset is 3146241 .* at offset 196640 .*multiple/],
  ['offset 0', entry(0, 16, '0000000000000000'), 'corrupt', /fileOffset is 0 at offset 196640 /],
  ['offset over the log', entry(0, 16, '0000100000000000'), 'corrupt', /fileOffset is 1048576 .*overlaps the log/],
  [
    'offset over the other region',
    entry(1, 16, '0000300000000000'),
    'corrupt',
    /fileOffset is 3145728 .*another region/,
  ],
  ['the BAT beyond the file', entry(0, 16, '0000000001000000'), 'truncated', /bat region lies at 4294967296 /],
  [
    'the metadata beyond the file',
    entry(1, 16, '0000000001000000'),
    'truncated',
    /metadata region lies at 4294967296 /,
  ],
  ['offset near 2^64', entry(0, 16, '0000f0ffffffffff'), 'corrupt', /fileOffset is about .* at offset 196640 /],
  ['length 0', entry(0, 24, '00000000'), 'corrupt', /length is 0 at offset 196648 /],
  ['length odd', entry(0, 24, '00001100'), 'corrupt', /length is 1114112 .*multiple/],
  ['BAT of 4095 MiB', entry(0, 24, '0000f0ff'), 'truncated', /bat region lies at 3145728 to 4297064448/],
];

const metadata: Case[] = [
  ['signature', table(0, '4d'), 'corrupt', /metadata table: signature is 4d .* at offset 2097152 /],
  ['2048 items', table(10, '0008'), 'corrupt', /entryCount is 2048 .* at offset 2097162 /],
  ['65535 items', table(10, 'ffff'), 'corrupt', /entryCount is 65535 /],
  ['no items', table(10, '0000'), 'corrupt', /no item "VHDX file parameters"/],
  ['four items', table(10, '0400'), 'corrupt', /no item "VHDX physical sector size"/],
  [
    'the size twice',
    item(0, 0, '2442a52f1bcd7648b2115dbed83bf4b8'),
    'corrupt',
    /itemId is 2fa54224-.* at offset 2097216 .*another/,
  ],
  ['no size', { ...item(1, 0, 'ff'), ...item(1, 24, '02') }, 'corrupt', /no item "VHDX virtual disk size"/],
  [
    'an unknown required item',
    item(1, 0, 'ff'),
    'unsupported',
    /itemId is 2fa542ff-.* at offset 2097216 .*required item/,
  ],
  ['a required item of a user', item(1, 24, '07'), 'unsupported', /itemId is 2fa54224-.*required item/],
  ['offset 32', item(0, 16, '20000000'), 'corrupt', /offset is 32 at offset 2097200 .*65536/],
  ['offset 2^32-1', item(0, 16, 'ffffffff'), 'corrupt', /offset is 4294967295 .*pass the region's 1048576/],
  ['an end beyond the region', item(0, 16, 'fcff0f00'), 'corrupt', /offset is 1048572 .*pass the region's 1048576/],
  ['over another item', item(0, 16, '0c000100'), 'corrupt', /offset is 65548 .*overlaps another/],
  ['an offset without a length', item(0, 20, '00000000'), 'corrupt', /offset is 65536 .*must be 0 where the length is/],
  ['length beyond 1 MiB', item(0, 20, '01001000'), 'corrupt', /length is 1048577 .* at offset 2097204 /],
  ['length of another item', item(0, 20, '04000000'), 'corrupt', /length is 4 at offset 2097204 .*has 8 bytes/],
  ['no length', { ...item(0, 16, '0000000000000000') }, 'corrupt', /length is 0 at offset 2097204 .*has 8 bytes/],
  ['block size 0', content(0, '00000000'), 'corrupt', /blockSize is 0 at offset 2162688 /],
  ['block size 64 KiB', content(0, '00000100'), 'corrupt', /blockSize is 65536 .*at least 1048576/],
  ['block size 3 MiB', content(0, '00003000'), 'corrupt', /blockSize is 3145728 .*power of two/],
  ['block size 512 MiB', content(0, '00000020'), 'corrupt', /blockSize is 536870912 .*at most 268435456/],
  ['block size 2 GiB', content(0, '00000080'), 'corrupt', /blockSize is 2147483648 /],
  ['unknown parameters', content(4, '04000000'), 'unsupported', /flags is 0x4 at offset 2162692 .*bit 2 not supported/],
  ['size 65 TiB', content(8, '0000000000410000'), 'corrupt', /virtualDiskSize is 71468255805440 .* at offset 2162696 /],
  ['size (2^32+25) MiB', content(8, '0000900100001000'), 'corrupt', /virtualDiskSize is 45035996/],
  ['size 2^64-512', content(8, '00feffffffffffff'), 'corrupt', /virtualDiskSize is about .*2\^53/],
  ['size odd', content(8, '0100300000000000'), 'corrupt', /virtualDiskSize is 3145729 .*multiple of 512/],
  [
    'size too large for the BAT',
    content(8, '0000000000400000'),
    'corrupt',
    /length is 1048576 at offset 196648 .*has 537001976/,
  ],
  [
    'size odd for its sectors',
    { ...content(8, '0002300000000000'), ...content(32, '00100000') },
    'corrupt',
    /virtualDiskSize is 3146240 at offset 2162696 .*sector size 4096/,
  ],
  ['logical sector 0', content(32, '00000000'), 'corrupt', /logicalSectorSize is 0 at offset 2162720 /],
  ['logical sector 513', content(32, '01020000'), 'corrupt', /logicalSectorSize is 513 /],
  ['logical sector 8192', content(32, '00200000'), 'corrupt', /logicalSectorSize is 8192 .*512, 4096/],
  ['physical sector 513', content(36, '01020000'), 'corrupt', /physicalSectorSize is 513 at offset 2162724 /],
  ['a parent without locator', content(4, '02000000'), 'corrupt', /flags is 0x2 at offset 2162692 .*there is none/],
];

const blocks: Case[] = [
  ['state 4', bat(2, '04'), 'corrupt', /block 2 is unknown-4 at offset 3145744 /],
  ['state 5', bat(2, '0500600000000000'), 'corrupt', /block 2 is unknown-5 at offset 3145744 /],
  [
    'state 7 without parent',
    bat(0, '07'),
    'corrupt',
    /block 0 is PAYLOAD_BLOCK_PARTIALLY_PRESENT at offset 3145728 .*differencing/,
  ],
  [
    'beyond the file',
    bat(1, '0600700000000000'),
    'truncated',
    /block 1 lies at 7340032 to 8388608, the file ends at 6291456 \(entry at offset 3145736\)/,
  ],
  ['half beyond the file', bat(1, '0600600000000000'), 'truncated', /block 1 lies at 6291456 to 7340032/],
  ['2^64 - 1 MiB', bat(1, '0600f0ffffffffff'), 'truncated', /block 1 lies at 184467/],
  ['over the header section', bat(1, '0600000000000000'), 'corrupt', /block 1 is at 0 at offset 3145736 .*overlaps/],
  ['over the log', bat(1, '0600100000000000'), 'corrupt', /block 1 is at 1048576 .*overlaps/],
  ['over the metadata', bat(1, '0600200000000000'), 'corrupt', /block 1 is at 2097152 .*overlaps/],
  ['over the BAT', bat(1, '0600300000000000'), 'corrupt', /block 1 is at 3145728 .*overlaps/],
  ['over another block', bat(1, '0600400000000000'), 'corrupt', /block 1 is at 4194304 .*another block/],
];

const children: Case[] = [
  [
    'no bitmap',
    bat(4096, '00'),
    'corrupt',
    /sector bitmap of chunk 0 is PAYLOAD_BLOCK_NOT_PRESENT at offset 3178496 .*block 0 needs it/,
  ],
  ['a bitmap in state 7', bat(4096, '07'), 'corrupt', /bitmap of chunk 0 is PAYLOAD_BLOCK_PARTIALLY_PRESENT /],
  [
    'a bitmap beyond the file',
    bat(4096, '0600600000000000'),
    'truncated',
    /sector bitmap of chunk 0 lies at 6291456 to 7340032/,
  ],
  [
    'a bitmap over the block',
    bat(4096, '0600400000000000'),
    'corrupt',
    /block 0 is at 4194304 .*at offset 3145728 .*overlaps/,
  ],
  ['a bitmap over the header', bat(4096, '0600000000000000'), 'corrupt', /sector bitmap of chunk 0 is at 0 .*overlaps/],
  [
    'a BAT without room for the bitmap',
    { ...content(8, '000010001f000000') },
    'corrupt',
    /length is 1048576 .*has 1048832/,
  ],
  ['a locator without parent', content(4, '00000000'), 'corrupt', /flags is 0x0 at offset 2162692 .*there is one/],
  ['a locator of another format', content(40, 'ff'), 'unsupported', /locatorType is b04aefff-.* at offset 2162728 /],
  ['65 keys', content(58, '4100'), 'limit', /keyValueCount is 65 at offset 2162746 .*at most 64/],
  ['no keys', content(58, '0000'), 'corrupt', /keys is none .*needs parent_linkage/],
  ['a key at 0', content(60, '00000000'), 'corrupt', /keyOffset is 0 at offset 2162748 /],
  ['a value at 0', content(64, '00000000'), 'corrupt', /valueOffset is 0 at offset 2162752 /],
  ['a key of no length', content(68, '0000'), 'corrupt', /keyLength is 0 /],
  ['a key of odd length', content(68, '0300'), 'corrupt', /keyLength is 3 .*multiple of 2/],
  ['a value of no length', content(70, '0000'), 'corrupt', /valueLength is 0 /],
  [
    'a key beyond the item',
    content(60, '00100000'),
    'corrupt',
    /keyOffset is 4096 at offset 2162748 .*pass the item's/,
  ],
  ['a value beyond the item', content(64, 'ffffffff'), 'corrupt', /valueOffset is 4294967295 at offset 2162752 /],
  ['a NUL in a key', content(40 + 44, '0000'), 'corrupt', /keyOffset is 44 .*NUL/],
  [
    'a key twice',
    { ...content(72, '2c000000'), ...content(80, '1c00') },
    'corrupt',
    /key is 'parent_linkage' .*unique/,
  ],
  ['a linkage that is no GUID', content(40 + 72, '5b00'), 'corrupt', /parent_linkage is '\[00112233-.*GUID in braces/],
];

describe.each([
  ['headers', DISK, headers],
  ['regions', DISK, regions],
  ['metadata', DISK, metadata],
  ['blocks', DISK, blocks],
  ['a differencing disk', CHILD, children],
] as const)('%s', (_, disk, cases) => {
  test.each(cases)('%s', async (_name, patch, code, says) => {
    const error = await refusal(patched(disk, patch));
    expect(error.message).toMatch(says);
    expect(error.code).toBe(code);
  });
});

describe('damage that no copy makes good', () => {
  test('both headers', async () => {
    const file = handMade(DISK);
    file[65536 + 2000] = 1;
    file[131072 + 2000] = 1;
    expect(await refusal(file)).toMatchObject({ code: 'corrupt', field: 'header', offset: 65536 });
  });

  test('both region tables', async () => {
    const file = handMade(DISK);
    file[196608 + 60000] = 1;
    file[262144 + 60000] = 1;
    expect(await refusal(file)).toMatchObject({ code: 'corrupt', field: 'region table', offset: 196608 });
  });

  test('two headers of one sequence number that differ', async () => {
    const error = await refusal(patched(DISK, { [65536 + 8]: '02', [65536 + 16]: 'aa' }));
    expect(error.message).toMatch(/sequenceNumber is 2 at offset 131080 .*\(the other header differs/);
    expect(error.code).toBe('corrupt');
  });
});

test('a parent without a path, or with one that is not text', async () => {
  const linkage = '{00112233-4455-6677-8899-aabbccddeeff}';
  const { relative_path: _, ...rest } = { ...CHILD.locator };
  expect((await refusal(handMade({ ...CHILD, locator: rest }))).message).toMatch(
    /keys is parent_linkage .*needs relative_path/,
  );
  const zero = { parent_linkage: linkage, relative_path: 'base.vhdx\0' };
  expect((await refusal(handMade({ ...CHILD, locator: zero }))).message).toMatch(/has a NUL/);
});

test('1025 items of users', async () => {
  const file = handMade(DISK);
  file.writeUInt16LE(5 + 1025, PLACE.metadata + 10);
  for (let i = 0; i < 1025; i += 1) {
    const at = PLACE.metadata + 32 + (5 + i) * 32;
    file.writeUInt32LE(i, at);
    file.writeUInt32LE(1, at + 24);
  }
  expect((await refusal(file)).message).toMatch(/flags is 1 .*at most 1024 items/);
});

test('as many keys, and as much text, as there may be', async () => {
  const locator: Record<string, string> = {};
  for (let i = 0; i < 64; i += 1) {
    locator[`k${i}`] = 'x'.repeat(7000);
  }
  expect(locatorItem(locator).length).toBeLessThan(983_000);
  const error = await refusal(handMade({ ...CHILD, locator }));
  expect(error.message).toMatch(/needs parent_linkage/);
});

test.each([0, 8, 519, 520, 65536, 70000, 131072, 135167, 196608, 262143, 1048576, 2097152, 2200000, 3145728, 4000000])(
  'a file of %i bytes is truncated, whatever it holds',
  async (length) => {
    const failed = readAll(memorySource(handMade(DISK).subarray(0, length), 'short.vhdx'));
    await expect(failed).rejects.toMatchObject({ code: 'truncated', file: 'short.vhdx' });
  },
);

test('no change to the metadata crashes, hangs or reads without end', async () => {
  const [disk, child] = [handMade(DISK), handMade(CHILD)];
  // Where the structures are, and what of them is not zero.
  const places = [disk, child].map((file) => [...file.subarray(0, 4 * MiB).keys()].filter((at) => file[at] !== 0));
  const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 15 }), fc.integer({ min: 0, max: 255 }));
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.array(change, { minLength: 1, maxLength: 4 }), async (isChild, changes) => {
      const [file, known] = isChild ? [child, places[1]] : [disk, places[0]];
      const undo: [number, number][] = [];
      for (const [place, beside, value] of changes) {
        const at = Math.min(4 * MiB - 1, (known?.[place % known.length] as number) + beside);
        undo.push([at, file[at] as number]);
        file[at] = value;
      }
      seal(file);
      const source = counted(file);
      const error = await readAll(source).then(
        () => undefined,
        (cause: unknown) => cause,
      );
      expect(error === undefined || (error instanceof VdconvError && error.code !== 'internal'), `${error}`).toBe(true);
      expect(source.total).toBeLessThanOrEqual(8 * MiB);
      for (const [at, value] of undo.reverse()) {
        file[at] = value;
      }
      seal(file);
    }),
    { numRuns: 60 },
  );
});
