import type { ByteSource } from '../../io/types.ts';
import { BatchBuilder, type BlockMap, Kind } from '../../map/extents.ts';
import type { Image } from '../format.ts';

/** Runs asked for at a time: 16 KiB of answers. */
const RUNS = 1024;

/** The virtual size is the file's length to the byte: nothing is rounded to sectors. */
export async function openRaw(source: ByteSource): Promise<Image> {
  return {
    format: 'raw',
    subformat: 'flat',
    virtualSize: source.size,
    dataFiles: [{ source }],
    facts: {
      blockSize: 0,
      references: [],
      snapshots: [],
      encrypted: false,
      compressed: false,
      dirty: false,
      warnings: [],
      details: {},
    },
    extents: (start, end) => fileRuns(source, start, end),
  };
}

/** Holes of the file are zeros that nobody needs to read; a source that cannot tell is data throughout. */
async function* fileRuns(source: ByteSource, start: number, end: number): BlockMap {
  const out = new BatchBuilder();
  let at = start;
  while (at < end) {
    const runs = source.dataRuns?.(at, end, RUNS) ?? Float64Array.of(at, end);
    for (let i = 0; i + 1 < runs.length; i += 2) {
      const from = Math.max(at, runs[i] as number);
      const to = Math.min(end, runs[i + 1] as number);
      if (from >= to) {
        continue;
      }
      if (from > at) {
        out.push(at, from - at, Kind.zero);
        if (out.full) {
          yield out.take();
        }
      }
      out.push(from, to - from, Kind.data, 0, from);
      at = to;
      if (out.full) {
        yield out.take();
      }
    }
    // Fewer runs than asked for: there are no more before `end`.
    if (runs.length < 2 * RUNS && at < end) {
      out.push(at, end - at, Kind.zero);
      at = end;
    }
  }
  if (out.count > 0) {
    yield out.take();
  }
}
