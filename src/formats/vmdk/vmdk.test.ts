/** Headers, tables and what is refused: images typed by hand, none of them made by vdconv's own writer. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { VdconvError } from '../../base/errors.ts';
import { memorySource } from '../../io/memory-source.ts';
import type { ByteSource, ReferenceGate } from '../../io/types.ts';
import { checked } from '../../map/checked.ts';
import { type Extent, extentAt, Kind } from '../../map/extents.ts';
import type { Image } from '../format.ts';
import { SparseExtentHeader } from './hosted/layout.ts';
import { vmdk } from './index.ts';

const noReferences: ReferenceGate = {
  open: () => Promise.reject(new VdconvError('refused', 'no reference may be opened')),
  resolve: () => undefined,
};

function open(bytes: Uint8Array): Promise<Image> {
  return vmdk.open(memorySource(bytes, 'disk.vmdk'), { gate: noReferences });
}

async function extentsOf(image: Image, start = 0, end = image.virtualSize): Promise<Extent[]> {
  const all: Extent[] = [];
  for await (const batch of image.extents(start, end)) {
    for (let i = 0; i < batch.count; i += 1) {
      all.push(extentAt(batch, i));
    }
  }
  return all;
}

const hex = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));

/**
 * A disk of 20 sectors in grains of 8: sector 0 header, 1 descriptor, 2 RGD, 3 its table, 7 GD, 8 its table, 16 the first
 * grain, 24 the third; the second is absent. The third is cut by the end of the disk.
 */
function sparse(patch: Record<number, number[]> = {}, descriptor = DESCRIPTOR, sectors = 32): Uint8Array {
  const bytes = new Uint8Array(32 * 512);
  bytes.set(
    hex(`4b444d56 01000000 03000000 1400000000000000 0800000000000000 0100000000000000 0100000000000000
         00020000 0200000000000000 0700000000000000 1000000000000000 00 0a200d0a 0000`),
  );
  bytes.set(new TextEncoder().encode(descriptor), 512);
  for (const [directory, table] of [
    [2, 3],
    [7, 8],
  ] as const) {
    bytes.set([table], directory * 512);
    bytes.set([16, 0, 0, 0, 0, 0, 0, 0, 24], table * 512);
  }
  for (const [at, values] of Object.entries(patch)) {
    bytes.set(values, Number(at));
  }
  return bytes.subarray(0, sectors * 512);
}

const DESCRIPTOR = `# Disk DescriptorFile
version=1
CID=3a1b2c4d
parentCID=ffffffff
createType="monolithicSparse"

# Extent description
RW 20 SPARSE "another name.vmdk"

#DDB
ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "1"
`;

const GD = 7 * 512;
const GT = 8 * 512;
const ALL_ONES = [255, 255, 255, 255, 255, 255, 255, 255];

test('the header decodes and encodes byte for byte', () => {
  const v1 = hex(`4b444d56 02000000 07000000 0000020000000000 8000000000000000 0100000000000000 1400000000000000
    00020000 1500000000000000 1e00000000000000 8000000000000000 00 0a200d0a 0000 ${'00'.repeat(433)}`);
  const header = SparseExtentHeader.decode(v1, { file: 'v1', format: 'vmdk', at: 0 });
  expect(header).toMatchObject({
    version: 2,
    flags: 7,
    capacity: 131072,
    grainSize: 128,
    descriptorOffset: 1,
    descriptorSize: 20,
    numGTEsPerGT: 512,
    rgdOffset: 21n,
    gdOffset: 30n,
    overHead: 128,
  });
  expect(SparseExtentHeader.encode(header)).toEqual(v1);
});

test('a 5 GiB image of qemu-img (the metadata of its 10240 grains is there, no grain is)', async () => {
  const v2 = new Uint8Array(720896);
  v2.set(
    hex(`4b444d56 01000000 03000000 0000a00000000000 8000000000000000 0100000000000000 1400000000000000
         00020000 1500000000000000 9702000000000000 8005000000000000 00 0a200d0a 0000`),
  );
  v2.set(new TextEncoder().encode('CID=1\ncreateType="monolithicSparse"\nRW 10485760 SPARSE "x"\n'), 512);
  const view = new DataView(v2.buffer);
  for (let i = 0; i < 160; i += 1) {
    view.setUint32(0x15 * 512 + 4 * i, 0x17 + 4 * i, true);
    view.setUint32(0x297 * 512 + 4 * i, 0x299 + 4 * i, true);
  }
  const image = await open(v2);
  expect(image.virtualSize).toBe(5 * 2 ** 30);
  expect(await extentsOf(image)).toMatchObject([{ start: 0, length: 5 * 2 ** 30, kind: Kind.unallocated }]);
});

test('grains become extents, the last one cut by the end of the disk', async () => {
  const image = await open(sparse());
  expect(image).toMatchObject({
    subformat: 'monolithicSparse',
    virtualSize: 20 * 512,
    facts: { blockSize: 4096, dirty: false, compressed: false, references: [], warnings: [] },
  });
  expect(image.facts.details).toMatchObject({ cid: '3a1b2c4d', version: 1, grainSize: 8 });
  expect(image.metadata).toEqual({ adapterType: 'lsilogic' });
  const none = { stored: 0, skip: 0 };
  expect(await extentsOf(image)).toEqual([
    { start: 0, length: 4096, kind: Kind.data, file: 0, offset: 16 * 512, ...none },
    { start: 4096, length: 4096, kind: Kind.unallocated, file: 0, offset: 0, ...none },
    { start: 8192, length: 2048, kind: Kind.data, file: 0, offset: 24 * 512, ...none },
  ]);
  expect(await extentsOf(image, 4000, 8200)).toMatchObject([
    { start: 4000, length: 96, kind: Kind.data, offset: 16 * 512 + 4000 },
    { start: 4096, length: 4096, kind: Kind.unallocated },
    { start: 8192, length: 8, kind: Kind.data, offset: 24 * 512 },
  ]);
});

test('grains that follow one another in the file are one extent', async () => {
  const image = await open(sparse({ [GT + 4]: [24], [GT + 8]: [1] }));
  expect(await extentsOf(image)).toMatchObject([
    { start: 0, length: 8192, kind: Kind.data, offset: 16 * 512 },
    { start: 8192, length: 2048, kind: Kind.zero },
  ]);
});

test('a grain of the last sectors may end where the disk ends', async () => {
  expect(await extentsOf(await open(sparse({}, DESCRIPTOR, 28)))).toHaveLength(3);
});

test('an absent table is unallocated', async () => {
  const image = await open(sparse({ [GD]: [0] }));
  expect(await extentsOf(image)).toMatchObject([{ start: 0, length: 20 * 512, kind: Kind.unallocated }]);
});

test('the redundant directory serves where the first one cannot be right', async () => {
  for (const patch of [{ [GD]: [0, 0, 0, 9] }, { 56: [0] }, { 56: [0, 0, 1] }]) {
    const image = await open(sparse(patch));
    expect(image.facts.warnings).toEqual([expect.stringContaining('the redundant grain directory is used instead')]);
    expect(await extentsOf(image)).toHaveLength(3);
  }
});

test('a size that VirtualBox rounded up in the header is the one of the descriptor', async () => {
  const image = await open(sparse({}, DESCRIPTOR.replace('RW 20', 'RW 17')));
  expect(image.virtualSize).toBe(17 * 512);
  expect(image.facts.warnings).toEqual([expect.stringContaining('the header 20')]);
  expect((await extentsOf(image)).at(-1)).toMatchObject({ start: 8192, length: 512 });
});

test.each([
  ['base.vmdk', 'base.vmdk'],
  ['../a b/base.vmdk', '../a b/base.vmdk'],
  ['/images/base.vmdk', '/images/base.vmdk'],
  ['..\\vm\\base.vmdk', '../vm/base.vmdk'],
  ['C:\\vm\\base.vmdk', 'base.vmdk'],
  ['\\\\server\\share\\base.vmdk', 'base.vmdk'],
  ['/vmfs/volumes/5f0-1/vm/base.vmdk', 'base.vmdk'],
])('a child names its parent: %s', async (hint, name) => {
  const child = DESCRIPTOR.replace('ffffffff', '12345678').replace('\n\n', `\nparentFileNameHint="${hint}"\n\n`);
  const image = await open(sparse({}, child));
  expect(image.parent).toEqual({ kind: 'parent', name, format: 'vmdk' });
  expect(image.facts).toMatchObject({
    references: [image.parent],
    details: { parentCid: '12345678', parentFileNameHint: hint },
  });
});

test('an image that was not closed is dirty', async () => {
  const { facts } = await open(sparse({ 72: [1] }));
  expect(facts).toMatchObject({ dirty: true, warnings: [expect.stringContaining('uncleanShutdown')] });
});

/** name, patch of header or tables, code, field, offset, part of the message. */
const ILLEGAL: [string, Record<number, number[]>, string, string, number, RegExp][] = [
  ['version', { 4: [9] }, 'unsupported', 'version', 4, /must be one of 1, 2, 3/],
  ['an unknown incompatible flag', { 8: [3, 0, 4] }, 'unsupported', 'flags', 8, /bit 18 not supported/],
  ['capacity 2^64 - 1', { 12: ALL_ONES }, 'corrupt', 'capacity', 12, /2\^53 - 1/],
  ['capacity over 64 TiB', { 12: [1, 0, 0, 0, 32] }, 'limit', 'capacity', 12, /at most/],
  ['more tables than the file holds', { 12: [0, 0, 0, 0, 1] }, 'truncated', 'gdOffset', 56, /pass the end of the file/],
  ['grain size 0', { 20: [0] }, 'corrupt', 'grainSize', 20, /at least 8/],
  ['grain size 129', { 20: [129] }, 'corrupt', 'grainSize', 20, /power of two/],
  ['grain size 2^64 - 1', { 20: ALL_ONES }, 'corrupt', 'grainSize', 20, /2\^53 - 1/],
  ['grain size 2 GiB', { 20: [0, 0, 64] }, 'corrupt', 'grainSize', 20, /at most/],
  ['no descriptor', { 28: [0] }, 'unsupported', 'descriptorOffset', 28, /one extent of a split disk/],
  ['a descriptor past the end', { 28: [0, 1] }, 'truncated', 'descriptorSize', 36, /pass the end of the file/],
  ['a descriptor of 2 GiB', { 36: [0, 0, 64] }, 'truncated', 'descriptorSize', 36, /pass the end of the file/],
  ['a descriptor of 2^64 - 1 sectors', { 36: ALL_ONES }, 'corrupt', 'descriptorSize', 36, /2\^53 - 1/],
  ['no entries in a table', { 44: [0, 0] }, 'corrupt', 'numGTEsPerGT', 44, /at least 1/],
  ['2^32 - 1 entries', { 44: [255, 255, 255, 255] }, 'corrupt', 'numGTEsPerGT', 44, /at most 512/],
  ['no directory', { 8: [1], 56: [0] }, 'corrupt', 'gdOffset', 56, /header's own sector/],
  ['a directory past the end', { 8: [1], 56: [32] }, 'truncated', 'gdOffset', 56, /pass the end of the file/],
  ['a directory at 2^55', { 8: [1], 56: [0, 0, 0, 0, 0, 0, 128] }, 'truncated', 'gdOffset', 56, /pass the end/],
  ['a directory at the end without footer', { 56: ALL_ONES }, 'truncated', 'footer', 32 * 512, /no footer/],
  ['overHead past the end', { 64: [33] }, 'truncated', 'overHead', 64, /within its own metadata/],
  ['line ends changed', { 73: [10, 32, 10, 0] }, 'corrupt', 'newlineTest', 73, /text mode/],
  ['compression 2', { 77: [2] }, 'unsupported', 'compressAlgorithm', 77, /one of 0, 1/],
  ['compression without its flag', { 77: [1] }, 'corrupt', 'compressAlgorithm', 77, /flag bit 16/],
  ['compression without markers', { 8: [3, 0, 1], 77: [1] }, 'unsupported', 'flags', 8, /bit 17/],
  ['a compressed grain of 8 MiB', { 8: [3, 0, 3], 20: [0, 64], 77: [1] }, 'limit', 'grainSize', 20, /8192/],
  ['a table past the end', { 8: [1], [GD]: [29] }, 'truncated', 'grain directory', GD, /entry 0 is 29/],
  ['a grain in the tables', { [GT + 4]: [8] }, 'corrupt', 'entry 1', GT + 4, /grains begin at sector 16/],
  ['a grain past the end', { [GT + 4]: [32] }, 'truncated', 'entry 1', GT + 4, /grain's 4096 bytes pass the end/],
  ['a grain that the end cuts', { [GT + 4]: [25] }, 'truncated', 'entry 1', GT + 4, /grain's 4096 bytes pass the end/],
];

test.each(ILLEGAL)('refused: %s', async (_, patch, code, field, offset, message) => {
  const refused = open(sparse(patch)).then(extentsOf);
  await expect(refused).rejects.toMatchObject({ code, field, offset, file: 'disk.vmdk', format: 'vmdk' });
  await expect(refused).rejects.toThrow(message);
});

test.each([
  ['COWD', hex('434f5744 01000000 03000000'), /redo log \(COWD/],
  ['seSparse', hex('bebafeca 00000000 01000000 02000000'), /seSparse/],
])('recognised and refused by name: %s', async (_, head, message) => {
  const sample = new Uint8Array(4096);
  sample.set(head);
  expect(vmdk.probe({ head: sample, tail: sample, size: 4096 })).toBe(true);
  await expect(open(sample)).rejects.toMatchObject({ code: 'unsupported', message: expect.stringMatching(message) });
});

test('bytes of no VMDK kind are another format', async () => {
  const zeros = new Uint8Array(512);
  expect(vmdk.probe({ head: zeros, tail: zeros, size: 512 })).toBe(false);
  await expect(open(zeros)).rejects.toMatchObject({ code: 'wrong-format' });
  await expect(open(new Uint8Array(0))).rejects.toMatchObject({ code: 'wrong-format' });
});

test('a header that ends early is truncated', async () => {
  await expect(open(sparse().subarray(0, 64))).rejects.toMatchObject({ code: 'truncated', offset: 0 });
});

test('an empty directory of a 64 TiB disk costs two reads a piece', async () => {
  // 64 TiB in tables of 32 MiB: 2 Mi entries, 8 MiB of directory, read once to judge it and once to map it.
  const bytes = new Uint8Array(8 * 512 + 8 * 2 ** 20);
  bytes.set(
    sparse({ 12: [0, 0, 0, 0, 32], 20: [128], 56: [8], 64: [8] }, DESCRIPTOR.replace('RW 20', `RW ${2 ** 37}`), 2),
  );
  let reads = 0;
  const source: ByteSource = memorySource(bytes, 'empty.vmdk');
  const counted: ByteSource = {
    ...source,
    read: (...args) => {
      reads += 1;
      return source.read(...args);
    },
  };
  const image = await vmdk.open(counted, { gate: noReferences });
  expect(await extentsOf(image)).toMatchObject([{ length: 64 * 2 ** 40, kind: Kind.unallocated }]);
  expect(reads).toBeLessThanOrEqual(3 + 2 * 8);
});

test('tables in a hole of the file are not read', async () => {
  const bytes = sparse({ [GT]: [0, 0, 0, 0, 0, 0, 0, 0, 0] });
  const reads: string[] = [];
  const source = memorySource(bytes, 'hole.vmdk');
  const image = await vmdk.open(
    {
      ...source,
      read: (at, length, what) => {
        reads.push(what);
        return source.read(at, length, what);
      },
      dataRuns: (start, end) => (start >= GT && end <= GT + 2048 ? new Float64Array(0) : Float64Array.of(start, end)),
    },
    { gate: noReferences },
  );
  expect(await extentsOf(image)).toMatchObject([{ start: 0, length: 20 * 512, kind: Kind.unallocated }]);
  expect(reads).not.toContain('grain table');
});

test('a disk of random bytes in header, descriptor and tables is read within its file, or refused with a code', async () => {
  const at = fc.oneof(
    fc.nat(79),
    fc.nat(512 + DESCRIPTOR.length),
    fc.integer({ min: GD, max: GD + 8 }),
    fc.integer({ min: GT, max: GT + 16 }),
  );
  const change = fc.tuple(at, fc.oneof(fc.constantFrom(0, 1, 2, 8, 127, 128, 255), fc.nat(255)));
  let opened = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 0, max: 32 }),
      async (all, cut) => {
        const bytes = sparse(Object.fromEntries(all.map(([i, value]) => [i, [value]])), DESCRIPTOR, 32 - (cut % 24));
        try {
          const image = await open(bytes);
          for await (const batch of checked(image.extents(0, image.virtualSize), 0, image.virtualSize)) {
            for (let i = 0; i < batch.count; i += 1) {
              const { kind, offset, length } = extentAt(batch, i);
              expect(kind !== Kind.data || offset + length <= bytes.length).toBe(true);
            }
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
  // The rules are not so strict that nothing passes: most bytes of a descriptor change nothing that matters.
  expect(opened).toBeGreaterThan(300);
});
