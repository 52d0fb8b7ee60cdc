/** [MS-VHDX] §2.5: the block map that the BAT says. It is read in pieces of whole chunks, and as the map is asked for. */
import { showNumber, VdconvError } from '../../base/errors.ts';
import { illegalValue } from '../../base/struct.ts';
import { divCeil, MiB } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import { BatchBuilder, type BlockMap, Kind } from '../../map/extents.ts';
import { bitmapEntry, chunkRatio, type Geometry, payloadEntry } from './geometry.ts';
import { BatEntry, BlockState, blockStateName, UNIT } from './layout.ts';
import type { Occupied } from './occupied.ts';
import { partialExtents, SectorBitmap } from './sector-bitmap.ts';

export interface Disk extends Geometry {
  source: ByteSource;
  /** File offset of the BAT. */
  batOffset: number;
  /** What no block may use. */
  occupied: Occupied;
}

/** Bytes of the BAT read at a time. The largest chunk has 32769 entries, a quarter of it. */
const PIECE = MiB;

/** The block map of [start, end). Entries of other blocks are neither read nor judged, but for bitmaps. */
export async function* blockMap(disk: Disk, start: number, end: number): BlockMap {
  const { blockSize } = disk;
  const ratio = chunkRatio(disk);
  const perPiece = Math.floor(PIECE / BatEntry.bytes / (ratio + 1)) * ratio;
  const out = new BatchBuilder();
  const reader = new BlockReader(disk);
  const last = start < end ? divCeil(end, blockSize) : 0;
  for (let first = Math.floor(start / blockSize); first < last; ) {
    const stop = Math.min(last, first - (first % ratio) + perPiece);
    const bat = await readPiece(disk, ratio, first, stop);
    for (let block = first; block < stop; ) {
      if (out.full) {
        yield out.take();
      }
      const index = payloadEntry(block, ratio);
      const state = bat.state(index);
      // Sparse disks have long runs of absent blocks; the others may lie anywhere.
      const next = state === BlockState.notPresent ? absentEnd(bat, block, stop, ratio) : block + 1;
      const from = Math.max(start, block * blockSize);
      const to = Math.min(end, next * blockSize);
      switch (state) {
        case BlockState.notPresent:
          out.push(from, to - from, Kind.unallocated);
          break;
        // What these hold is arbitrary, or was discarded: zeros then, whatever the parent has.
        case BlockState.undefined:
        case BlockState.zero:
        case BlockState.unmapped:
          out.push(from, to - from, Kind.zero);
          break;
        case BlockState.fullyPresent:
          out.push(from, to - from, Kind.data, 0, reader.place(block, to, bat, index) + (from - block * blockSize));
          break;
        default: {
          const bitmap = await reader.bitmap(block, bat, index, stop);
          const offset = reader.place(block, to, bat, index);
          const { logicalSectorSize: sectorSize } = disk;
          yield* partialExtents({ start: block * blockSize, offset, from, to, sectorSize }, bitmap, out);
        }
      }
      block = next;
    }
    first = stop;
  }
  if (out.count > 0) {
    yield out.take();
  }
}

/** The first block after `block`, or `stop`, that is not absent. */
function absentEnd(bat: BatPiece, block: number, stop: number, ratio: number): number {
  let next = block + 1;
  while (next < stop && bat.state(payloadEntry(next, ratio)) === BlockState.notPresent) {
    next += 1;
  }
  return next;
}

/** A part of the BAT, from entry number `first` on; without bytes all of its entries are 0. */
class BatPiece {
  readonly #view: DataView | undefined;
  readonly #first: number;
  readonly #at: number;

  constructor(bytes: Uint8Array | undefined, first: number, at: number) {
    this.#view = bytes && new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#first = first;
    this.#at = at;
  }

  state(index: number): number {
    return (this.#view?.getUint32(this.#within(index), true) ?? 0) & BatEntry.stateLow;
  }

  /** File offset of the block. */
  offset(index: number): number {
    const low = this.#view?.getUint32(this.#within(index), true) ?? 0;
    const high = this.#view?.getUint32(this.#within(index) + 4, true) ?? 0;
    return high * BatEntry.high + ((low & BatEntry.offsetLow) >>> 0); // u32
  }

  /** File offset of the entry. */
  at(index: number): number {
    return this.#at + this.#within(index);
  }

  #within(index: number): number {
    return (index - this.#first) * BatEntry.bytes;
  }
}

/** The entries of blocks [first, stop), with those of all bitmaps that they may need. */
async function readPiece(disk: Disk, ratio: number, first: number, stop: number): Promise<BatPiece> {
  const { source, batOffset, hasParent } = disk;
  const from = payloadEntry(first, ratio);
  const last = hasParent ? bitmapEntry(Math.floor((stop - 1) / ratio), ratio) : payloadEntry(stop - 1, ratio);
  const at = batOffset + from * BatEntry.bytes;
  const length = (last + 1 - from) * BatEntry.bytes;
  // A BAT that was laid out and never written, half a GiB for the largest disk, is zeros without being read.
  const isHole = source.dataRuns?.(at, at + length, 1).length === 0;
  return new BatPiece(isHole ? undefined : await source.read(at, length, 'VHDX BAT'), from, at);
}

/** Where blocks lie, each judged; and the bitmap of the chunk in which the map is. */
class BlockReader {
  readonly #disk: Disk;
  readonly #ratio: number;
  /** What is taken: two blocks in one place are not told apart from one that two writers fill. */
  readonly #taken: Occupied;
  #chunk: { index: number; firstBlock: number; bytes: Uint8Array } | undefined;

  constructor(disk: Disk) {
    this.#disk = disk;
    this.#ratio = chunkRatio(disk);
    this.#taken = disk.occupied.clone();
  }

  /**
   * The file offset of a block that is present. What the last block has behind the end of the disk may be missing, as in
   * files of older QEMU; every byte that the guest sees must be there, though QEMU reads it as zeros.
   * @param to the guest byte up to which the block is asked for.
   */
  place(block: number, to: number, bat: BatPiece, index: number): number {
    const { blockSize } = this.#disk;
    const needed = to - block * blockSize;
    return this.#claim(`block ${block}`, bat, index, blockSize, needed);
  }

  /** The sectors of block `block`, of which bit 0 is the first; blocks up to `stop` will be asked for, in order. */
  async bitmap(block: number, bat: BatPiece, index: number, stop: number): Promise<SectorBitmap> {
    const { hasParent, blockSize, logicalSectorSize, source } = this.#disk;
    const state = bat.state(index);
    if (state !== BlockState.partiallyPresent || !hasParent) {
      const says = state === BlockState.partiallyPresent ? 'only a differencing disk has such blocks' : 'no state';
      throw this.#illegal(`block ${block}`, blockStateName(state), bat.at(index), says);
    }
    const bytesPerBlock = blockSize / logicalSectorSize / 8;
    const chunk = Math.floor(block / this.#ratio);
    if (this.#chunk?.index !== chunk) {
      const entry = bitmapEntry(chunk, this.#ratio);
      const what = `sector bitmap of chunk ${chunk}`;
      if (bat.state(entry) !== BlockState.fullyPresent) {
        throw this.#illegal(what, blockStateName(bat.state(entry)), bat.at(entry), `block ${block} needs it`);
      }
      const place = this.#claim(what, bat, entry, UNIT, UNIT);
      const blocks = Math.min(stop, (chunk + 1) * this.#ratio) - block;
      const at = place + (block % this.#ratio) * bytesPerBlock;
      const bytes = await source.read(at, blocks * bytesPerBlock, 'VHDX sector bitmap');
      this.#chunk = { index: chunk, firstBlock: block, bytes };
    }
    const { firstBlock, bytes } = this.#chunk;
    const from = (block - firstBlock) * bytesPerBlock;
    return new SectorBitmap(bytes.subarray(from, from + bytesPerBlock));
  }

  /** @returns the file offset of an object of `length` bytes, of which `needed` must be in the file. */
  #claim(what: string, bat: BatPiece, index: number, length: number, needed: number): number {
    const { source } = this.#disk;
    const offset = bat.offset(index);
    const at = bat.at(index);
    if (offset + needed > source.size) {
      const message = `BAT: the ${what} lies at ${offset} to ${offset + needed}, the file ends at ${source.size}`;
      const where = { file: source.name, format: 'vhdx', field: 'BAT', offset: at };
      throw new VdconvError('truncated', `${message} (entry at offset ${at})`, where);
    }
    if (!this.#taken.claim(offset, length)) {
      const says = 'it overlaps the header section, the log, a region or another block';
      throw this.#illegal(what, `at ${showNumber(offset)}`, at, says);
    }
    return offset;
  }

  #illegal(what: string, value: string, at: number, says: string): VdconvError {
    const where = { file: this.#disk.source.name, format: 'vhdx' };
    return illegalValue('corrupt', 'VHDX BAT', what, value, where, at, `${says}; [MS-VHDX] §2.5.1`);
  }
}
