/** The bytes that decide a file's format. */
import { KiB } from '../base/units.ts';
import type { Sample } from '../formats/format.ts';
import type { ByteSource } from '../io/types.ts';

const SAMPLE = 64 * KiB;

export async function readSample(source: ByteSource): Promise<Sample> {
  const length = Math.min(source.size, SAMPLE);
  if (source.forwardOnly === true) {
    return {
      head: await source.read(0, length, 'the beginning of the file'),
      tail: new Uint8Array(),
      size: source.size,
    };
  }
  return {
    head: await source.read(0, length, 'the beginning of the file'),
    tail: await source.read(source.size - length, length, 'the end of the file'),
    size: source.size,
  };
}
