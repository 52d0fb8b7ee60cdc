/**
 * Mutated images of every format. Never a crash, a hang, a read outside the file, a map that is not one, or an error that
 * is no answer. `make test` runs a short part that is always the same; `make fuzz` goes on for as long as it is told, from
 * another start each time, and prints what it did.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadEngine } from './engine/engine.ts';
import type { Format } from './formats/format.ts';
import { FORMATS } from './formats/registry.ts';
import { memorySource } from './io/memory-source.ts';
import type { ByteSource } from './io/types.ts';
import { mutate, type Region } from './testing/fuzz/mutate.ts';
import { reseal } from './testing/fuzz/reseal.ts';
import { makeSeeds, type Seed } from './testing/fuzz/seeds.ts';
import { judge } from './testing/fuzz/verdict.ts';
import { random } from './testing/random.ts';

/** Mutations a seed of the short run; `make fuzz` counts seconds. */
const SHORT = 50;
const seconds = Number(process.env.VDCONV_FUZZ_SECONDS ?? 0);
const start = Number(process.env.VDCONV_FUZZ_START ?? 1);
/** Where mutations that found something are kept. */
const KEEP = process.env.VDCONV_FUZZ_KEEP;

let dir: string;
let seeds: Seed[];
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'vdconv-fuzz-'));
  seeds = await makeSeeds(dir);
}, 120_000);
afterAll(() => rm(dir, { recursive: true, force: true }));

const formatOf = (seed: Seed) => FORMATS.find(({ name }) => name === seed.format) as Format;

/** What a reader looks at of a valid image: its metadata. */
async function regionsOf(seed: Seed): Promise<Region[]> {
  const regions: Region[] = [];
  const inner = memorySource(seed.bytes, 'seed');
  const source: ByteSource = {
    ...inner,
    read(offset, length, what) {
      regions.push({ start: offset, end: offset + length });
      return inner.read(offset, length, what);
    },
  };
  const gate = { resolve: () => undefined, open: () => Promise.reject(new Error('a seed refers to nothing')) };
  const image = await formatOf(seed).open(source, { gate });
  for await (const { count } of image.extents(0, image.virtualSize)) {
    expect(count).toBeGreaterThan(0);
  }
  return regions;
}

test(
  'no mutation is more than an image can be blamed for',
  async () => {
    const { engine } = loadEngine();
    const outcomes: Record<string, number> = {};
    const findings: string[] = [];
    const regions = await Promise.all(seeds.map(regionsOf));
    const until = performance.now() + seconds * 1000;
    const rounds = seconds > 0 ? Number.POSITIVE_INFINITY : SHORT;
    for (let round = 0; round < rounds && (seconds === 0 || performance.now() < until); round += 1) {
      for (const [i, seed] of seeds.entries()) {
        const dice = random(start + round, i);
        const { bytes, how } = mutate(seed.bytes, regions[i] as Region[], dice);
        if (dice.below(8) > 0) {
          reseal(seed.format, bytes);
        }
        const { outcome, finding } = await judge(formatOf(seed), bytes, engine, dice.next() / 2 ** 32);
        const key = `${seed.format} ${outcome}`;
        outcomes[key] = (outcomes[key] ?? 0) + 1;
        if (finding !== undefined) {
          findings.push(`${seed.name}, round ${start + round}: ${how}\n  ${finding}`);
          if (KEEP !== undefined) {
            await writeFile(join(KEEP, `${seed.format}-${start + round}-${i}`), bytes);
          }
        }
      }
    }
    if (seconds > 0) {
      const total = Object.values(outcomes).reduce((sum, n) => sum + n, 0);
      console.log(`${total} mutations of ${seeds.length} seeds by the ${engine.name} engine, from ${start}:`, outcomes);
    }
    expect(findings, findings.slice(0, 10).join('\n')).toEqual([]);
    // Both answers must occur, for each format: otherwise the mutations are too mild or too rough to say anything.
    for (const format of new Set(seeds.map((seed) => seed.format))) {
      expect(outcomes[`${format} accepted`], format).toBeGreaterThan(0);
      expect(outcomes[`${format} corrupt`] ?? outcomes[`${format} truncated`], format).toBeGreaterThan(0);
    }
  },
  Math.max(120, seconds * 2) * 1000,
);
