/** What is known of an image without its guest data. */
import { loadEngine } from '../engine/engine.ts';
import type { FileSource } from '../io/file-source.ts';
import { resolveReference } from '../io/gate-policy.ts';
import { type Chain, openTop } from './chain.ts';
import type { ImageInfo, ImageSource, OpenOptions } from './types.ts';

/**
 * Describes an image from its own file alone: what it refers to is listed, never opened, so this needs no permission.
 * Throws as `open` does, but for `refused`.
 */
export async function info(source: ImageSource, options: OpenOptions = {}): Promise<ImageInfo> {
  const chain = await openTop(source, options, loadEngine().engine);
  try {
    return describe(chain);
  } finally {
    await chain.close();
  }
}

export function describe({ top: { source, image } }: Chain): ImageInfo {
  const { facts } = image;
  const file = source.wrapped?.file ?? source;
  return {
    filename: source.name,
    format: image.format,
    subformat: image.subformat,
    virtualSize: image.virtualSize,
    fileSize: file.size,
    allocatedSize: (file as Partial<FileSource>).allocatedSize ?? null,
    ...(source.wrapped && { wrapped: source.wrapped.kind, unwrappedSize: source.size }),
    blockSize: facts.blockSize,
    references: facts.references.map((reference) => {
      const resolved = resolveReference(reference, source);
      return { ...reference, ...(resolved === undefined ? {} : { resolved }) };
    }),
    snapshots: facts.snapshots.map((s) => ({ ...s })),
    encrypted: facts.encrypted,
    compressed: facts.compressed,
    dirty: facts.dirty,
    bitmaps: (facts.bitmaps ?? []).map((b) => ({ ...b })),
    metadata: { ...image.metadata },
    warnings: [...facts.warnings],
    details: { ...facts.details },
  };
}
