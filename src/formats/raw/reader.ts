import type { ByteSource } from '../../io/types.ts';
import { BatchBuilder, type BlockMap } from '../../map/extents.ts';
import { fileRuns } from '../../map/file-runs.ts';
import type { Image } from '../format.ts';

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
    extents: (start, end) => wholeFile(source, start, end),
  };
}

async function* wholeFile(source: ByteSource, start: number, end: number): BlockMap {
  const out = new BatchBuilder();
  yield* fileRuns(source, { file: 0, from: start, to: end, guest: start }, out);
  if (out.count > 0) {
    yield out.take();
  }
}
