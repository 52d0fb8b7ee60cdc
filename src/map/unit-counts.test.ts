import fc from 'fast-check';
import { expect, test } from 'vitest';
import { UnitCounts } from './unit-counts.ts';

test('counts as a plain array does, across pages, widths and limits', () => {
  const step = fc.record({
    first: fc.integer({ min: 0, max: 20000 }),
    units: fc.oneof(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 4000, max: 13000 })),
    by: fc.constantFrom(1, 1, 1, 2, 300),
    max: fc.constantFrom(0xffffffff, 0xffffffff, 1, 3, 255, 65535),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const counts = new UnitCounts('a file');
      const model = new Float64Array(40000);
      for (const { first, units, by, max } of steps) {
        const before = Math.max(0, ...model.subarray(first, first + units));
        expect(counts.add(first, units, by, max)).toBe(before);
        for (let i = first; i < first + units; i += 1) {
          model[i] = Math.max(model[i] as number, Math.min(max, (model[i] as number) + by));
        }
      }
      expect(model.findIndex((n, i) => n !== counts.get(i))).toBe(-1);
      expect(counts.owned()).toBe(model.filter((n) => n > 0).length);
      const first = model.findIndex((n) => n > 0);
      const next = counts.next(0, model.length);
      expect(next).toBeLessThanOrEqual(first < 0 ? model.length : first);
      expect(first < 0 || first - next < 4096).toBe(true);
    }),
    { numRuns: 60 },
  );
});

test('units far apart are counted, and so many of them are over a limit', () => {
  const counts = new UnitCounts('far.img');
  expect(counts.add(2 ** 52)).toBe(0);
  expect(counts.add(2 ** 52)).toBe(1);
  expect(counts.get(2 ** 52)).toBe(2);
  expect(() => {
    for (let page = 0; page < 2 ** 20; page += 1) {
      counts.add(page * 4096);
    }
  }).toThrow(/^far\.img: what its tables refer to is so scattered that checking it takes more than 256 MiB$/);
});

test('a file that is used from end to end takes no more memory than an empty one', () => {
  const counts = new UnitCounts('dense.img');
  // 2^31 units: one byte each would be eight times the limit.
  for (let unit = 0; unit < 2 ** 31; unit += 2 ** 20) {
    expect(counts.add(unit, 2 ** 20)).toBe(0);
  }
  expect(counts.get(2 ** 31 - 1)).toBe(1);
  expect(counts.owned()).toBe(2 ** 31);
});
