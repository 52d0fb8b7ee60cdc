/** A fixed disk: guest byte n is file byte n, the footer follows. VHD 1.0 §Fixed Hard Disk Image. */
import { VdconvError } from '../../base/errors.ts';
import type { ByteSource } from '../../io/types.ts';
import { BatchBuilder, type BlockMap } from '../../map/extents.ts';
import { fileRuns } from '../../map/file-runs.ts';
import { Footer } from './layout.ts';

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

export async function* fixedMap(source: ByteSource, start: number, end: number): BlockMap {
  const out = new BatchBuilder();
  yield* fileRuns(source, { file: 0, from: start, to: end, guest: start }, out);
  if (out.count > 0) {
    yield out.take();
  }
}
