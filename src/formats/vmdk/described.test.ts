/** Disks whose extents lie in other files. */
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { VdconvError } from '../../base/errors.ts';
import { GiB, KiB, MiB, SECTOR } from '../../base/units.ts';
import { openFileSource } from '../../io/file-source.ts';
import { refusingGate } from '../../io/gate.ts';
import { memorySource } from '../../io/memory-source.ts';
import type { ByteSource, ReferenceGate } from '../../io/types.ts';
import { type Extent, extentAt, Kind } from '../../map/extents.ts';
import { ModelDisk } from '../../testing/model-disk.ts';
import { need, qemuImg } from '../../testing/oracles.ts';
import { tempDir } from '../../testing/tmp.ts';
import type { Image } from '../format.ts';
import { vmdk } from './index.ts';

/** Files by name, and which of them were opened and closed. */
class Files implements ReferenceGate {
  readonly opened: string[] = [];
  readonly closed: string[] = [];
  readonly #files: Record<string, Uint8Array>;
  constructor(files: Record<string, Uint8Array>) {
    this.#files = files;
  }
  async open({ name }: { name: string }): Promise<ByteSource> {
    const bytes = this.#files[name];
    if (bytes === undefined) {
      throw new VdconvError('refused', `not allowed: ${name}`);
    }
    this.opened.push(name);
    return { ...memorySource(bytes, name), close: async () => void this.closed.push(name) };
  }
  resolve(): undefined {}
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

const describe = (lines: string, createType = 'custom') =>
  new TextEncoder().encode(
    `# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="${createType}"\n${lines}\n`,
  );

function open(text: Uint8Array, gate: ReferenceGate, name = '/vm/disk.vmdk'): Promise<Image> {
  return vmdk.open(memorySource(text, name), { gate });
}

test('parts of one flat file, in the order of the lines and not of the file', async () => {
  const files = new Files({ fa: new Uint8Array(1536 * SECTOR) });
  const image = await open(describe('RW 1024 FLAT "fa" 512\nRW 1024 FLAT "fa" 0'), files);
  expect(image.virtualSize).toBe(2048 * SECTOR);
  expect(await extentsOf(image)).toMatchObject([
    { start: 0, length: 1024 * SECTOR, kind: Kind.data, file: 1, offset: 512 * SECTOR },
    { start: 1024 * SECTOR, length: 1024 * SECTOR, kind: Kind.data, file: 1, offset: 0 },
  ]);
  expect(files.opened).toEqual(['fa']);
  expect(image.facts.references).toEqual([{ kind: 'extent', name: 'fa' }]);
});

test('ZERO and NOACCESS read as zeros, RDONLY is read; qemu-img leaves all three out', async () => {
  const files = new Files({ a: new Uint8Array(16 * SECTOR) });
  const image = await open(
    describe('RW 3 ZERO\nRDONLY 16 VMFS "a"\nNOACCESS 5 FLAT "/dev/sda" 63\nRW 0 SPARSE "none"'),
    files,
  );
  expect(await extentsOf(image)).toMatchObject([
    { start: 0, length: 3 * SECTOR, kind: Kind.zero },
    { start: 3 * SECTOR, length: 16 * SECTOR, kind: Kind.data, file: 1, offset: 0 },
    { start: 19 * SECTOR, length: 5 * SECTOR, kind: Kind.zero },
  ]);
  expect(await extentsOf(image, 1000, 2000)).toMatchObject([
    { start: 1000, length: 536, kind: Kind.zero },
    { start: 1536, length: 464, kind: Kind.data, offset: 0 },
  ]);
});

test('holes of a flat file are zeros', async () => {
  const inner = memorySource(new Uint8Array(100 * SECTOR), 'fa');
  // Data at sectors 8 to 16 and 64 to the end.
  const dataRuns = (start: number, end: number, max: number) =>
    Float64Array.from(
      [8, 16, 64, 100].map((s) => Math.min(Math.max(s * SECTOR, start), end)).filter((at, i, all) => all[i ^ 1] !== at),
    ).subarray(0, 2 * max);
  const gate: ReferenceGate = { open: async () => ({ ...inner, dataRuns }), resolve: () => undefined };
  const image = await open(describe('RW 1 ZERO\nRW 80 FLAT "fa" 10'), gate);
  expect(await extentsOf(image)).toMatchObject([
    { start: 0, length: SECTOR, kind: Kind.zero },
    { start: SECTOR, length: 6 * SECTOR, kind: Kind.data, offset: 10 * SECTOR },
    { start: 7 * SECTOR, length: 48 * SECTOR, kind: Kind.zero },
    { start: 55 * SECTOR, length: 26 * SECTOR, kind: Kind.data, offset: 64 * SECTOR },
  ]);
});

test('a header of capacity 0 with a descriptor is that descriptor', async () => {
  const bytes = new Uint8Array(2048);
  bytes.set(Buffer.from('KDMV\x01'));
  bytes.set([1, 0, 0, 0, 0, 0, 0, 0, 2], 28);
  bytes.set(describe('RW 2 FLAT "fa" 0'), 512);
  const image = await open(bytes, new Files({ fa: new Uint8Array(2 * SECTOR) }));
  expect(await extentsOf(image)).toMatchObject([{ start: 0, length: 1024, kind: Kind.data, file: 1 }]);
});

test.each([
  ['a flat file that is too short', 'RW 9 FLAT "a" 8', 'truncated', /8192/],
  ['an offset past the end', 'RW 1 FLAT "a" 36028797018', 'truncated', /the file has 8192/],
  ['a sparse extent that is none', 'RW 16 SPARSE "a"', 'wrong-format', /magicNumber/],
  ['a file that may not be opened', 'RW 16 FLAT "a" 0\nRW 16 FLAT "/etc/shadow" 0', 'refused', /not allowed/],
  ['itself', 'RW 1 FLAT "disk.vmdk" 0', 'corrupt', /the descriptor itself/],
  ['a redo log that is none', 'RW 16 VMFSSPARSE "a"', 'wrong-format', /magicNumber/],
  ['an SE sparse extent that is none', 'RW 16 SESPARSE "a"', 'wrong-format', /magicNumber/],
  ['a raw device mapping', 'RW 16 VMFSRDM "a"', 'unsupported', /raw device mapping/],
  ['a vSAN object', 'RW 16 VSANSPARSE "vsan://1"', 'unsupported', /vSAN/],
  ['an unknown type', 'RW 16 NEW "a"', 'unsupported', /unknown extent type/],
  ['more than 64 TiB together', 'RW 137438953472 ZERO\nRW 1 ZERO', 'limit', /64 TiB together/],
  ['no extents', '#', 'corrupt', /no extents/],
])('refused, and nothing stays open: %s', async (_, lines, code, message) => {
  const files = new Files({ a: new Uint8Array(16 * SECTOR) });
  const refused = open(describe(lines), files);
  await expect(refused).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  expect(files.closed).toEqual(files.opened);
});

test('a parent is missed before a file is opened', async () => {
  const files = new Files({ a: new Uint8Array(16 * SECTOR) });
  const text = Buffer.from(describe('RW 16 FLAT "a" 0')).toString().replace('ffffffff', '12345678');
  const refused = open(Buffer.from(text), files);
  await expect(refused).rejects.toMatchObject({ code: 'corrupt', field: 'parentFileNameHint' });
  expect(files.opened).toEqual([]);
});

test.each([
  ['a raw disk that begins with a descriptor', 4096, 1, 'corrupt'],
  ['a text of more than 1 MiB', MiB + 1, 0, 'limit'],
])('%s is refused, not taken for a disk', async (_, size, last, code) => {
  const bytes = new Uint8Array(size);
  bytes.set(describe('RW 16 FLAT "a" 0'));
  bytes[size - 1] = last;
  await expect(open(bytes, new Files({}))).rejects.toMatchObject({ code });
});

/** Over 2 GiB, where qemu-img splits; data on both sides of the border. */
const DISK = new ModelDisk(
  2 * GiB + 6 * MiB + 5 * SECTOR,
  [
    { start: 0, length: 300 * KiB, pattern: 'random' },
    { start: 2 * GiB - 100 * KiB, length: 200 * KiB, pattern: 'random' },
    { start: 2 * GiB + 6 * MiB, length: 5 * SECTOR, pattern: 'text' },
  ],
  11,
);

test.for([
  ['monolithicFlat', 1],
  ['twoGbMaxExtentSparse', 2],
  ['twoGbMaxExtentFlat', 2],
] as const)('qemu-img: %s', async ([subformat, extents], ctx) => {
  const qemu = need(ctx, qemuImg());
  const dir = await tempDir();
  const [raw, path] = [join(dir, 'disk.raw'), join(dir, 'disk.vmdk')];
  await DISK.writeRawFile(raw);
  await qemu.convert('-f', 'raw', '-O', 'vmdk', '-o', `subformat=${subformat}`, raw, path);
  // The gate that follows nothing but a descriptor's own siblings: a user needs no flag for such a disk.
  const source = await openFileSource(path);
  const image = await vmdk.open(source, { gate: refusingGate() });
  onTestFinished(async () => {
    await Promise.all(image.dataFiles.map((file) => file.source.close()));
  });
  expect(image).toMatchObject({ subformat, virtualSize: DISK.size });
  expect(image.facts.references).toHaveLength(extents);
  for (const { start, length } of DISK.runs) {
    const end = Math.min(start + length + KiB, DISK.size);
    const guest = new Uint8Array(end - start);
    for (const { kind, file, offset, ...extent } of await extentsOf(image, start, end)) {
      expect(kind).not.toBe(Kind.compressed);
      if (kind === Kind.data) {
        const bytes = await image.dataFiles[file]?.source.read(offset, extent.length, 'data');
        guest.set(bytes ?? [], extent.start - start);
      }
    }
    expect(Buffer.compare(guest, DISK.bytes(start, end - start))).toBe(0);
  }
});
