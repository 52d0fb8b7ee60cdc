/** The block map of a flat extent: the file as it is, and the holes of the file as zeros that nobody needs to read. */
import type { ByteSource } from '../../io/types.ts';
import { type BatchBuilder, type ExtentBatch, Kind } from '../../map/extents.ts';
import type { Window } from './grain-tables.ts';

/** Runs asked for at a time: 16 KiB of answers. */
const RUNS = 1024;

/** @param offset byte of the file at which the extent begins. */
export function* flatExtents(
  source: ByteSource,
  offset: number,
  window: Window,
  out: BatchBuilder,
): Generator<ExtentBatch> {
  const end = offset + window.to;
  let at = offset + window.from;
  // Appends [at, to) of the file; guest bytes follow file bytes at a constant distance.
  const push = (kind: Kind, to: number) => {
    const guest = window.base + at - offset;
    if (kind === Kind.data) {
      out.push(guest, to - at, kind, window.file, at);
    } else if (to > at) {
      out.push(guest, to - at, kind);
    }
    at = to;
  };
  while (at < end) {
    const runs = source.dataRuns?.(at, end, RUNS) ?? Float64Array.of(at, end);
    for (let i = 0; i < runs.length; i += 2) {
      push(Kind.zero, runs[i] as number);
      if (out.full) {
        yield out.take();
      }
      push(Kind.data, runs[i + 1] as number);
      if (out.full) {
        yield out.take();
      }
    }
    // Fewer runs than asked for: there are no more before the end.
    if (runs.length < 2 * RUNS) {
      push(Kind.zero, end);
    }
  }
}
