/**
 * Walks the L1 tables of the active state and of all snapshots. An L2 table that many entries share is looked at once,
 * with the number of those entries, so an image whose tables refer to each other costs no more than its size.
 */
import { VdconvError } from '../../../base/errors.ts';
import { formatSize, GiB, MiB } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import { UnitCounts } from '../../../map/unit-counts.ts';
import { type CheckContext, isHole, readPadded } from '../../check.ts';
import type { Header } from '../header.ts';
import { Entry } from '../layout.ts';
import { checkL2, type L2Totals } from './l2-tables.ts';
import type { References } from './references.ts';

const HIGH = 2 ** 32;
/** Bytes of tables read at a time. */
const PIECE = MiB;
/** Ours: of all L1 tables together, 32 times the largest one. */
const MAX_L1_ENTRIES = 2 ** 27;
/** Ours: L2 tables that are not aligned may overlap; so many are looked into, the others are counted only. */
export const MAX_UNALIGNED = 256;

/** Ours, of all L2 tables together: of 64 TiB in clusters of 8 KiB. Only a file with holes has more. */
const MAX_L2_BYTES = 64 * GiB;

export interface L1Table {
  offset: number;
  entries: number;
  /** How many snapshots have this table; 1 for the active one. */
  times: number;
  active: boolean;
  /** For messages. */
  name: string;
}

export interface L1Piece {
  /** Index of the first entry. */
  first: number;
  count: number;
  entries: DataView;
}

/** The table in pieces; what lies behind the end of the file reads as zeros. */
export async function* l1Pieces(source: ByteSource, table: L1Table): AsyncGenerator<L1Piece> {
  for (let first = 0; first < table.entries; first += PIECE / 8) {
    const count = Math.min(PIECE / 8, table.entries - first);
    const at = table.offset + first * 8;
    if (!isHole(source, at, count * 8)) {
      const bytes = await readPadded(source, at, count * 8, 'QCOW2 L1 table');
      yield { first, count, entries: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
    }
  }
}

export function l2Offset(entries: DataView, i: number): number {
  return (
    (entries.getUint32(i * 8) & Entry.offsetHigh) * HIGH + ((entries.getUint32(i * 8 + 4) & Entry.offsetLow) >>> 0) // u32
  );
}

export class L1Walk {
  readonly #source: ByteSource;
  readonly #header: Header;
  readonly #context: CheckContext;
  readonly #references: References;
  /** Entries that refer to the L2 table in each cluster: of all tables, and of the active one. */
  readonly #all: UnitCounts;
  readonly #active: UnitCounts;
  readonly totals: L2Totals = { allocated: 0, fragmented: 0, compressed: 0, externalEnd: 0 };

  constructor(source: ByteSource, header: Header, references: References, context: CheckContext) {
    this.#source = source;
    this.#header = header;
    this.#context = context;
    this.#references = references;
    this.#all = new UnitCounts(source.name);
    this.#active = new UnitCounts(source.name);
  }

  async run(tables: readonly L1Table[]): Promise<void> {
    const entries = tables.reduce((sum, table) => sum + table.entries, 0);
    if (entries > MAX_L1_ENTRIES) {
      const what = `its L1 tables have ${entries} entries together; vdconv checks at most ${MAX_L1_ENTRIES}`;
      throw new VdconvError('limit', what, { ...this.#header.origin, field: 'L1 table' });
    }
    for (const table of tables) {
      await this.#count(table);
    }
    const done = new UnitCounts(this.#source.name);
    let walked = 0;
    for (const table of tables) {
      for await (const piece of l1Pieces(this.#source, table)) {
        await this.#descend(table, piece, done, () => this.#context.progress(walked + piece.first, entries));
      }
      walked += table.entries;
    }
  }

  /** References to the table and by its entries. */
  async #count(table: L1Table): Promise<void> {
    const { clusterSize } = this.#header;
    const { findings } = this.#context;
    const { times } = table;
    this.#references.add(table.offset, table.entries * 8, times, () => ({ table: table.name, offset: table.offset }));
    for await (const { first, count, entries } of l1Pieces(this.#source, table)) {
      for (let i = 0; i < count; i += 1) {
        const high = entries.getUint32(i * 8);
        const low = entries.getUint32(i * 8 + 4);
        if ((high | low) === 0) {
          continue;
        }
        const place = () => ({ table: `${table.name} entry ${first + i}`, offset: table.offset + (first + i) * 8 });
        if ((high & Entry.l1ReservedHigh) !== 0 || (low & Entry.l1ReservedLow) !== 0) {
          const what = 'bits 0 to 8 and 56 to 62 are reserved and not all 0';
          findings.corruption(() => ({ ...place(), what }), times);
        }
        const offset = l2Offset(entries, i);
        this.#references.add(offset, clusterSize, times, place);
        if (offset % clusterSize !== 0) {
          const what = `its L2 table at ${offset} does not begin at a multiple of the cluster size ${clusterSize}`;
          findings.corruption(() => ({ ...place(), what }), times);
        } else if (offset < this.#source.size) {
          this.#all.add(offset / clusterSize, 1, times);
          if (table.active) {
            this.#active.add(offset / clusterSize);
          }
        }
      }
    }
  }

  #unaligned = 0;
  /** Bytes of L2 tables. */
  #read = 0;

  /** Looks at the L2 tables of a piece that were not looked at yet. */
  async #descend(table: L1Table, piece: L1Piece, done: UnitCounts, progress: () => void): Promise<void> {
    const { clusterSize } = this.#header;
    const { first, count, entries } = piece;
    for (let i = 0; i < count; ) {
      const at = l2Offset(entries, i);
      const isUsed = entries.getUint32(i * 8) !== 0 || entries.getUint32(i * 8 + 4) !== 0;
      const index = first + i;
      i += 1;
      if (!isUsed || at >= this.#source.size) {
        continue;
      }
      if (at % clusterSize !== 0) {
        this.#unaligned += 1;
        if (this.#unaligned <= MAX_UNALIGNED) {
          await this.#look(index, at, 1, () => ({ all: table.times, active: table.active ? 1 : 0 }));
        }
        continue;
      }
      if (done.add(at / clusterSize) > 0) {
        continue;
      }
      let tables = 1;
      while (
        i < count &&
        (tables + 1) * clusterSize <= PIECE &&
        l2Offset(entries, i) === at + tables * clusterSize &&
        at + tables * clusterSize < this.#source.size &&
        done.add(at / clusterSize + tables) === 0
      ) {
        tables += 1;
        i += 1;
      }
      progress();
      await this.#look(index, at, tables, (offset) => ({
        all: this.#all.get(offset / clusterSize),
        active: this.#active.get(offset / clusterSize),
      }));
    }
  }

  async #look(
    index: number,
    at: number,
    tables: number,
    times: (offset: number) => { all: number; active: number },
  ): Promise<void> {
    const { clusterSize } = this.#header;
    if (isHole(this.#source, at, tables * clusterSize)) {
      return;
    }
    this.#read += tables * clusterSize;
    if (this.#read > MAX_L2_BYTES) {
      const what = `its L2 tables have more than ${formatSize(MAX_L2_BYTES)} together, vdconv's limit`;
      throw new VdconvError('limit', what, { ...this.#header.origin, field: 'L2 table' });
    }
    const bytes = await readPadded(this.#source, at, tables * clusterSize, 'QCOW2 L2 table');
    for (let i = 0; i < tables; i += 1) {
      const offset = at + i * clusterSize;
      checkL2({
        header: this.#header,
        entries: new DataView(bytes.buffer, bytes.byteOffset + i * clusterSize, clusterSize),
        at: offset,
        l1Index: index + i,
        times: times(offset),
        fileSize: this.#source.size,
        references: this.#references,
        findings: this.#context.findings,
        totals: this.totals,
      });
    }
  }
}
