/** `open`: an image to look into. */
import { VdconvError } from '../base/errors.ts';
import { loadEngine } from '../engine/engine.ts';
import { openChain } from './chain.ts';
import { describe } from './info.ts';
import type { DiskImage, OpenOptions } from './types.ts';

/**
 * Opens an image with its layers. Throws VdconvError: `read` (no such file), `corrupt`, `truncated`, `unsupported`,
 * `refused` (it refers to another file and `allowReferences` does not allow it), `limit`.
 */
export async function open(path: string, options: OpenOptions = {}): Promise<DiskImage> {
  const { engine } = loadEngine();
  const chain = await openChain(path, options, engine);
  const info = describe(chain);
  const { virtualSize } = chain;
  return {
    filename: path,
    format: info.format,
    virtualSize,
    info,
    async read(offset, length) {
      if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
        throw new VdconvError('usage', `read(${offset}, ${length}): offset and length are whole numbers of bytes`);
      }
      if (offset + length > virtualSize) {
        throw new VdconvError('usage', `read(${offset}, ${length}) goes beyond the disk's ${virtualSize} bytes`, {
          file: path,
        });
      }
      if (length === 0) {
        return new Uint8Array(0);
      }
      return engine.read(chain.dataFiles, chain.extents(offset, offset + length), offset, length);
    },
    close: () => chain.close(),
  };
}
