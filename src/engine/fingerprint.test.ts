/** The vectors that both engines share: native/core/tests/fingerprint/vectors.py worked them out. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { FINGERPRINT_BLOCK, Fingerprint } from './fingerprint.ts';

interface Vector {
  why: string;
  size: number;
  fills: [offset: number, fill: string | null, length: number][];
  fingerprint: string;
}

const file = new URL('../../native/core/tests/fingerprint/vectors.json', import.meta.url);
const vectors: Vector[] = JSON.parse(readFileSync(file, 'utf8'));

const pattern = (length: number) => Uint8Array.from({ length }, (_, i) => (i * i * 7 + Math.floor(i / 3)) % 251);

function add(sum: Fingerprint, offset: number, bytes: Uint8Array): void {
  const base = Math.floor(offset / FINGERPRINT_BLOCK);
  const part = new Uint8Array((offset % FINGERPRINT_BLOCK) + bytes.length);
  part.set(bytes, offset % FINGERPRINT_BLOCK);
  for (let at = 0; at < part.length; at += FINGERPRINT_BLOCK) {
    sum.add(base + at / FINGERPRINT_BLOCK, part.subarray(at, at + FINGERPRINT_BLOCK));
  }
}

const hex = (sum: Fingerprint) => Buffer.from(sum.bytes()).toString('hex');

it.each(vectors.map((v): [string, Vector] => [v.why, v]))('%s', (_why, { fills, fingerprint }) => {
  const sum = new Fingerprint();
  for (const [offset, fill, length] of fills) {
    add(sum, offset, fill === null ? pattern(length) : new Uint8Array(length).fill(fill.charCodeAt(0)));
  }
  expect(hex(sum)).toBe(fingerprint);
});

it('does not depend on order, parts or where the bytes lie in memory', () => {
  const content = pattern(3 * FINGERPRINT_BLOCK);
  const whole = new Fingerprint();
  add(whole, 0, content);
  const [first, second] = [new Fingerprint(), new Fingerprint()];
  add(second, FINGERPRINT_BLOCK, content.subarray(FINGERPRINT_BLOCK));
  const shifted = new Uint8Array(FINGERPRINT_BLOCK + 3);
  shifted.set(content.subarray(0, FINGERPRINT_BLOCK), 3);
  first.add(0, shifted.subarray(3));
  first.merge(second.bytes());
  expect(hex(first)).toBe(hex(whole));
});
