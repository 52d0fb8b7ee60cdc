/** Exit statuses: what a script learns from a failure. README.md documents the same table. */
import { escapeText, VdconvError } from '../base/errors.ts';

const STATUS: Readonly<Record<Exclude<VdconvError['code'], 'aborted'>, number>> = {
  internal: 1,
  usage: 2,
  exists: 2,
  'wrong-format': 3,
  corrupt: 3,
  truncated: 3,
  unsupported: 3,
  read: 3,
  write: 4,
  refused: 5,
  changed: 6,
  locked: 7,
  limit: 8,
};

/** 128 and the signal's number, as a shell reports a process that a signal ended. */
export const SIGNAL_STATUS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
export type StopSignal = keyof typeof SIGNAL_STATUS;

export const SIGPIPE_STATUS = 141;

/** `convert --salvage`: the target is there, and not all of the source is in it. */
export const DAMAGED_STATUS = 3;

/** `compare`: two disks that differ, which is an answer and no failure. */
export const DIFFERENT_STATUS = 1;

/** `check` has qemu-img's own. */
export const CHECK_STATUS = { notChecked: 1, corrupt: 2, leaks: 3, unsupported: 63 } as const;

/** @param stopped the signal that made the work stop, if one did. */
export function exitStatus(error: unknown, stopped?: StopSignal): number {
  if (!(error instanceof VdconvError)) {
    return 1;
  }
  if (error.code === 'aborted') {
    return stopped === undefined ? 1 : SIGNAL_STATUS[stopped];
  }
  return isClosedPipe(error) ? SIGPIPE_STATUS : STATUS[error.code];
}

/** Whoever read the output went away: as SIGPIPE would, that ends the command without a word. */
export function isClosedPipe(error: unknown): boolean {
  return (
    error instanceof VdconvError && error.code === 'write' && (error.cause as NodeJS.ErrnoException)?.code === 'EPIPE'
  );
}

/** The one line on stderr. VDCONV_DEBUG=1 adds the stack, for reports. */
export function errorLine(error: unknown, debug: boolean): string {
  if (isOutOfDescriptors(error)) {
    return 'vdconv: too many open files: allow more of them (ulimit -n)\n';
  }
  const message = error instanceof Error ? error.message : String(error);
  const line =
    error instanceof VdconvError
      ? `vdconv: ${escapeText(message)}`
      : `vdconv: internal error: ${escapeText(message)}; please report it with the output of VDCONV_DEBUG=1`;
  const stack = debug && error instanceof Error ? `\n${error.stack ?? ''}${causeOf(error)}` : '';
  return `${line}${stack}\n`;
}

/** While a part of the program was loaded. */
function isOutOfDescriptors(error: unknown): boolean {
  return !(error instanceof VdconvError) && ['EMFILE', 'ENFILE'].includes((error as NodeJS.ErrnoException)?.code ?? '');
}

function causeOf(error: Error): string {
  return error.cause instanceof Error ? `\ncaused by ${error.cause.stack ?? error.cause.message}` : '';
}
