/** The block map of a plain file: its bytes as data, its holes as zeros that nobody needs to read. */
import type { ByteSource } from '../io/types.ts';
import { type BatchBuilder, type ExtentBatch, Kind } from './extents.ts';

/** Runs asked for at a time: 16 KiB of answers. */
const RUNS = 1024;

/** A part of a file, and where the guest sees it. Bytes. */
export interface FilePart {
  /** What the extents' `file` is. */
  file: number;
  from: number;
  to: number;
  /** The guest offset of file byte `from`. */
  guest: number;
}

/**
 * Appends a part of a file to `out`, and yields batches as they are full; what is left in `out` at the end is the
 * caller's. A source that cannot tell its holes is data throughout.
 */
export function* fileRuns(source: ByteSource, part: FilePart, out: BatchBuilder): Generator<ExtentBatch> {
  const { file, from, to, guest } = part;
  let at = from;
  while (at < to) {
    const runs = source.dataRuns?.(at, to, RUNS) ?? Float64Array.of(at, to);
    for (let i = 0; i + 1 < runs.length; i += 2) {
      const start = Math.max(at, runs[i] as number);
      const end = Math.min(to, runs[i + 1] as number);
      if (start >= end) {
        continue;
      }
      if (start > at) {
        out.push(guest + at - from, start - at, Kind.zero);
        if (out.full) {
          yield out.take();
        }
      }
      out.push(guest + start - from, end - start, Kind.data, file, start);
      at = end;
      if (out.full) {
        yield out.take();
      }
    }
    // Fewer runs than asked for: there are no more before the end.
    if (runs.length < 2 * RUNS && at < to) {
      out.push(guest + at - from, to - at, Kind.zero);
      at = to;
    }
  }
}
