import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  alignDown,
  alignUp,
  divCeil,
  formatSize,
  GiB,
  isAligned,
  isPowerOfTwo,
  KiB,
  MiB,
  parseSize,
  sectorsToBytes,
  TiB,
} from './units.ts';

/** Not only small numbers: where doubles begin to round, too. */
const bytes = fc.oneof(
  fc.nat(100_000),
  fc.maxSafeNat().filter((n) => n < 2 ** 52),
);
const unit = fc.integer({ min: 1, max: 2 ** 31 });

describe('alignment agrees with exact integer arithmetic', () => {
  test('divCeil', () => {
    fc.assert(fc.property(bytes, unit, (n, u) => BigInt(divCeil(n, u)) === (BigInt(n) + BigInt(u) - 1n) / BigInt(u)));
  });

  test('alignUp and alignDown', () => {
    fc.assert(
      fc.property(bytes, unit, (n, u) => {
        const down = (BigInt(n) / BigInt(u)) * BigInt(u);
        expect(BigInt(alignDown(n, u))).toBe(down);
        expect(BigInt(alignUp(n, u))).toBe(down === BigInt(n) ? down : down + BigInt(u));
      }),
    );
  });

  test('isAligned', () => {
    expect(isAligned(0, 512)).toBe(true);
    expect(isAligned(1536, 512)).toBe(true);
    expect(isAligned(1537, 512)).toBe(false);
  });

  test('where floating division would round', () => {
    expect(divCeil(9007199254740991, 2)).toBe(4503599627370496);
    expect(divCeil(9007199254740991, 9007199254740990)).toBe(2);
  });
});

describe('isPowerOfTwo', () => {
  test('every power up to 2^52, and none of its neighbours', () => {
    for (let exponent = 2; exponent <= 52; exponent += 1) {
      const power = Number(1n << BigInt(exponent));
      expect([power - 1, power, power + 1].map(isPowerOfTwo), `2^${exponent}`).toEqual([false, true, false]);
    }
  });

  test.each([
    [1, true],
    [2, true],
    [0, false],
    [-4, false],
    [0.5, false],
    [Number.NaN, false],
    [2 ** 53, false],
  ])('%d: %s', (n, expected) => {
    expect(isPowerOfTwo(n)).toBe(expected);
  });
});

test('a sector is 512 bytes, beyond 32 bits too', () => {
  expect(sectorsToBytes(2 ** 31)).toBe(1_099_511_627_776);
});

describe('parseSize', () => {
  test.each([
    ['512', 512],
    ['0', 0],
    ['64k', 65536],
    ['64K', 65536],
    ['1M', MiB],
    ['2GiB', 2 * GiB],
    ['2gb', 2 * GiB],
    ['1.5k', 1536],
    ['8 T', 8 * TiB],
    ['7b', 7],
    [' 3m ', 3 * MiB],
    ['9007199254740991', 9007199254740991],
  ])('%s', (text, expected) => {
    expect(parseSize(text, '--size')).toBe(expected);
  });

  test.each(['', 'k', '-1', '1x', '1kk', '5ib', '5bb', '1e3', '0.3', '9007199254740992', '8192T', '1,5k', 'Infinity'])(
    "'%s' is refused",
    (text) => {
      expect(() => parseSize(text, '--size')).toThrow(
        `--size: '${text}' is not a size; write 65536, 64k, 1M, 2G or 1T (1024-based)`,
      );
    },
  );

  test('the refusal is a usage error', () => {
    expect(() => parseSize('big', '-S')).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});

test.each([
  [0, '0 B'],
  [512, '512 B'],
  [1023, '1023 B'],
  [64 * KiB, '64 KiB'],
  [1.5 * GiB, '1.5 GiB'],
  [1025, '1 KiB'],
  [123_456_789, '117.7 MiB'],
  [2 ** 53 - 1, '8 PiB'],
])('%d bytes are shown as %s', (n, shown) => {
  expect(formatSize(n)).toBe(shown);
});
