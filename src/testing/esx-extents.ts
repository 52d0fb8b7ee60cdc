/**
 * Extents that ESXi alone makes, as bytes: COWD redo logs and seSparse. Typed from what is known of their layout, and apart
 * from the product's own tables, so that a mistake in those is not repeated here.
 */
import { random } from './random.ts';

/** What a grain says: nothing (the parent shows), zeros, that the guest gave it back, or its own content. */
export type Grain = 'none' | 'zero' | 'unmapped' | 'data';

export interface EsxExtent {
  /** The guest's disk, a whole number of sectors; grains of `data` take their bytes from it. */
  disk: Uint8Array;
  grain(index: number): Grain;
  seed: number;
}

const SECTOR = 512;

/** The indexes of all grains, in the order in which they were written: any. */
function shuffled(count: number, seed: number): number[] {
  const source = random(seed);
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i -= 1) {
    const j = source.below(i + 1);
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}

/** COWD: header in 4 sectors | directory | tables of 4096 u32 and grains, each as it was needed. */
export function cowdExtent({ disk, grain, seed }: EsxExtent, grainSize = 1): Buffer {
  const grainBytes = grainSize * SECTOR;
  const count = Math.ceil(disk.length / grainBytes);
  const numGDEntries = Math.ceil(count / 4096);
  const directory = Buffer.alloc(Math.ceil((numGDEntries * 4) / SECTOR) * SECTOR);
  const header = Buffer.alloc(4 * SECTOR);
  let free = 4 + directory.length / SECTOR;
  const parts: Buffer[] = [];
  const take = (part: Buffer): number => {
    parts.push(part);
    free += part.length / SECTOR;
    return free - part.length / SECTOR;
  };
  const tables: Buffer[] = [];
  for (const index of shuffled(count, seed)) {
    const kind = grain(index);
    if (kind === 'none') {
      continue;
    }
    const [number, entry] = [Math.floor(index / 4096), index % 4096];
    let table = tables[number];
    if (table === undefined) {
      table = Buffer.alloc(4096 * 4);
      tables[number] = table;
      directory.writeUInt32LE(take(table), number * 4);
    }
    if (kind === 'data') {
      const bytes = Buffer.alloc(grainBytes);
      bytes.set(disk.subarray(index * grainBytes, (index + 1) * grainBytes));
      table.writeUInt32LE(take(bytes), entry * 4);
    } else {
      table.writeUInt32LE(1, entry * 4);
    }
  }
  header.write('COWD', 0, 'latin1');
  const fields = [1, 3, disk.length / SECTOR, grainSize, 4, numGDEntries, free];
  fields.forEach((value, i) => {
    header.writeUInt32LE(value, 4 + i * 4);
  });
  return Buffer.concat([header, directory, ...parts]);
}

/** First number that a grain of {@link seSparseExtent} gets: its numbers pass 4096, where their coding changes. */
const FIRST_NUMBER = 4090;

/** seSparse 2.1: constant header | volatile header | directory | tables, last one first | grains. */
export function seSparseExtent({ disk, grain, seed }: EsxExtent): Buffer {
  const count = Math.ceil(disk.length / 4096);
  const numTables = Math.ceil(count / 4096);
  const [directoryAt, directorySize] = [8, 8 * Math.ceil(numTables / 512)];
  const tablesAt = directoryAt + directorySize;
  const grainsAt = Math.ceil((tablesAt + numTables * 64) / 8) * 8;
  const header = Buffer.alloc(SECTOR);
  const words: [index: number, value: bigint][] = [
    [0, 0xcafebaben],
    [1, 0x200000001n],
    [2, BigInt(disk.length / SECTOR)],
    [3, 8n],
    [4, 64n],
    [10, 1n],
    [11, 1n],
    [16, BigInt(directoryAt)],
    [17, BigInt(directorySize)],
    [18, BigInt(tablesAt)],
    [19, BigInt(numTables * 64)],
    [24, BigInt(grainsAt)],
    [25, BigInt((FIRST_NUMBER + count) * 8)],
  ];
  for (const [index, value] of words) {
    header.writeBigUInt64LE(value, index * 8);
  }
  const front = Buffer.alloc(grainsAt * SECTOR);
  front.set(header);
  front.writeBigUInt64LE(0xcafecafen, SECTOR);
  let number = FIRST_NUMBER;
  const stored: Buffer[] = [];
  const used = new Set<number>();
  for (const index of shuffled(count, seed)) {
    const kind = grain(index);
    if (kind === 'none') {
      continue;
    }
    const directoryEntry = Math.floor(index / 4096);
    const table = numTables - 1 - directoryEntry;
    if (!used.has(directoryEntry)) {
      used.add(directoryEntry);
      front.writeBigUInt64LE((1n << 60n) | BigInt(table), directoryAt * SECTOR + directoryEntry * 8);
    }
    let entry = kind === 'unmapped' ? 1n << 60n : 2n << 60n;
    if (kind === 'data') {
      const k = BigInt(number);
      entry = (3n << 60n) | ((k & 0xfffn) << 48n) | (k >> 12n);
      const bytes = Buffer.alloc(4096);
      bytes.set(disk.subarray(index * 4096, (index + 1) * 4096));
      stored.push(bytes);
      number += 1;
    }
    front.writeBigUInt64LE(entry, tablesAt * SECTOR + table * 64 * SECTOR + (index % 4096) * 8);
  }
  return Buffer.concat([front, Buffer.alloc(FIRST_NUMBER * 4096), ...stored]);
}

/** A descriptor of one extent. */
export function esxDescriptor(
  createType: 'vmfs' | 'vmfsSparse' | 'seSparse',
  {
    sectors,
    name,
    cid,
    parent,
  }: { sectors: number; name: string; cid: string; parent?: { cid: string; name: string } },
): string {
  const type = { vmfs: 'VMFS', vmfsSparse: 'VMFSSPARSE', seSparse: 'SESPARSE' }[createType];
  const hint = parent === undefined ? '' : `parentFileNameHint="${parent.name}"\n`;
  return `# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=${cid}
parentCID=${parent?.cid ?? 'ffffffff'}
createType="${createType}"
${hint}
# Extent description
RW ${sectors} ${type} "${name}"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.thinProvisioned = "1"
`;
}
