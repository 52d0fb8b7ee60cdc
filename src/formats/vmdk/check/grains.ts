/** The grains of a hosted sparse file, table by table. VMDK 5.0 §Grain table, §Grain marker. */
import { showNumber } from '../../../base/errors.ts';
import { SECTOR, sectorsToBytes } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import { type Findings, type Place, ReadAhead } from '../../check.ts';
import { ENTRY_BYTES, GTE_ZEROED } from '../grain-tables.ts';
import { Flag, type SparseExtentHeader } from '../hosted/layout.ts';
import type { Owners } from './owners.ts';

/** u64 sector of the disk, u32 bytes of the stream that follows. */
const MARKER_BYTES = 12;

export class Grains {
  readonly #source: ByteSource;
  readonly #header: SparseExtentHeader;
  readonly #owners: Owners;
  readonly #findings: Findings;
  readonly #file: Pick<Place, 'file'>;
  readonly #markers: ReadAhead;
  readonly #isCompressed: boolean;
  allocated = 0;
  /** Grains that do not begin where the one before ended. */
  fragmented = 0;
  compressed = 0;
  #next = 0;

  constructor(
    source: ByteSource,
    header: SparseExtentHeader,
    owners: Owners,
    findings: Findings,
    file: Pick<Place, 'file'>,
  ) {
    this.#source = source;
    this.#header = header;
    this.#owners = owners;
    this.#findings = findings;
    this.#file = file;
    this.#markers = new ReadAhead(source);
    this.#isCompressed = (header.flags & Flag.compressed) !== 0;
  }

  /** @param at of the table `index` in the file. */
  async check(index: number, at: number, table: Uint8Array): Promise<void> {
    const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
    const perTable = table.length / ENTRY_BYTES;
    for (let i = 0; i < perTable; i += 1) {
      const entry = view.getUint32(i * ENTRY_BYTES, true);
      if (entry <= GTE_ZEROED) {
        continue;
      }
      const grain = { index: index * perTable + i, entry, at: at + i * ENTRY_BYTES };
      const length = this.#isCompressed ? await this.#checkMarker(grain) : this.#plainLength(grain);
      if (length === undefined) {
        continue;
      }
      const offset = sectorsToBytes(entry);
      this.allocated += 1;
      this.compressed += this.#isCompressed ? 1 : 0;
      this.fragmented += this.#next !== 0 && offset !== this.#next ? 1 : 0;
      this.#next = offset + Math.ceil(length / SECTOR) * SECTOR;
      if (entry < this.#header.overHead) {
        this.#corrupt(grain, `grains begin at sector ${this.#header.overHead}, after header and tables`);
      }
      if (!this.#owners.take(offset, length)) {
        this.#corrupt(grain, 'the grain lies over another one, or over a table');
      }
    }
  }

  /** Of a grain that is stored as it is; the end of the disk may cut the last one. undefined: not in the file. */
  #plainLength(grain: Grain): number | undefined {
    const { capacity, grainSize } = this.#header;
    const offset = sectorsToBytes(grain.entry);
    const seen = sectorsToBytes(Math.min(grainSize, Math.max(0, capacity - grain.index * grainSize)));
    if (offset + seen > this.#source.size) {
      this.#corrupt(grain, `the grain is needed up to ${offset + seen}, the file ends at ${this.#source.size}`);
      return undefined;
    }
    return Math.min(sectorsToBytes(grainSize), this.#source.size - offset);
  }

  /** @returns the bytes of marker and stream; undefined where they are not in the file. */
  async #checkMarker(grain: Grain): Promise<number | undefined> {
    const { grainSize } = this.#header;
    const offset = sectorsToBytes(grain.entry);
    if (offset + MARKER_BYTES > this.#source.size) {
      this.#corrupt(grain, `the grain's marker at ${offset} passes the end of the file at ${this.#source.size}`);
      return undefined;
    }
    const marker = await this.#markers.read(offset, MARKER_BYTES, 'VMDK grain marker');
    const view = new DataView(marker.buffer, marker.byteOffset, MARKER_BYTES);
    const lba = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
    const size = view.getUint32(8, true);
    if (lba !== grain.index * grainSize) {
      this.#corrupt(grain, `the grain's marker at ${offset} says sector ${lba}, the table ${grain.index * grainSize}`);
    }
    if (size === 0 || size > 2 * sectorsToBytes(grainSize)) {
      this.#corrupt(
        grain,
        `the grain's marker at ${offset} says ${size} bytes; a grain has 1 to ${2 * sectorsToBytes(grainSize)}`,
      );
      return undefined;
    }
    if (offset + MARKER_BYTES + size > this.#source.size) {
      this.#corrupt(grain, `the grain's ${size} bytes at ${offset} pass the end of the file at ${this.#source.size}`);
      return undefined;
    }
    return MARKER_BYTES + size;
  }

  #corrupt({ index, entry, at }: Grain, what: string): void {
    const said = () => ({ table: `grain table entry of grain ${index}`, offset: at, ...this.#file });
    this.#findings.corruption(() => ({ ...said(), what: `${what} (the entry is ${showNumber(entry)})` }));
  }
}

interface Grain {
  index: number;
  entry: number;
  /** Byte offset of the table's entry. */
  at: number;
}
