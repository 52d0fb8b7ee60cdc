/** `check` of a VHDX: both headers and region tables, the log, and the BAT. What a log holds is replayed in memory first. */
import { MiB } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import type { CheckContext, CheckedImage } from '../check.ts';
import { checksumOf } from './crc32c.ts';
import { batEntries, bitmapEntry, chunkRatio, type Geometry, payloadBlocks } from './geometry.ts';
import { readCreator, readHeader } from './headers.ts';
import {
  BatEntry,
  BlockState,
  blockStateName,
  FileParameter,
  REGION_TABLE_BYTES,
  REGION_TABLE_OFFSETS,
  RegionTableHeader,
  Signature,
  UNIT,
} from './layout.ts';
import { replayLog } from './log.ts';
import { readMetadata } from './metadata.ts';
import type { Occupied } from './occupied.ts';
import { readRegions } from './regions.ts';

const PIECE = MiB / BatEntry.bytes;

export async function checkVhdx(file: ByteSource, context: CheckContext): Promise<CheckedImage> {
  const { findings } = context;
  const damaged: string[] = [];
  await readCreator(file);
  const header = await readHeader(file, damaged);
  const { source, entries } = await replayLog(file, header);
  if (entries > 0) {
    const what = `not empty (entries: ${entries}): the image was not closed cleanly, and is checked as it is after the replay`;
    findings.note(() => ({ table: 'log', offset: header.logOffset, what }));
  }
  const { bat, metadata: region, occupied } = await readRegions(source, header, damaged);
  for (const what of damaged) {
    findings.corruption(() => ({ table: 'header section', what }));
  }
  await checkTableCopy(source, context);
  const { virtualDiskSize: virtualSize, blockSize, logicalSectorSize, flags } = await readMetadata(source, region);
  const hasParent = (flags & FileParameter.hasParent) !== 0;
  const geometry = { virtualSize, blockSize, logicalSectorSize, hasParent };
  const isFixed = (flags & FileParameter.leaveBlocksAllocated) !== 0;
  return new BatCheck(source, geometry, bat.fileOffset, occupied, isFixed, context).run(bat.length);
}

/** readRegions takes the second table only where the first one is damaged; they must be the same. */
async function checkTableCopy(source: ByteSource, { findings }: CheckContext): Promise<void> {
  const [first, second] = (await Promise.all(
    REGION_TABLE_OFFSETS.map((at) => source.read(at, REGION_TABLE_BYTES, 'VHDX region table')),
  )) as [Uint8Array, Uint8Array];
  const isSound = (bytes: Uint8Array) => {
    const { signature, checksum } = RegionTableHeader.peek(bytes);
    return signature === Signature.regionTable && checksum === checksumOf(bytes);
  };
  const offset = REGION_TABLE_OFFSETS[1];
  if (!isSound(second)) {
    findings.corruption(() => ({
      table: 'region table 2',
      offset,
      what: 'is damaged: signature or checksum is wrong',
    }));
  } else if (isSound(first) && first.some((byte, i) => byte !== second[i])) {
    findings.corruption(() => ({ table: 'region table 2', offset, what: 'is not the same as region table 1' }));
  }
}

class BatCheck {
  readonly #source: ByteSource;
  readonly #geometry: Geometry;
  readonly #batAt: number;
  readonly #taken: Occupied;
  readonly #isFixed: boolean;
  readonly #context: CheckContext;
  #allocated = 0;
  #fragmented = 0;
  #absent = 0;
  #next = 0;

  constructor(
    source: ByteSource,
    geometry: Geometry,
    batAt: number,
    occupied: Occupied,
    isFixed: boolean,
    context: CheckContext,
  ) {
    this.#source = source;
    this.#geometry = geometry;
    this.#batAt = batAt;
    this.#taken = occupied.clone();
    this.#isFixed = isFixed;
    this.#context = context;
  }

  async run(batBytes: number): Promise<CheckedImage> {
    const { findings, progress } = this.#context;
    const needed = batEntries(this.#geometry);
    if (needed * BatEntry.bytes > batBytes) {
      const what = `has ${batBytes} bytes, the disk needs ${needed} entries of 8`;
      findings.corruption(() => ({ table: 'BAT', offset: this.#batAt, what }));
    }
    const entries = Math.min(needed, batBytes / BatEntry.bytes);
    const ratio = chunkRatio(this.#geometry);
    let needsBitmap = false;
    for (let first = 0; first < entries; first += PIECE) {
      progress(first, entries);
      const count = Math.min(PIECE, entries - first);
      const at = this.#batAt + first * BatEntry.bytes;
      const bytes = await this.#source.read(at, count * BatEntry.bytes, 'VHDX BAT');
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      for (let i = 0; i < count; i += 1) {
        const low = view.getUint32(i * 8, true);
        const offset = view.getUint32(i * 8 + 4, true) * BatEntry.high + ((low & BatEntry.offsetLow) >>> 0); // u32
        const index = first + i;
        const chunk = Math.floor(index / (ratio + 1));
        if (index === bitmapEntry(chunk, ratio)) {
          this.#checkBitmap(chunk, index, low & BatEntry.stateLow, offset, needsBitmap);
          needsBitmap = false;
        } else {
          this.#checkBlock(index - chunk, index, low & BatEntry.stateLow, offset);
          needsBitmap ||= (low & BatEntry.stateLow) === BlockState.partiallyPresent;
        }
      }
    }
    return this.#result();
  }

  #result(): CheckedImage {
    if (this.#isFixed && this.#absent > 0) {
      const what = `${this.#absent} blocks are not present in an image that is said to be fixed`;
      this.#context.findings.note(() => ({ table: 'BAT', offset: this.#batAt, what }));
    }
    return {
      imageEndOffset: this.#taken.end() * UNIT,
      totalClusters: payloadBlocks(this.#geometry),
      allocatedClusters: this.#allocated,
      fragmentedClusters: this.#fragmented,
      unreferencedBytes: Math.max(0, this.#source.size - this.#taken.units() * UNIT),
    };
  }

  #checkBlock(block: number, index: number, state: number, offset: number): void {
    const { blockSize, virtualSize, hasParent } = this.#geometry;
    const what = `block ${block}`;
    switch (state) {
      case BlockState.notPresent:
      case BlockState.undefined:
      case BlockState.zero:
      case BlockState.unmapped:
        this.#absent += 1;
        return;
      case BlockState.partiallyPresent:
        if (!hasParent) {
          this.#corrupt(what, index, `${blockStateName(state)} is for disks that have a parent`);
        }
        break;
      case BlockState.fullyPresent:
        break;
      default:
        this.#corrupt(what, index, `state ${state} is none`);
        return;
    }
    this.#allocated += 1;
    this.#fragmented += this.#next !== 0 && offset !== this.#next ? 1 : 0;
    this.#next = offset + blockSize;
    // Of the last block older QEMU writes only what the disk has of it.
    this.#claim(what, index, offset, blockSize, Math.min(blockSize, virtualSize - block * blockSize));
  }

  /** Without a parent the entries mean nothing, and old QEMU left garbage in them. */
  #checkBitmap(chunk: number, index: number, state: number, offset: number, isNeeded: boolean): void {
    const what = `sector bitmap of chunk ${chunk}`;
    if (!this.#geometry.hasParent) {
      if (state !== BlockState.notPresent) {
        const said = `${blockStateName(state)} in an image without parent, where it means nothing`;
        const place = { table: `BAT entry ${index}, ${what}`, offset: this.#batAt + index * BatEntry.bytes };
        this.#context.findings.note(() => ({ ...place, what: said }));
      }
    } else if (state === BlockState.fullyPresent) {
      this.#claim(what, index, offset, UNIT, UNIT);
    } else if (isNeeded || state !== BlockState.notPresent) {
      this.#corrupt(
        what,
        index,
        `state ${state}, where ${isNeeded ? 'a block of the chunk needs it' : 'only 0 and 6 are'}`,
      );
    }
  }

  #claim(what: string, index: number, offset: number, length: number, needed: number): void {
    if (offset + needed > this.#source.size) {
      this.#corrupt(what, index, `lies at ${offset} to ${offset + needed}, the file ends at ${this.#source.size}`);
    } else if (!this.#taken.claim(offset, length)) {
      this.#corrupt(what, index, `at ${offset} lies over the header section, the log, a region or another block`);
    }
  }

  #corrupt(what: string, index: number, says: string): void {
    const place = { table: `BAT entry ${index}, ${what}`, offset: this.#batAt + index * BatEntry.bytes };
    this.#context.findings.corruption(() => ({ ...place, what: says }));
  }
}
