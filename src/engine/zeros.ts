/** Finding zeros. */

/** Bytes [start, end) of something. */
export interface Span {
  start: number;
  end: number;
}

/**
 * Appends to `runs` the parts of bytes [from, to) that are not zero, moved by `base`, looking at pieces of `granularity`
 * bytes, counted from `from`. `bytes` begins its buffer.
 */
export function findRuns(bytes: Uint8Array, from: number, to: number, granularity: number, base: number, runs: Span[]) {
  const words = new Int32Array(bytes.buffer, 0, Math.floor(bytes.length / 4));
  for (let at = from; at < to; at += granularity) {
    const end = Math.min(at + granularity, to);
    if (!isZero(bytes, words, at, end)) {
      pushRun(runs, base + at, base + end);
    }
  }
}

/** Appends [start, end), or lengthens the last run where it goes on there. */
export function pushRun(runs: Span[], start: number, end: number): void {
  const last = runs.at(-1);
  if (last !== undefined && last.end === start) {
    last.end = end;
  } else {
    runs.push({ start, end });
  }
}

/** Sixteen bytes a step where `from` lies on a word, then bytes. */
function isZero(bytes: Uint8Array, words: Int32Array, from: number, to: number): boolean {
  let at = from;
  if (from % 4 === 0) {
    const end = Math.floor(to / 16) * 4;
    let i = from / 4;
    for (; i < end - 3; i += 4) {
      const four =
        (words[i] as number) | (words[i + 1] as number) | (words[i + 2] as number) | (words[i + 3] as number);
      if (four !== 0) {
        return false;
      }
    }
    at = i * 4;
  }
  for (; at < to; at += 1) {
    if (bytes[at] !== 0) {
      return false;
    }
  }
  return true;
}
