/**
 * Every system call of a conversion fails once, or from some call on, or does half of its work: the n-th, for n from 1 until
 * a run meets no fault. Each run ends in success with the right content, or in an error with the directory exactly as it
 * was. The shim's log shows that the faults fired. `make test-faults` takes every n, `make test` a sample of them.
 */
import { copyFileSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { realpath, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { type ConvertOptions, convert, open } from '../index.ts';
import { digestOf } from '../testing/digest.ts';
import { ENGINES, type EngineName, needEngine } from '../testing/engines.ts';
import { buildShim, Faulty, OPERATIONS, type Run } from '../testing/faults/shim.ts';
import { snapshot } from '../testing/snapshot.ts';
import { tempDir } from '../testing/tmp.ts';

const EVERY_CALL = process.env.VDCONV_FAULTS === 'all';

/** How a call of each kind fails. */
const MODES: Readonly<Record<string, readonly string[]>> = {
  open: ['EMFILE', 'EINTR'],
  read: ['EIO', 'EINTR', 'short', 'end'],
  write: ['ENOSPC', 'EDQUOT', 'EINTR', 'short'],
  fallocate: ['ENOSPC', 'EOPNOTSUPP', 'EINTR'],
  copy_file_range: ['EIO', 'EXDEV', 'short'],
  ftruncate: ['EIO', 'EINTR'],
  fsync: ['EIO', 'EINTR'],
  link: ['EIO', 'EPERM'],
  rename: ['EIO', 'EINTR'],
};

/** A conversion must get over these. */
const HARMLESS = new Set(['EINTR', 'short', 'EOPNOTSUPP', 'EPERM']);

interface Case extends Run {
  dir: string;
  /** Files that the conversion makes or replaces. */
  made: string[];
  /** What is under a name before, if it is replaced. */
  old: string | undefined;
}

interface Pair {
  name: string;
  /** Options of the source's own conversion from the raw disk, and its name. */
  source: [string, ConvertOptions];
  target: string;
  options: ConvertOptions;
  siblings?: string[];
}

const PAIRS: readonly Pair[] = [
  { name: 'raw to qcow2', source: ['in.raw', {}], target: 'out.qcow2', options: {} },
  { name: 'compressed qcow2 to raw', source: ['in.qcow2', { compress: true }], target: 'out.raw', options: {} },
  {
    name: 'vmdk stream to compressed qcow2',
    source: ['in.vmdk', { compress: true }],
    target: 'out.qcow2',
    options: { compress: true },
  },
  {
    name: 'a layer over a base to a flat vmdk of two files',
    source: ['in.vmdk', { base: 'base.vmdk' }],
    target: 'out.vmdk',
    options: { allowReferences: true, targetOptions: { subformat: 'monolithicFlat' } },
    siblings: ['out-flat.vmdk'],
  },
  { name: 'vdi to vhdx, in place of a file', source: ['in.vdi', {}], target: 'out.vhdx', options: { force: true } },
];

async function prepare({ source: [name, how], target, options, siblings = [] }: Pair): Promise<Case> {
  const dir = await realpath(await tempDir());
  const [work, aside] = [join(dir, 'work'), join(dir, 'aside')];
  mkdirSync(work);
  mkdirSync(aside);
  const disk = Buffer.alloc(MiB);
  disk.fill('a guest ', 0, 300 * KiB);
  disk.fill('more of it ', 600 * KiB, 620 * KiB);
  await writeFile(join(aside, 'disk.raw'), disk);
  const base = how.base === undefined ? undefined : join(work, how.base);
  if (base !== undefined) {
    await convert(join(aside, 'disk.raw'), base, { noSync: true });
    await writeFile(join(aside, 'disk.raw'), disk.fill('newer ', 100 * KiB, 200 * KiB));
  }
  await convert(join(aside, 'disk.raw'), join(work, name), { ...how, base, noSync: true, force: true });
  const old = options.force === true ? join(aside, 'old') : undefined;
  if (old !== undefined) {
    await writeFile(old, 'what was there before');
    copyFileSync(old, join(work, target));
  }
  const made = [target, ...siblings].map((file) => join(work, file));
  return { dir: work, source: join(work, name), target: join(work, target), options, made, old };
}

/** Runs with one fault after another; what must hold of each is checked here. */
class Sweep {
  readonly fired = new Map<string, number>();
  runs = 0;
  readonly #faulty: Faulty;
  readonly #case: Case;
  #expected: Buffer[] = [];

  constructor(faulty: Faulty, one: Case) {
    this.#faulty = faulty;
    this.#case = one;
  }

  /** A run without faults, whose output is the right one: the shim changes nothing, and the disk is the source's. */
  async first(): Promise<void> {
    const { source, target, options, made } = this.#case;
    expect(await this.#faulty.run('none,-,0,0', this.#case)).toEqual({ outcome: 'done', fired: [] });
    this.#expected = made.map((path) => readFileSync(path));
    const guest = async (path: string) => {
      const image = await open(path, { allowReferences: options.allowReferences });
      return digestOf(image).finally(() => image.close());
    };
    expect(await guest(target)).toBe(await guest(source));
    this.#restore();
  }

  /** @returns whether the fault fired. */
  async one(operation: string, mode: string, at: number, count: number): Promise<boolean> {
    const { dir, made } = this.#case;
    const fault = `${operation},${mode},${at},${count}`;
    const before = await snapshot(dir);
    const { outcome, fired } = await this.#faulty.run(fault, this.#case);
    const after = await snapshot(dir);
    this.runs += 1;
    this.fired.set(operation, (this.fired.get(operation) ?? 0) + fired.length);
    const isLastStep = operation === 'fsync' && this.#case.old !== undefined && fired.at(-1)?.endsWith(dir) === true;
    if (outcome === 'done' || isLastStep) {
      expect(
        made.map((path, i) => readFileSync(path).equals(this.#expected[i] as Buffer)),
        fault,
      ).not.toContain(false);
      const others = (all: Record<string, string>) =>
        Object.entries(all).filter(([name]) => !made.includes(join(dir, name)));
      expect(others(after), fault).toEqual(others(before));
      this.#restore();
    } else {
      expect(after, `${fault}: ${outcome}`).toEqual(before);
    }
    if (outcome !== 'done') {
      expect(outcome, fault).toMatch(/^(read|write|truncated|corrupt|changed) /);
      expect(fired.length, fault).toBeGreaterThan(0);
      expect(HARMLESS.has(mode) && count === 1 ? outcome : 'an error', fault).toBe('an error');
    }
    return fired.length > 0;
  }

  /** Each call fails, or a sample of them with the first and the last. */
  async all(operation: string, mode: string): Promise<void> {
    let [last, step] = [0, 1];
    while (await this.one(operation, mode, last + step, 1)) {
      last += step;
      step = EVERY_CALL ? 1 : step * 3;
    }
    for (; step > 1; step = Math.ceil(step / 3)) {
      if (await this.one(operation, mode, last + Math.ceil(step / 3), 1)) {
        last += Math.ceil(step / 3);
      }
    }
    // From the first or the second call on. What is interrupted for ever goes on for ever.
    for (const at of mode === 'EINTR' ? [] : [1, 2]) {
      await this.one(operation, mode, at, 0);
    }
  }

  #restore(): void {
    const { made, target, old } = this.#case;
    for (const path of made) {
      rmSync(path, { force: true });
    }
    if (old !== undefined) {
      copyFileSync(old, target);
    }
  }
}

/** In a sample, the other pairs leave out what the first one shows. */
function modesOf(operation: string, pair: Pair): readonly string[] {
  const all = MODES[operation] ?? [];
  return EVERY_CALL || pair === PAIRS[0] ? all : all.filter((mode, i) => i === 0 || mode === 'short');
}

/** Preallocation is the native engine's. Neither copies between files yet. */
const NEVER: Readonly<Record<EngineName, readonly string[]>> = {
  native: ['copy_file_range'],
  portable: ['copy_file_range', 'fallocate'],
};

describe.each(ENGINES)('%s', (engine) => {
  const fired = new Map<string, number>();
  let runs = 0;

  test.for(PAIRS)('$name', { timeout: 900_000 }, async (pair, ctx) => {
    needEngine(ctx, engine);
    const prepared = await prepare(pair);
    const faulty = await Faulty.start(buildShim(ctx, join(prepared.dir, '../aside')), engine, prepared.dir);
    const sweep = new Sweep(faulty, prepared);
    await sweep.first();
    for (const operation of OPERATIONS) {
      for (const mode of modesOf(operation, pair)) {
        await sweep.all(operation, mode);
      }
    }
    for (const [operation, count] of sweep.fired) {
      fired.set(operation, (fired.get(operation) ?? 0) + count);
    }
    runs += sweep.runs;
  });

  test('each operation was met by faults', (ctx) => {
    needEngine(ctx, engine);
    const met = OPERATIONS.filter((operation) => (fired.get(operation) ?? 0) > 0);
    console.log(`${engine}: ${runs} runs, faults fired: ${met.map((name) => `${name} ${fired.get(name)}`).join(', ')}`);
    expect(met).toEqual(OPERATIONS.filter((operation) => !NEVER[engine].includes(operation)));
  });
});
