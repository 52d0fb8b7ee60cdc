/** Runs a native job to its end: progress, abort, and which of several failures the caller sees. */
import { getSystemErrorName } from 'node:util';
import { cancelled } from '../base/abort.ts';
import { type ErrorCode, VdconvError } from '../base/errors.ts';
import type { DataFile } from '../map/data-file.ts';
import type { Failure, NativeWork } from './addon.ts';
import type { CopyOptions } from './contract.ts';
import { cannotRead, cannotWrite, corruptUnit, sourceChanged } from './failures.ts';

const PROGRESS_MS = 100;

/** One running job: the first thing that fails, on either side, ends all of it and is what the caller sees. */
export class Drive<R extends { failure?: Failure }> {
  readonly #native: NativeWork<R>;
  readonly #files: readonly DataFile[];
  readonly #target: string;

  constructor(native: NativeWork<R>, files: readonly DataFile[], target: string) {
    this.#native = native;
    this.#files = files;
    this.#target = target;
  }

  /** `end` writes what is due after the last byte of data. */
  async run<T>(
    { signal, onProgress }: CopyOptions,
    total: number,
    helpers: (cancel: (why: unknown) => void) => Promise<void>[],
    end: (result: R, check: (failure: Failure | null | undefined) => void) => Promise<T>,
  ): Promise<T> {
    const native = this.#native;
    let stopped: { why: unknown } | undefined;
    const cancel = (why: unknown): void => {
      stopped ??= { why };
      native.cancel();
    };
    // The engine keeps the first error: where that is the cancel, the reason is here.
    const check = (failure: Failure | null | undefined): void => {
      if (stopped !== undefined && (failure?.code ?? 'aborted') === 'aborted') {
        throw stopped.why;
      }
      this.check(failure);
    };
    const progress = (): void => {
      try {
        onProgress?.(native.done, total);
      } catch (error) {
        cancel(error);
      }
    };
    const abort = (): void => cancel(cancelled(signal?.reason));
    const timer = onProgress && setInterval(progress, PROGRESS_MS);
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) {
      abort();
    }
    try {
      const helping = helpers(cancel).map((helper) => helper.catch(cancel));
      const [result] = await Promise.all([native.run(), ...helping]);
      check(result.failure);
      const value = await end(result, check);
      check(undefined);
      onProgress?.(total, total);
      return value;
    } catch (error) {
      // Nobody may wait on, whoever failed.
      native.cancel();
      throw error;
    } finally {
      clearInterval(timer);
      signal?.removeEventListener('abort', abort);
    }
  }

  check(failure: Failure | null | undefined): void {
    if (failure) {
      throw failureToError(failure, this.#files, this.#target);
    }
  }
}

/** The product's error for what the engine met; @param target the output's name. */
export function failureToError(failure: Failure, files: readonly DataFile[], target: string): VdconvError {
  const { code, message, offset } = failure;
  const file = failure.file === undefined ? target : files[failure.file]?.source.name;
  if (failure.errno !== undefined) {
    const cause = Object.assign(new Error(message), { code: getSystemErrorName(-failure.errno) });
    return (code === 'write' ? cannotWrite : cannotRead)(file ?? '', offset, cause);
  }
  switch (code) {
    case 'corrupt':
      return corruptUnit(file, offset, message);
    case 'changed':
      return sourceChanged(files[0]?.source.name);
    default:
      return new VdconvError(code as ErrorCode, message, { file, offset });
  }
}
