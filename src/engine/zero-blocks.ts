/** Blocks without data, where a layout wants to know of them. */
import { divCeil } from '../base/units.ts';
import type { Layout } from '../map/layout.ts';
import type { BlockPlaces } from './block-places.ts';
import type { Unit } from './chunks.ts';
import type { Ops } from './ops.ts';
import { pushRun, type Span } from './zeros.ts';

export function notesZeros({ kind, explicitZeros, storeAll }: Layout): boolean {
  return kind === 'blocks' && (explicitZeros === true || storeAll === true);
}

/** Numbers of the blocks that a run touches. */
export function blocksOf({ start, end }: Span, blockSize: number): Span {
  return { start: Math.floor(start / blockSize), end: divCeil(end, blockSize) };
}

/** The blocks of the unit's segments that no run touches, as spans of block numbers. */
export function zeroBlocksOf({ segments }: Unit, runs: readonly Span[], blockSize: number): Span[] {
  const found: Span[] = [];
  let next = 0;
  let at = 0;
  for (const { start, length } of segments) {
    at = Math.max(at, Math.floor(start / blockSize));
    const behind = divCeil(start + length, blockSize);
    while (at < behind) {
      const run = runs[next];
      const data = run === undefined ? { start: behind, end: behind } : blocksOf(run, blockSize);
      if (data.end <= at) {
        next += 1;
        continue;
      }
      const until = Math.min(data.start, behind);
      if (at < until) {
        pushRun(found, at, until);
      }
      at = Math.max(until, Math.min(data.end, behind));
    }
  }
  return found;
}

/** Takes from `zeros` the blocks before `before`, and places them. */
export function placeZeros(places: BlockPlaces, zeros: Span[], before: number, ops: Ops): void {
  for (let first = zeros[0]; first !== undefined && first.start < before; first = zeros[0]) {
    places.zeroBlocks(first, ops);
    zeros.shift();
  }
}
