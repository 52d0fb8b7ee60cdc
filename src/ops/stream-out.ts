/** `convertStream`: an image made while it is read. */
import { convert } from './convert.ts';
import type { ConvertOptions, ImageSource } from './types.ts';

/**
 * The bytes of the new image, as `convert` writes them into a stream: made no faster than they are read, begun when the
 * first of them is asked for, given up when the stream is cancelled. `options.targetFormat` must be said. A failure errors
 * the stream with the VdconvError that `convert` throws.
 */
export function convertStream(source: ImageSource, options: ConvertOptions): ReadableStream<Uint8Array> {
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  let bytes: ReadableStreamDefaultReader<Uint8Array> | undefined;
  const begin = () => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    // It aborts `writable`, which errors `readable`.
    convert(source, writable, { ...options, signal }).catch(() => {});
    return readable.getReader();
  };
  return new ReadableStream(
    {
      async pull(controller) {
        bytes ??= begin();
        const { done, value } = await bytes.read();
        if (done) {
          controller.close();
        } else {
          controller.enqueue(value);
        }
      },
      cancel(reason) {
        stop.abort(reason);
      },
    },
    { highWaterMark: 0 },
  );
}
