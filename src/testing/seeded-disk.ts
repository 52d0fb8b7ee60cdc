/** Model disks that are shaped like a VM's: groups of runs with small gaps, long holes between the groups. */
import fc from 'fast-check';
import { alignDown, alignUp, divCeil, KiB, MiB } from '../base/units.ts';
import { ModelDisk, type Run } from './model-disk.ts';
import { PAGE, type Pattern } from './patterns.ts';
import { random } from './random.ts';

/** What a run is made of, one lot each: written zeros are the rarest. */
const PATTERNS: readonly Pattern[] = ['random', 'random', 'random', 'text', 'text', 'text', 'zeros'];

const RUN = { min: 1, max: 512 * KiB };
const GAP = { min: PAGE, max: 64 * KiB };
const HOLE = { min: 16 * KiB, max: 4 * MiB };

/**
 * The disk of a seed. Runs begin and end on 4 KiB but for one border in eight. The size only cuts: a smaller disk of the
 * same seed is the beginning of a larger one, so that a property shrinks by cutting the tail off.
 */
export function seededDisk(seed: number, size: number): ModelDisk {
  const source = random(seed);
  const border = (at: number) => alignUp(at, PAGE) + (source.below(8) === 0 ? source.below(PAGE) : 0);
  const runs: Run[] = [];
  let at = source.below(2) === 0 ? 0 : source.spread(HOLE.min, HOLE.max);
  while (at < size) {
    let touches = false;
    for (let left = 1 + source.below(8); left > 0; left -= 1) {
      const start = touches ? at : border(at);
      const end = border(start + source.spread(RUN.min, RUN.max));
      const pattern = PATTERNS[source.below(PATTERNS.length)] as Pattern;
      if (start < size) {
        runs.push({ start, length: Math.min(end, size) - start, pattern });
      }
      touches = source.below(4) === 0;
      at = touches ? end : end + source.spread(GAP.min, GAP.max);
    }
    at += source.spread(HOLE.min, HOLE.max);
  }
  return new ModelDisk(size, runs, seed, `seededDisk(${seed}, ${size})`);
}

/**
 * Random disks for properties: of a few bytes, around multiples of the usual clusters, and of any size between.
 *
 * @param maxSize at most 64 MiB is sensible.
 * @param unit sizes are multiples of this, for formats that hold whole sectors.
 */
export function anyDisk({ maxSize = 4 * MiB, unit = 1 } = {}): fc.Arbitrary<ModelDisk> {
  const nearCluster = fc
    .tuple(fc.integer({ min: 1, max: divCeil(maxSize, 64 * KiB) }), fc.constantFrom(0, 1, -1, 512, -512, 4096))
    .map(([clusters, more]) => clusters * 64 * KiB + more);
  const size = fc
    .oneof(fc.integer({ min: 1, max: 8 * KiB }), nearCluster, fc.integer({ min: 1, max: maxSize }))
    .map((bytes) => Math.max(unit, alignDown(Math.min(bytes, maxSize), unit)));
  return fc.tuple(fc.integer(), size).map(([seed, bytes]) => seededDisk(seed, bytes));
}
