/** The block map that vdconv writes: for a static disk all of it at once, for the others as blocks are placed. */
import { VdconvError } from '../../base/errors.ts';
import { alignUp, KiB, SECTOR } from '../../base/units.ts';
import { type Allocation, type Content, type Piece, Placed } from '../../map/layout.ts';
import type { Writer } from '../format.ts';
import { type DiskValues, encodeHeader, OFFSET_BLOCKS } from './header-writer.ts';
import { BLOCK_FREE, BLOCK_SIZE, BLOCK_ZERO, ENTRY_BYTES } from './layout.ts';

/** Entries encoded at a time: 256 KiB, 64 GiB of the disk. */
const HELD = 64 * KiB;
/** A piece of the map without a block: one for all of them, since a disk of 64 TiB has a map of 256 MiB. */
const FREE = new Uint8Array(HELD * ENTRY_BYTES).fill(0xff);

export class DynamicWriter implements Writer {
  readonly #values: DiskValues;
  /** With the padding to whole sectors. */
  readonly #entries: number;
  /** Entries from `#first` on. */
  readonly #held = new Uint32Array(HELD).fill(BLOCK_FREE);
  #first = 0;
  #heldAny = false;
  #allocated = 0;

  constructor(values: DiskValues) {
    this.#values = values;
    this.#entries = alignUp(values.blocks * ENTRY_BYTES, SECTOR) / ENTRY_BYTES;
  }

  add(batch: Allocation): Piece[] {
    const pieces: Piece[] = [];
    for (let i = 0; i < batch.count; i += 1) {
      const [kind, index, blocks] = [batch.kind[i], batch.index[i] as number, batch.blocks[i] as number];
      if (kind !== Placed.plain && kind !== Placed.zero) {
        throw new VdconvError('internal', `VDI: placed ${kind}`);
      }
      const entry = kind === Placed.zero ? 0 : ((batch.offset[i] as number) - this.#values.offsetData) / BLOCK_SIZE;
      if (!Number.isInteger(entry)) {
        throw new VdconvError('internal', `VDI: a block at ${batch.offset[i]}`);
      }
      for (let n = 0; n < blocks; n += 1) {
        this.#set(index + n, kind === Placed.zero ? BLOCK_ZERO : entry + n, pieces);
      }
      this.#allocated += kind === Placed.plain ? blocks : 0;
    }
    return pieces;
  }

  #set(block: number, entry: number, pieces: Piece[]): void {
    while (block >= this.#first + HELD) {
      pieces.push(this.#flush());
    }
    this.#held[block - this.#first] = entry;
    this.#heldAny = true;
  }

  #flush(): Piece {
    const count = Math.min(HELD, this.#entries - this.#first);
    const offset = OFFSET_BLOCKS + this.#first * ENTRY_BYTES;
    const bytes = this.#heldAny
      ? encodeEntries(count, (i) => this.#held[i] as number)
      : FREE.subarray(0, count * ENTRY_BYTES);
    this.#held.fill(BLOCK_FREE);
    this.#heldAny = false;
    this.#first += count;
    return { offset, bytes };
  }

  finish(hostEnd: number, content?: Content): { pieces: Piece[]; size: number } {
    const pieces: Piece[] = [];
    while (this.#first < this.#entries) {
      pieces.push(this.#flush());
    }
    pieces.push({ offset: 0, bytes: encodeHeader(this.#values, this.#allocated, content) });
    // Blocks are stored whole; a disk without any ends where they would begin.
    return { pieces, size: Math.max(hostEnd, this.#values.offsetData) };
  }
}

/** Header and map of a disk of which every block has the place of its number. */
export function staticFront(values: DiskValues, content?: Content): Piece[] {
  const { blocks } = values;
  const pieces: Piece[] = [{ offset: 0, bytes: encodeHeader(values, blocks, content) }];
  for (let first = 0; first < blocks; first += HELD) {
    const count = Math.min(HELD, blocks - first);
    pieces.push({
      offset: OFFSET_BLOCKS + first * ENTRY_BYTES,
      // Encoded when it is written: a disk of 64 TiB has 256 MiB of them.
      get bytes() {
        return encodeEntries(count, (i) => first + i);
      },
    });
  }
  return pieces;
}

function encodeEntries(count: number, entry: (i: number) => number): Uint8Array {
  const bytes = new Uint8Array(count * ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i += 1) {
    view.setUint32(i * ENTRY_BYTES, entry(i), true);
  }
  return bytes;
}
