import fc from 'fast-check';
import { expect, test } from 'vitest';
import { allBits, bitRunEnd, isBitSet, setBits } from './bits.ts';

test('bits are counted from the least significant one', () => {
  const bits = Uint8Array.of(0b0000_0101, 0b1000_0000);
  const set = Array.from({ length: 24 }, (_, i) => i).filter((i) => isBitSet(bits, i));
  expect(set).toEqual([0, 2, 15]);
  const row = new Uint8Array(3);
  setBits(row, 3, 17);
  expect([...row]).toEqual([0b1111_1000, 0xff, 0b0000_0001]);
});

test('a row of set bits ends with its last one', () => {
  expect([...allBits(0)]).toEqual([]);
  expect([...allBits(8)]).toEqual([0xff]);
  expect([...allBits(11)]).toEqual([0xff, 0b111]);
});

test('a run ends where a look at every bit says', () => {
  // Long runs must occur: bytes of one kind stand three times in a row.
  const rows = fc.array(fc.constantFrom(0, 0xff, 0x01, 0x80, 0x7f), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(rows, fc.nat(200), fc.nat(200), (bytes, from, length) => {
      const bits = Uint8Array.from(bytes.flatMap((byte) => [byte, byte, byte]));
      const index = from % (bits.length * 8);
      const end = index + 1 + length;
      let want = index + 1;
      while (want < end && isBitSet(bits, want) === isBitSet(bits, index)) {
        want += 1;
      }
      expect(bitRunEnd(bits, index, end)).toBe(want);
    }),
  );
});
