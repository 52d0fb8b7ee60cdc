/** The allocation log of a job: what was placed, in order of placement, until the writer takes it. */
import { type Allocation, Placed } from '../map/layout.ts';

const CAPACITY = 4096;

export class AllocationLog {
  #entries: Allocation = emptyAllocation(CAPACITY);

  get count(): number {
    return this.#entries.count;
  }

  /** The entries so far, which are still the log's. */
  get entries(): Allocation {
    return this.#entries;
  }

  push(kind: Placed, index: number, offset: number, stored = 0): void {
    if (this.#entries.count === this.#entries.kind.length) {
      this.#grow();
    }
    const e = this.#entries;
    const i = e.count;
    e.count = i + 1;
    e.kind[i] = kind;
    e.index[i] = index;
    e.blocks[i] = 1;
    e.offset[i] = offset;
    e.stored[i] = stored;
  }

  /** A plain block; continues the entry before where block and offset do (`stride` from one to the next). */
  pushPlain(block: number, offset: number, stride: number): void {
    const e = this.#entries;
    const last = e.count - 1;
    if (last >= 0 && e.kind[last] === Placed.plain) {
      const blocks = e.blocks[last] as number;
      if ((e.index[last] as number) + blocks === block && (e.offset[last] as number) + blocks * stride === offset) {
        e.blocks[last] = blocks + 1;
        return;
      }
    }
    this.push(Placed.plain, block, offset);
  }

  /** `count` blocks of zeros, which have no place; continues the entry before. */
  pushZeros(block: number, count: number): void {
    const e = this.#entries;
    const last = e.count - 1;
    if (last >= 0 && e.kind[last] === Placed.zero && (e.index[last] as number) + (e.blocks[last] as number) === block) {
      e.blocks[last] = (e.blocks[last] as number) + count;
      return;
    }
    this.push(Placed.zero, block, 0);
    this.#entries.blocks[this.#entries.count - 1] = count;
  }

  /** Hands over what was collected and begins anew; what was handed over is not touched again. */
  take(): Allocation {
    const taken = this.#entries;
    this.#entries = emptyAllocation(CAPACITY);
    return taken;
  }

  clear(): void {
    this.#entries.count = 0;
  }

  #grow(): void {
    const old = this.#entries;
    const next = emptyAllocation(2 * old.kind.length);
    next.count = old.count;
    next.kind.set(old.kind);
    next.index.set(old.index);
    next.blocks.set(old.blocks);
    next.offset.set(old.offset);
    next.stored.set(old.stored);
    this.#entries = next;
  }
}

function emptyAllocation(capacity: number): Allocation {
  return {
    count: 0,
    kind: new Uint8Array(capacity),
    index: new Float64Array(capacity),
    blocks: new Float64Array(capacity),
    offset: new Float64Array(capacity),
    stored: new Uint32Array(capacity),
  };
}
