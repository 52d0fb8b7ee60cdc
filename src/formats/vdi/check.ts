/** `check` of a VDI: its block map against the file and against the header's count. VDI 1.1. */
import { showNumber, VdconvError } from '../../base/errors.ts';
import { LIMITS } from '../../base/limits.ts';
import { MiB } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import { UnitCounts } from '../../map/unit-counts.ts';
import type { CheckContext, CheckedImage } from '../check.ts';
import { readHeader } from './header.ts';
import { BLOCK_ZERO, ENTRY_BYTES, Header } from './layout.ts';

const PIECE = MiB / ENTRY_BYTES;

export async function checkVdi(source: ByteSource, { findings, progress }: CheckContext): Promise<CheckedImage> {
  const header = await readHeader(source);
  const { offsetBlocks, offsetData, blockSize, blocksInImage, diskSize } = header;
  if (blocksInImage * ENTRY_BYTES > LIMITS.tables) {
    const what = `the image has ${blocksInImage} blocks; vdconv checks at most ${LIMITS.tables / ENTRY_BYTES}`;
    const { offset } = Header.fields.blocksInImage;
    throw new VdconvError('limit', what, { file: source.name, format: 'vdi', field: 'blocksInImage', offset });
  }
  const blocks = new UnitCounts(source.name);
  let allocated = 0;
  let fragmented = 0;
  let next = -1;
  let end = 0;
  for (let first = 0; first < blocksInImage; first += PIECE) {
    progress(first, blocksInImage);
    const count = Math.min(PIECE, blocksInImage - first);
    const bytes = await source.read(offsetBlocks + first * ENTRY_BYTES, count * ENTRY_BYTES, 'VDI block map');
    const entries = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let i = 0; i < count; i += 1) {
      const entry = entries.getUint32(i * ENTRY_BYTES, true);
      if (entry >= BLOCK_ZERO) {
        continue;
      }
      const block = first + i;
      const corrupt = (what: string) => {
        const at = { table: `block map entry ${block}`, offset: offsetBlocks + block * ENTRY_BYTES };
        findings.corruption(() => ({ ...at, what: `${what} (the entry is ${showNumber(entry)})` }));
      };
      if (entry >= blocksInImage) {
        corrupt(`the image has ${blocksInImage} blocks`);
        continue;
      }
      allocated += 1;
      fragmented += next >= 0 && entry !== next ? 1 : 0;
      next = entry + 1;
      end = Math.max(end, next);
      if (blocks.add(entry) > 0) {
        corrupt('another entry has the same block of the file');
      }
      // Of the last block only what the guest sees must be there.
      const needed = offsetData + entry * blockSize + Math.min(blockSize, Math.max(0, diskSize - block * blockSize));
      if (needed > source.size) {
        corrupt(`the block is needed up to ${needed}, the file ends at ${source.size}`);
      }
    }
  }
  if (allocated !== header.blocksAllocated) {
    const { offset } = Header.fields.blocksAllocated;
    const what = `blocksAllocated is ${showNumber(header.blocksAllocated)}, the block map has ${allocated}`;
    findings.corruption(() => ({ table: 'header', offset, what }));
  }
  return {
    imageEndOffset: offsetData + end * blockSize,
    totalClusters: blocksInImage,
    allocatedClusters: allocated,
    fragmentedClusters: fragmented,
    unreferencedBytes: Math.max(0, source.size - offsetData - blocks.owned() * blockSize),
  };
}
