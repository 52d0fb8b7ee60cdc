/** Turns the engine's allocation into L2 tables, refcounts, L1 table and header. Memory: the L1 table, one L2 table. */
import { VdconvError } from '../../base/errors.ts';
import { alignUp, SECTOR } from '../../base/units.ts';
import { type Allocation, type Piece, Placed } from '../../map/layout.ts';
import type { Writer } from '../format.ts';
import type { Geometry } from './geometry.ts';
import { type Backing, encodeHeader } from './header-writer.ts';
import { compressedOffsetBits, ENTRY_BYTES, Entry } from './layout.ts';
import { Refcounts } from './refcounts.ts';
import { setEntry, setStandard, setZero } from './table-entries.ts';

export class Qcow2Writer implements Writer {
  readonly #geometry: Geometry;
  readonly #backing: Backing | undefined;
  readonly #l1: DataView;
  readonly #refcounts: Refcounts;
  /** The L2 table of the group that blocks are being placed for. */
  #l2: { index: number; offset: number; entries: DataView } | undefined;

  constructor(geometry: Geometry, backing?: Backing) {
    this.#geometry = geometry;
    this.#backing = backing;
    const { clusterSize, l1Size, frontClusters } = geometry;
    this.#l1 = new DataView(new ArrayBuffer(alignUp(l1Size * 8, clusterSize)));
    this.#refcounts = new Refcounts(geometry);
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
        case Placed.zero:
          this.#zeros(index, batch.blocks[i] as number);
          break;
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
    pieces.push({ offset: 0, bytes: encodeHeader(this.#geometry, this.#backing) });
    // Readers exist that read whole clusters only.
    return { pieces, size: alignUp(hostEnd, this.#geometry.clusterSize) };
  }

  /** The placement gives a table its place before the first block of its group, and has finished the group before. */
  #beginTable(index: number, offset: number): void {
    this.#l2 = { index, offset, entries: new DataView(new ArrayBuffer(this.#geometry.clusterSize)) };
    setEntry(this.#l1, index * ENTRY_BYTES, Entry.copiedHigh, offset);
  }

  #endTable(): Piece[] {
    const table = this.#l2;
    this.#l2 = undefined;
    return table === undefined ? [] : [{ offset: table.offset, bytes: new Uint8Array(table.entries.buffer) }];
  }

  /** QCOW2 §Standard Cluster Descriptor. Every cluster of ours is used once: COPIED. */
  #plain(block: number, blocks: number, offset: number): void {
    for (let i = 0; i < blocks; i += 1) {
      const { entries, entry } = this.#entry(block + i);
      setStandard(entries, entry, this.#geometry, offset + i * this.#geometry.clusterSize);
    }
  }

  /** Clusters that hide the layer below. */
  #zeros(block: number, blocks: number): void {
    for (let i = 0; i < blocks; i += 1) {
      const { entries, entry } = this.#entry(block + i);
      setZero(entries, entry, this.#geometry);
    }
  }

  /** QCOW2 §Compressed Clusters Descriptor. `additionalSectors` counts those after the one in which the stream begins. */
  #compressed(block: number, offset: number, stored: number): void {
    const { entries, entry } = this.#entry(block);
    const sector = (at: number) => (at - (at % SECTOR)) / SECTOR;
    const additionalSectors = sector(offset + stored - 1) - sector(offset);
    const x = compressedOffsetBits(this.#geometry.clusterBits) - 32;
    setEntry(entries, entry * this.#geometry.l2EntrySize, Entry.compressedHigh + additionalSectors * 2 ** x, offset);
  }

  #entry(block: number): { entries: DataView; entry: number } {
    const { l2Entries } = this.#geometry;
    const entry = block % l2Entries;
    if (this.#l2?.index !== (block - entry) / l2Entries) {
      throw new VdconvError('internal', `QCOW2 writer: block ${block} was placed before its L2 table`);
    }
    return { entries: this.#l2.entries, entry };
  }
}
