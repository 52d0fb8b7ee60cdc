/** Cancelling: whatever an operation was doing, its caller sees VdconvError `aborted`. */
import { VdconvError } from './errors.ts';

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw cancelled(signal.reason);
  }
}

/** `cause` as the one error of a cancelled operation. */
export function cancelled(cause: unknown): VdconvError {
  return cause instanceof VdconvError && cause.code === 'aborted'
    ? cause
    : new VdconvError('aborted', 'cancelled', { cause });
}

/** What `work` gives, or `aborted` as soon as the signal says so; then nobody waits for `work` any more. */
export async function unlessAborted<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  if (signal === undefined) {
    return work;
  }
  let abort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(cancelled(signal.reason));
  });
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) {
    abort();
  }
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
