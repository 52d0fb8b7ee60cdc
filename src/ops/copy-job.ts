/** What `convert` asks of the engine, wherever the output goes. */
import { VdconvError } from '../base/errors.ts';
import { isPowerOfTwo, MiB } from '../base/units.ts';
import type { CopyJob, CopyOptions, CopyResult, DigestMethod, Engine } from '../engine/contract.ts';
import type { PlanFile, WritePlan } from '../formats/format.ts';
import { differing } from '../map/differing.ts';
import type { Chain } from './chain.ts';
import { digestMethod } from './digest-method.ts';
import { Pace } from './pace.ts';
import type { ConvertOptions } from './types.ts';

/** A conversion that is ready to be carried out. */
export interface Work {
  engine: Engine;
  chain: Chain;
  plan: WritePlan;
  options: ConvertOptions;
  /** Where the output is a layer: one bit a block of the plan's layout, 1 where it differs from the base. */
  differs?: Uint8Array | undefined;
}

/** What was written, whatever it was written to. */
export interface Written {
  /** Bytes of the output, all its files together. */
  size: number;
  dataBytes: number;
  allocatedSize: number | null;
  /** With the option of that name. */
  digest?: Uint8Array | undefined;
  /** Paths of the files besides the target. */
  siblings?: readonly string[];
  /** What the user should know of how it was written, one sentence each. */
  notes?: readonly string[];
}

/** One file of the plan. @param before the copy into the file before it. */
export function copyJob(
  { chain, plan, options, differs }: Work,
  file: PlanFile,
  before?: CopyResult,
): Omit<CopyJob, 'sink'> {
  const { start, end } = file.range ?? { start: 0, end: plan.virtualSize };
  // A target's unit may force the disk to grow.
  const whole = chain.padded(start, end);
  const map = differs === undefined ? whole : differing(whole, differs, file.layout.blockSize);
  return {
    files: chain.dataFiles,
    map: paceOf(options)?.map(map) ?? map,
    virtualSize: end - start,
    rangeStart: start,
    layout: file.layout,
    writer: file.writer(),
    fingerprint: [plan, ...(plan.siblings ?? [])].some(({ fingerprint }) => fingerprint === true),
    fingerprintSoFar: before?.fingerprint,
    storedBefore: before?.stored,
    keepStored: file.keepStored,
    digest: options.digest === undefined ? undefined : methodFor(options.digest, plan, differs !== undefined),
    options: copyOptions(plan, chain.readsForward ? fewThreads(options) : options, start, end),
  };
}

/** Each has a unit of work under way, and what is under way must be near together in a stream. */
function fewThreads(options: ConvertOptions): ConvertOptions {
  return { ...options, threads: Math.min(options.threads ?? 4, 4) };
}

/** One job must see the whole disk. */
function methodFor(algorithm: string, { siblings = [] }: WritePlan, isLayer: boolean): DigestMethod {
  const method = digestMethod(algorithm);
  if (siblings.length > 0 || isLayer) {
    const what = isLayer ? 'a layer' : 'an image of several files';
    throw new VdconvError('usage', `no digest is made while ${what} is written`, {
      hint: 'use vdconv digest after it',
    });
  }
  return method;
}

function paceOf({ rate, signal }: ConvertOptions): Pace | undefined {
  return rate === undefined ? undefined : new Pace(rate, signal);
}

function copyOptions(plan: WritePlan, options: ConvertOptions, start: number, end: number): CopyOptions {
  const { onProgress, threads, zeroGranularity, signal } = options;
  const total = plan.virtualSize;
  return {
    threads,
    zeroGranularity: plan.preallocation === 'full' ? 0 : zeroGranularity,
    signal,
    // A file without guest bytes has nothing to tell.
    ...(onProgress === undefined || start === end
      ? {}
      : { onProgress: (done) => onProgress({ done: start + done, total }) }),
  };
}

/** Throws `usage` for numbers that make no sense, before any file is touched. */
export function checkOptions({ threads, zeroGranularity, rate, digest }: ConvertOptions): void {
  if (digest !== undefined) {
    digestMethod(digest);
  }
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= 64)) {
    throw new VdconvError('usage', `${threads} threads: must be a whole number from 1 to 64`);
  }
  const fits = (n: number) => n === 0 || (isPowerOfTwo(n) && n >= 512 && n <= MiB);
  if (zeroGranularity !== undefined && !fits(zeroGranularity)) {
    throw new VdconvError('usage', `zero granularity ${zeroGranularity}: must be 0 or a power of two from 512 to 1M`);
  }
  if (rate !== undefined && !(Number.isSafeInteger(rate) && rate >= MIN_RATE)) {
    throw new VdconvError('usage', `rate ${rate}: must be a whole number of bytes per second, at least ${MIN_RATE}`);
  }
}

/** So that no single wait is longer than seconds. */
const MIN_RATE = 1024;
