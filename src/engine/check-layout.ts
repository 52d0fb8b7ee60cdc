/** Refuses what the pipeline does not implement, so that a writer's mistake is an error and not a bad image. */
import { VdconvError } from '../base/errors.ts';
import { isPowerOfTwo, MiB } from '../base/units.ts';
import type { Layout } from '../map/layout.ts';

/** The rules of native/core/src/layout.rs. Throws `internal`. */
export function checkLayout(layout: Layout): void {
  const { blockSize, dataAlign, dataPhase, tables, side, codec, explicitZeros, storeAll } = layout;
  refuseUnless(isPowerOfTwo(blockSize) && blockSize >= 512, 'blockSize must be a power of two of at least 512');
  refuseUnless(isPowerOfTwo(dataAlign) && dataPhase < dataAlign, 'dataAlign must be a power of two above dataPhase');
  if (tables !== undefined) {
    const { blocks, bytes, align } = tables;
    refuseUnless(blocks > 0 && bytes > 0 && isPowerOfTwo(align), 'a table group needs blocks, bytes and an alignment');
  }
  if (side !== undefined) {
    refuseUnless(side.bytes > 0 && side.bytes < side.every, 'a side table must be smaller than the range it covers');
  }
  refuseUnless(!(explicitZeros && layout.kind === 'flat'), 'a flat layout cannot tell zeros from nothing');
  refuseUnless(!(storeAll && codec !== undefined), 'a layout that stores all blocks does not compress');
  if (codec !== undefined) {
    const { name, level, packing, maxShare } = codec;
    refuseUnless(level >= 1 && level <= (name === 'zstd' ? 22 : 9), 'the codec has no such level');
    refuseUnless(isPowerOfTwo(packing) && packing <= 4096, 'packing must be a power of two of at most 4096');
    refuseUnless(
      maxShare === 0 || (dataAlign === blockSize && packing === 1),
      'blobs share clusters only where a cluster is the block and packing is 1',
    );
    refuseUnless(blockSize <= 4 * MiB, 'compressed blocks are at most 4 MiB');
  }
}

function refuseUnless(good: boolean, what: string): void {
  if (!good) {
    throw new VdconvError('internal', `layout: ${what}`);
  }
}
