/**
 * How large the disk is. Every program but Virtual PC goes by `currentSize`; Virtual PC showed its guest the geometry,
 * which rounds that down by less than a cylinder. qemu decides by the creator too, and not always in the same way.
 */
import { MiB } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import { type BlockMap, Kind } from '../../map/extents.ts';
import { chsSize } from './geometry.ts';
import type { Footer } from './layout.ts';
import { text } from './metadata.ts';

/** @param map of a part of the disk, up to `currentSize`. */
export async function virtualSize(
  source: ByteSource,
  footer: Footer,
  map: (start: number, end: number) => BlockMap,
  warnings: string[],
): Promise<number> {
  const { currentSize } = footer;
  const shown = text(footer.creatorApplication) === 'vpc' ? chsSize(footer, currentSize) : undefined;
  if (shown === undefined) {
    return currentSize;
  }
  const difference = `Virtual PC's geometry has ${shown} bytes, currentSize is ${currentSize}`;
  if (await isZero(source, map(shown, currentSize))) {
    warnings.push(`${difference}: the geometry's is taken, as Virtual PC and QEMU do; nothing is stored behind it`);
    return shown;
  }
  warnings.push(`${difference}: that is taken, because data is stored behind the geometry; QEMU takes the geometry's`);
  return currentSize;
}

/** Less than a cylinder is looked at: 2 MiB. */
async function isZero(source: ByteSource, map: BlockMap): Promise<boolean> {
  for await (const { count, kind, offset, length } of map) {
    for (let i = 0; i < count; i += 1) {
      if (kind[i] === Kind.data) {
        const end = (offset[i] as number) + (length[i] as number);
        for (let at = offset[i] as number; at < end; at += MiB) {
          const bytes = await source.read(at, Math.min(MiB, end - at), 'VHD data behind the geometry');
          if (bytes.some((byte) => byte !== 0)) {
            return false;
          }
        }
      }
    }
  }
  return true;
}
