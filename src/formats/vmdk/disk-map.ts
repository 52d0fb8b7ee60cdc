/** The block map of a disk that consists of extents, one after another. VMDK 5.0 §Extent description. */
import { VdconvError } from '../../base/errors.ts';
import type { ByteSource } from '../../io/types.ts';
import { BatchBuilder, type ExtentBatch, Kind } from '../../map/extents.ts';
import { fileRuns } from '../../map/file-runs.ts';
import type { SparseExtent, Window } from './sparse-extent.ts';

/** One extent of the disk with what is behind it; `bytes` may be fewer than its file holds. */
export type DiskExtent =
  | { kind: 'zero'; bytes: number }
  | { kind: 'flat'; bytes: number; file: number; offset: number; source: ByteSource }
  | { kind: 'sparse'; bytes: number; file: number; sparse: SparseExtent };

/** The block map of guest bytes [start, end). */
export async function* diskMap(
  extents: readonly DiskExtent[],
  start: number,
  end: number,
): AsyncGenerator<ExtentBatch, void, undefined> {
  const out = new BatchBuilder();
  let base = 0;
  for (const extent of extents) {
    const from = Math.max(start - base, 0);
    const to = Math.min(end - base, extent.bytes);
    if (from < to) {
      if (out.full) {
        yield out.take();
      }
      yield* extentMap(extent, { from, to, base, file: extent.kind === 'zero' ? 0 : extent.file }, out);
    }
    base += extent.bytes;
  }
  if (out.count > 0) {
    yield out.take();
  }
}

async function* extentMap(extent: DiskExtent, window: Window, out: BatchBuilder): AsyncGenerator<ExtentBatch> {
  const { from, to, base } = window;
  switch (extent.kind) {
    case 'zero':
      out.push(base + from, to - from, Kind.zero);
      return;
    case 'flat':
      checkFlat(extent, to);
      yield* fileRuns(
        extent.source,
        { file: window.file, from: extent.offset + from, to: extent.offset + to, guest: base + from },
        out,
      );
      return;
    case 'sparse':
      yield* extent.sparse.extents(window, out);
  }
}

/** qemu reads zeros past the end of the file, and a cut file passes for a whole one. @param to within the extent. */
export function checkFlat(
  extent: Pick<DiskExtent & { kind: 'flat' }, 'bytes' | 'offset' | 'source'>,
  to: number,
): void {
  const { bytes, offset, source } = extent;
  if (offset + to > source.size) {
    throw new VdconvError('truncated', `the descriptor says ${bytes} bytes at ${offset}, the file has ${source.size}`, {
      file: source.name,
      format: 'vmdk',
      field: 'extent description',
      offset: source.size,
    });
  }
}
