/** `check` of a VHD: both footers, header, BAT, and that nothing lies over anything else. VHD 1.0. */
import { showNumber, VdconvError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { alignUp, divCeil, MiB, SECTOR, sectorsToBytes } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import { UnitCounts } from '../../map/unit-counts.ts';
import type { CheckContext, CheckedImage, Findings } from '../check.ts';
import { checkFixed } from './fixed.ts';
import { type FoundFooter, readFooter } from './footer.ts';
import { chsSectors, MAX_GEOMETRY } from './geometry.ts';
import { type DynamicDisk, readHeader } from './header.ts';
import { BAT_UNUSED, DiskType, DynamicHeader, ENTRY_BYTES, type Footer, ParentLocator } from './layout.ts';

const PIECE = MiB / ENTRY_BYTES;

export async function checkVhd(source: ByteSource, context: CheckContext): Promise<CheckedImage> {
  const { findings } = context;
  const found = await readFooter(source);
  const { footer, at, dataEnd, warnings } = found;
  for (const what of warnings) {
    findings.corruption(() => ({ table: 'footer', what }));
  }
  noteGeometry(footer, at, findings);
  if (footer.savedState !== 0) {
    const what = 'a virtual machine in saved state uses the disk: what its guest holds in memory is not in the image';
    findings.note(() => ({ table: 'footer', offset: at, what }));
  }
  if (footer.diskType === DiskType.fixed) {
    checkFixed(source, footer, dataEnd);
    return { imageEndOffset: at + SECTOR, unreferencedBytes: dataEnd - footer.currentSize };
  }
  return new DynamicCheck(await readHeader(source, found), found, context).run();
}

/** Geometry rounds the size down by less than a cylinder; only Virtual PC's guests see it. */
function noteGeometry(footer: Footer, at: number, findings: Findings): void {
  const { cylinders, heads, sectorsPerTrack, currentSize } = footer;
  const shown = sectorsToBytes(chsSectors(footer));
  const isMax = chsSectors(footer) === chsSectors(MAX_GEOMETRY);
  if (!isMax && (shown > currentSize || currentSize - shown >= sectorsToBytes(heads * sectorsPerTrack))) {
    const what = `geometry ${cylinders}/${heads}/${sectorsPerTrack} has ${shown} bytes, currentSize is ${currentSize}`;
    findings.note(() => ({ table: 'footer', offset: at + 56, what }));
  }
}

class DynamicCheck {
  readonly #disk: DynamicDisk;
  readonly #found: FoundFooter;
  readonly #context: CheckContext;
  /** Sectors of the file. */
  readonly #owners: UnitCounts;
  /** Of all blocks so far. */
  #bytes = 0;

  constructor(disk: DynamicDisk, found: FoundFooter, context: CheckContext) {
    this.#disk = disk;
    this.#found = found;
    this.#context = context;
    this.#owners = new UnitCounts(disk.source.name);
  }

  async run(): Promise<CheckedImage> {
    const {
      header: { maxTableEntries: entries },
      headerAt,
      source: file,
    } = this.#disk;
    if (entries * ENTRY_BYTES > LIMITS.tables) {
      const what = `the BAT has ${entries} entries; vdconv checks at most ${LIMITS.tables / ENTRY_BYTES}`;
      const details = { file: file.name, format: 'vhd', field: 'maxTableEntries', offset: headerAt + 28 };
      throw new VdconvError('limit', what, details);
    }
    this.#claimFront();
    const { header, source } = this.#disk;
    const { tableOffset, maxTableEntries } = header;
    const tableEnd = tableOffset + maxTableEntries * ENTRY_BYTES;
    const totals = { allocated: 0, fragmented: 0, next: 0, end: 0 };
    for (let first = 0; first < maxTableEntries; first += PIECE) {
      this.#context.progress(first, maxTableEntries);
      const count = Math.min(PIECE, maxTableEntries - first);
      const bytes = await source.read(tableOffset + first * ENTRY_BYTES, count * ENTRY_BYTES, 'VHD BAT');
      const bat = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      for (let i = 0; i < count; i += 1) {
        const entry = bat.getUint32(i * ENTRY_BYTES);
        if (entry !== BAT_UNUSED) {
          this.#checkBlock(first + i, entry);
          totals.allocated += 1;
          totals.fragmented += totals.next !== 0 && entry !== totals.next ? 1 : 0;
          totals.next = entry + this.#sectors;
          totals.end = Math.max(totals.end, totals.next);
        }
      }
    }
    return {
      // The footer follows the last block, or the BAT.
      imageEndOffset: alignUp(Math.max(sectorsToBytes(totals.end), tableEnd), SECTOR) + SECTOR,
      totalClusters: divCeil(this.#found.footer.currentSize, header.blockSize),
      allocatedClusters: totals.allocated,
      fragmentedClusters: totals.fragmented,
      unreferencedBytes: Math.max(0, source.size - sectorsToBytes(this.#owners.owned())),
    };
  }

  /** Of a block with its bitmap. */
  get #sectors(): number {
    return (this.#disk.bitmapBytes + this.#disk.header.blockSize) / SECTOR;
  }

  /** Footers, header, BAT, and what a parent's locators point to. */
  #claimFront(): void {
    const { header, headerAt, source } = this.#disk;
    const { at, footer, dataEnd } = this.#found;
    this.#claim('footer copy', 0, SECTOR, 0);
    if (dataEnd < source.size) {
      this.#claim('footer', dataEnd, SECTOR, dataEnd);
    }
    this.#claim('dynamic header', headerAt, DynamicHeader.size, at + 16);
    this.#claim('BAT', header.tableOffset, header.maxTableEntries * ENTRY_BYTES, headerAt + 16);
    if (footer.diskType !== DiskType.differencing) {
      return;
    }
    for (let i = 0; i < header.parentLocators.length / ParentLocator.size; i += 1) {
      const { platformCode, platformDataOffset, platformDataLength } = ParentLocator.peek(
        header.parentLocators,
        i * ParentLocator.size,
      );
      if (platformCode !== 0 && platformDataLength > 0) {
        const entryAt = headerAt + DynamicHeader.fields.parentLocators.offset + i * ParentLocator.size;
        this.#claim(`parent locator ${i}`, platformDataOffset, platformDataLength, entryAt);
      }
    }
  }

  /** @param from where the file says so. */
  #claim(table: string, offset: number, length: number, from: number): void {
    const first = Math.floor(offset / SECTOR);
    const { source } = this.#disk;
    const corrupt = (what: string) => this.#context.findings.corruption(() => ({ table, offset: from, what }));
    if (offset + length > source.size) {
      corrupt(`lies at ${showNumber(offset)} to ${showNumber(offset + length)}, the file ends at ${source.size}`);
    } else if (this.#owners.add(first, divCeil(offset + length, SECTOR) - first) > 0) {
      corrupt(`lies at ${offset} to ${offset + length}, where something else is`);
    }
  }

  #checkBlock(block: number, entry: number): void {
    const { header, bitmapBytes, dataEnd } = this.#disk;
    const { blockSize, tableOffset } = header;
    const at = sectorsToBytes(entry);
    const seen = Math.min(blockSize, Math.max(0, this.#found.footer.currentSize - block * blockSize));
    const corrupt = (what: string) => {
      const place = { table: `BAT entry ${block}`, offset: tableOffset + block * ENTRY_BYTES };
      this.#context.findings.corruption(() => ({ ...place, what: `${what} (the entry is ${showNumber(entry)})` }));
    };
    const needed = at + bitmapBytes + seen;
    if (needed > dataEnd) {
      corrupt(`the block is needed up to ${needed}, the data ends at ${dataEnd}`);
      return;
    }
    // A last block that its file's end cuts: all that the guest sees is there.
    const length = Math.min(bitmapBytes + blockSize, alignUp(dataEnd - at, SECTOR));
    this.#bytes += length;
    // Blocks that are more than the file lie over others, whichever: where thousands do, each is not looked up.
    if (this.#bytes > this.#disk.source.size || this.#owners.add(entry, length / SECTOR) > 0) {
      corrupt('the block lies over another one, or over a table');
    }
  }
}
