/** A fixed disk: guest byte n is file byte n, the footer follows. VHD 1.0 §Fixed Hard Disk Image. */
import { VdconvError } from '../../base/errors.ts';
import type { ByteSource } from '../../io/types.ts';
import { BatchBuilder, type BlockMap, Kind } from '../../map/extents.ts';
import { Footer } from './layout.ts';

/** Runs asked for at a time: 16 KiB of answers. */
const RUNS = 1024;

/** There may be a gap before the footer, but nothing may be missing: qemu reads the footer as data and then zeros. */
export function checkFixed(source: ByteSource, footer: Footer, dataEnd: number): void {
  if (footer.currentSize > dataEnd) {
    const what = `the footer says ${footer.currentSize} bytes, ${dataEnd} are there before it`;
    throw new VdconvError('truncated', what, {
      file: source.name,
      format: 'vhd',
      field: 'currentSize',
      offset: dataEnd + Footer.fields.currentSize.offset,
    });
  }
}

/** Holes of the file are zeros that nobody needs to read; a source that cannot tell is data throughout. */
export async function* fixedMap(source: ByteSource, start: number, end: number): BlockMap {
  const out = new BatchBuilder();
  let at = start;
  while (at < end) {
    const runs = source.dataRuns?.(at, end, RUNS) ?? Float64Array.of(at, end);
    for (let i = 0; i + 1 < runs.length; i += 2) {
      const from = Math.max(at, runs[i] as number);
      const to = Math.min(end, runs[i + 1] as number);
      if (from > at) {
        out.push(at, from - at, Kind.zero);
      }
      if (to > from) {
        out.push(from, to - from, Kind.data, 0, from);
        at = to;
      }
    }
    // Fewer runs than asked for: there are no more before the end.
    if (runs.length < 2 * RUNS && at < end) {
      out.push(at, end - at, Kind.zero);
      at = end;
    }
    if (out.count > 0) {
      yield out.take();
    }
  }
}
