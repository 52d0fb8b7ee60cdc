/**
 * Placement: which host offset a block gets. A pure function of the layout and the sequence of stored blocks, called
 * strictly in virtual order; it never sees data. native/core/src/placement.rs is the same function; the vectors in
 * native/core/tests/placement hold both.
 */
import { VdconvError } from '../base/errors.ts';
import { alignUp } from '../base/units.ts';
import { type Layout, Placed, type TargetCodec } from '../map/layout.ts';
import type { AllocationLog } from './allocation-log.ts';

/** Offsets are doubles. */
const MAX_OFFSET = 2 ** 53;

/** Blocks come in ascending order, once each. */
export class Placer {
  readonly #layout: Layout;
  readonly #log: AllocationLog;
  /** Everything from here on is free. */
  #frontier: number;
  /** Where the next blob may begin inside the open blob cluster, and that cluster's end. */
  #blob = 0;
  #blobEnd = 0;
  /** Blobs that touch the open blob cluster. */
  #sharedBy = 0;
  /** The first side table that has no place yet. */
  #nextSide = 0;
  #group: number | undefined;

  constructor(layout: Layout, log: AllocationLog) {
    this.#layout = layout;
    this.#log = log;
    this.#frontier = layout.dataStart;
  }

  /** The host offset of a plain block's bytes, after their prefix. */
  plain(block: number): number {
    this.#beginGroup(block);
    const { prefixBytes, blockSize, dataAlign, dataPhase } = this.#layout;
    this.#sides();
    // The phase is that of the data: the prefix lies in the gap before it.
    const offset = alignToPhase(this.#frontier + prefixBytes, dataAlign, dataPhase);
    this.#advance(offset + blockSize);
    this.#log.pushPlain(block, offset, prefixBytes + blockSize);
    return offset;
  }

  /** The host offset of a block that takes `length` bytes, framing included. */
  compressed(block: number, length: number): number {
    const { codec } = this.#layout;
    if (codec === undefined) {
      throw new VdconvError('internal', 'a compressed block in a plain layout');
    }
    this.#beginGroup(block);
    const offset = this.#placeBlob(length, codec);
    this.#log.push(Placed.compressed, block, offset, length);
    return offset;
  }

  /** Notes blocks [first, end) as zeros: they take no place, but their tables do. */
  zeros(first: number, end: number): void {
    const { tables } = this.#layout;
    for (let at = first; at < end; ) {
      this.#beginGroup(at);
      const stop = tables === undefined ? end : Math.min(end, at - (at % tables.blocks) + tables.blocks);
      this.#log.pushZeros(at, stop - at);
      at = stop;
    }
  }

  /** Places what is due after the last block. Returns the end of everything placed. */
  finish(): number {
    this.#endGroup();
    const { side } = this.#layout;
    // A disk without data has met no allocation, yet its front tables need their side tables.
    while (side !== undefined && this.#frontier > this.#nextSide * side.every) {
      this.#sides();
    }
    return this.#frontier;
  }

  #placeBlob(length: number, { maxShare, packing }: TargetCodec): number {
    if (maxShare === 0) {
      this.#sides();
      const offset = alignToPhase(this.#frontier, packing, 0);
      this.#advance(offset + alignUp(length, packing));
      return offset;
    }
    const room = this.#blobEnd - this.#blob;
    const sharable = room > 0 && this.#sharedBy < maxShare;
    if (sharable && length <= room) {
      this.#sharedBy += 1;
      this.#blob += length;
      return this.#blob - length;
    }
    // A blob may straddle only into the cluster at the frontier: it must be the next one in the file.
    this.#sides();
    const start = sharable && this.#blobEnd === this.#frontier ? this.#blob : this.#frontier;
    this.#advance(this.#frontier + this.#layout.blockSize);
    this.#blob = start + length;
    this.#blobEnd = this.#frontier;
    this.#sharedBy = 1;
    return start;
  }

  #beginGroup(block: number): void {
    const { tables } = this.#layout;
    if (tables === undefined) {
      return;
    }
    const group = Math.floor(block / tables.blocks);
    if (this.#group !== group) {
      this.#endGroup();
      this.#group = group;
      if (tables.place === 'before') {
        this.#table(group);
      }
    }
  }

  #endGroup(): void {
    const group = this.#group;
    if (this.#layout.tables?.place === 'after' && group !== undefined) {
      this.#group = undefined;
      this.#table(group);
    }
  }

  #table(group: number): void {
    const { tables } = this.#layout;
    if (tables === undefined) {
      return;
    }
    this.#sides();
    const offset = alignToPhase(this.#frontier + tables.marker, tables.align, 0);
    this.#advance(offset + tables.bytes);
    this.#log.push(Placed.table, group, offset);
  }

  /** Gives a place to every side table whose range the frontier has entered. */
  #sides(): void {
    const { side } = this.#layout;
    while (side !== undefined && this.#frontier >= this.#nextSide * side.every) {
      const offset = this.#frontier;
      this.#advance(offset + side.bytes);
      this.#log.push(Placed.side, this.#nextSide, offset);
      this.#nextSide += 1;
    }
  }

  #advance(frontier: number): void {
    if (frontier >= MAX_OFFSET) {
      throw new VdconvError('internal', 'the output would pass 2^53 bytes');
    }
    this.#frontier = frontier;
  }
}

/** The least offset of at least `from` that is `phase` modulo `align`. */
function alignToPhase(from: number, align: number, phase: number): number {
  const over = ((from % align) + align - phase) % align;
  return over === 0 ? from : from + (align - over);
}
