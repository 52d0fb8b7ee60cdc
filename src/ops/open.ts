/** `open`: an image to look into. */

import { throwIfAborted, unlessAborted } from '../base/abort.ts';
import { VdconvError } from '../base/errors.ts';
import { loadEngine } from '../engine/engine.ts';
import { openChain } from './chain.ts';
import { describe } from './info.ts';
import { entriesOf } from './map.ts';
import { pieceStream } from './pieces.ts';
import { nameOf } from './source.ts';
import type { DiskImage, ImageSource, OpenOptions, RangeOptions } from './types.ts';

/**
 * Opens an image with its layers. Throws VdconvError: `read` (no such file), `wrong-format`, `corrupt`, `truncated`,
 * `unsupported`, `refused` (it refers to another file and `allowReferences` does not allow it), `limit`, `aborted`.
 */
export async function open(source: ImageSource, options: OpenOptions = {}): Promise<DiskImage> {
  const path = nameOf(source);
  const { engine } = loadEngine();
  const chain = await openChain(source, options, engine);
  const info = describe(chain);
  const { virtualSize } = chain;

  const checkRange = (what: string, start: number, end: number): void => {
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start) {
      throw new VdconvError('usage', `${what}: a range is two whole numbers of bytes`, { file: path });
    }
    if (end > virtualSize) {
      throw new VdconvError('usage', `${what} goes beyond the disk's ${virtualSize} bytes`, { file: path });
    }
  };
  const rangeOf = (what: string, { start = 0, end = virtualSize }: RangeOptions) => {
    checkRange(`${what} of [${start}, ${end})`, start, end);
    return { start, end };
  };

  return {
    filename: path,
    format: info.format,
    virtualSize,
    info,
    async read(offset, length, { signal } = {}) {
      checkRange(`read(${offset}, ${length})`, offset, offset + length);
      throwIfAborted(signal);
      return length === 0 ? new Uint8Array(0) : unlessAborted(signal, chain.read(engine, offset, length));
    },
    extents(range = {}) {
      const { start, end } = rangeOf('extents', range);
      return chain.uses.each(entriesOf(chain, start, end, range.signal));
    },
    stream(range = {}) {
      const read = (offset: number, length: number) => chain.read(engine, offset, length);
      const finish = () => chain.uses.run(() => chain.assertUnchanged());
      return pieceStream({ ...rangeOf('stream', range), read, finish }, range.signal);
    },
    close: () => chain.close(),
  };
}
