/** The block map of a VDI, read in pieces: each entry is the number of a block of the file, or says that there is none. */
import { showNumber, type VdconvError } from '../../base/errors.ts';
import { illegalValue } from '../../base/struct.ts';
import { divCeil, MiB } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import { BatchBuilder, type BlockMap, Kind } from '../../map/extents.ts';
import { BLOCK_FREE, BLOCK_ZERO, ENTRY_BYTES, type Header } from './layout.ts';

/** Entries read at a time: 1 MiB. */
const PIECE = MiB / ENTRY_BYTES;

/** The map of guest bytes [start, end). */
export async function* blockMap(source: ByteSource, header: Header, start: number, end: number): BlockMap {
  const { offsetBlocks, offsetData, blockSize } = header;
  const out = new BatchBuilder();
  const last = start < end ? divCeil(end, blockSize) : 0;
  for (let first = Math.floor(start / blockSize); first < last; ) {
    const count = Math.min(PIECE, last - first);
    const bytes = await source.read(offsetBlocks + first * ENTRY_BYTES, count * ENTRY_BYTES, 'VDI block map');
    const entries = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let i = 0; i < count; i += 1) {
      if (out.full) {
        yield out.take();
      }
      const entry = entries.getUint32(i * ENTRY_BYTES, true);
      const guest = (first + i) * blockSize;
      const from = guest < start ? start : guest;
      const to = Math.min(end, guest + blockSize);
      if (entry === BLOCK_FREE) {
        out.push(from, to - from, Kind.unallocated);
      } else if (entry === BLOCK_ZERO) {
        out.push(from, to - from, Kind.zero);
      } else {
        const at = offsetData + entry * blockSize;
        if (entry >= header.blocksInImage || at + to - guest > source.size) {
          throw badPlace(source, header, first + i, entry, at + to - guest);
        }
        out.push(from, to - from, Kind.data, 0, at + from - guest);
      }
    }
    first += count;
  }
  if (out.count > 0) {
    yield out.take();
  }
}

/** The file has every byte that the guest sees; qemu reads zeros where it ends early. */
function badPlace(source: ByteSource, header: Header, block: number, entry: number, end: number): VdconvError {
  const offset = header.offsetBlocks + block * ENTRY_BYTES;
  const isNone = entry >= header.blocksInImage;
  const says = isNone
    ? `the image has ${header.blocksInImage} blocks`
    : `the block's bytes go to ${end}, the file ends at ${source.size}`;
  const origin = { file: source.name, format: 'vdi' };
  const code = isNone ? 'corrupt' : 'truncated';
  return illegalValue(code, 'VDI block map', `entry ${block}`, showNumber(entry), origin, offset, says);
}
