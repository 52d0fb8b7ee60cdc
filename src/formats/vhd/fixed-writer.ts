/** fixed: the disk as the guest sees it | footer. Nothing is allocated, and one pass is enough. */
import { SECTOR } from '../../base/units.ts';
import type { Layout } from '../../map/layout.ts';
import type { Writer } from '../format.ts';
import { DiskType, NO_OFFSET } from './layout.ts';
import { type DiskValues, encodeFooter } from './writing.ts';

export const FLAT_LAYOUT: Layout = {
  kind: 'flat',
  dataStart: 0,
  blockSize: 4096,
  dataAlign: 1,
  dataPhase: 0,
  prefixBytes: 0,
  prefixFill: 0,
};

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
