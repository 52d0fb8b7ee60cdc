/** COWD and seSparse files, by the block map that their tables say: no grain lies over another one or outside the file. */
import { VdconvError } from '../../../base/errors.ts';
import { divCeil, sectorsToBytes } from '../../../base/units.ts';
import { BatchBuilder, Kind } from '../../../map/extents.ts';
import type { CheckContext } from '../../check.ts';
import type { SparseExtent } from '../sparse-extent.ts';
import type { CheckedExtent } from './hosted.ts';
import { Owners } from './owners.ts';

export async function checkMapped(
  extent: SparseExtent,
  { findings, progress }: CheckContext,
  file: string | undefined,
): Promise<Omit<CheckedExtent, 'header'>> {
  const { source, capacity, grainBytes, warnings } = extent;
  const in_ = file === undefined ? {} : { file };
  for (const what of warnings) {
    findings.note(() => ({ table: 'header', ...in_, what }));
  }
  const owners = new Owners(source, findings, in_);
  const end = sectorsToBytes(capacity);
  const out = new BatchBuilder();
  let allocated = 0;
  let fragmented = -1;
  let next = -1;
  let taken = 0;
  const take = ({ count, kind, start, length, offset }: ReturnType<BatchBuilder['take']>) => {
    for (let i = 0; i < count; i += 1) {
      if (kind[i] !== Kind.data) {
        continue;
      }
      const [guest, bytes, at] = [start[i] as number, length[i] as number, offset[i] as number];
      taken += bytes;
      if (taken > source.size) {
        const what = `the extents up to this one are more than the file's ${source.size} bytes: they overlap`;
        throw new VdconvError('corrupt', what, {
          file: source.name,
          field: `grains of bytes ${guest} to ${guest + bytes}`,
        });
      }
      allocated += divCeil(bytes, grainBytes);
      fragmented += at !== next ? 1 : 0;
      next = at + bytes;
      owners.claim({ table: `grains of bytes ${guest} to ${guest + bytes}` }, at, bytes);
    }
  };
  await findings.attempt(async () => {
    for await (const batch of extent.extents({ from: 0, to: end, base: 0, file: 0 }, out)) {
      take(batch);
      progress(batch.start[0] as number, end);
    }
  });
  await findings.attempt(() => take(out.take()));
  return { allocated, fragmented: Math.max(0, fragmented), compressed: 0, unreferencedBytes: 0 };
}
