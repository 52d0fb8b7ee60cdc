/** Failures that both engines tell in the same words. */
import { showNumber, VdconvError } from '../base/errors.ts';
import { readError, writeError } from '../io/os-error.ts';

export function cannotRead(file: string, offset: number | undefined, cause: unknown): VdconvError {
  return readError(file, `read guest data${at(offset)}`, cause, { offset });
}

export function cannotWrite(file: string, offset: number | undefined, cause: unknown): VdconvError {
  return writeError(file, `write${at(offset)}`, cause, { offset });
}

/** Stored bytes at `offset` do not decode to what the block map promises. */
export function corruptUnit(file: string | undefined, offset: number | undefined, what: string): VdconvError {
  const where = offset === undefined ? '' : ` (stored${at(offset)})`;
  return new VdconvError('corrupt', `${what}${where}`, { file, offset });
}

/** The file ends inside a compressed unit. */
export function cutOff(file: string, offset: number, size: number): VdconvError {
  const what = `the compressed data at offset ${offset} is cut off: the file ends at ${size}`;
  return new VdconvError('truncated', what, { file, offset });
}

/** A second pass met other data than the first. */
export function sourceChanged(file: string | undefined): VdconvError {
  const what = 'the source changed while it was read: its second reading differs from the first';
  return new VdconvError('changed', what, { file });
}

function at(offset: number | undefined): string {
  return offset === undefined ? '' : ` at offset ${showNumber(offset)}`;
}
