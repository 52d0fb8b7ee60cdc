/** COWD and seSparse extents that lie: each illegal value is refused with a code, the field's name and its offset. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ErrorCode, VdconvError } from '../../base/errors.ts';
import { MiB } from '../../base/units.ts';
import { memorySource } from '../../io/memory-source.ts';
import type { ByteSource } from '../../io/types.ts';
import { checked } from '../../map/checked.ts';
import { extentAt, Kind } from '../../map/extents.ts';
import { cowdExtent, type EsxExtent, seSparseExtent } from '../../testing/esx-extents.ts';
import { vmdk } from './index.ts';

/** 6 MiB: three tables of COWD, the second without grains; one of seSparse. */
const DISK: EsxExtent = {
  disk: new Uint8Array(6 * MiB).fill(7),
  grain: (index) => (index % 1000 === 3 || index === 1535 ? 'data' : index % 1000 === 4 ? 'zero' : 'none'),
  seed: 1,
};
const COWD = cowdExtent(DISK, 1);
const SESPARSE = seSparseExtent(DISK);

/** Reads all of the map of an extent, and counts what is asked of its file. */
async function readAll(extent: Uint8Array, type: string): Promise<{ read: number; kinds: Set<Kind> }> {
  const inner = memorySource(extent, 'extent');
  let read = 0;
  const counted: ByteSource = {
    name: inner.name,
    size: inner.size,
    close: inner.close,
    read: (at, length, what) => {
      read += length;
      return inner.read(at, length, what);
    },
  };
  const text = `version=1\nCID=1\nparentCID=ffffffff\ncreateType="custom"\nRW 12288 ${type} "extent"\n`;
  const descriptor = memorySource(new TextEncoder().encode(text), 'disk.vmdk');
  const gate = { open: async () => counted, resolve: () => undefined };
  const image = await vmdk.open(descriptor, { gate });
  const kinds = new Set<Kind>();
  for await (const batch of checked(image.extents(0, image.virtualSize), 0, image.virtualSize)) {
    for (let i = 0; i < batch.count; i += 1) {
      const { kind, offset, length, file } = extentAt(batch, i);
      kinds.add(kind);
      expect(kind !== Kind.data || (file === 1 && offset + length <= extent.length)).toBe(true);
    }
  }
  return { read, kinds };
}

const ALL = new Set<Kind>([Kind.data, Kind.zero, Kind.unallocated]);

test('the images that the others are made from are read', async () => {
  expect((await readAll(COWD, 'VMFSSPARSE')).kinds).toEqual(ALL);
  expect((await readAll(SESPARSE, 'SESPARSE')).kinds).toEqual(ALL);
});

/** Hexadecimal at an offset. */
type Case = [name: string, at: number, bytes: string, code: ErrorCode, field: string, says: RegExp];

const gdOf = (at: number) => 4 * 512 + at;
/** The first table of COWD follows the directory, which has one sector. */
const firstTable = COWD.readUInt32LE(gdOf(0)) * 512;

const cowd: Case[] = [
  ['version 2', 4, '02', 'unsupported', 'version', /must be 1/],
  ['no sectors', 12, '00000000', 'corrupt', 'numSectors', /at least 1/],
  ['fewer sectors than the descriptor says', 12, 'ff2f0000', 'corrupt', 'numSectors', /descriptor says 12288/],
  ['2^32 - 1 sectors', 12, 'ffffffff', 'corrupt', 'numGDEntries', /need 1048576/],
  ['grain size 0', 16, '00', 'corrupt', 'grainSize', /at least 1/],
  ['grain size 3', 16, '03', 'corrupt', 'grainSize', /power of two/],
  ['grain size 2 MiB', 16, '00100000', 'corrupt', 'grainSize', /at most 2048/],
  ['a directory in the header', 20, '03', 'corrupt', 'gdOffset', /at least 4/],
  ['a directory past the end', 20, 'ffffffff', 'truncated', 'gdOffset', /pass the end of the file/],
  ['too few directory entries', 24, '02', 'corrupt', 'numGDEntries', /need 3/],
  ['no directory entries', 24, '00', 'corrupt', 'numGDEntries', /at least 1/],
  ['a table past the end', gdOf(0), 'ffffffff', 'truncated', 'grain directory', /grain table 0 .* passes the end/],
  ['a grain in the header', firstTable, '02000000', 'corrupt', 'entry 0', /grains begin at sector 5/],
  ['a grain past the end', firstTable, 'ffffff7f', 'truncated', 'entry 0', /pass the end of the file/],
];

/** The directory is at sector 8, tables at 16, as the test's writer has it. */
const GD = 8 * 512;
const GT = 16 * 512;

const seSparse: Case[] = [
  ['another first half of the magic', 4, '01', 'wrong-format', 'magicNumber', /./],
  ['version 3', 12, '03', 'unsupported', 'version', /2\.1/],
  ['no sectors', 16, '0000000000000000', 'corrupt', 'capacity', /at least 1/],
  ['more than 64 TiB', 16, '0100000020000000', 'limit', 'capacity', /at most/],
  ['2^63 sectors', 16, '0000000000000080', 'corrupt', 'capacity', /2\^53/],
  ['sectors without room in the directory', 16, '0000000010000000', 'corrupt', 'grainDirSize', /need a directory/],
  ['grain size 16', 24, '10', 'unsupported', 'grainSize', /must be 8/],
  ['tables of another size', 32, '80', 'unsupported', 'grainTableSize', /must be 64/],
  ['a flag', 40, '01', 'unsupported', 'flags', /bit 0/],
  ['no volatile header', 80, '0000000000000000', 'corrupt', 'volatileHeaderOffset', /at least 1/],
  ['a volatile header past the end', 80, '00000000ff000000', 'truncated', 'volatileHeaderOffset', /passes the end/],
  ['a directory past the end', 128, '00000000ff000000', 'truncated', 'grainDirOffset', /pass the end/],
  ['a volatile header that is none', 512, '00', 'corrupt', 'magic', /must be/],
  ['a journal to replay', 512 + 24, '01', 'unsupported', 'replayJournal', /not closed/],
  ['a directory entry without its mark', GD + 4, '00000020', 'corrupt', 'entry', /0x10000000/],
  ['a table beyond the region of tables', GD, '01', 'corrupt', 'entry', /room for 1 tables/],
  ['an unallocated grain that says more', GT, '01', 'corrupt', 'entry 0', /unallocated grain is 0/],
  ['a grain of type 4', GT + 7, '40', 'corrupt', 'entry 0', /type 4/],
  ['a grain of type 15', GT + 7, 'f0', 'corrupt', 'entry 0', /type 15/],
  ['a grain past the end', GT, 'ffffffffffffff3f', 'truncated', 'entry 0', /passes the end/],
];

describe.each([
  { name: 'COWD', image: COWD, type: 'VMFSSPARSE', cases: cowd },
  { name: 'seSparse', image: SESPARSE, type: 'SESPARSE', cases: seSparse },
])('$name', ({ image, type, cases }) => {
  test.for(cases)('refused: %s', async ([, at, bytes, code, field, says]) => {
    const bad = Buffer.from(image);
    Buffer.from(bytes, 'hex').copy(bad, at);
    const refused = readAll(bad, type);
    await expect(refused).rejects.toMatchObject({ code, field, file: 'extent', format: 'vmdk' });
    await expect(refused).rejects.toThrow(says);
  });

  test('refused: cut anywhere', async () => {
    for (const size of [0, 4, 100, 511, 1000, 2047, 3000, GD + 1, GT + 100, image.length - 1]) {
      const error = await readAll(image.subarray(0, size), type).then(
        () => undefined,
        (cause: unknown) => cause,
      );
      expect(error, `${size} bytes`).toBeInstanceOf(VdconvError);
      expect(['truncated', 'wrong-format']).toContain((error as VdconvError).code);
    }
  });

  test('any bytes changed: read within the file, or refused with a code', async () => {
    const at = fc.oneof(fc.nat(255), fc.integer({ min: 512, max: 544 }), fc.integer({ min: 2048, max: GT + 64 }));
    const change = fc.tuple(at, fc.oneof(fc.constantFrom(0, 1, 255), fc.nat(255)));
    let opened = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
        const bytes = Buffer.from(image);
        for (const [where, value] of changes) {
          bytes[where] = value;
        }
        try {
          expect((await readAll(bytes, type)).read).toBeLessThan(MiB);
          opened += 1;
        } catch (error) {
          expect(error).toBeInstanceOf(VdconvError);
          expect(['internal', 'read']).not.toContain((error as VdconvError).code);
        }
      }),
      { numRuns: 150 },
    );
    expect(opened).toBeGreaterThan(5);
  });
});
