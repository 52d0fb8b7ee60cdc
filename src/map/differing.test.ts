import fc from 'fast-check';
import { expect, test } from 'vitest';
import { collect } from '../testing/map-model.ts';
import { differing } from './differing.ts';
import { BatchBuilder, type BlockMap, Kind } from './extents.ts';

async function* mapOf(...extents: [number, number, Kind, number?, number?, number?][]): BlockMap {
  const out = new BatchBuilder();
  for (const [start, length, kind, offset = 0, stored = 0, skip = 0] of extents) {
    out.push(start, length, kind, 0, offset, stored, skip);
  }
  yield out.take();
}

const shown = async (map: BlockMap) =>
  (await collect(map)).map((e) => [e.start, e.length, e.kind, e.offset, e.stored, e.skip]);

test('blocks that are the same fall away, the others stay as they were', async () => {
  const map = mapOf(
    [0, 1000, Kind.data, 5000],
    [1000, 1000, Kind.unallocated],
    [2000, 1000, Kind.compressed, 9000, 40],
  );
  // Blocks of 500: 1, 2, 5 differ.
  expect(await shown(differing(map, Uint8Array.of(0b100110), 500))).toEqual([
    [0, 500, Kind.unallocated, 0, 0, 0],
    [500, 500, Kind.data, 5500, 0, 0],
    [1000, 500, Kind.zero, 0, 0, 0],
    [1500, 1000, Kind.unallocated, 0, 0, 0],
    [2500, 500, Kind.compressed, 9000, 40, 500],
  ]);
});

test('any bits, byte by byte', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 1, maxLength: 40 }),
      fc.integer({ min: 1, max: 300 }),
      async (bits, cut) => {
        const size = bits.length * 8 * 4;
        const first = Math.min(cut, size - 1);
        const extents = await collect(
          differing(mapOf([0, first, Kind.data, 100], [first, size - first, Kind.zero]), bits, 4),
        );
        let at = 0;
        for (const { start, length, kind, offset } of extents) {
          expect(start).toBe(at);
          for (let guest = start; guest < start + length; guest += 1) {
            const block = Math.floor(guest / 4);
            const set = ((bits[Math.floor(block / 8)] as number) >> (block % 8)) & 1;
            expect(kind).toBe(set === 0 ? Kind.unallocated : guest < first ? Kind.data : Kind.zero);
            if (kind === Kind.data) {
              expect(offset + (guest - start)).toBe(100 + guest);
            }
          }
          at = start + length;
        }
        expect(at).toBe(size);
      },
    ),
  );
});
