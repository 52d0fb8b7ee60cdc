/**
 * A sparse file: header | descriptor, where it is a disk of its own | redundant directory and tables | directory and
 * tables | grains. All tables have their places from the start, so grains follow one another and nothing else lies among
 * them.
 */
import { VdconvError } from '../../../base/errors.ts';
import { alignUp, divCeil, SECTOR, type Sectors, sectorsToBytes } from '../../../base/units.ts';
import { type Allocation, type Content, type Layout, type Piece, Placed } from '../../../map/layout.ts';
import type { PlanFile, Writer } from '../../format.ts';
import { ENTRY_BYTES, GTE_ZEROED } from '../grain-tables.ts';
import { Flag } from '../hosted/layout.ts';
import { DESCRIPTOR_SECTORS, type DescriptorValues, embedDescriptor } from './descriptor-text.ts';
import {
  countGTs,
  encodeEntries,
  encodeHeader,
  GRAIN_BYTES,
  GRAIN_SIZE,
  GT_BYTES,
  GT_SECTORS,
  GTES_PER_GT,
  toEntry,
} from './header.ts';
import { descriptorOf, ownExtent, type Target } from './target.ts';

/** Sectors of the file. */
interface Places {
  numGTs: number;
  rgdOffset: Sectors;
  firstRGT: Sectors;
  gdOffset: Sectors;
  firstGT: Sectors;
  overHead: Sectors;
}

function placeTables(capacity: Sectors, descriptorSectors: Sectors): Places {
  const numGTs = countGTs(capacity);
  const gdSectors = divCeil(numGTs * ENTRY_BYTES, SECTOR);
  const rgdOffset = 1 + descriptorSectors;
  const firstRGT = rgdOffset + gdSectors;
  const gdOffset = firstRGT + numGTs * GT_SECTORS;
  const firstGT = gdOffset + gdSectors;
  const overHead = alignUp(firstGT + numGTs * GT_SECTORS, GRAIN_SIZE);
  return { numGTs, rgdOffset, firstRGT, gdOffset, firstGT, overHead };
}

/** The file's content besides grains and tables. */
interface Choices {
  capacity: Sectors;
  /** Absent: one extent of a disk that is described elsewhere. */
  descriptor?: DescriptorValues;
  /** Zeros over data of the layer below are entries that say so (header version 2), and not grains of zeros. */
  zeroedGrains: boolean;
}

/** monolithicSparse. @param delta it lies over another disk. */
export function planSparse(
  target: Target,
  delta?: { parent: DescriptorValues['parent']; zeroedGrains: boolean },
): PlanFile {
  const { capacity, request } = target;
  const descriptor = descriptorOf(target, ownExtent(target), delta?.parent);
  const zeroedGrains = delta?.zeroedGrains ?? request.options.zeroed_grain === true;
  const file = planFile({ capacity, descriptor, zeroedGrains });
  // Without entries for zeros, zeros over the layer below are grains like others.
  const layout = delta === undefined ? file.layout : { ...file.layout, explicitZeros: true, storeAll: !zeroedGrains };
  return { ...file, layout, fingerprint: request.randomId === undefined };
}

/** One extent of twoGbMaxExtentSparse. */
export function planExtent(range: Required<PlanFile>['range']): PlanFile {
  return { ...planFile({ capacity: (range.end - range.start) / SECTOR, zeroedGrains: false }), range };
}

function planFile(choices: Choices): PlanFile {
  const places = placeTables(choices.capacity, choices.descriptor === undefined ? 0 : DESCRIPTOR_SECTORS);
  const layout: Layout = {
    kind: 'blocks',
    dataStart: sectorsToBytes(places.overHead),
    blockSize: GRAIN_BYTES,
    dataAlign: GRAIN_BYTES,
    dataPhase: 0,
    prefixBytes: 0,
    prefixFill: 0,
  };
  return { layout, writer: () => new SparseWriter(choices, places) };
}

/** Grain tables collected before they are written: 128 KiB, 2 GiB of the disk. */
const TABLES_HELD = 64;

class SparseWriter implements Writer {
  readonly #choices: Choices;
  readonly #places: Places;
  /** Entries of the tables from number `#first` on. */
  readonly #held = new Uint32Array(TABLES_HELD * GTES_PER_GT);
  #first = 0;
  /** Entries [lowest, highest) of `#held` may be other than 0. */
  #lowest = Number.POSITIVE_INFINITY;
  #highest = 0;

  constructor(choices: Choices, places: Places) {
    this.#choices = choices;
    this.#places = places;
  }

  add(batch: Allocation): Piece[] {
    const pieces: Piece[] = [];
    for (let i = 0; i < batch.count; i += 1) {
      const grain = batch.index[i] as number;
      const offset = batch.offset[i] as number;
      const zeros = batch.kind[i] === Placed.zero && this.#choices.zeroedGrains;
      if (batch.kind[i] !== Placed.plain && !zeros) {
        throw new VdconvError('internal', `sparse VMDK: placed ${batch.kind[i]}`);
      }
      for (let n = 0; n < (batch.blocks[i] as number); n += 1) {
        this.#set(grain + n, zeros ? GTE_ZEROED : toEntry(offset + n * GRAIN_BYTES), pieces);
      }
    }
    return pieces;
  }

  #set(grain: number, entry: number, pieces: Piece[]): void {
    const first = Math.floor(grain / this.#held.length) * TABLES_HELD;
    if (first !== this.#first) {
      pieces.push(...this.#flush());
      this.#first = first;
    }
    const at = grain % this.#held.length;
    this.#held[at] = entry;
    this.#lowest = Math.min(this.#lowest, at);
    this.#highest = Math.max(this.#highest, at + 1);
  }

  /** The tables that hold something, in both copies; the others are zeros, which a new file is anyway. */
  #flush(): Piece[] {
    if (this.#highest === 0) {
      return [];
    }
    const from = Math.floor(this.#lowest / GTES_PER_GT);
    const bytes = encodeEntries(this.#held.subarray(from * GTES_PER_GT, alignUp(this.#highest, GTES_PER_GT)));
    const within = (this.#first + from) * GT_BYTES;
    this.#held.fill(0);
    this.#lowest = Number.POSITIVE_INFINITY;
    this.#highest = 0;
    const { firstRGT, firstGT } = this.#places;
    return [firstRGT, firstGT].map((table) => ({ offset: sectorsToBytes(table) + within, bytes }));
  }

  finish(hostEnd: number, content?: Content): { pieces: Piece[]; size: number } {
    const { rgdOffset, firstRGT, gdOffset, firstGT, overHead } = this.#places;
    const { capacity, descriptor, zeroedGrains } = this.#choices;
    const pieces = this.#flush();
    pieces.push({ offset: sectorsToBytes(rgdOffset), bytes: this.#directory(firstRGT) });
    pieces.push({ offset: sectorsToBytes(gdOffset), bytes: this.#directory(firstGT) });
    if (descriptor !== undefined) {
      pieces.push({ offset: SECTOR, bytes: embedDescriptor(descriptor, content?.fingerprint) });
    }
    const header = encodeHeader(capacity, descriptor === undefined ? 0 : DESCRIPTOR_SECTORS, {
      version: zeroedGrains ? 2 : 1,
      flags: Flag.newlineTest | Flag.redundantDirectory | (zeroedGrains ? Flag.zeroedGrains : 0),
      rgdOffset: BigInt(rgdOffset),
      gdOffset: BigInt(gdOffset),
      overHead,
      compressAlgorithm: 0,
    });
    pieces.push({ offset: 0, bytes: header });
    // The last grain is whole: libvmdk refuses one that the file's end cuts.
    return { pieces, size: alignUp(Math.max(hostEnd, sectorsToBytes(overHead)), GRAIN_BYTES) };
  }

  #directory(firstTable: Sectors): Uint8Array {
    const { numGTs } = this.#places;
    const entries = Uint32Array.from({ length: numGTs }, (_, i) =>
      toEntry(sectorsToBytes(firstTable + i * GT_SECTORS)),
    );
    return encodeEntries(entries);
  }
}
