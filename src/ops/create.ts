/** `create`: an image without data, or an empty layer over another image. */
import { loadEngine } from '../engine/engine.ts';
import { produce, withBase } from './convert.ts';
import { emptyDisk } from './empty-disk.ts';
import { targetFormat } from './target.ts';
import type { ConvertResult, CreateOptions } from './types.ts';
import { writeFiles } from './write-files.ts';

/**
 * Makes an empty image of `options.size` bytes, with every option that `convert` has for its target; with `options.base`
 * a layer that shows the base until somebody writes to it.
 *
 * Throws VdconvError: `usage` (also where neither a size nor a base is given), `exists` or `write` for the target, what
 * `open` throws for the base, `limit`, `aborted`.
 */
export async function create(target: string, options: CreateOptions = {}): Promise<ConvertResult> {
  targetFormat(target, options);
  const { engine } = loadEngine();
  return withBase(target, options, engine, async (base) => {
    const chain = emptyDisk(options.size ?? base?.image.virtualSize);
    // Over a base nothing differs, whatever the new layer's size.
    const differs = base && (async () => new Uint8Array(0));
    return produce({
      ...{ engine, chain, source: '', target, options, base: base?.image, differs },
      write: (work) => writeFiles(work, target),
    });
  });
}
