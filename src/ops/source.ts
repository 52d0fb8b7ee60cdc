/** Where an image comes from: a file by its path, or bytes that come once and in order. */
import { fstatSync, openSync, type Stats } from 'node:fs';
import { isatty } from 'node:tty';
import { escapeText, VdconvError } from '../base/errors.ts';
import { KiB, TiB } from '../base/units.ts';
import type { Format } from '../formats/format.ts';
import { formatNamed, probeFormat } from '../formats/registry.ts';
import { ByteStream, descriptorChunks } from '../io/byte-stream.ts';
import type { FileSourceOptions } from '../io/file-source.ts';
import { forwardSource } from '../io/forward-source.ts';
import { isNbdUri, openNbdSource } from '../io/nbd/source.ts';
import { spoolStream } from '../io/spooled-source.ts';
import type { ByteSource } from '../io/types.ts';
import { unwrapStream } from '../io/unwrap.ts';
import { WRAPPING_HEAD, wrappingOf } from '../io/wrapping.ts';
import { mostOf, openNamedFile, type SourceOptions } from './named-file.ts';
import { STREAM } from './stream-name.ts';
import type { Descriptor, ImageSource, OpenOptions } from './types.ts';

export interface OpenedSource {
  source: ByteSource;
  /** What the user should know of how it is read, one sentence each. */
  notes: readonly string[];
}

/** @param once the source is read in one pass and nothing of it twice. */
export async function openSource(
  from: ImageSource,
  options: SourceOptions,
  files: FileSourceOptions,
  once: boolean,
): Promise<OpenedSource> {
  if (typeof from === 'string') {
    if (options.size !== undefined) {
      throw new VdconvError('usage', 'the size of a disk is only to be said where it comes as a stream', {
        file: from,
      });
    }
    const opening = isNbdUri(from) ? openNbdSource(from, options) : openNamedFile(from, options, files);
    return { source: await opening, notes: [] };
  }
  if ('fd' in from && isRegularFile(from)) {
    return {
      source: await openNamedFile(STREAM, options, { ...files, open: () => openSync(`/proc/self/fd/${from.fd}`, 'r') }),
      notes: [],
    };
  }
  const outer = new ByteStream('fd' in from ? descriptorChunks(from.fd) : from, STREAM, options.signal);
  try {
    const stream = await unwrapped(outer, options);
    const forward = once && options.spool === undefined ? await openForward(stream, options) : undefined;
    if (forward !== undefined) {
      return { source: forward, notes: [] };
    }
    const source = await spoolStream(stream, options.spool, files.system);
    checkSize(source, options.size);
    const where = options.spool === undefined ? "the system's directory for them" : escapeText(options.spool);
    return { source, notes: [`the input was kept in a temporary file in ${where}, all of it, to be read from there`] };
  } catch (error) {
    await outer.close();
    throw error;
  }
}

/** What a compressed stream holds; a raw disk whose size is said is taken as it is. */
async function unwrapped(stream: ByteStream, { size, signal, maxOutput }: SourceOptions): Promise<ByteStream> {
  const kind = size === undefined ? wrappingOf(await stream.peek(WRAPPING_HEAD)) : undefined;
  const most = mostOf(maxOutput, () => stream.at);
  return kind === undefined ? stream : unwrapStream(kind, stream.rest(), STREAM, { most, signal });
}

/** How results and messages name a source. */
export function nameOf(from: ImageSource): string {
  return typeof from === 'string' ? from : STREAM;
}

const HEAD = 64 * KiB;

/** In constant memory, where the format allows it. */
async function openForward(stream: ByteStream, { format: name, size }: OpenOptions): Promise<ByteSource | undefined> {
  if (size !== undefined) {
    return forwardSource(stream, size);
  }
  const head = await stream.peek(HEAD);
  const format: Format =
    name === undefined
      ? probeFormat({ head, tail: new Uint8Array(), size: 64 * TiB }, stream.name)
      : formatNamed(name, STREAM);
  return format.readsForward?.(head) === true ? forwardSource(stream) : undefined;
}

function checkSize({ name, size }: ByteSource, said: number | undefined): void {
  if (said === undefined || said === size) {
    return;
  }
  throw said > size
    ? new VdconvError('truncated', `the disk is to have ${said} bytes, the stream ended at ${size}`, {
        file: name,
        offset: size,
      })
    : new VdconvError('usage', `the stream goes on after the ${said} bytes that were said`, { file: name });
}

function isRegularFile({ fd }: Descriptor): boolean {
  if (isatty(fd)) {
    throw new VdconvError('usage', 'is a terminal: no disk image comes from there', {
      file: STREAM,
      hint: 'feed it from a pipe (COMMAND |) or a file (< FILE)',
    });
  }
  const file = stat(fd);
  if (file === undefined) {
    throw new VdconvError('usage', `descriptor ${fd} is not open`, { file: STREAM });
  }
  return file.isFile();
}

function stat(fd: number): Stats | undefined {
  try {
    return fstatSync(fd);
  } catch {
    return undefined;
  }
}
