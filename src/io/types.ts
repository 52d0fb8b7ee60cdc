/** The types that formats may know of input and output; values (files, gates) are handed to them. */

/** Bytes that can be read at any offset: a file, memory, later HTTP, NBD or a Blob. Never written. */
export interface ByteSource {
  /** As messages name it. */
  readonly name: string;
  /** Bytes, taken once when the source was opened. */
  readonly size: number;
  /** An open descriptor from which the native engine may read by itself. Absent: it asks {@link read} (callback ring). */
  readonly fd?: number;
  /**
   * Exactly `length` bytes at `offset`, in a buffer the caller may keep.
   * Throws `truncated` naming `what` where the source ends before, `read` where the system fails. Never returns fewer.
   */
  read(offset: number, length: number, what: string): Promise<Uint8Array>;
  /**
   * The parts of [start, end) that are not holes, as [start, end, start, end, …] in order, at most `max` pairs; undefined
   * where the source cannot tell (then all of it is data).
   */
  dataRuns?(start: number, end: number, max: number): Float64Array;
  /** It is on another machine, or no file at all: names inside it mean nothing here. */
  readonly remote?: boolean;
  /** Reads go forward, roughly: what lies far behind the last one is gone. Then `size` may be a bound. */
  readonly forwardOnly?: boolean;
  /** Like {@link read}, but fewer bytes where the source ends before: sources whose `size` is a bound. */
  readUpTo?(offset: number, length: number, what: string): Promise<Uint8Array>;
  /** After the last read: throws where the source turned out not to be what it was, or to be more than was said. */
  finish?(): Promise<void>;
  close(): Promise<void>;
  /** Where the bytes come from that were decompressed into this source: what was opened, may change and has a name. */
  readonly wrapped?: { kind: 'gzip' | 'xz' | 'zstd' | 'bzip2'; file: ByteSource };
}

/** A name inside an image that points to another file. */
export interface Reference {
  kind: 'backing' | 'data-file' | 'parent' | 'extent';
  /** As the image says it, unescaped: untrusted. */
  name: string;
  /** The format that the image declares for it, if it does. */
  format?: string;
}

/**
 * Opens the files that images refer to, or refuses (the default). Throws `refused` with the flag to add,
 * `read` where an allowed file cannot be opened.
 */
export interface ReferenceGate {
  /** @param from the image that holds the reference: relative names are relative to its directory. */
  open(reference: Reference, from: ByteSource): Promise<ByteSource>;
  /** What the name resolves to, for `info`; undefined where it resolves to nothing that could be opened. No I/O on it. */
  resolve(reference: Reference, from: ByteSource): string | undefined;
}
