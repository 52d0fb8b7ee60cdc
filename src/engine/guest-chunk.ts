/** One chunk of the virtual disk as the guest sees it: read, decoded, zeros between. */
import { VdconvError } from '../base/errors.ts';
import { alignDown, alignUp } from '../base/units.ts';
import type { DataFile } from '../map/data-file.ts';
import { type Extent, Kind } from '../map/extents.ts';
import type { BlockCodec } from './block-codec.ts';
import { hasBytes, type Unit } from './chunks.ts';
import { decodeUnit } from './codec.ts';
import { readFully } from './descriptor.ts';
import { cannotRead, corruptUnit, cutOff } from './failures.ts';
import { FINGERPRINT_BLOCK, type Fingerprint } from './fingerprint.ts';
import type { Span } from './zeros.ts';

export interface Filling {
  files: readonly DataFile[];
  /** Present where a file has a codec. */
  codecs: BlockCodec | undefined;
  chunk: number;
  /** Regions are widened to multiples of this. */
  grain: number;
  /** Whether zeros are bytes like others (`-S 0`). */
  zerosAreBytes: boolean;
  /** A region may end behind the end of the disk, at a multiple of this: a block to be compressed is whole. Else 1. */
  block: number;
  /** Where the map begins on the disk; all other offsets count from there. */
  origin: number;
}

export class GuestChunk {
  /** Bytes outside `regions` are stale. */
  readonly bytes: Uint8Array;
  /** Guest ranges of the chunk that hold bytes, widened to whole grains with zeros. */
  readonly regions: Span[] = [];
  readonly #how: Filling;
  /** Guest byte at which the chunk begins. */
  #base = 0;
  /** Stored bytes of one compressed unit, and one decoded unit that is only partly wanted. */
  #stored = new Uint8Array();
  #unit = new Uint8Array();

  constructor(how: Filling) {
    this.#how = how;
    this.bytes = new Uint8Array(how.chunk);
  }

  async fill(unit: Unit): Promise<void> {
    const { grain, block, zerosAreBytes } = this.#how;
    const limit = alignUp(unit.end, block);
    this.#base = unit.start;
    this.regions.length = 0;
    let filled = unit.start;
    for (const segment of unit.segments) {
      if (!zerosAreBytes && !hasBytes(segment.kind)) {
        continue;
      }
      const start = alignDown(segment.start, grain);
      const end = Math.min(alignUp(segment.start + segment.length, grain), limit);
      const last = this.regions.at(-1);
      if (last !== undefined && start <= last.end) {
        this.#zero(filled, segment.start);
        last.end = end;
      } else {
        this.#zero(filled, last?.end ?? filled);
        this.#zero(start, segment.start);
        this.regions.push({ start, end });
      }
      await this.#readSegment(segment);
      filled = segment.start + segment.length;
    }
    this.#zero(filled, this.regions.at(-1)?.end ?? filled);
  }

  /** Adds what the unit's bytes contribute to the disk's fingerprint. */
  addTo(fingerprint: Fingerprint, unit: Unit): void {
    for (const { start, end } of this.regions) {
      for (let at = start; at < Math.min(end, unit.end); at += FINGERPRINT_BLOCK) {
        const stop = Math.min(at + FINGERPRINT_BLOCK, unit.end);
        const block = this.bytes.subarray(at - unit.start, stop - unit.start);
        fingerprint.add((this.#how.origin + at) / FINGERPRINT_BLOCK, block);
      }
    }
  }

  async #readSegment(segment: Extent): Promise<void> {
    const at = segment.start - this.#base;
    if (segment.kind === Kind.data) {
      await this.#read(this.bytes.subarray(at, at + segment.length), segment.file, segment.offset);
    } else if (segment.kind === Kind.compressed) {
      await this.#decode(at, segment);
    } else {
      this.bytes.fill(0, at, at + segment.length);
    }
  }

  async #decode(at: number, segment: Extent): Promise<void> {
    const { source, codec } = this.#file(segment.file);
    const { length, skip, offset } = segment;
    if (codec === undefined || this.#how.codecs === undefined) {
      throw new VdconvError('internal', 'a compressed extent in a file without a codec');
    }
    if (skip + length > codec.unit || segment.stored > 4 * codec.unit + 4096) {
      throw new VdconvError('internal', 'a compressed extent larger than its unit');
    }
    // `stored` is a bound: the file may end before it, and the stream may too.
    const there = Math.max(1, Math.min(segment.stored, source.size - offset));
    if (this.#stored.length < there) {
      this.#stored = new Uint8Array(there);
    }
    const stored = this.#stored.subarray(0, there);
    await this.#read(stored, segment.file, offset);
    // Straight into the chunk where it fits: what it overwrites behind the segment is filled after it.
    const direct = skip === 0 && at + codec.unit <= this.bytes.length;
    if (!direct && this.#unit.length !== codec.unit) {
      this.#unit = new Uint8Array(codec.unit);
    }
    const out = direct ? this.bytes.subarray(at, at + codec.unit) : this.#unit;
    // What does not decode and was cut short by the end of the file is missing, not damaged.
    const corrupt = (what: string) =>
      there < segment.stored ? cutOff(source.name, offset, source.size) : corruptUnit(source.name, offset, what);
    const got = decodeUnit(this.#how.codecs, codec, this.#how.origin + segment.start - skip, stored, out, corrupt);
    if (got < skip + length) {
      throw corrupt(`the compressed data decodes to ${got} bytes of ${skip + length}`);
    }
    if (!direct) {
      this.bytes.set(out.subarray(skip, skip + length), at);
    }
  }

  /** Fills `bytes`, or says which are missing. Never fewer, never zeros. */
  async #read(bytes: Uint8Array, file: number, offset: number): Promise<void> {
    const { source } = this.#file(file);
    const missing = (end: number) => {
      const what = `${bytes.length} bytes of guest data at offset ${offset} are missing: the file ends at ${end}`;
      return new VdconvError('truncated', what, { file: source.name, offset });
    };
    if (offset + bytes.length > source.size) {
      throw missing(source.size);
    }
    if (source.fd === undefined) {
      const got = await source.read(offset, bytes.length, 'guest data');
      if (got.length !== bytes.length) {
        throw new VdconvError('internal', `a source gave ${got.length} bytes for ${bytes.length}`);
      }
      bytes.set(got);
      return;
    }
    const got = await readFully(source.fd, bytes, offset).catch((cause: unknown) => {
      throw cannotRead(source.name, offset, cause);
    });
    if (got < bytes.length) {
      throw missing(offset + got);
    }
  }

  #file(file: number): DataFile {
    const found = this.#how.files[file];
    if (found === undefined) {
      throw new VdconvError('internal', `data file ${file} does not exist`);
    }
    return found;
  }

  /** Zeroes guest bytes [from, to); nothing where `to` is not beyond `from`. */
  #zero(from: number, to: number): void {
    if (to > from) {
      this.bytes.fill(0, from - this.#base, to - this.#base);
    }
  }
}
