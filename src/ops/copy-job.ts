/** What `convert` asks of the engine, wherever the output goes. */
import { VdconvError } from '../base/errors.ts';
import { isPowerOfTwo, MiB } from '../base/units.ts';
import type { CopyJob, CopyOptions } from '../engine/contract.ts';
import type { WritePlan } from '../formats/format.ts';
import { type BlockMap, Kind } from '../map/extents.ts';
import { uniform } from '../map/uniform.ts';
import type { Chain } from './chain.ts';
import { Pace } from './pace.ts';
import type { ConvertOptions } from './types.ts';

/** What was written, whatever it was written to. */
export interface Written {
  /** Bytes of the output. */
  size: number;
  dataBytes: number;
  allocatedSize: number | null;
}

export function copyJob(chain: Chain, plan: WritePlan, options: ConvertOptions): Omit<CopyJob, 'sink'> {
  const map = padded(chain, plan.virtualSize);
  return {
    files: chain.dataFiles,
    map: paceOf(options)?.map(map) ?? map,
    virtualSize: plan.virtualSize,
    layout: plan.layout,
    writer: plan.writer(),
    options: copyOptions(options),
  };
}

export function paceOf({ rate, signal }: ConvertOptions): Pace | undefined {
  return rate === undefined ? undefined : new Pace(rate, signal);
}

/** The guest's bytes, and zeros up to the size that the target's unit forces. */
async function* padded(chain: Chain, virtualSize: number): BlockMap {
  yield* chain.extents(0, chain.virtualSize);
  if (virtualSize > chain.virtualSize) {
    yield* uniform(chain.virtualSize, virtualSize, Kind.zero);
  }
}

function copyOptions(options: ConvertOptions): CopyOptions {
  const { onProgress } = options;
  return {
    threads: options.threads,
    zeroGranularity: options.zeroGranularity,
    signal: options.signal,
    onProgress: onProgress && ((done, total) => onProgress({ done, total })),
  };
}

/** Throws `usage` for numbers that make no sense, before any file is touched. */
export function checkOptions({ threads, zeroGranularity, rate }: ConvertOptions): void {
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
