/**
 * dynamic and differencing: footer copy | dynamic header | BAT | parent locators | blocks, each behind its bitmap | footer.
 * Data begin at multiples of 4 KiB, as Hyper-V 2012 and later place them: the bitmap lies in the gap before.
 */
import { VdconvError } from '../../base/errors.ts';
import { alignUp, divCeil, KiB, SECTOR } from '../../base/units.ts';
import { type Allocation, type Content, type Layout, type Piece, Placed } from '../../map/layout.ts';
import type { WritePlan, Writer } from '../format.ts';
import { sealed } from './checksum.ts';
import {
  BAT_UNUSED,
  bitmapBytes,
  DiskType,
  DynamicHeader,
  ENTRY_BYTES,
  Footer,
  HEADER_COOKIE,
  LOCATOR_BYTES,
  LOCATORS,
  NO_OFFSET,
  UNICODE_NAME_BYTES,
  VERSION_1,
} from './layout.ts';
import { locatorBytes, type NewParent, placeLocators } from './new-parent.ts';
import { type DiskValues, encodeFooter } from './writing.ts';

const HEADER_AT = Footer.size;
const BAT_AT = HEADER_AT + DynamicHeader.size;
const DATA_ALIGN = 4 * KiB;

/** Entries of the BAT held before they are written: 64 KiB, 32 GiB of the disk in blocks of 2 MiB. */
const HELD = 16 * KiB;

interface Places {
  blockSize: number;
  blocks: number;
  /** Of the BAT, padded to whole sectors with unused entries. */
  entries: number;
  prefixBytes: number;
  parent: NewParent | undefined;
}

export function planDynamic(
  values: DiskValues,
  blockSize: number,
  parent?: NewParent,
): Pick<WritePlan, 'layout' | 'writer'> {
  const blocks = divCeil(values.virtualSize, blockSize);
  const batBytes = alignUp(blocks * ENTRY_BYTES, SECTOR);
  const prefixBytes = bitmapBytes(blockSize);
  const layout: Layout = {
    kind: 'blocks',
    dataStart: BAT_AT + batBytes + (parent === undefined ? 0 : locatorBytes(parent)),
    blockSize,
    dataAlign: DATA_ALIGN,
    dataPhase: 0,
    prefixBytes,
    // Every sector of a block that is stored is there: zeros are stored as zeros.
    prefixFill: 0xff,
    // Nothing but a stored block hides the parent: zeros over it are stored too.
    ...(parent && { explicitZeros: true, storeAll: true }),
  };
  const places = { blockSize, blocks, entries: batBytes / ENTRY_BYTES, prefixBytes, parent };
  return { layout, writer: () => new DynamicWriter(values, places) };
}

class DynamicWriter implements Writer {
  readonly #values: DiskValues;
  readonly #places: Places;
  /** Entries of the BAT from `#first` on. */
  readonly #held = new Uint32Array(HELD).fill(BAT_UNUSED);
  #first = 0;

  constructor(values: DiskValues, places: Places) {
    this.#values = values;
    this.#places = places;
  }

  add(batch: Allocation): Piece[] {
    const { blockSize, prefixBytes } = this.#places;
    const pieces: Piece[] = [];
    for (let i = 0; i < batch.count; i += 1) {
      if (batch.kind[i] !== Placed.plain) {
        throw new VdconvError('internal', `VHD: placed ${batch.kind[i]}`);
      }
      const block = batch.index[i] as number;
      const offset = batch.offset[i] as number;
      for (let n = 0; n < (batch.blocks[i] as number); n += 1) {
        this.#set(block + n, toEntry(offset + n * (prefixBytes + blockSize) - prefixBytes), pieces);
      }
    }
    return pieces;
  }

  #set(block: number, entry: number, pieces: Piece[]): void {
    while (block >= this.#first + HELD) {
      pieces.push(this.#flush());
    }
    this.#held[block - this.#first] = entry;
  }

  /** Unlike zeros, unused entries must be written. */
  #flush(): Piece {
    const count = Math.min(HELD, this.#places.entries - this.#first);
    const bytes = new Uint8Array(count * ENTRY_BYTES);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < count; i += 1) {
      view.setUint32(i * ENTRY_BYTES, this.#held[i] as number);
    }
    const offset = BAT_AT + this.#first * ENTRY_BYTES;
    this.#held.fill(BAT_UNUSED);
    this.#first += count;
    return { offset, bytes };
  }

  finish(hostEnd: number, content?: Content): { pieces: Piece[]; size: number } {
    const { parent, entries } = this.#places;
    const pieces: Piece[] = [];
    while (this.#first < entries) {
      pieces.push(this.#flush());
    }
    const diskType = parent === undefined ? DiskType.dynamic : DiskType.differencing;
    const footer = encodeFooter(this.#values, { diskType, dataOffset: BigInt(HEADER_AT) }, content);
    const locators = parent && placeLocators(parent, BAT_AT + entries * ENTRY_BYTES);
    pieces.push(...(locators?.pieces ?? []));
    // The file ends at a multiple of the alignment: Hyper-V appends the next block's bitmap where the footer was.
    const size = alignUp(hostEnd + footer.length, DATA_ALIGN);
    pieces.push({ offset: HEADER_AT, bytes: this.#header(locators?.table) });
    pieces.push({ offset: 0, bytes: footer });
    pieces.push({ offset: size - footer.length, bytes: footer });
    return { pieces, size };
  }

  #header(parentLocators: Uint8Array = new Uint8Array(LOCATORS * LOCATOR_BYTES)): Uint8Array {
    const { blocks, blockSize, parent } = this.#places;
    const header = DynamicHeader.encode({
      cookie: Uint8Array.from(HEADER_COOKIE),
      dataOffset: NO_OFFSET,
      tableOffset: BAT_AT,
      headerVersion: VERSION_1,
      maxTableEntries: blocks,
      blockSize,
      checksum: 0,
      parentUniqueId: parent?.uniqueId ?? new Uint8Array(16),
      parentTimeStamp: parent?.timeStamp ?? 0,
      parentUnicodeName: parent?.unicodeName ?? new Uint8Array(UNICODE_NAME_BYTES),
      parentLocators,
    });
    return sealed(header, DynamicHeader.fields.checksum.offset);
  }
}

/** The byte offset of a bitmap as an entry of the BAT. Entries have 32 bits: a file that passes 2 TiB cannot be described. */
function toEntry(offset: number): number {
  const sector = offset / SECTOR;
  if (!Number.isInteger(sector) || sector >= BAT_UNUSED) {
    const code = Number.isInteger(sector) ? 'limit' : 'internal';
    throw new VdconvError(code, `the VHD would need a block at byte ${offset}; its BAT reaches 2 TiB`, {
      format: 'vhd',
      hint: 'choose a larger block_size, or vhdx',
    });
  }
  return sector;
}
