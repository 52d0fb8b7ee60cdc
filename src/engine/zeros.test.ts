import { expect, it } from 'vitest';
import { findRuns, type Span } from './zeros.ts';

function runsOf(bytes: Uint8Array, from: number, granularity: number, base = 0): [number, number][] {
  const runs: Span[] = [];
  findRuns(bytes, from, bytes.length, granularity, base, runs);
  return runs.map(({ start, end }) => [start, end]);
}

it('sees one byte anywhere, wherever the piece begins', () => {
  for (const from of [0, 1, 4, 6]) {
    for (const length of [1, 15, 16, 17, 64, 67]) {
      const bytes = new Uint8Array(from + length);
      expect(runsOf(bytes, from, 4096)).toEqual([]);
      for (let i = from; i < bytes.length; i += 1) {
        bytes[i] = 0x80;
        expect(runsOf(bytes, from, 4096), `byte ${i} of [${from}, +${length})`).toEqual([[from, bytes.length]]);
        bytes[i] = 0;
      }
    }
  }
});

it('merges pieces that touch, and moves them by the base', () => {
  const bytes = new Uint8Array(5 * 512 + 10);
  bytes[512] = 1;
  bytes[1024 + 511] = 1;
  bytes[5 * 512 + 9] = 1;
  expect(runsOf(bytes, 0, 512, 8192)).toEqual([
    [8192 + 512, 8192 + 1536],
    [8192 + 2560, 8192 + 2570],
  ]);
});
