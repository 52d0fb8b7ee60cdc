/** QCOW2 §Extended L2 Entries: every kind of subcluster, ranges within clusters, and what is refused. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { VdconvError } from '../../base/errors.ts';
import { KiB } from '../../base/units.ts';
import { refusingGate } from '../../io/gate.ts';
import { checked } from '../../map/checked.ts';
import { collect } from '../../testing/map-model.ts';
import { lines, sparseSource } from '../../testing/typed-image.ts';
import { openQcow2 } from './reader.ts';

const CLUSTER = 16 * KiB;
const SUB = 512;

/** 1 MiB in clusters of 16 KiB with extended entries; L1 at 0xc000, its L2 table at 0x10000 begins with `entries`. */
function extended(entries: string, patch: Record<number, string> = {}, size = 0x20000) {
  return sparseSource(size, {
    0: `514649fb 00000003 0000000000000000 00000000 0000000e 0000000000100000 00000000 00000001
        000000000000c000 0000000000004000 00000001 00000000 0000000000000000`,
    72: '0000000000000010 0000000000000000 0000000000000000 00000004 00000070',
    16384: '0000000000008000',
    49152: '8000000000010000',
    65536: entries,
    ...patch,
  });
}

async function mapOf(source: ReturnType<typeof extended>, start = 0, end = 3 * CLUSTER) {
  const image = await openQcow2(source, { gate: refusingGate() });
  return lines(await collect(checked(image.extents(start, end), start, end)));
}

describe('entries', () => {
  test.each([
    ['nothing', '0000000000000000 0000000000000000', ['0+49152 unallocated']],
    ['zeros without a cluster', '0000000000000000 ffffffff00000000', ['0+16384 zero', '16384+32768 unallocated']],
    ['data', '8000000000014000 00000000ffffffff', ['0+16384 data 81920', '16384+32768 unallocated']],
    // As in the sheet's sample: 2 KiB of data, then zeros in subclusters 2 and 4 units further.
    [
      'data, nothing and zeros in one cluster',
      '8000000000014000 0000001000000004',
      ['0+1024 unallocated', '1024+512 data 82944', '1536+512 unallocated', '2048+512 zero', '2560+46592 unallocated'],
    ],
    [
      'the highest bits are subcluster 31',
      '8000000000014000 8000000040000000',
      ['0+15360 unallocated', '15360+512 data 97280', '15872+512 zero', '16384+32768 unallocated'],
    ],
    ['a cluster in which nothing is allocated', '8000000000014000 0000000000000000', ['0+49152 unallocated']],
    ['all zero in a cluster', '8000000000014000 ffffffff00000000', ['0+16384 zero', '16384+32768 unallocated']],
    [
      'compressed',
      '4000000000014010 0000000000000000 8000000000018000 0000000000000001',
      ['0+16384 compressed 81936/496 skip 0', '16384+512 data 98304', '16896+32256 unallocated'],
    ],
    [
      'clusters that follow each other are one extent',
      '8000000000014000 00000000ffffffff 8000000000018000 00000000ffffffff',
      ['0+32768 data 81920', '32768+16384 unallocated'],
    ],
  ])('%s', async (_, entries, want) => {
    expect(await mapOf(extended(entries))).toEqual(want);
  });

  test('an L2 table maps half as much: the second one begins at 16 MiB', async () => {
    const second = {
      32: '00000000 00000002',
      24: '0000000002000000',
      49160: '8000000000014000',
      81920: '0000000000000000 ffffffff00000000',
    };
    const source = extended('', second);
    const image = await openQcow2(source, { gate: refusingGate() });
    expect(lines(await collect(image.extents(0, image.virtualSize)))).toEqual([
      `0+${2 ** 24} unallocated`,
      `${2 ** 24}+16384 zero`,
      `${2 ** 24 + 16384}+${2 ** 24 - 16384} unallocated`,
    ]);
  });

  test('a range that begins and ends inside subclusters', async () => {
    const entries = '8000000000014000 0000001000000004 8000000000018000 00000000ffffffff';
    expect(await mapOf(extended(entries), 1100, 1600)).toEqual(['1100+436 data 83020', '1536+64 unallocated']);
    expect(await mapOf(extended(entries), CLUSTER + 5 * SUB + 1, CLUSTER + 5 * SUB + 2)).toEqual([
      `${CLUSTER + 5 * SUB + 1}+1 data ${0x18000 + 5 * SUB + 1}`,
    ]);
  });

  test('only subclusters that hold data must be in the file', async () => {
    const entry = '8000000000014000 0000000000000003';
    expect(await mapOf(extended(entry, {}, 0x14000 + 1024), 0, 1024)).toEqual(['0+1024 data 81920']);
    await expect(mapOf(extended(entry, {}, 0x14000 + 1023), 0, CLUSTER)).rejects.toMatchObject({
      code: 'truncated',
      offset: 0x10000,
    });
  });

  test('a cluster becomes more extents than a batch holds: nothing is lost', async () => {
    // Every other subcluster has data: 32 extents a cluster, 64 clusters, so the batches end inside clusters.
    const entry = (i: number) => `80000000${(0x14000 + i * CLUSTER).toString(16).padStart(8, '0')} 0000000055555555`;
    const entries = Array.from({ length: 64 }, (_, i) => entry(i)).join(' ');
    const big = { 24: '0000000000400000' };
    const source = extended(entries.repeat(4), big, 2 ** 21);
    const image = await openQcow2(source, { gate: refusingGate() });
    const found = await collect(checked(image.extents(0, 256 * CLUSTER), 0, 256 * CLUSTER));
    expect(found).toHaveLength(256 * 32);
    expect(found.filter((e) => e.kind === 2).map((e) => e.start)).toEqual(
      Array.from({ length: 256 * 16 }, (_, i) => i * 2 * SUB),
    );
  });
});

test('any bitmaps: as each pair of bits says', async () => {
  const bits = fc.tuple(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
  const hex = (n: number) => n.toString(16).padStart(8, '0');
  await fc.assert(
    fc.asyncProperty(bits, async ([zero, mask]) => {
      const allocated = BigInt(mask) & ~BigInt(zero) & 0xffffffffn;
      const source = extended(`8000000000014000 ${hex(zero)} ${hex(Number(allocated))}`);
      const image = await openQcow2(source, { gate: refusingGate() });
      const found = await collect(checked(image.extents(0, CLUSTER), 0, CLUSTER));
      for (let i = 0; i < 32; i += 1) {
        const kind = found.find((e) => e.start <= i * SUB && i * SUB < e.start + e.length)?.kind;
        const want = ((BigInt(zero) >> BigInt(i)) & 1n) === 1n ? 1 : ((allocated >> BigInt(i)) & 1n) === 1n ? 2 : 0;
        expect(kind).toBe(want);
      }
    }),
    { numRuns: 300 },
  );
});

describe('refused', () => {
  test.each([
    [
      'allocated and zero at once',
      '8000000000014000 0000000100000001',
      /guest offset 0 is 0x80000000000140000000000100000001 at offset 65536 \(0x10000\) \(a subcluster is allocated and zero/,
    ],
    ['allocated in no cluster', '0000000000000000 0000000000000001', /subclusters are allocated in no cluster/],
    [
      'COPIED and allocated in no cluster',
      '8000000000000000 0000000000000001',
      /subclusters are allocated in no cluster/,
    ],
    [
      'a compressed cluster with subclusters',
      '4000000000014010 0000000000000001',
      /a compressed cluster has no subclusters/,
    ],
    ['the zero flag of standard entries', '8000000000014001 00000000ffffffff', /bit 0 is reserved/],
    ['reserved bits', '8100000000014000 00000000ffffffff', /reserved/],
    ['an unaligned cluster', '8000000000014200 00000000ffffffff', /multiples of the cluster size 16384/],
    ['the L1 table', '800000000000c000 00000000ffffffff', /points into the L1 table/],
  ])('%s', async (_, entry, says) => {
    // In the second cluster too, so that entry and offset are the right ones.
    for (const [entries, offset] of [
      [entry, 0x10000],
      [`${'0'.repeat(32)} ${entry}`, 0x10010],
    ] as const) {
      const error = await mapOf(extended(entries)).then(
        () => undefined,
        (e: unknown) => e,
      );
      expect(error).toBeInstanceOf(VdconvError);
      expect(error).toMatchObject({ code: 'corrupt', offset });
      expect((error as VdconvError).message).toMatch(offset === 0x10000 ? says : /guest offset 16384/);
    }
  });

  test('a table that ends beyond the file', async () => {
    await expect(mapOf(extended('', {}, 0x10000 + 47), 0, 3 * CLUSTER)).rejects.toMatchObject({ code: 'truncated' });
    await expect(mapOf(extended('', {}, 0x10000 + 48), 0, 3 * CLUSTER)).resolves.toHaveLength(1);
  });

  test('an L1 table that would do for standard entries', async () => {
    const source = extended('', { 24: '0000000002000000', 32: '00000000 00000001' });
    await expect(mapOf(source)).rejects.toThrow(/l1Size is 1 at offset 36 .*needs 2 entries/);
  });
});
