/** A disk that comes from no file. */
import { VdconvError } from '../base/errors.ts';
import type { Image } from '../formats/format.ts';
import { memorySource } from '../io/memory-source.ts';
import { Kind } from '../map/extents.ts';
import { uniform } from '../map/uniform.ts';
import { Chain } from './chain.ts';

/** Zeros, `size` bytes of them. Throws `usage` where that is no size. */
export function emptyDisk(size: number | undefined): Chain {
  if (size === undefined || !Number.isSafeInteger(size) || size < 0) {
    const what = size === undefined ? 'neither a size nor a base is given' : `a size of ${size} bytes`;
    throw new VdconvError('usage', `${what}: a new image has a whole number of bytes`);
  }
  const image: Image = {
    format: 'raw',
    subformat: '',
    virtualSize: size,
    dataFiles: [],
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
    extents: (start, end) => uniform(start, end, Kind.zero),
  };
  return new Chain([{ source: memorySource(new Uint8Array(0), 'an empty disk'), image }]);
}
