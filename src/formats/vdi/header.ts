/** Reads the header and proves that what it says is possible. */
import { type ErrorCode, showNumber, VdconvError } from '../../base/errors.ts';
import { illegalValue, type Origin } from '../../base/struct.ts';
import { divCeil } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import { ENTRY_BYTES, Header, PREHEADER_BYTES } from './layout.ts';

/** VirtualBox before 1.1 (2007): no header size, other fields from there on. */
const VERSION_ANCIENT = 0x00000002;

export async function readHeader(source: ByteSource, salvage = false): Promise<Header> {
  const origin: Origin = { file: source.name, format: 'vdi', at: 0 };
  const bytes = await source.read(0, Math.min(Header.size, source.size), Header.name);
  refuseAncient(bytes, origin);
  const header = Header.decode(bytes, origin);
  checkPlaces(header, source.size, origin, salvage);
  return header;
}

function refuseAncient(bytes: Uint8Array, origin: Origin): void {
  const { signature, version } = Header.fields;
  if (bytes.length < PREHEADER_BYTES) {
    return;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (
    signature.illegal(signature.get(view, signature.offset, true)) === undefined &&
    version.get(view, version.offset, true) === VERSION_ANCIENT
  ) {
    throw new VdconvError('unsupported', 'VDI version 0.2 of VirtualBox before 1.1 is not supported', {
      ...origin,
      field: 'version',
      offset: version.offset,
      hint: 'convert it with VBoxManage clonemedium first',
    });
  }
}

/** The rules between fields: header, block map and blocks follow one another, and the map is in the file. */
function checkPlaces(header: Header, fileSize: number, origin: Origin, salvage: boolean): void {
  const { headerSize, offsetBlocks, offsetData, diskSize, blockSize, blocksInImage, blocksAllocated } = header;
  const wrong = (code: ErrorCode, field: keyof Header & keyof typeof Header.fields, says: string) => {
    const value = showNumber(header[field] as number);
    return illegalValue(code, Header.name, field, value, origin, Header.fields[field].offset, says);
  };
  if (PREHEADER_BYTES + headerSize > offsetBlocks) {
    throw wrong('corrupt', 'headerSize', `the block map begins at ${offsetBlocks}`);
  }
  const needed = divCeil(diskSize, blockSize);
  if (blocksInImage < needed) {
    const says = `a disk of ${diskSize} bytes in blocks of ${blockSize} has ${needed}`;
    throw wrong('corrupt', 'blocksInImage', says);
  }
  if (blocksAllocated > blocksInImage) {
    throw wrong('corrupt', 'blocksAllocated', `blocksInImage is ${blocksInImage}`);
  }
  const mapEnd = offsetBlocks + blocksInImage * ENTRY_BYTES;
  if (mapEnd > fileSize && !salvage) {
    const says = `the map of ${blocksInImage} blocks would end at ${mapEnd}, the file ends at ${fileSize}`;
    throw wrong('truncated', 'offsetBlocks', says);
  }
  if (offsetData < mapEnd) {
    throw wrong('corrupt', 'offsetData', `the block map ends at ${mapEnd}`);
  }
}
