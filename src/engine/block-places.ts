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

  constructor(layout: Layout, log: AllocationLog) {
    this.#layout = layout;
    this.#log = log;
    this.#placer = new Placer(layout, log);
  }

  /** Places the blocks of a plain run in a chunk that begins at guest byte `base`. */
  plainRun({ start, end }: Span, base: number, ops: Ops): void {
    const { kind, dataStart, blockSize, prefixBytes, prefixFill } = this.#layout;
    if (kind === 'flat') {
      ops.push(dataStart + start, end - start, 'chunk', start - base);
      return;
    }
    for (let at = start; at < end; ) {
      const block = Math.floor(at / blockSize);
      const blockStart = block * blockSize;
      const length = Math.min(end, blockStart + blockSize) - at;
      if (this.#current.block !== block) {
        this.#current = { block, offset: this.#reserving(ops, () => this.#placer.plain(block)) };
        if (prefixBytes > 0) {
          ops.push(this.#current.offset - prefixBytes, prefixBytes, 'fill', prefixFill);
        }
      }
      ops.push(this.#current.offset + (at - blockStart), length, 'chunk', at - base);
      at += length;
    }
  }

  /** Places a block that was coded, or that coding did not shrink. */
  encodedBlock({ number, stored, padded, at }: EncodedBlock, base: number, ops: Ops): void {
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
    return kind === 'flat' ? dataStart + virtualSize : this.#reserving(ops, () => this.#placer.finish());
  }

  /** Runs the placer, and reserves in `ops` the places of the tables that it gave out. */
  #reserving(ops: Ops, place: () => number): number {
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
