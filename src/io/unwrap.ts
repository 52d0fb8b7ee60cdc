/** What is in a compressed file or stream: decompressed as it is read; a file's into a temporary file, zeros left out. */
import { VdconvError } from '../base/errors.ts';
import { formatSize, MiB } from '../base/units.ts';
import { ByteStream, type Chunks } from './byte-stream.ts';
import { decompress } from './decompress.ts';
import { spoolStream } from './spooled-source.ts';
import type { SystemCalls } from './system.ts';
import type { ByteSource } from './types.ts';
import { WRAPPING_HEAD, type Wrapping, wrappingOf } from './wrapping.ts';

export interface UnwrapOptions {
  /** Bytes that may come out, zeros included; asked again as more is read. */
  most: () => number;
  signal?: AbortSignal | undefined;
}

/** What a file is wrapped in, by its content. */
export async function wrappingOfSource(source: ByteSource): Promise<Wrapping | undefined> {
  return wrappingOf(await source.read(0, Math.min(source.size, WRAPPING_HEAD), 'the beginning of the file'));
}

/** Throws, as its reader does, what {@link decompress} throws, `limit`, and `unsupported` where it holds another such. */
export async function unwrapStream(
  kind: Wrapping,
  chunks: Chunks,
  name: string,
  { most, signal }: UnwrapOptions,
): Promise<ByteStream> {
  const stream = new ByteStream(limited(decompress(kind, chunks, name), name, most), name, signal);
  const inner = wrappingOf(await stream.peek(WRAPPING_HEAD));
  if (inner !== undefined) {
    await stream.close();
    const what = `is ${inner} within ${kind}; one wrapping is taken off`;
    throw new VdconvError('unsupported', what, { file: name, hint: 'decompress the outer one first' });
  }
  return stream;
}

/** Closing the result closes `file` too; where this throws, `file` stays open. */
export async function unwrapFile(
  file: ByteSource,
  kind: Wrapping,
  { spool, system, ...options }: UnwrapOptions & { spool?: string | undefined; system?: SystemCalls | undefined },
): Promise<ByteSource> {
  const stream = await unwrapStream(kind, inPieces(file), file.name, options);
  const source = await spoolStream(stream, spool, system).finally(() => stream.close());
  return {
    ...source,
    wrapped: { kind, file },
    async close() {
      await source.close();
      await file.close();
    },
  };
}

async function* limited(pieces: Chunks, name: string, most: () => number): AsyncGenerator<Uint8Array, void> {
  let size = 0;
  for await (const piece of pieces) {
    size += piece.length;
    if (size > most()) {
      const what = `decompresses to more than ${formatSize(most())}, too much for a file of its size`;
      throw new VdconvError('limit', what, {
        file: name,
        hint: 'it may be made to fill your disk; if you trust it, say how much you accept with --max-output=SIZE',
      });
    }
    yield piece;
  }
}

async function* inPieces(file: ByteSource): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < file.size; at += MiB) {
    yield file.read(at, Math.min(MiB, file.size - at), 'the compressed file');
  }
}
