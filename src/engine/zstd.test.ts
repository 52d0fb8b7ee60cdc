/** Zstandard clusters in each engine: frames that the zstd program wrote, and frames that it reads. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { KiB } from '../base/units.ts';
import { memorySource } from '../io/memory-source.ts';
import type { DataFile } from '../map/data-file.ts';
import { BatchBuilder, type BlockMap, Kind } from '../map/extents.ts';
import { type Allocation, type Layout, Placed } from '../map/layout.ts';
import { compressed, unzstd } from '../testing/compressors.ts';
import { patternPage } from '../testing/patterns.ts';
import { tempDir } from '../testing/tmp.ts';
import type { Engine } from './contract.ts';
import { nativeEngine } from './native.ts';
import { portableEngine } from './portable.ts';

const UNIT = 64 * KiB;
const TEXT = Buffer.alloc(UNIT, 'The text of a cluster, again and again; ');
const NOISE = Buffer.concat(Array.from({ length: 16 }, (_, i) => patternPage('random', 5, i)));
/** 65536 × 'A', as qemu wrote it into a cluster. */
const QEMU = Buffer.from('28b52ffd6000ff5500001041410100fb7f1d6001', 'hex');
const SKIPPABLE = Buffer.from('5a2a4d1803000000010203', 'hex');

/** One block of 64 KiB of 'A' in a frame without a size, whose header asks for the window that `byte` says. */
function windowed(byte: number): Buffer {
  return Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, byte, 3, 0, 8, 0x41]);
}

const engines: [string, () => Engine][] = [
  ['native', nativeEngine],
  ['portable', portableEngine],
];

function available(make: () => Engine): Engine | undefined {
  try {
    return make();
  } catch {
    return undefined;
  }
}

describe.each(engines)('%s', (_name, make) => {
  const engine = available(make);
  const test = it.skipIf(engine === undefined);

  /** The unit's bytes from `from`, which is stored as `stored` with a bound that reaches behind it. */
  function read(stored: Uint8Array, { from = 0, unit = UNIT, bound = stored.length + 500 } = {}) {
    const file: DataFile = { source: memorySource(stored, 'disk'), codec: { name: 'zstd', unit, framing: 'none' } };
    const map = async function* (): BlockMap {
      const out = new BatchBuilder();
      out.push(from, unit - from, Kind.compressed, 0, 0, bound, from);
      yield out.take();
    };
    return (engine as Engine).read([file], map(), from, unit - from);
  }

  const letters = Buffer.alloc(UNIT, 'A');
  test.each<[string, Buffer, Buffer]>([
    ['as qemu writes it', QEMU, letters],
    ['with bytes behind it', Buffer.concat([QEMU, Buffer.alloc(400, 0xff)]), letters],
    ['with zeros behind it', Buffer.concat([QEMU, Buffer.alloc(400)]), letters],
    ['with half a frame behind it', Buffer.concat([QEMU, QEMU.subarray(0, 12)]), letters],
    ['behind a skippable frame', Buffer.concat([SKIPPABLE, QEMU]), letters],
    ['with a window of 128 MiB', windowed(0x88), letters],
    ['at level 19, with a checksum', compressed('zstd -19 --check', TEXT), TEXT],
    ['at the highest level, with the longest window', compressed('zstd --ultra -22 --long=27 --no-check', TEXT), TEXT],
    ['without compression', compressed('zstd -1', NOISE), NOISE],
    [
      'in two frames',
      Buffer.concat([compressed('zstd', TEXT.subarray(0, 777)), compressed('zstd', TEXT.subarray(777))]),
      TEXT,
    ],
    ['that holds more than the unit', compressed('zstd', Buffer.concat([TEXT, NOISE, NOISE, NOISE])), TEXT],
  ])('reads a frame %s', async (_what, stored, content) => {
    expect(content.equals(await read(stored))).toBe(true);
    expect(content.subarray(1000).equals(await read(stored, { from: 1000 }))).toBe(true);
  });

  test('reads units of 2 MiB', async () => {
    const content = Buffer.concat(Array.from({ length: 16 }, () => [TEXT, NOISE]).flat());
    const unit = content.length;
    expect(content.equals(await read(compressed('zstd -3', content), { unit }))).toBe(true);
  });

  test.each<[string, Buffer, string]>([
    ['garbage', Buffer.alloc(100, 0xff), 'the zstd frame does not decode'],
    [
      'a wrong checksum',
      Buffer.concat([compressed('zstd --check', TEXT).subarray(0, -4), Buffer.alloc(4)]),
      'the zstd frame does not decode',
    ],
    ['a window of 2 TiB', windowed(0xf8), 'the zstd frame'],
    ['a window above 128 MiB', windowed(0x89), 'the zstd frame asks for a window of more than 134217728 bytes'],
    ['too few bytes', compressed('zstd', TEXT.subarray(0, 999)), 'decodes to 999 bytes of 65536'],
  ])('refuses %s', async (_what, stored, message) => {
    await expect(read(stored, { bound: stored.length })).rejects.toMatchObject({
      code: 'corrupt',
      offset: 0,
      message: expect.stringContaining(message),
    });
  });

  test('calls a frame that the file cuts off truncated', async () => {
    const stored = compressed('zstd', TEXT);
    await expect(read(stored.subarray(0, -5), { bound: stored.length })).rejects.toMatchObject({ code: 'truncated' });
  });

  test.each([1, 3, 19])('writes what the zstd program reads, at level %d', async (level) => {
    const guest = Buffer.concat([TEXT, NOISE, Buffer.alloc(UNIT), letters, TEXT.subarray(0, 5000)]);
    const layout: Layout = {
      ...{ kind: 'blocks', dataStart: UNIT, blockSize: UNIT, dataAlign: UNIT, dataPhase: 0, prefixBytes: 0 },
      prefixFill: 0,
      codec: {
        ...{ name: 'zstd', level, windowBits: 0, packing: 1, framing: 'none' },
        ...{ incompressible: 'plain', maxShare: 65535 },
      },
    };
    const path = join(await tempDir(), 'out');
    const fd = openSync(path, 'w+');
    const placed: [number, number, number, number][] = [];
    const writer = {
      add({ count, kind, index, offset, stored }: Allocation) {
        for (let i = 0; i < count; i += 1) {
          placed.push([kind[i] as number, index[i] as number, offset[i] as number, stored[i] as number]);
        }
        return [];
      },
      finish: () => ({ pieces: [], size: 0 }),
    };
    try {
      await (engine as Engine).copy({
        files: [{ source: memorySource(guest, 'guest') }],
        map: (async function* (): BlockMap {
          const out = new BatchBuilder();
          out.push(0, guest.length, Kind.data, 0, 0);
          yield out.take();
        })(),
        ...{ virtualSize: guest.length, layout, sink: { kind: 'file', fd, name: path }, options: {} },
        writer,
      });
    } finally {
      closeSync(fd);
    }
    const bytes = readFileSync(path);
    const rebuilt = Buffer.alloc(5 * UNIT);
    for (const [kind, index, offset, stored] of placed) {
      const block =
        kind === Placed.plain ? bytes.subarray(offset, offset + UNIT) : unzstd(bytes.subarray(offset, offset + stored));
      block.copy(rebuilt, index * UNIT);
    }
    expect(guest.equals(rebuilt.subarray(0, guest.length))).toBe(true);
    expect(placed.map(([kind, index]) => [kind, index])).toEqual([
      [Placed.compressed, 0],
      [Placed.plain, 1],
      [Placed.compressed, 3],
      [Placed.compressed, 4],
    ]);
  });
});
