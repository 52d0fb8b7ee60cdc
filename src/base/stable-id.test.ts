import { expect, test } from 'vitest';
import { stableId, stableUuid } from './stable-id.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

test('the same parts give the same id, and any other part, order or boundary another one', () => {
  const ids = [
    stableId('vhd', 1),
    stableId('vhd', 2),
    stableId(1, 'vhd'),
    stableId('vhd1'),
    stableId('vhd', '1'),
    stableId('vhd', true),
    stableId(),
  ].map(hex);
  expect(new Set(ids).size).toBe(ids.length);
  expect(hex(stableId('vhd', 1))).toBe(ids[0]);
  // No word of an id follows from another one.
  expect(new Set(ids.flatMap((id) => id.match(/.{8}/g) ?? [])).size).toBe(4 * ids.length);
});

test('a UUID says version 8 and the variant of RFC 9562, in either byte order', () => {
  for (let i = 0; i < 50; i += 1) {
    expect(hex(stableUuid(6, i))).toMatch(/^.{12}8.{3}[89ab].{15}$/);
    expect(hex(stableUuid(7, i))).toMatch(/^.{14}8.[89ab].{15}$/);
  }
});
