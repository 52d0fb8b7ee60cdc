/** The footer of a stream-optimized file, which alone says where the grain directory is. */
import { VdconvError } from '../../../base/errors.ts';
import { illegalValue, type Origin } from '../../../base/struct.ts';
import { alignDown, KiB, SECTOR } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import { GD_AT_END, HOSTED_MAGIC, MarkerType, MetadataMarker, SparseExtentHeader } from './layout.ts';

/** How far before the end a footer is looked for: archive tools pad to 10 KiB, others to 64 KiB. */
const FOOTER_SEARCH = 64 * KiB;

/** The footer: second last sector, or what stands before bytes that other tools appended. */
export async function readFooter(
  source: ByteSource,
  header: SparseExtentHeader,
  warnings: string[],
): Promise<{ footer: SparseExtentHeader; at: number }> {
  const start = alignDown(Math.max(0, source.size - FOOTER_SEARCH - 3 * SECTOR), SECTOR);
  const tail = await source.read(start, source.size - start, 'VMDK footer');
  const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength);
  for (let at = alignDown(tail.length, SECTOR) - 2 * SECTOR; at >= SECTOR; at -= SECTOR) {
    const marker = MetadataMarker.peek(tail, at - SECTOR);
    const last = start + at + 2 * SECTOR === source.size;
    if (
      view.getUint32(at, true) === HOSTED_MAGIC &&
      (last || (marker.size === 0 && marker.type === MarkerType.footer))
    ) {
      const origin = { file: source.name, format: 'vmdk', at: start + at };
      const footer = SparseExtentHeader.decode(tail, origin, at);
      checkFooter(footer, header, origin);
      if (!last) {
        warnings.push(`${source.size - start - at - 2 * SECTOR} bytes follow the end of the stream and are ignored`);
      }
      return { footer, at: origin.at };
    }
  }
  throw new VdconvError('truncated', 'no footer in the last 64 KiB: the file is a stream-optimized VMDK that was cut', {
    file: source.name,
    format: 'vmdk',
    field: 'footer',
    offset: source.size,
    hint: 'copy or download it again',
  });
}

/** A footer is the header again with the place of the grain directory filled in. VMDK 5.0 §Stream-optimized: footer. */
function checkFooter(footer: SparseExtentHeader, header: SparseExtentHeader, origin: Origin): void {
  const wrong = (field: keyof SparseExtentHeader, says: string) =>
    illegalValue(
      'corrupt',
      'VMDK footer',
      field,
      `${footer[field]}`,
      origin,
      origin.at + SparseExtentHeader.fields[field].offset,
      says,
    );
  for (const field of ['flags', 'capacity', 'grainSize', 'numGTEsPerGT', 'compressAlgorithm'] as const) {
    if (footer[field] !== header[field]) {
      throw wrong(field, `the header says ${header[field]}`);
    }
  }
  if (footer.gdOffset === GD_AT_END) {
    throw wrong('gdOffset', 'must be the sector of the grain directory');
  }
}
