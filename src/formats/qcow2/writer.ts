/** Turns the engine's allocation into L2 tables, refcounts, L1 table and header. Memory: the L1 table, one L2 table. */
import { VdconvError } from '../../base/errors.ts';
import { alignUp, SECTOR } from '../../base/units.ts';
import { type Allocation, type Piece, Placed } from '../../map/layout.ts';
import type { Writer } from '../format.ts';
import type { Geometry } from './geometry.ts';
import { encodeHeader } from './header-writer.ts';
import { compressedOffsetBits, Entry } from './layout.ts';
import { Refcounts } from './refcounts.ts';

const HIGH = 2 ** 32;

export class Qcow2Writer implements Writer {
  readonly #geometry: Geometry;
  readonly #l1: DataView;
  readonly #refcounts: Refcounts;
  /** The L2 table of the group that blocks are being placed for. */
  #l2: { index: number; offset: number; entries: DataView } | undefined;

  constructor(geometry: Geometry) {
    this.#geometry = geometry;
    const { clusterSize, l1Size, frontClusters } = geometry;
    this.#l1 = new DataView(new ArrayBuffer(alignUp(l1Size * 8, clusterSize)));
    this.#refcounts = new Refcounts(clusterSize, geometry.refcountTableClusters);
    this.#refcounts.count(0, frontClusters);
  }

  add(batch: Allocation): Piece[] {
    const { clusterSize } = this.#geometry;
    const pieces: Piece[] = [];
    for (let i = 0; i < batch.count; i += 1) {
      const index = batch.index[i] as number;
      const offset = batch.offset[i] as number;
      switch (batch.kind[i]) {
        case Placed.plain: {
          const blocks = batch.blocks[i] as number;
          this.#plain(index, blocks, offset);
          this.#refcounts.count(offset / clusterSize, blocks);
          break;
        }
        case Placed.compressed: {
          const stored = batch.stored[i] as number;
          this.#compressed(index, offset, stored);
          this.#refcounts.countBlob(offset, stored);
          break;
        }
        case Placed.table:
          pieces.push(...this.#endTable());
          this.#beginTable(index, offset);
          this.#refcounts.count(offset / clusterSize, 1);
          break;
        default:
          pieces.push(...this.#refcounts.place(index, offset));
      }
    }
    return pieces;
  }

  /** The header comes last: an image that was not finished has no magic number. */
  finish(hostEnd: number): { pieces: Piece[]; size: number } {
    const { refcountTableOffset, l1TableOffset } = this.#geometry;
    const pieces = this.#endTable();
    pieces.push(...this.#refcounts.finish());
    pieces.push({ offset: l1TableOffset, bytes: new Uint8Array(this.#l1.buffer) });
    pieces.push({ offset: refcountTableOffset, bytes: this.#refcounts.table() });
    pieces.push({ offset: 0, bytes: encodeHeader(this.#geometry) });
    // Readers exist that read whole clusters only.
    return { pieces, size: alignUp(hostEnd, this.#geometry.clusterSize) };
  }

  /** The placement gives a table its place before the first block of its group, and has finished the group before. */
  #beginTable(index: number, offset: number): void {
    this.#l2 = { index, offset, entries: new DataView(new ArrayBuffer(this.#geometry.clusterSize)) };
    setEntry(this.#l1, index, Entry.copiedHigh, offset);
  }

  #endTable(): Piece[] {
    const table = this.#l2;
    this.#l2 = undefined;
    return table === undefined ? [] : [{ offset: table.offset, bytes: new Uint8Array(table.entries.buffer) }];
  }

  /** QCOW2 §Standard Cluster Descriptor. Every cluster of ours is used once: COPIED. */
  #plain(block: number, blocks: number, offset: number): void {
    const { clusterSize } = this.#geometry;
    for (let i = 0; i < blocks; i += 1) {
      const { entries, entry } = this.#entry(block + i);
      setEntry(entries, entry, Entry.copiedHigh, offset + i * clusterSize);
    }
  }

  /** QCOW2 §Compressed Clusters Descriptor. `additionalSectors` counts those after the one in which the stream begins. */
  #compressed(block: number, offset: number, stored: number): void {
    const { entries, entry } = this.#entry(block);
    const sector = (at: number) => (at - (at % SECTOR)) / SECTOR;
    const additionalSectors = sector(offset + stored - 1) - sector(offset);
    const x = compressedOffsetBits(this.#geometry.clusterBits) - 32;
    setEntry(entries, entry, Entry.compressedHigh + additionalSectors * 2 ** x, offset);
  }

  #entry(block: number): { entries: DataView; entry: number } {
    const perTable = this.#geometry.clusterSize / 8;
    const entry = block % perTable;
    if (this.#l2?.index !== (block - entry) / perTable) {
      throw new VdconvError('internal', `QCOW2 writer: block ${block} was placed before its L2 table`);
    }
    return { entries: this.#l2.entries, entry };
  }
}

/** Writes entry `index` of a table: `flags` are bits of the high half that a host offset does not reach. */
function setEntry(table: DataView, index: number, flags: number, offset: number): void {
  const low = offset % HIGH;
  table.setUint32(index * 8, flags + (offset - low) / HIGH);
  table.setUint32(index * 8 + 4, low);
}
