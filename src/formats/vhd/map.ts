/**
 * The block map that the BAT says, and for a differencing disk the sector bitmap of each block. VHD 1.0 §Block Allocation
 * Table and Data Blocks. Every loop runs over guest addresses, tables are read in pieces.
 */
import { showNumber, type VdconvError } from '../../base/errors.ts';
import { illegalValue } from '../../base/struct.ts';
import { divCeil, MiB, SECTOR, sectorsToBytes } from '../../base/units.ts';
import { BatchBuilder, type BlockMap, Kind } from '../../map/extents.ts';
import type { DynamicDisk } from './header.ts';
import { BAT_UNUSED, DynamicHeader, ENTRY_BYTES } from './layout.ts';
import { sectorRuns } from './sector-bitmap.ts';

/** Entries of the BAT read at a time: 1 MiB. */
const PIECE = MiB / ENTRY_BYTES;

/**
 * The map of guest bytes [start, end).
 * @param byBitmap for a differencing disk: sectors whose bit is clear are the parent's. A dynamic disk's bitmap is not
 *   read: writers that clear bits leave zeros there, and every other reader returns what is stored.
 */
export async function* blockMap(disk: DynamicDisk, start: number, end: number, byBitmap: boolean): BlockMap {
  const { tableOffset, blockSize } = disk.header;
  const out = new BatchBuilder();
  const last = start < end ? divCeil(end, blockSize) : 0;
  for (let first = Math.floor(start / blockSize); first < last; ) {
    const count = Math.min(PIECE, last - first);
    const bytes = await disk.source.read(tableOffset + first * ENTRY_BYTES, count * ENTRY_BYTES, 'VHD BAT');
    const bat = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let i = 0; i < count; ) {
      if (out.full) {
        yield out.take();
      }
      const entry = bat.getUint32(i * ENTRY_BYTES);
      const next = entry === BAT_UNUSED ? unusedEnd(bat, i, count) : i + 1;
      const block = first + i;
      const from = Math.max(start, block * blockSize);
      const to = Math.min(end, (first + next) * blockSize);
      i = next;
      if (entry === BAT_UNUSED) {
        out.push(from, to - from, Kind.unallocated);
        continue;
      }
      checkPlace(disk, block, entry, to - block * blockSize);
      if (byBitmap) {
        yield* sectors(disk, block, entry, from, to, out);
      } else {
        out.push(from, to - from, Kind.data, 0, dataAt(disk, entry) + from - block * blockSize);
      }
    }
    first += count;
  }
  if (out.count > 0) {
    yield out.take();
  }
}

function unusedEnd(bat: DataView, i: number, count: number): number {
  let next = i + 1;
  while (next < count && bat.getUint32(next * ENTRY_BYTES) === BAT_UNUSED) {
    next += 1;
  }
  return next;
}

/** An entry is the sector of the block's bitmap; its data follow the bitmap. */
function dataAt(disk: DynamicDisk, entry: number): number {
  return sectorsToBytes(entry) + disk.bitmapBytes;
}

async function* sectors(
  disk: DynamicDisk,
  block: number,
  entry: number,
  from: number,
  to: number,
  out: BatchBuilder,
): BlockMap {
  const guest = block * disk.header.blockSize;
  const bitmap = await disk.source.read(sectorsToBytes(entry), disk.bitmapBytes, 'VHD sector bitmap');
  // Ranges may begin and end within a sector, their bit holds for the whole of it.
  const first = Math.floor((from - guest) / SECTOR);
  for (const run of sectorRuns(bitmap, first, divCeil(to - guest, SECTOR))) {
    if (out.full) {
      yield out.take();
    }
    const runFrom = Math.max(from, guest + run.from * SECTOR);
    const runTo = Math.min(to, guest + run.to * SECTOR);
    if (run.present) {
      out.push(runFrom, runTo - runFrom, Kind.data, 0, dataAt(disk, entry) + runFrom - guest);
    } else {
      out.push(runFrom, runTo - runFrom, Kind.unallocated);
    }
  }
}

/**
 * A block lies in nobody's way, and the file has what the guest sees of it: qemu refuses a last block that the file's end
 * cuts, others read it.
 * @param bytes of the block up to the end of what is asked for.
 */
function checkPlace(disk: DynamicDisk, block: number, entry: number, bytes: number): void {
  const { headerAt, header, dataEnd, source } = disk;
  const at = sectorsToBytes(entry);
  const wrong = (code: 'corrupt' | 'truncated', says: string): VdconvError => {
    const offset = header.tableOffset + block * ENTRY_BYTES;
    const origin = { file: source.name, format: 'vhd' };
    return illegalValue(code, 'VHD BAT', `entry ${block}`, showNumber(entry), origin, offset, says);
  };
  const end = dataAt(disk, entry) + bytes;
  if (end > dataEnd) {
    throw wrong('truncated', `the block's bytes ${at} to ${end} pass the end of the data at ${dataEnd}`);
  }
  const taken: [string, number, number][] = [
    ['the footer copy', 0, SECTOR],
    ['the dynamic header', headerAt, DynamicHeader.size],
    ['the BAT', header.tableOffset, header.maxTableEntries * ENTRY_BYTES],
  ];
  for (const [what, start, length] of taken) {
    if (at < start + length && start < end) {
      throw wrong('corrupt', `the block's bytes ${at} to ${end} lie over ${what} at ${start}`);
    }
  }
}
