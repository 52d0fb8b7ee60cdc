/** Turns what a unit has to store into places and writes: the placer, and what outlives a unit. */
import type { Layout } from '../map/layout.ts';
import { Placed } from '../map/layout.ts';
import type { AllocationLog } from './allocation-log.ts';
import type { EncodedBlock } from './block-encoder.ts';
import type { Ops } from './ops.ts';
import { Placer } from './placement.ts';
import type { Span } from './zeros.ts';

export class BlockPlaces {
  readonly #layout: Layout;
  readonly #log: AllocationLog;
  readonly #placer: Placer;
  /** The plain block that was placed last: later units of a block larger than a chunk write inside it. */
  #current = { block: -1, offset: 0 };
  /** The last block that had no data so far: a later unit of it may have some. */
  #zero: number | undefined;

  constructor(layout: Layout, log: AllocationLog) {
    this.#layout = layout;
    this.#log = log;
    this.#placer = new Placer(layout, log);
  }

  /** Places the blocks of a plain run in a chunk that begins at guest byte `base`. */
  plainRun({ start, end }: Span, base: number, ops: Ops): void {
    const { kind, dataStart, blockSize } = this.#layout;
    if (kind === 'flat') {
      ops.push(dataStart + start, end - start, 'chunk', start - base);
      return;
    }
    for (let at = start; at < end; ) {
      const block = Math.floor(at / blockSize);
      const blockStart = block * blockSize;
      const length = Math.min(end, blockStart + blockSize) - at;
      ops.push(this.#plain(block, ops) + (at - blockStart), length, 'chunk', at - base);
      at += length;
    }
  }

  /** Blocks without data in this unit: noted, or given places that stay holes. */
  zeroBlocks({ start, end }: Span, ops: Ops): void {
    if (this.#layout.storeAll) {
      for (let block = start; block < end; block += 1) {
        this.#plain(block, ops);
      }
      return;
    }
    const first = this.#current.block === start ? start + 1 : start;
    this.#settleZero(first, ops);
    if (first < end) {
      this.#reserving(ops, () => this.#placer.zeros(first, end - 1));
      this.#zero = end - 1;
    }
  }

  /** The place of a plain block: given now, or by an earlier unit. */
  #plain(block: number, ops: Ops): number {
    const { prefixBytes, prefixFill } = this.#layout;
    if (this.#current.block !== block) {
      this.#settleZero(block, ops);
      this.#current = { block, offset: this.#reserving(ops, () => this.#placer.plain(block)) };
      if (prefixBytes > 0) {
        ops.push(this.#current.offset - prefixBytes, prefixBytes, 'fill', prefixFill);
      }
    }
    return this.#current.offset;
  }

  /** Notes the block that was left open, unless it is the one that comes next. */
  #settleZero(next: number | undefined, ops: Ops): void {
    const block = this.#zero;
    this.#zero = undefined;
    if (block !== undefined && block !== next) {
      this.#reserving(ops, () => this.#placer.zeros(block, block + 1));
    }
  }

  /** Places a block that was coded, or that coding did not shrink. */
  encodedBlock({ number, stored, padded, at }: EncodedBlock, base: number, ops: Ops): void {
    this.#settleZero(number, ops);
    if (stored > 0) {
      const offset = this.#reserving(ops, () => this.#placer.compressed(number, stored));
      // The padding belongs to the write, so that neighbours merge and a stream has no gap.
      ops.push(offset, padded, 'encoded', at);
    } else {
      const { blockSize } = this.#layout;
      const offset = this.#reserving(ops, () => this.#placer.plain(number));
      ops.push(offset, blockSize, 'chunk', number * blockSize - base);
    }
  }

  /** What is due after the last unit. Returns the end of everything placed. */
  finish(virtualSize: number, ops: Ops): number {
    const { kind, dataStart } = this.#layout;
    this.#settleZero(undefined, ops);
    return kind === 'flat' ? dataStart + virtualSize : this.#reserving(ops, () => this.#placer.finish());
  }

  /** Runs the placer, and reserves in `ops` the places of the tables that it gave out. */
  #reserving<T>(ops: Ops, place: () => T): T {
    const { tables, side } = this.#layout;
    const before = this.#log.count;
    const result = place();
    const { count, kind, offset } = this.#log.entries;
    for (let i = before; i < count; i += 1) {
      if (kind[i] === Placed.table && tables !== undefined) {
        ops.push((offset[i] as number) - tables.marker, tables.marker + tables.bytes, 'writer');
      } else if (kind[i] === Placed.side && side !== undefined) {
        ops.push(offset[i] as number, side.bytes, 'writer');
      }
    }
    return result;
  }
}
