/** What `check` reports, the same for every format: findings, and where the format has them numbers. */
import { VdconvError } from '../base/errors.ts';
import { MiB } from '../base/units.ts';
import type { ByteSource } from '../io/types.ts';
import type { OpenContext } from './format.ts';

/**
 * - `corruption`: the image breaks a rule of its format; its content, or what is written to it later, is in danger;
 * - `leak`: space that the image counts as used and nothing uses: waste only;
 * - `note`: worth knowing, and no fault.
 */
export type Severity = 'corruption' | 'leak' | 'note';

export interface Finding {
  severity: Severity;
  /** Table, structure or field, with the entry where there is one: in the words of the specification. */
  table: string;
  /** Byte offset in `file` of what is wrong. Absent: the file as a whole. */
  offset?: number;
  /** The file of an image that consists of several. Absent: the one that was named. */
  file?: string;
  /** What is wrong, and what the format allows; text from the image is escaped. */
  what: string;
  /** How many corruptions or leaks this is: leaked clusters that follow one another are one finding. */
  count: number;
}

export type Place = Pick<Finding, 'table' | 'offset' | 'file'>;
type Said = Place & Pick<Finding, 'what'>;

/** Findings that are kept; of a hostile image there may be thousands of millions. All are counted. */
export const MAX_FINDINGS = 1000;

export class Findings {
  readonly list: Finding[] = [];
  corruptions = 0;
  leaks = 0;
  /** Things that could not be judged because what they depend on is damaged. */
  checkErrors = 0;
  /** Findings, kept or not. */
  total = 0;

  /** @param said is asked only for findings that are kept. */
  corruption(said: () => Said, count = 1): void {
    this.corruptions += count;
    this.#add('corruption', said, count);
  }

  leak(said: () => Said, count = 1): void {
    this.leaks += count;
    this.#add('leak', said, count);
  }

  note(said: () => Said): void {
    this.#add('note', said, 1);
  }

  /** What `read` gives; undefined where it fails because the image is damaged, which is a corruption then. */
  async attempt<T>(read: () => Promise<T> | T): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      this.failure(error);
      return undefined;
    }
  }

  /** Takes an error of a reader for a corruption. Any other error is thrown again. */
  failure(error: unknown): void {
    if (!(error instanceof VdconvError) || (error.code !== 'corrupt' && error.code !== 'truncated')) {
      throw error;
    }
    this.corruption(() => ({
      table: error.field ?? 'image',
      ...(error.offset === undefined ? {} : { offset: error.offset }),
      what: error.what,
    }));
  }

  #add(severity: Severity, said: () => Said, count: number): void {
    this.total += 1;
    if (this.list.length < MAX_FINDINGS) {
      this.list.push({ severity, ...said(), count });
    }
  }
}

export interface CheckContext extends Pick<OpenContext, 'gate'> {
  findings: Findings;
  /** To be called now and then, with any measure of what is done and in all. Throws where the caller stops. */
  progress(done: number, total: number): void;
}

/** Numbers, where the format has them. */
export interface CheckedImage {
  /** Bytes: where the last thing ends that is in use. */
  imageEndOffset?: number;
  /** Units of allocation: of the virtual disk, and those that are stored. */
  totalClusters?: number;
  allocatedClusters?: number;
  /** Stored units that do not follow the one before, and compressed ones. */
  fragmentedClusters?: number;
  compressedClusters?: number;
  /** Bytes of the file that nothing refers to. */
  unreferencedBytes?: number;
}

/** Like the source's `read`, with zeros for what lies behind the end of the file. */
export async function readPadded(
  source: ByteSource,
  offset: number,
  length: number,
  what: string,
): Promise<Uint8Array> {
  const there = Math.max(0, Math.min(length, source.size - offset));
  if (there === length) {
    return source.read(offset, length, what);
  }
  const bytes = new Uint8Array(length);
  if (there > 0) {
    bytes.set(await source.read(offset, there, what));
  }
  return bytes;
}

/** Whether the source knows that [offset, offset + length) holds nothing but zeros. */
export function isHole(source: ByteSource, offset: number, length: number): boolean {
  const end = Math.min(offset + length, source.size);
  return offset >= end || source.dataRuns?.(offset, end, 1).length === 0;
}

/** Longest piece that {@link ReadAhead} reads at a time. */
const MAX_AHEAD = MiB;

/**
 * Reads small things that mostly follow one another in the file: pieces grow while they are used, so a file that is read
 * from end to end is read in large ones, and a place far away costs no more than itself.
 */
export class ReadAhead {
  readonly #source: ByteSource;
  #at = 0;
  #bytes: Uint8Array = new Uint8Array(0);
  #size = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** Valid until the next call. The range lies in the file. */
  async read(offset: number, length: number, what: string): Promise<Uint8Array> {
    const end = this.#at + this.#bytes.length;
    if (offset < this.#at || offset + length > end) {
      const isNear = offset >= this.#at && offset - end < MAX_AHEAD;
      this.#size = isNear ? Math.min(MAX_AHEAD, this.#size * 2) : 0;
      this.#size = Math.max(this.#size, 4096, length);
      this.#bytes = await this.#source.read(offset, Math.min(this.#size, this.#source.size - offset), what);
      this.#at = offset;
    }
    return this.#bytes.subarray(offset - this.#at, offset - this.#at + length);
  }
}
