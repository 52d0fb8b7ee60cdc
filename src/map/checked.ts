import { VdconvError } from '../base/errors.ts';
import { type BlockMap, type ExtentBatch, extentAt, Kind } from './extents.ts';

/**
 * Passes a map on and proves on the way that it tiles [start, end): no gap, no overlap, no empty extent, nothing
 * outside, every number a safe integer. A reader that breaks this is a defect of vdconv, whatever the image says.
 *
 * @param file the image, for the message.
 */
export async function* checked(map: BlockMap, start: number, end: number, file?: string): BlockMap {
  let at = start;
  for await (const batch of map) {
    at = provenEnd(batch, at, end, file);
    yield batch;
  }
  if (at !== end) {
    throw new VdconvError('internal', `block map ends at ${at}, it must cover [${start}, ${end})`, { file });
  }
}

/** Where the batch ends, which begins at `at` and ends by `end`. */
function provenEnd(batch: ExtentBatch, at: number, end: number, file: string | undefined): number {
  if (!(batch.count <= batch.start.length)) {
    throw new VdconvError('internal', `block map: a batch of ${batch.start.length} says it has ${batch.count}`, {
      file,
    });
  }
  let expected = at;
  for (let i = 0; i < batch.count; i += 1) {
    const length = batch.length[i] as number;
    const next = expected + length;
    // Each comparison is written so that NaN fails it.
    if (
      batch.start[i] !== expected ||
      !(length > 0) ||
      !(next <= end) ||
      !Number.isSafeInteger(length) ||
      !placeIsSound(batch, i)
    ) {
      throw new VdconvError('internal', `block map: ${fault(batch, i, expected, end)} (${describe(batch, i)})`, {
        file,
      });
    }
    expected = next;
  }
  return expected;
}

function placeIsSound(batch: ExtentBatch, i: number): boolean {
  switch (batch.kind[i]) {
    case Kind.unallocated:
    case Kind.zero:
      return true;
    case Kind.data:
      return isCount(batch.offset[i]);
    case Kind.compressed:
      return isCount(batch.offset[i]) && isCount(batch.stored[i]) && isCount(batch.skip[i]);
    default:
      return false;
  }
}

function isCount(n: number | undefined): boolean {
  return Number.isSafeInteger(n) && (n as number) >= 0;
}

function fault(batch: ExtentBatch, i: number, expected: number, end: number): string {
  const { start, length, kind } = extentAt(batch, i);
  if (start > expected) {
    return `gap between ${expected} and ${start}`;
  }
  if (start < expected) {
    return `overlap: an extent begins at ${start}, the one before ends at ${expected}`;
  }
  if (length === 0) {
    return `empty extent at ${start}`;
  }
  if (start + length > end) {
    return `extent ends at ${start + length}, the range at ${end}`;
  }
  return kind > Kind.compressed ? `unknown kind ${kind}` : 'not a whole number of bytes';
}

function describe(batch: ExtentBatch, i: number): string {
  return Object.entries(extentAt(batch, i))
    .map(([key, value]) => `${key} ${value}`)
    .join(', ');
}
