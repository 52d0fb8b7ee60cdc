/**
 * streamOptimized: header | descriptor | compressed grains, each table after the grains that it maps | directory |
 * footer | end-of-stream marker. Made in one pass; nothing is written twice. VMDK 5.0 §Stream-optimized.
 */
import { VdconvError } from '../../../base/errors.ts';
import { alignUp, divCeil, SECTOR, type Sectors, sectorsToBytes } from '../../../base/units.ts';
import { type Allocation, type Layout, type Piece, Placed } from '../../../map/layout.ts';
import type { PlanFile, Writer } from '../../format.ts';
import { ENTRY_BYTES } from '../grain-tables.ts';
import { Flag, GD_AT_END, MarkerType, MetadataMarker } from '../hosted/layout.ts';
import { DESCRIPTOR_SECTORS, embedDescriptor } from './descriptor-text.ts';
import {
  countGTs,
  encodeEntries,
  encodeHeader,
  GRAIN_BYTES,
  GRAIN_SIZE,
  GT_BYTES,
  GT_SECTORS,
  GTES_PER_GT,
  type HeaderChoices,
  toEntry,
} from './header.ts';
import { descriptorOf, ownExtent, type Target } from './target.ts';

/** Where VMware's tools begin the grains: header and descriptor, up to a whole grain. */
const OVERHEAD: Sectors = GRAIN_SIZE;

/** What ESXi demands: version 3, and all else by the footer. */
const HEADER: HeaderChoices = {
  version: 3,
  flags: Flag.newlineTest | Flag.compressed | Flag.markers,
  rgdOffset: 0n,
  gdOffset: GD_AT_END,
  overHead: OVERHEAD,
  compressAlgorithm: 1,
};

/** zlib's own; VMware's tools use 6 to 9. */
const DEFAULT_LEVEL = 6;

export function planStream(target: Target): PlanFile {
  const { capacity, request } = target;
  const layout: Layout = {
    kind: 'blocks',
    dataStart: sectorsToBytes(OVERHEAD),
    blockSize: GRAIN_BYTES,
    dataAlign: SECTOR,
    dataPhase: 0,
    prefixBytes: 0,
    prefixFill: 0,
    tables: { blocks: GTES_PER_GT, bytes: GT_BYTES, align: SECTOR, marker: MetadataMarker.size, place: 'after' },
    codec: {
      name: 'zlib',
      level: request.level ?? DEFAULT_LEVEL,
      windowBits: 15,
      packing: SECTOR,
      framing: 'grain-marker',
      // A grain has no flag that says "plain".
      incompressible: 'compressed',
      maxShare: 0,
    },
  };
  // The content is not known yet when its id is written: that follows from size and options.
  const front = [
    { offset: 0, bytes: header(capacity) },
    { offset: SECTOR, bytes: embedDescriptor(descriptorOf(target, ownExtent(target))) },
  ];
  return { layout, front, largest: largestStream(capacity), writer: () => new StreamWriter(capacity, front) };
}

/** A grain that does not shrink grows by its marker and by what deflate adds to stored data: less than a sector. */
function largestStream(capacity: Sectors): number {
  const groups = countGTs(capacity);
  const grains = divCeil(capacity, GRAIN_SIZE) * (GRAIN_BYTES + SECTOR);
  const tables = groups * (MetadataMarker.size + GT_BYTES);
  const directory = alignUp(groups * ENTRY_BYTES, SECTOR);
  // Markers of the directory, the footer and the end of the stream, and the footer.
  return sectorsToBytes(OVERHEAD) + grains + tables + directory + 4 * SECTOR;
}

class StreamWriter implements Writer {
  readonly #capacity: Sectors;
  readonly #front: readonly Piece[];
  readonly #gd: Uint32Array;
  /** The grain table of the group that is being placed. */
  readonly #gt = new Uint32Array(GTES_PER_GT);
  #group: number | undefined;

  constructor(capacity: Sectors, front: readonly Piece[]) {
    this.#capacity = capacity;
    this.#front = front;
    this.#gd = new Uint32Array(countGTs(capacity));
  }

  add(batch: Allocation): Piece[] {
    const pieces: Piece[] = [];
    for (let i = 0; i < batch.count; i += 1) {
      const index = batch.index[i] as number;
      const offset = batch.offset[i] as number;
      switch (batch.kind[i]) {
        case Placed.compressed:
          this.#open(Math.floor(index / GTES_PER_GT));
          this.#gt[index % GTES_PER_GT] = toEntry(offset);
          break;
        case Placed.table:
          pieces.push(this.#close(index, offset));
          break;
        default:
          throw new VdconvError('internal', `streamOptimized VMDK: placed ${batch.kind[i]}`);
      }
    }
    return pieces;
  }

  #open(group: number): void {
    if (this.#group !== undefined && this.#group !== group) {
      throw new VdconvError('internal', `streamOptimized VMDK: grain table ${this.#group} has no place`);
    }
    this.#group = group;
  }

  /** A grain table behind its marker. A table without grains is never placed: its directory entry stays 0. */
  #close(group: number, offset: number): Piece {
    this.#open(group);
    this.#gd[group] = toEntry(offset);
    const bytes = join([marker(MarkerType.grainTable, GT_SECTORS), encodeEntries(this.#gt)]);
    this.#gt.fill(0);
    this.#group = undefined;
    return { offset: offset - MetadataMarker.size, bytes };
  }

  finish(hostEnd: number): { pieces: Piece[]; size: number } {
    if (this.#group !== undefined) {
      throw new VdconvError('internal', `streamOptimized VMDK: grain table ${this.#group} has no place`);
    }
    const offset = alignUp(Math.max(hostEnd, sectorsToBytes(OVERHEAD)), SECTOR);
    const gdSectors = divCeil(this.#gd.length * ENTRY_BYTES, SECTOR);
    const gd = new Uint8Array(sectorsToBytes(gdSectors));
    gd.set(encodeEntries(this.#gd));
    const gdOffset = BigInt(toEntry(offset + MetadataMarker.size));
    const bytes = join([
      marker(MarkerType.grainDirectory, gdSectors),
      gd,
      marker(MarkerType.footer, 1),
      header(this.#capacity, gdOffset),
      marker(MarkerType.endOfStream, 0),
    ]);
    return { pieces: [{ offset, bytes }, ...this.#front], size: offset + bytes.length };
  }
}

function header(capacity: Sectors, gdOffset = HEADER.gdOffset): Uint8Array {
  return encodeHeader(capacity, DESCRIPTOR_SECTORS, { ...HEADER, gdOffset });
}

/** @param numSectors of what follows. */
function marker(type: number, numSectors: Sectors): Uint8Array {
  return MetadataMarker.encode({ numSectors, size: 0, type });
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
