import { type BatchBuilder, type ExtentBatch, Kind } from './extents.ts';

/**
 * Appends the part of extent `i` that lies in [start, end), or nothing where they do not meet. The one place where an
 * extent is cut: plain data moves its file offset, a compressed unit keeps its place and moves `skip`.
 *
 * @param fileOffset added to the data file's index, for extents that move from one image's list of files to another's.
 */
export function clip(
  into: BatchBuilder,
  batch: ExtentBatch,
  i: number,
  start: number,
  end: number,
  fileOffset = 0,
): void {
  const extentStart = batch.start[i] as number;
  const from = Math.max(extentStart, start);
  const to = Math.min(extentStart + (batch.length[i] as number), end);
  if (from >= to) {
    return;
  }
  const cut = from - extentStart;
  const file = (batch.file[i] as number) + fileOffset;
  const offset = batch.offset[i] as number;
  switch (batch.kind[i]) {
    case Kind.data:
      into.push(from, to - from, Kind.data, file, offset + cut);
      break;
    case Kind.compressed:
      into.push(
        from,
        to - from,
        Kind.compressed,
        file,
        offset,
        batch.stored[i] as number,
        (batch.skip[i] as number) + cut,
      );
      break;
    default:
      into.push(from, to - from, batch.kind[i] as Kind);
  }
}
