/** A stream as a source that can be read at any offset: all of it is kept in a temporary file first. */
import { VdconvError } from '../base/errors.ts';
import type { ByteStream } from './byte-stream.ts';
import { createSpool } from './spool.ts';
import type { SystemCalls } from './system.ts';
import type { ByteSource } from './types.ts';

/** Runs of zeros of this size, so aligned, become holes. */
const PAGE = 4096;
const ZEROS = new Uint8Array(PAGE);

/**
 * Reads the stream to its end. Throws `write` where the directory has no room for it, and what the stream throws.
 *
 * @param directory of the temporary file; default: the system's.
 */
export async function spoolStream(
  stream: ByteStream,
  directory: string | undefined,
  system: SystemCalls | undefined,
): Promise<ByteSource> {
  const spool = createSpool(directory);
  try {
    for await (const piece of stream.rest()) {
      const begin = stream.at - piece.length;
      for (const [from, to] of dataOf(piece, begin)) {
        await spool.write(begin + from, piece.subarray(from, to));
      }
    }
    const size = stream.at;
    spool.truncate(size);
    return {
      name: stream.name,
      size,
      fd: spool.fd,
      async read(offset, length, what) {
        if (offset + length > size) {
          const message = `${what} needs ${length} bytes at offset ${offset}, the stream ended at ${size}`;
          throw new VdconvError('truncated', message, { file: stream.name, field: what, offset });
        }
        return spool.read(offset, length);
      },
      dataRuns: (start, end, max) => system?.dataRuns(spool.fd, start, end, max) ?? Float64Array.of(start, end),
      close: async () => spool.close(),
    };
  } catch (error) {
    spool.close();
    throw error;
  }
}

/** The parts of a piece that are not whole pages of zeros. @param begin its offset in the file. */
function* dataOf(piece: Uint8Array, begin: number): Generator<[from: number, to: number]> {
  let from = 0;
  for (let at = (PAGE - (begin % PAGE)) % PAGE; at + PAGE <= piece.length; at += PAGE) {
    if (Buffer.compare(piece.subarray(at, at + PAGE), ZEROS) === 0) {
      if (from < at) {
        yield [from, at];
      }
      from = at + PAGE;
    }
  }
  if (from < piece.length) {
    yield [from, piece.length];
  }
}
