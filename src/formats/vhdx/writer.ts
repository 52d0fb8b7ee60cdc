/** Turns the engine's allocation into the BAT. Memory: the piece of it that is being filled, or all of a fixed disk's. */
import { VdconvError } from '../../base/errors.ts';
import { alignUp, MiB } from '../../base/units.ts';
import { type Allocation, type Content, type Piece, Placed } from '../../map/layout.ts';
import type { Writer } from '../format.ts';
import { batOffset, encodeFront, frontBytes, type NewDisk } from './front.ts';
import { batEntries, chunkRatio, payloadBlocks, payloadEntry } from './geometry.ts';
import type { Ids, IdsOf } from './ids.ts';
import { BatEntry, BlockState, UNIT } from './layout.ts';

/** Entries of the BAT that are collected before they are written: 1 MiB. */
const ENTRIES_HELD = MiB / BatEntry.bytes;

/**
 * Entries of blocks that are not stored stay 0, PAYLOAD_BLOCK_NOT_PRESENT: what Windows writes, and zeros to everyone, or
 * what the parent has.
 */
export class DynamicWriter implements Writer {
  readonly #disk: NewDisk;
  readonly #ratio: number;
  /** Entries from number `#first` on, of which [lowest, highest) may be other than 0. */
  readonly #held = new DataView(new ArrayBuffer(ENTRIES_HELD * BatEntry.bytes));
  #first = 0;
  #lowest = Number.POSITIVE_INFINITY;
  #highest = 0;

  readonly #ids: IdsOf;

  constructor(disk: NewDisk, ids: IdsOf) {
    this.#disk = disk;
    this.#ids = ids;
    this.#ratio = chunkRatio(disk);
  }

  add(batch: Allocation): Piece[] {
    const pieces: Piece[] = [];
    const { blockSize } = this.#disk;
    for (let i = 0; i < batch.count; i += 1) {
      const kind = batch.kind[i];
      if (kind !== Placed.plain && kind !== Placed.zero) {
        throw new VdconvError('internal', `VHDX writer: placed ${kind}`);
      }
      const state = kind === Placed.plain ? BlockState.fullyPresent : BlockState.zero;
      const block = batch.index[i] as number;
      const offset = batch.offset[i] as number;
      for (let n = 0; n < (batch.blocks[i] as number); n += 1) {
        const at = kind === Placed.plain ? offset + n * blockSize : 0;
        this.#set(payloadEntry(block + n, this.#ratio), state, at, pieces);
      }
    }
    return pieces;
  }

  finish(hostEnd: number, content?: Content): { pieces: Piece[]; size: number } {
    const pieces = [...this.#flush(), ...encodeFront(this.#disk, this.#ids(content))];
    return { pieces, size: alignUp(Math.max(hostEnd, frontBytes(this.#disk)), UNIT) };
  }

  #set(index: number, state: number, offset: number, pieces: Piece[]): void {
    const within = index % ENTRIES_HELD;
    if (index - within !== this.#first) {
      pieces.push(...this.#flush());
      this.#first = index - within;
    }
    setEntry(this.#held, within, state, offset);
    this.#lowest = Math.min(this.#lowest, within);
    this.#highest = Math.max(this.#highest, within + 1);
  }

  /** What was set; a new file has zeros elsewhere. */
  #flush(): Piece[] {
    if (this.#highest === 0) {
      return [];
    }
    const [from, to] = [this.#lowest * BatEntry.bytes, this.#highest * BatEntry.bytes];
    const bytes = new Uint8Array(this.#held.buffer.slice(from, to));
    new Uint8Array(this.#held.buffer).fill(0, from, to);
    this.#lowest = Number.POSITIVE_INFINITY;
    this.#highest = 0;
    return [{ offset: batOffset(this.#disk) + this.#first * BatEntry.bytes + from, bytes }];
  }
}

/** All of a fixed disk's front: every block has its place, the guest's byte n that of byte n behind the front. */
export function fixedFront(disk: NewDisk, ids: Ids): Piece[] {
  const { blockSize } = disk;
  const bat = new DataView(new ArrayBuffer(batEntries(disk) * BatEntry.bytes));
  const ratio = chunkRatio(disk);
  const blocks = payloadBlocks(disk);
  const dataStart = frontBytes(disk);
  for (let block = 0; block < blocks; block += 1) {
    setEntry(bat, payloadEntry(block, ratio), BlockState.fullyPresent, dataStart + block * blockSize);
  }
  return [{ offset: batOffset(disk), bytes: new Uint8Array(bat.buffer) }, ...encodeFront(disk, ids)];
}

/** The last block is whole, as the specification has it, though the disk may end before. */
export function fixedSize(disk: NewDisk): number {
  return frontBytes(disk) + payloadBlocks(disk) * disk.blockSize;
}

/** `offset` is a multiple of 1 MiB: the state takes bits that are 0. */
function setEntry(bat: DataView, index: number, state: number, offset: number): void {
  const low = offset % BatEntry.high;
  bat.setUint32(index * BatEntry.bytes, low + state, true);
  bat.setUint32(index * BatEntry.bytes + 4, (offset - low) / BatEntry.high, true);
}
