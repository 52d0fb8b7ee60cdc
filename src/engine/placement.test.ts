/** The shared vectors: every expected offset in them was worked out by hand. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { type Allocation, type Layout, Placed } from '../map/layout.ts';
import { AllocationLog } from './allocation-log.ts';
import { checkLayout } from './check-layout.ts';
import { Placer } from './placement.ts';
import { portableEngine } from './portable.ts';

interface Vector {
  why: string;
  layout: Layout;
  /** Block and stored length; 0 is plain, -1 zeros. */
  blocks: [block: number, stored: number][];
  expect: unknown[];
  hostEnd: number;
}

const folder = new URL('../../native/core/tests/placement/', import.meta.url);
const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
const vectors = names.map((name): [string, Vector] => [name, JSON.parse(readFileSync(new URL(name, folder), 'utf8'))]);

function show({ count, kind, index, blocks, offset, stored }: Allocation): unknown[] {
  return Array.from({ length: count }, (_, i) => {
    switch (kind[i]) {
      case Placed.plain:
        return ['plain', index[i], blocks[i], offset[i]];
      case Placed.compressed:
        return ['compressed', index[i], offset[i], stored[i]];
      case Placed.zero:
        return ['zero', index[i], blocks[i]];
      default:
        return [kind[i] === Placed.table ? 'table' : 'side', index[i], offset[i]];
    }
  });
}

it('finds the vectors', () => {
  expect(vectors.length).toBeGreaterThanOrEqual(13);
});

it.each(vectors)('%s', (_name, { layout, blocks, expect: wanted, hostEnd, why }) => {
  checkLayout(layout);
  const log = new AllocationLog();
  const placer = new Placer(layout, log);
  for (const [block, stored] of blocks) {
    if (stored < 0) {
      placer.zeros(block, block + 1);
    } else {
      stored === 0 ? placer.plain(block) : placer.compressed(block, stored);
    }
  }
  expect(placer.finish(), why).toBe(hostEnd);
  expect(show(log.take()), why).toEqual(wanted);
});

const plain = vectors.filter(([, { blocks }]) => blocks.every(([, stored]) => stored === 0));

it.each(plain)('%s, replayed from a bit a block', (_name, { layout, blocks, expect: wanted, hostEnd, why }) => {
  const bits = new Uint8Array(((blocks.at(-1)?.[0] ?? 0) >> 3) + 1);
  for (const [block] of blocks) {
    bits[block >> 3] = (bits[block >> 3] as number) | (1 << (block & 7));
  }
  const seen: unknown[] = [];
  const replay = portableEngine().replay(layout, bits);
  let step = replay.next();
  for (; !step.done; step = replay.next()) {
    seen.push(...show(step.value));
  }
  expect(seen, why).toEqual(wanted);
  expect(step.value, why).toBe(hostEnd);
});

it('refuses to pass 2^53', () => {
  const layout: Layout = { ...(vectors[0]?.[1].layout as Layout), dataStart: 2 ** 53 - 4096 };
  expect(() => new Placer(layout, new AllocationLog()).plain(0)).toThrow('the output would pass 2^53 bytes');
});
