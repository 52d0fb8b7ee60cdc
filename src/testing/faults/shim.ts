/** The fault shim (shim.c), built once by the machine's C compiler, and processes that run under it. */
import { type ChildProcess, fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import type { ConvertOptions } from '../../index.ts';

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** The operations that can fail. */
export const OPERATIONS = [
  'open',
  'read',
  'write',
  'fallocate',
  'copy_file_range',
  'ftruncate',
  'fsync',
  'link',
  'rename',
];

/** Compiles the shim into `dir`; without a C compiler the test is skipped. */
export function buildShim(ctx: { skip(note?: string): never }, dir: string): string {
  const shim = join(dir, 'shim.so');
  const { status, stderr } = spawnSync(
    'cc',
    ['-shared', '-fPIC', '-O1', '-Wall', '-Wextra', '-Werror', '-o', shim, here('shim.c'), '-ldl'],
    { encoding: 'utf8' },
  );
  if (status === null) {
    return ctx.skip('no C compiler (cc)');
  }
  if (status !== 0) {
    throw new Error(stderr);
  }
  return shim;
}

export interface Run {
  source: string;
  target: string;
  options: ConvertOptions;
}

interface Answer {
  outcome: string;
}

export interface Outcome {
  /** `done`, or code and message of the error. */
  outcome: string;
  /** What fired: lines of the shim's log. */
  fired: string[];
}

/** A process of the library under the shim, by one engine; faults are those of files beneath `dir`. */
export class Faulty {
  readonly #child: ChildProcess;
  readonly #log: string;
  readonly #died: Promise<Answer>;

  private constructor(child: ChildProcess, log: string) {
    this.#child = child;
    this.#log = log;
    this.#died = new Promise((resolve) => {
      child.once('exit', (status, signal) => resolve({ outcome: `died: ${signal ?? status}` }));
    });
  }

  static async start(shim: string, engine: string, dir: string): Promise<Faulty> {
    const logs = await mkdtemp(join(await realpath(tmpdir()), 'vdconv-faults-'));
    const log = join(logs, 'log');
    const env = {
      ...process.env,
      LD_PRELOAD: shim,
      VDCONV_ENGINE: engine,
      VDCONV_FAULT_DIR: dir,
      VDCONV_FAULT_LOG: log,
      VDCONV_FAULT_LIBRARY: here('../../../dist/index.js'),
      // What it reads and writes would pass the shim by.
      UV_USE_IO_URING: '0',
    };
    const child = fork(here('runner.mjs'), { env, execArgv: [] });
    onTestFinished(async () => {
      child.kill('SIGKILL');
      await rm(logs, { recursive: true, force: true });
    });
    await once(child, 'message');
    return new Faulty(child, log);
  }

  /** @param fault as the shim takes it: `OP,MODE,AT,COUNT`. */
  async run(fault: string, { source, target, options }: Run): Promise<Outcome> {
    const answer = new Promise<Answer>((resolve) => {
      this.#child.once('message', (message) => resolve(message as Answer));
    });
    this.#child.send({ fault, source, target, options });
    const { outcome } = await Promise.race([answer, this.#died]);
    return { outcome, fired: this.#takeLog() };
  }

  #takeLog(): string[] {
    try {
      return readFileSync(this.#log, 'utf8').trimEnd().split('\n');
    } catch {
      return [];
    } finally {
      rmSync(this.#log, { force: true });
    }
  }
}
