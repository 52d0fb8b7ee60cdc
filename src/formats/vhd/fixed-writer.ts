/** fixed: the disk as the guest sees it | footer. Nothing is allocated, and one pass is enough. */
import { SECTOR } from '../../base/units.ts';
import type { Writer } from '../format.ts';
import { DiskType, NO_OFFSET } from './layout.ts';
import { type DiskValues, encodeFooter } from './writing.ts';

export function fixedWriter(values: DiskValues): Writer {
  // Behind the whole disk, wherever its last data ended.
  const offset = values.virtualSize;
  return {
    add: () => [],
    finish(_hostEnd, content) {
      const bytes = encodeFooter(values, { diskType: DiskType.fixed, dataOffset: NO_OFFSET }, content);
      return { pieces: [{ offset, bytes }], size: offset + SECTOR };
    },
  };
}
