/** A file that is an image: as it is, or what it is compressed from. */
import { outputLimit } from '../base/limits.ts';
import { formatNamed } from '../formats/registry.ts';
import { type FileSourceOptions, openFileSource } from '../io/file-source.ts';
import type { ByteSource } from '../io/types.ts';
import { unwrapFile, wrappingOfSource } from '../io/unwrap.ts';
import { WRAPPING_EXTENSIONS, type Wrapping } from '../io/wrapping.ts';
import { STREAM } from './stream-name.ts';
import type { OpenOptions } from './types.ts';

/** How an image is opened, and what of {@link ConvertOptions} bounds what it decompresses to. */
export interface SourceOptions extends OpenOptions {
  maxOutput?: number | undefined;
}

/** The file that the user named. What references lead to is never decompressed. */
export async function openNamedFile(
  path: string,
  options: SourceOptions,
  files: FileSourceOptions,
): Promise<ByteSource> {
  const file = await openFileSource(path, files);
  try {
    const kind = await wrappingOfSource(file);
    if (kind === undefined || isContent(kind, path, options)) {
      return file;
    }
    const { spool, signal, maxOutput } = options;
    return await unwrapFile(file, kind, {
      spool,
      most: mostOf(maxOutput, () => file.size),
      signal,
      system: files.system,
    });
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** @param given 0: any number. @param compressed bytes so far. */
export function mostOf(given: number | undefined, compressed: () => number): () => number {
  return () => (given === 0 ? Number.POSITIVE_INFINITY : (given ?? outputLimit(compressed())));
}

/**
 * A raw disk may begin with anything: where it is said to be one, only the file's name tells that it is compressed. What
 * has no name is taken for compressed unless its size is said.
 */
function isContent(kind: Wrapping, path: string, { format, size }: SourceOptions): boolean {
  if (path === STREAM) {
    return size !== undefined;
  }
  const raw = format !== undefined && formatNamed(format, 'format').name === 'raw';
  return raw && !path.toLowerCase().endsWith(WRAPPING_EXTENSIONS[kind]);
}
