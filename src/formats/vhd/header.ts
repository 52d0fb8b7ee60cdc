/** Reads the dynamic header and proves that what it says is possible. VHD 1.0 §Dynamic Disk Header Format. */
import { type ErrorCode, showNumber, VdconvError } from '../../base/errors.ts';
import { illegalValue, type Origin } from '../../base/struct.ts';
import { divCeil, isAligned, SECTOR } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import { checksum } from './checksum.ts';
import type { FoundFooter } from './footer.ts';
import { bitmapBytes, DynamicHeader, ENTRY_BYTES, Footer, MAX_DISK_BYTES } from './layout.ts';

/** Where the parts of a dynamic or differencing disk lie. */
export interface DynamicDisk {
  source: ByteSource;
  header: DynamicHeader;
  /** Byte offset of the header. */
  headerAt: number;
  bitmapBytes: number;
  /** Guest data ends here at the latest. */
  dataEnd: number;
}

export async function readHeader(source: ByteSource, found: FoundFooter): Promise<DynamicDisk> {
  const { footer, dataEnd } = found;
  const headerAt = checkFooter(found, source);
  const bytes = await source.read(headerAt, DynamicHeader.size, DynamicHeader.name);
  const origin = { file: source.name, format: 'vhd', at: headerAt };
  const header = DynamicHeader.decode(bytes, origin);
  const { offset } = DynamicHeader.fields.checksum;
  const sum = checksum(bytes, offset);
  if (header.checksum !== sum) {
    const says = `the bytes add up to ${showNumber(sum)}; VHD 1.0 §Checksum`;
    throw illegal('corrupt', origin, header, 'checksum', says);
  }
  checkTable(header, origin, footer.currentSize, source.size);
  return { source, header, headerAt, bitmapBytes: bitmapBytes(header.blockSize), dataEnd };
}

/** The rules of the footer that hold for these disks only. @returns where the header is. */
function checkFooter({ footer, at: footerAt }: FoundFooter, { name, size }: ByteSource): number {
  const { dataOffset, currentSize } = Footer.fields;
  const origin = { file: name, format: 'vhd' };
  const at = Number(footer.dataOffset);
  if (at < SECTOR || !isAligned(at, SECTOR) || at + DynamicHeader.size > size) {
    const value = dataOffset.show(footer.dataOffset);
    const says = `the header must lie behind the first sector, at a multiple of 512, in the file's ${size} bytes`;
    const code = at + DynamicHeader.size > size && isAligned(at, SECTOR) ? 'truncated' : 'corrupt';
    throw illegalValue(code, Footer.name, 'dataOffset', value, origin, footerAt + dataOffset.offset, says);
  }
  if (footer.currentSize > MAX_DISK_BYTES) {
    const says = 'a dynamic or differencing disk has at most 2040 GiB';
    const value = showNumber(footer.currentSize);
    throw illegalValue('limit', Footer.name, 'currentSize', value, origin, footerAt + currentSize.offset, says);
  }
  return at;
}

/** The BAT maps all of the disk, lies in the file, and in nobody's way. */
function checkTable(header: DynamicHeader, origin: Origin, diskBytes: number, fileSize: number): void {
  const { maxTableEntries, tableOffset, blockSize } = header;
  const needed = divCeil(diskBytes, blockSize);
  if (maxTableEntries < needed) {
    const says = `a disk of ${diskBytes} bytes in blocks of ${blockSize} has ${needed}`;
    throw illegal('corrupt', origin, header, 'maxTableEntries', says);
  }
  if (tableOffset + needed * ENTRY_BYTES > fileSize) {
    const what = `BAT of ${needed} entries at offset ${showNumber(tableOffset)} passes the end of the file at ${fileSize}`;
    throw new VdconvError('truncated', what, { ...origin, field: 'tableOffset', offset: origin.at + 16 });
  }
  // More entries than the disk has blocks are padding, but they must be there.
  if (tableOffset + maxTableEntries * ENTRY_BYTES > fileSize) {
    const says = `the BAT at offset ${tableOffset} would pass the end of the file at ${fileSize}`;
    throw illegal('truncated', origin, header, 'maxTableEntries', says);
  }
  if (tableOffset < origin.at + DynamicHeader.size && origin.at < tableOffset + needed * ENTRY_BYTES) {
    throw illegal('corrupt', origin, header, 'tableOffset', `the header lies at offset ${origin.at}`);
  }
}

function illegal(
  code: ErrorCode,
  origin: Origin,
  header: DynamicHeader,
  field: 'checksum' | 'maxTableEntries' | 'tableOffset',
  says: string,
): VdconvError {
  const { offset } = DynamicHeader.fields[field];
  return illegalValue(code, DynamicHeader.name, field, showNumber(header[field]), origin, origin.at + offset, says);
}
