/** What `--salvage` could not read. */
import { VdconvError } from '../base/errors.ts';
import type { SalvagedRange } from './types.ts';

/** So that a list of them stays a list, whatever the image. */
const MOST = 65_536;

/** Ranges of the disk in virtual order; what a second pass finds again counts once. */
export class LostRanges {
  readonly list: SalvagedRange[] = [];
  /** Nothing before this guest byte is new. */
  #known = 0;

  add(from: number, end: number, why: string): void {
    const start = Math.max(from, this.#known);
    if (start >= end) {
      return;
    }
    this.#known = end;
    const last = this.list.at(-1);
    if (last !== undefined && last.start + last.length === start) {
      last.length += end - start;
    } else if (this.list.length < MOST) {
      this.list.push({ start, length: end - start, why });
    } else {
      throw new VdconvError(
        'limit',
        `more than ${MOST} ranges of the disk cannot be read; the last begins at ${start}`,
      );
    }
  }

  get bytes(): number {
    return this.list.reduce((sum, { length }) => sum + length, 0);
  }
}

/** Whether a failure means that bytes are missing or damaged, and others may not be. */
export function isLoss(error: unknown): error is VdconvError {
  return error instanceof VdconvError && ['corrupt', 'truncated', 'read'].includes(error.code);
}
