/**
 * The grains of a stream-optimized file in the order in which they lie there, for a source that is read forward: its
 * directory comes last. VMDK 5.0 §Stream-optimized: markers.
 */
import { showNumber, VdconvError } from '../../../base/errors.ts';
import { alignUp, SECTOR, sectorsToBytes } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import { type BatchBuilder, type ExtentBatch, Kind } from '../../../map/extents.ts';
import type { Window } from '../sparse-extent.ts';
import { MarkerType, type SparseExtentHeader } from './layout.ts';

/** u64 sector, u32 bytes of the zlib stream, then that; a marker of metadata has 0 bytes and a type instead. */
const GRAIN_MARKER = 12;
const MARKER = 16;

interface Grain {
  /** Bytes of the extent. */
  start: number;
  end: number;
  /** Of its marker in the file, and with it. */
  offset: number;
  stored: number;
  /** A part of it was given. */
  given: boolean;
}

export class GrainStream {
  readonly #source: ByteSource;
  readonly #header: SparseExtentHeader;
  #at: number;
  #grain: Grain | undefined;
  #ended = false;

  constructor(source: ByteSource, header: SparseExtentHeader) {
    this.#source = source;
    this.#header = header;
    this.#at = sectorsToBytes(header.overHead);
  }

  /** For windows that ascend. */
  async *extents({ from, to, base, file }: Window, out: BatchBuilder): AsyncGenerator<ExtentBatch> {
    let at = from;
    while (at < to) {
      this.#grain ??= await this.#next();
      const grain = this.#grain;
      const gapEnd = Math.min(to, grain?.start ?? to);
      if (at < gapEnd) {
        out.push(base + at, gapEnd - at, Kind.unallocated);
        at = gapEnd;
      } else if (grain !== undefined && grain.end > at) {
        const end = Math.min(to, grain.end);
        out.push(base + at, end - at, Kind.compressed, file, grain.offset, grain.stored, at - grain.start);
        grain.given = true;
        at = end;
      } else if (grain?.given) {
        this.#grain = undefined;
      } else {
        throw this.#outOfOrder(grain as Grain);
      }
      if (out.full) {
        yield out.take();
      }
    }
    if (to >= sectorsToBytes(this.#header.capacity)) {
      await this.#finish();
    }
  }

  /** What ends early ends without its end-of-stream marker. */
  async #finish(): Promise<void> {
    while (!this.#ended) {
      const grain = await this.#next();
      if (grain !== undefined) {
        throw this.#outOfOrder(grain);
      }
    }
  }

  /** The next grain; undefined at the end of the stream. */
  async #next(): Promise<Grain | undefined> {
    while (!this.#ended) {
      const offset = this.#at;
      const bytes = await this.#source.read(offset, MARKER, 'VMDK marker');
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const value = Number(view.getBigUint64(0, true));
      const size = view.getUint32(8, true);
      if (size > 0) {
        const stored = GRAIN_MARKER + size;
        this.#at = alignUp(offset + stored, SECTOR);
        return this.#checked({ start: value * SECTOR, end: 0, offset, stored, given: false });
      }
      const type = view.getUint32(12, true);
      if (type === MarkerType.endOfStream) {
        this.#ended = true;
      } else if (type > MarkerType.footer || value > MAX_METADATA) {
        throw this.#wrong(offset, `a marker of type ${type} over ${showNumber(value)} sectors`);
      }
      this.#at = offset + SECTOR + value * SECTOR;
    }
    return undefined;
  }

  #checked(grain: Grain): Grain {
    const { grainSize, capacity } = this.#header;
    const grainBytes = sectorsToBytes(grainSize);
    if (grain.start % grainBytes !== 0 || grain.start >= sectorsToBytes(capacity)) {
      throw this.#wrong(grain.offset, `a grain for sector ${showNumber(grain.start / SECTOR)} of ${capacity}`);
    }
    // qemu limit: no writer exceeds two grains.
    if (grain.stored > 2 * grainBytes + GRAIN_MARKER) {
      throw this.#wrong(grain.offset, `a grain of ${showNumber(grain.stored)} stored bytes`);
    }
    return { ...grain, end: grain.start + grainBytes };
  }

  #wrong(offset: number, what: string): VdconvError {
    const details = { file: this.#source.name, format: 'vmdk', field: 'marker', offset };
    return new VdconvError('corrupt', `${what} at offset ${showNumber(offset)}; VMDK 5.0 §Stream-optimized`, details);
  }

  #outOfOrder({ start, offset }: Grain): VdconvError {
    const what = `the grain at offset ${showNumber(offset)} is for byte ${showNumber(start)} of the disk, which was passed`;
    return new VdconvError('unsupported', what, {
      file: this.#source.name,
      format: 'vmdk',
      field: 'marker',
      offset,
      hint: 'add --spool DIR to keep the stream in a temporary file',
    });
  }
}

/** Sectors: more than the directory of the largest disk has. */
const MAX_METADATA = 2 ** 24;
