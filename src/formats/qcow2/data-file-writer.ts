/**
 * QCOW2 §External data file: the guest's bytes lie in a file of their own at their guest offsets; the image has the
 * tables. They are known when the data file is complete: header | refcount table | L1 table | L2 tables | refcount blocks.
 */
import { isBitSet } from '../../base/bits.ts';
import { alignUp, divCeil } from '../../base/units.ts';
import type { Content, Piece, Writer } from '../../map/layout.ts';
import type { Geometry } from './geometry.ts';
import { encodeHeader } from './header-writer.ts';
import { ENTRY_BYTES, Entry } from './layout.ts';
import { Refcounts } from './refcounts.ts';
import { setEntry, setStandard } from './table-entries.ts';

export class DataFileWriter implements Writer {
  readonly #geometry: Geometry;
  /** Every cluster of the data file is mapped, also where it is zero. */
  readonly #all: boolean;

  constructor(geometry: Geometry, all: boolean) {
    this.#geometry = geometry;
    this.#all = all;
  }

  /** The image itself holds no guest bytes. */
  add(): Piece[] {
    return [];
  }

  finish(_: number, content?: Content): ReturnType<Writer['finish']> {
    const { clusterSize, frontClusters, refcountsPerBlock } = this.#geometry;
    const stored = this.#all ? undefined : content?.stored;
    const tables = this.#tables(stored);
    const used = frontClusters + tables.length;
    let blocks = 0;
    while (blocks * refcountsPerBlock < used + blocks) {
      blocks += 1;
    }
    return { pieces: [], tables: this.#pieces(tables, stored, used, blocks), size: (used + blocks) * clusterSize };
  }

  /** One at a time: there may be gigabytes of L2 tables. */
  *#pieces(
    tables: readonly number[],
    stored: Uint8Array | undefined,
    used: number,
    blocks: number,
  ): Generator<Piece, void> {
    const geometry = this.#geometry;
    const { clusterSize, frontClusters, l1Size, l1TableOffset, refcountTableOffset } = geometry;
    const l1 = new DataView(new ArrayBuffer(alignUp(l1Size * ENTRY_BYTES, clusterSize)));
    for (const [i, index] of tables.entries()) {
      const offset = (frontClusters + i) * clusterSize;
      setEntry(l1, index * ENTRY_BYTES, Entry.copiedHigh, offset);
      yield { offset, bytes: this.#l2(index, stored) };
    }
    const refcounts = new Refcounts(geometry);
    refcounts.count(0, used);
    for (let block = 0; block < blocks; block += 1) {
      yield* refcounts.place(block, (used + block) * clusterSize);
    }
    yield* refcounts.finish();
    yield { offset: l1TableOffset, bytes: new Uint8Array(l1.buffer) };
    yield { offset: refcountTableOffset, bytes: refcounts.table() };
    yield { offset: 0, bytes: encodeHeader(geometry) };
  }

  /** Numbers of the L2 tables that there must be. */
  #tables(stored: Uint8Array | undefined): number[] {
    const { virtualSize, clusterSize, l2Entries } = this.#geometry;
    const clusters = divCeil(virtualSize, clusterSize);
    const needed: number[] = [];
    for (let index = 0; index * l2Entries < clusters; index += 1) {
      // The entries of a table are a multiple of eight.
      const bits = stored?.subarray((index * l2Entries) / 8, ((index + 1) * l2Entries) / 8);
      if (bits?.some((byte) => byte !== 0) ?? true) {
        needed.push(index);
      }
    }
    return needed;
  }

  #l2(index: number, stored: Uint8Array | undefined): Uint8Array {
    const { virtualSize, clusterSize, l2Entries } = this.#geometry;
    const first = index * l2Entries;
    const count = Math.min(l2Entries, divCeil(virtualSize, clusterSize) - first);
    const table = new DataView(new ArrayBuffer(clusterSize));
    for (let i = 0; i < count; i += 1) {
      if (stored === undefined || isBitSet(stored, first + i)) {
        setStandard(table, i, this.#geometry, (first + i) * clusterSize);
      }
    }
    return new Uint8Array(table.buffer);
  }
}
