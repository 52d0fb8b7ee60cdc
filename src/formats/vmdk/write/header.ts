/** What every sparse file that vdconv writes has in common. */
import { VdconvError } from '../../../base/errors.ts';
import { divCeil, SECTOR, type Sectors, sectorsToBytes } from '../../../base/units.ts';
import { ENTRY_BYTES } from '../grain-tables.ts';
import { HOSTED_MAGIC, NEWLINE_TEST, SparseExtentHeader } from '../hosted/layout.ts';

/** 64 KiB, what VMware and qemu write; other sizes confuse readers. */
export const GRAIN_SIZE: Sectors = 128;
export const GRAIN_BYTES = sectorsToBytes(GRAIN_SIZE);
export const GTES_PER_GT = 512;
export const GT_BYTES = GTES_PER_GT * ENTRY_BYTES;
export const GT_SECTORS: Sectors = GT_BYTES / SECTOR;

export function countGTs(capacity: Sectors): number {
  return divCeil(capacity, GRAIN_SIZE * GTES_PER_GT);
}

export type HeaderChoices = Pick<
  Parameters<typeof SparseExtentHeader.encode>[0],
  'version' | 'flags' | 'rgdOffset' | 'gdOffset' | 'overHead' | 'compressAlgorithm'
>;

/** @param descriptorSectors behind the header; 0: none. */
export function encodeHeader(capacity: Sectors, descriptorSectors: Sectors, choices: HeaderChoices): Uint8Array {
  return SparseExtentHeader.encode({
    magicNumber: HOSTED_MAGIC,
    capacity,
    grainSize: GRAIN_SIZE,
    descriptorOffset: descriptorSectors === 0 ? 0 : 1,
    descriptorSize: descriptorSectors,
    numGTEsPerGT: GTES_PER_GT,
    uncleanShutdown: 0,
    newlineTest: Uint8Array.from(NEWLINE_TEST),
    ...choices,
  });
}

/** A byte offset as a table entry. Entries have 32 bits: a file that passes 2 TiB cannot be described. */
export function toEntry(offset: number): number {
  const sector = offset / SECTOR;
  if (!Number.isInteger(sector) || sector > 0xffffffff) {
    const code = Number.isInteger(sector) ? 'limit' : 'internal';
    throw new VdconvError(code, `the VMDK would need a grain or table at byte ${offset}; its tables reach 2 TiB`, {
      format: 'vmdk',
      hint: 'choose another format for a disk with so much data',
    });
  }
  return sector;
}

/** Little-endian entries. */
export function encodeEntries(entries: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(entries.length * ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < entries.length; i += 1) {
    view.setUint32(i * ENTRY_BYTES, entries[i] as number, true);
  }
  return bytes;
}
