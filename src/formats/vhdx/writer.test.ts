/** Writing: hand-checked bytes, and images that QEMU, dissect.hypervisor and our own reader must find right. */
import { execFile } from 'node:child_process';
import { open as openFile, readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GiB, KiB, MiB, TiB } from '../../base/units.ts';
import { openFileSource } from '../../io/file-source.ts';
import { refusingGate } from '../../io/gate.ts';
import { memorySource } from '../../io/memory-source.ts';
import { checked } from '../../map/checked.ts';
import { Kind } from '../../map/extents.ts';
import { type Allocation, type Piece, Placed } from '../../map/layout.ts';
import { collect, extent } from '../../testing/map-model.ts';
import { ModelDisk } from '../../testing/model-disk.ts';
import { dissect, need, qemuImg } from '../../testing/oracles.ts';
import { anyDisk, seededDisk } from '../../testing/seeded-disk.ts';
import { tempDir } from '../../testing/tmp.ts';
import type { OptionValue, WritePlan, WriteRequest } from '../format.ts';
import { vhdx } from './index.ts';
import { options } from './options.ts';

type Options = Record<string, OptionValue>;

function plan(virtualSize: number, given: Options = {}, more: Partial<WriteRequest> = {}): WritePlan {
  const defaults = Object.fromEntries(options.map((option) => [option.key, option.default]));
  const request = { virtualSize, options: { ...defaults, ...given }, compress: false, ...more };
  return (vhdx.plan as NonNullable<typeof vhdx.plan>)(request);
}

/** An allocation of plain runs: [index, blocks, offset]. */
function allocation(entries: readonly (readonly [number, number, number])[], kind: Placed = Placed.plain): Allocation {
  const column = (n: 0 | 1 | 2) => Float64Array.from(entries, (entry) => entry[n]);
  return {
    count: entries.length,
    kind: new Uint8Array(entries.length).fill(kind),
    index: column(0),
    blocks: column(1),
    offset: column(2),
    stored: new Uint32Array(entries.length),
  };
}

/** All pieces of an image: blocks that are not zero at the frontier, one by one, and what the writer makes of it. */
function build(disk: ModelDisk, planned: WritePlan, batch = 3): { pieces: Piece[]; size: number } {
  const { kind, blockSize, dataStart, dataAlign } = planned.layout;
  const writer = planned.writer();
  const pieces: Piece[] = [];
  const entries: [number, number, number][] = [];
  let frontier = dataStart;
  for (const block of touchedBlocks(disk, blockSize)) {
    const bytes = disk.bytes(block * blockSize, Math.min(blockSize, disk.size - block * blockSize));
    if (bytes.some((byte) => byte !== 0)) {
      const offset = kind === 'flat' ? dataStart + block * blockSize : frontier;
      expect(offset % dataAlign).toBe(0);
      pieces.push({ offset, bytes });
      const last = entries.at(-1);
      if (last !== undefined && last[0] + last[1] === block) {
        last[1] += 1;
      } else {
        entries.push([block, 1, offset]);
      }
      frontier += blockSize;
    }
  }
  for (let at = 0; kind === 'blocks' && at < entries.length; at += batch) {
    pieces.push(...writer.add(allocation(entries.slice(at, at + batch))));
  }
  const { pieces: rest, size } = writer.finish(kind === 'flat' ? dataStart + planned.virtualSize : frontier);
  return { pieces: [...pieces, ...rest], size };
}

function touchedBlocks(disk: ModelDisk, blockSize: number): Set<number> {
  const blocks = new Set<number>();
  for (const { start, length } of disk.runs) {
    for (let block = Math.floor(start / blockSize); block * blockSize < start + length; block += 1) {
      blocks.add(block);
    }
  }
  return blocks;
}

/** Fails where two pieces overlap or the size cuts one. */
async function write(path: string, { pieces, size }: { pieces: Piece[]; size: number }): Promise<void> {
  const file = await openFile(path, 'w');
  let end = 0;
  for (const { offset, bytes } of [...pieces].sort((a, b) => a.offset - b.offset)) {
    expect(offset).toBeGreaterThanOrEqual(end);
    end = offset + bytes.length;
    await file.write(bytes, 0, bytes.length, offset);
  }
  expect(end).toBeLessThanOrEqual(size);
  await file.truncate(size);
  await file.close();
}

function bytesOf({ pieces, size }: { pieces: Piece[]; size: number }): Uint8Array {
  const file = new Uint8Array(size);
  for (const { offset, bytes } of pieces) {
    file.set(bytes, offset);
  }
  return file;
}

const open = (bytes: Uint8Array) => vhdx.open(memorySource(bytes, 'ours.vhdx'), { gate: refusingGate() });

async function guestOf(bytes: Uint8Array): Promise<Buffer> {
  const image = await open(bytes);
  const guest = Buffer.alloc(image.virtualSize);
  for (const e of await collect(checked(image.extents(0, image.virtualSize), 0, image.virtualSize))) {
    guest.set(e.kind === Kind.data ? bytes.subarray(e.offset, e.offset + e.length) : [], e.start);
  }
  return guest;
}

const hexAt = (pieces: readonly Piece[], at: number, length: number) => {
  const piece = pieces.find(({ offset, bytes }) => offset <= at && at < offset + bytes.length) as Piece;
  return Buffer.from(piece.bytes.subarray(at - piece.offset, at - piece.offset + length)).toString('hex');
};

describe('bytes of an empty disk of 12 MiB', () => {
  const { pieces, size } = plan(12 * MiB)
    .writer()
    .finish(4 * MiB);

  test('its length is the front', () => {
    expect(size).toBe(4 * MiB);
    expect(plan(12 * MiB).layout).toEqual({
      kind: 'blocks',
      dataStart: 4 * MiB,
      blockSize: 8 * MiB,
      dataAlign: MiB,
      dataPhase: 0,
      prefixBytes: 0,
      prefixFill: 0,
    });
  });

  test('the region table is the one of a Windows Server 2012 file, twice', () => {
    const table =
      '72656769ae8c6bc60200000000000000' +
      '6677c22d23f600429d64115e9bfd4a0800003000000000000000100001000000' +
      '06a27c8b90479a4bb8fe575f050f886e00002000000000000000100001000000';
    expect(hexAt(pieces, 196608, 80)).toBe(table);
    expect(hexAt(pieces, 262144, 80)).toBe(table);
  });

  test('headers: version 1, no log, the second one current', () => {
    for (const [at, sequence] of [
      [65536, '0100000000000000'],
      [131072, '0200000000000000'],
    ] as const) {
      expect(hexAt(pieces, at, 4)).toBe('68656164');
      expect(hexAt(pieces, at + 8, 8)).toBe(sequence);
      expect(hexAt(pieces, at + 48, 32)).toBe(`${'00'.repeat(16)}00000100000010000000100000000000`);
    }
  });

  test('metadata: five items', () => {
    expect(hexAt(pieces, 2 * MiB, 192)).toBe(
      `6d657461646174610000050000${'00'.repeat(19)}` +
        '3767a1ca36fa434db3b633f0aa44e76b00000100080000000400000000000000' +
        '2442a52f1bcd7648b2115dbed83bf4b808000100080000000600000000000000' +
        'ab12cabee6b2234593efc309e000c74610000100100000000600000000000000' +
        '1dbf41816fa90947ba47f233a8faab5f20000100040000000600000000000000' +
        'c748a3cd5d4471449cc9e9885251c55628000100040000000600000000000000',
    );
    expect(hexAt(pieces, 2 * MiB + 65536, 16)).toBe('00008000000000000000c00000000000');
    expect(hexAt(pieces, 2 * MiB + 65536 + 32, 12)).toBe('000200000000000000100000');
  });

  test('the signature is the last piece: what was not finished is no VHDX', () => {
    expect(pieces.at(-1)?.offset).toBe(0);
    expect(hexAt(pieces, 0, 20)).toBe(Buffer.from('vhdxfile').toString('hex') + '760064006300' + '6f006e007600');
  });
});

test('BAT entries, with the slot of a bitmap after each chunk, beyond 4 GiB of file', () => {
  const planned = plan(6 * GiB, { block_size: 256 * MiB });
  const writer = planned.writer();
  const first = writer.add(
    allocation([
      [0, 1, 4 * MiB],
      [15, 2, 8 * GiB + MiB],
    ]),
  );
  const { pieces, size } = writer.finish(9 * GiB + 1);
  expect(first).toEqual([]);
  expect(hexAt(pieces, 3 * MiB, 8)).toBe('0600400000000000');
  expect(hexAt(pieces, 3 * MiB + 15 * 8, 24)).toBe('0600100002000000' + '0000000000000000' + '0600101002000000');
  expect(size).toBe(9 * GiB + MiB);
});

test('the BAT leaves in pieces, so memory does not depend on the disk', () => {
  const writer = plan(64 * TiB, { block_size: MiB }).writer();
  const at = 3 * MiB;
  expect(plan(64 * TiB, { block_size: MiB }).layout.dataStart).toBe(at + 513 * MiB);
  // 131072 entries a piece: block 127 * 1024 - 1 is entry 131069 or so, block 2^26 - 1 the last.
  const early = writer.add(
    allocation([
      [0, 1, 600 * MiB],
      [200_000, 1, 601 * MiB],
      [2 ** 26 - 1, 1, 602 * MiB],
    ]),
  );
  expect(early.map(({ offset, bytes }) => [(offset - at) / 8, bytes.length])).toEqual([
    [0, 8],
    [200_048, 8],
  ]);
  const last = writer.finish(603 * MiB).pieces[0];
  expect([((last?.offset as number) - at) / 8, last?.bytes.length]).toEqual([2 ** 26 - 1 + 16383, 8]);
});

test('a table among the blocks is a defect, not an image', () => {
  expect(() =>
    plan(MiB)
      .writer()
      .add(allocation([[0, 1, 4 * MiB]], Placed.table)),
  ).toThrow(/placed 2/);
});

describe('plan', () => {
  test.each([
    [GiB, 8],
    [GiB + 512, 16],
    [100 * GiB, 16],
    [100 * GiB + 512, 32],
    [32 * TiB, 32],
    [32 * TiB + 512, 64],
    [64 * TiB, 64],
  ])('a disk of %d bytes has blocks of %i MiB, as from QEMU', async (size, miB) => {
    expect(plan(size).layout.blockSize).toBe(miB * MiB);
  });

  test('QEMU chooses the same', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const file = join(await tempDir(), 'theirs.vhdx');
    for (const size of [GiB, GiB + 512, 100 * GiB + 512]) {
      await qemu.run('create', '-q', '-f', 'vhdx', file, `${size}`);
      expect((await qemu.info(file, 'vhdx'))['cluster-size']).toBe(plan(size).layout.blockSize);
    }
  });

  test.each([
    [1, 512, 512],
    [MiB + 512, 512, MiB + 512],
    [MiB + 512, 4096, MiB + 4096],
  ])('a disk of %i bytes with sectors of %i becomes %i', (size, sector, padded) => {
    const planned = plan(size, { logical_sector_size: sector });
    expect(planned.virtualSize).toBe(padded);
    const said = `the disk grows by ${padded - size} zero bytes: the sizes of this VHDX are multiples of ${sector} bytes`;
    expect(planned.notes).toEqual(size === padded ? [] : [said]);
  });

  test('a disk of nothing', () => {
    expect(() => plan(0)).toThrow(/^a disk of 0 bytes; a VHDX has at least one sector$/);
    expect(() => plan(0)).toThrow(expect.objectContaining({ code: 'limit' }));
  });

  test('a disk too large', () => {
    expect(() => plan(64 * TiB + 1)).toThrow(/^a disk of 70368744177665 bytes; a VHDX has at most 64 TiB$/);
    expect(() => plan(64 * TiB + 1)).toThrow(expect.objectContaining({ code: 'limit' }));
  });

  test('a fixed disk whose BAT would fill memory: the block size that would do', () => {
    const fixed = { subformat: 'fixed', block_size: MiB };
    expect(() => plan(64 * TiB, fixed)).toThrow(
      /a fixed VHDX of 64 TiB in blocks of 1 MiB .*; use -o block_size=67108864/,
    );
    expect(() => plan(64 * TiB, { ...fixed, block_size: 64 * MiB })).not.toThrow();
    expect(plan(64 * TiB, { subformat: 'fixed' }).layout.blockSize).toBe(64 * MiB);
  });

  test.each([
    ['block_size', [0, MiB, 2 * MiB, 256 * MiB], [512, 512 * KiB, 3 * MiB, 512 * MiB, -1, Number.NaN, '1M']],
    ['log_size', [MiB, 3 * MiB, 16 * MiB], [0, 512, MiB + 512, 17 * MiB, Number.NaN, '1M']],
    ['logical_sector_size', [512, 4096], [0, 513, 1024, 8192, '512']],
    ['physical_sector_size', [512, 4096], [0, 2048, true]],
  ] as const)('%s', (key, right, wrong) => {
    const check = options.find((option) => option.key === key)?.check;
    for (const value of right) {
      expect(() => check?.(value)).not.toThrow();
    }
    for (const value of wrong) {
      expect(() => check?.(value)).toThrow(expect.objectContaining({ code: 'usage' }));
      expect(() => check?.(value)).toThrow(`${key} is ${value}: it must be`);
    }
  });

  test('the log is where the options put it, and everything behind it', async () => {
    const planned = plan(MiB, { log_size: 5 * MiB });
    expect(planned.layout.dataStart).toBe(8 * MiB);
    const image = await open(bytesOf(planned.writer().finish(8 * MiB)));
    expect(image.facts.details.logLength).toBe(5 * MiB);
  });
});

describe('ids', () => {
  const ids = async (size: number, given: Options = {}) => {
    const { facts } = await open(bytesOf(plan(size, given).writer().finish(0)));
    return [facts.details.fileWriteGuid, facts.details.dataWriteGuid, facts.details.virtualDiskId];
  };

  test('are the same for the same disk and options, and else no two are alike', async () => {
    expect(await ids(MiB)).toEqual(await ids(MiB));
    const all = [
      await ids(MiB),
      await ids(2 * MiB),
      await ids(MiB, { block_size: MiB }),
      await ids(MiB, { log_size: 2 * MiB }),
    ];
    expect(new Set(all.flat()).size).toBe(12);
  });

  test('are GUIDs of version 8', async () => {
    for (const guid of await ids(MiB)) {
      expect(guid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    }
  });
});

describe('a fixed disk', () => {
  const size = 3 * MiB + 512;
  const planned = plan(size, { subformat: 'fixed', block_size: MiB });

  test('is flat for the engine and for every reader: one extent', async () => {
    expect(planned.layout).toMatchObject({ kind: 'flat', dataStart: 4 * MiB });
    const written = build(new ModelDisk(size, [], 1), planned);
    const image = await open(bytesOf(written));
    expect(image.subformat).toBe('fixed');
    expect(await collect(image.extents(0, size))).toEqual([extent(0, size, Kind.data, { offset: 4 * MiB })]);
    expect(written.size).toBe(8 * MiB);
  });

  test('has a front that is known before its data where ids are random, the same as in a file', () => {
    const random = plan(size, { subformat: 'fixed', block_size: MiB }, { randomId: new Uint8Array(16) });
    const { pieces } = random.writer().finish(4 * MiB + size);
    expect(random.front).toEqual(pieces);
    expect(random.fingerprint).toBe(false);
    // Ids that follow from the content are known after it.
    expect(planned).toMatchObject({ fingerprint: true });
    expect(planned.front).toBeUndefined();
    expect(pieces.every(({ offset, bytes }) => offset + bytes.length <= 4 * MiB)).toBe(true);
  });

  test('is one extent across the slots of bitmaps', async () => {
    const large = plan(9 * GiB, { subformat: 'fixed', block_size: 256 * MiB });
    const file = join(await tempDir(), 'large.vhdx');
    await write(file, build(new ModelDisk(9 * GiB, [], 1), large));
    const source = await openFileSource(file, {});
    const image = await vhdx.open(source, { gate: refusingGate() });
    expect(await collect(image.extents(0, 9 * GiB))).toEqual([extent(0, 9 * GiB, Kind.data, { offset: 4 * MiB })]);
    await source.close();
  });
});

const anyOptions = fc.record({
  subformat: fc.constantFrom('dynamic', 'fixed'),
  block_size: fc.constantFrom(0, MiB, 2 * MiB, 8 * MiB),
  log_size: fc.constantFrom(MiB, 2 * MiB),
  logical_sector_size: fc.constantFrom(512, 4096),
  physical_sector_size: fc.constantFrom(512, 4096),
});

test('what is written is read', { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(
      anyDisk({ maxSize: 12 * MiB }),
      anyOptions,
      fc.integer({ min: 1, max: 9 }),
      async (disk, given, batch) => {
        const planned = plan(disk.size, given);
        const bytes = bytesOf(build(disk, planned, batch));
        expect(bytes.length % MiB).toBe(0);
        const want = Buffer.alloc(planned.virtualSize);
        want.set(disk.bytes(0, disk.size));
        expect((await guestOf(bytes)).equals(want)).toBe(true);
        const { facts, subformat } = await open(bytes);
        expect(subformat).toBe(given.subformat);
        expect(facts.blockSize).toBe(given.block_size || 8 * MiB);
        const { logical_sector_size: logicalSectorSize, physical_sector_size: physicalSectorSize } = given;
        expect(facts.details).toMatchObject({ creator: 'vdconv', logicalSectorSize, physicalSectorSize });
      },
    ),
    { numRuns: 20 },
  );
});

/** Two chunks, data on both sides of their border, and a last block of one sector. */
const LARGE = new ModelDisk(
  4 * GiB + 2 * MiB + 512,
  [
    { start: 0, length: 4 * KiB, pattern: 'text' },
    { start: 4 * GiB - 64 * KiB, length: 128 * KiB, pattern: 'random' },
    { start: 4 * GiB + MiB, length: MiB, pattern: 'zeros' },
    { start: 4 * GiB + 2 * MiB, length: 512, pattern: 'random' },
  ],
  3,
);

const forOthers: [string, ModelDisk, Options][] = [
  ['dynamic', seededDisk(1, 20 * MiB + 512), { block_size: MiB }],
  ['dynamic, the default blocks', seededDisk(2, 20 * MiB + 512), {}],
  ['fixed', seededDisk(3, 20 * MiB + 512), { subformat: 'fixed', block_size: 2 * MiB }],
  ['two chunks', LARGE, { block_size: MiB }],
  [
    'a larger log, sectors of 512 bytes throughout',
    seededDisk(4, MiB),
    { log_size: 4 * MiB, physical_sector_size: 512 },
  ],
];

test.for(forOthers)('QEMU finds it clean and the same: %s', async ([, disk, given], ctx) => {
  const qemu = need(ctx, qemuImg());
  const dir = await tempDir();
  const [raw, file] = [join(dir, 'disk.raw'), join(dir, 'ours.vhdx')];
  await disk.writeRawFile(raw);
  await truncate(raw, disk.size);
  const planned = plan(disk.size, given);
  await write(file, build(disk, planned));
  expect(await qemu.check(file, 'vhdx')).toMatchObject({ exit: 0, 'check-errors': 0 });
  expect((await qemu.compare(raw, 'raw', file, 'vhdx')).message).toMatch(/identical/);
  const info = await qemu.info(file, 'vhdx');
  expect([info['virtual-size'], info['cluster-size']]).toEqual([disk.size, planned.layout.blockSize]);
});

test('QEMU finds an empty disk clean', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const file = join(await tempDir(), 'empty.vhdx');
  for (const [size, given] of [
    [512, {}],
    [64 * TiB, {}],
    [64 * TiB, { block_size: 256 * MiB }],
  ] as const) {
    await write(file, build(new ModelDisk(size, [], 1), plan(size, given)));
    expect(await qemu.check(file, 'vhdx')).toMatchObject({ exit: 0 });
    expect((await qemu.info(file, 'vhdx'))['virtual-size']).toBe(size);
  }
});

/** dissect.hypervisor, which reads sectors of 4096 bytes too; the digest of the guest's bytes. */
async function dissected(file: string): Promise<{ size: number; sha256: string }> {
  const own = fileURLToPath(new URL('../../../.cache/venv/bin/python', import.meta.url));
  const script = `
import hashlib, json, sys
from pathlib import Path
from dissect.hypervisor.disk.vhdx import VHDX
disk = VHDX(Path(sys.argv[1]))
digest, at = hashlib.sha256(), 0
while at < disk.size:
    data = disk.read(min(1 << 20, disk.size - at))
    digest.update(data)
    at += len(data)
print(json.dumps({"size": disk.size, "sha256": digest.hexdigest()}))`;
  const python = process.env.VDCONV_ORACLE_PYTHON ?? own;
  return JSON.parse((await promisify(execFile)(python, ['-c', script, file])).stdout);
}

test.for([
  ['dynamic', seededDisk(5, 9 * MiB + 512), { block_size: MiB }],
  ['fixed', seededDisk(6, 9 * MiB), { subformat: 'fixed', block_size: MiB }],
  ['dynamic, sectors of 4096 bytes', seededDisk(7, 9 * MiB), { block_size: 2 * MiB, logical_sector_size: 4096 }],
  ['fixed, sectors of 4096 bytes', seededDisk(8, 9 * MiB), { subformat: 'fixed', logical_sector_size: 4096 }],
] as [string, ModelDisk, Options][])('dissect.hypervisor finds it the same: %s', async ([, disk, given], ctx) => {
  need(ctx, dissect());
  const file = join(await tempDir(), 'ours.vhdx');
  await write(file, build(disk, plan(disk.size, given)));
  expect(await dissected(file)).toEqual({ size: disk.size, sha256: disk.sha256() });
});

test('the same disk and options give the same bytes, however the allocation is cut', async () => {
  const disk = seededDisk(9, 9 * MiB);
  const [a, b] = [1, 100].map((batch) => bytesOf(build(disk, plan(disk.size, { block_size: MiB }), batch)));
  expect(Buffer.from(a as Uint8Array).equals(b as Uint8Array)).toBe(true);
});

test('metadata is that of an image by QEMU, but for what the two choose differently', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const file = join(await tempDir(), 'theirs.vhdx');
  await qemu.run('create', '-q', '-f', 'vhdx', file, '12M');
  const theirs = await vhdx.open(memorySource(new Uint8Array(await readFile(file)), file), { gate: refusingGate() });
  const ours = await open(
    bytesOf(
      plan(12 * MiB, { physical_sector_size: 512 })
        .writer()
        .finish(0),
    ),
  );
  const { virtualSize, subformat, facts } = ours;
  expect(theirs).toMatchObject({ virtualSize, subformat, facts: { blockSize: facts.blockSize } });
  const { creator: _, fileWriteGuid, dataWriteGuid, virtualDiskId, ...same } = facts.details;
  expect(theirs.facts.details).toMatchObject(same);
});
