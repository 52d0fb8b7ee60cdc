/** Which sectors of a file belong to something already. */
import { showNumber } from '../../../base/errors.ts';
import { divCeil, SECTOR, sectorsToBytes } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import { UnitCounts } from '../../../map/unit-counts.ts';
import type { Findings, Place } from '../../check.ts';

export class Owners {
  readonly #sectors: UnitCounts;
  readonly #source: ByteSource;
  readonly #findings: Findings;
  readonly #file: Pick<Place, 'file'>;

  constructor(source: ByteSource, findings: Findings, file: Pick<Place, 'file'>) {
    this.#sectors = new UnitCounts(source.name);
    this.#source = source;
    this.#findings = findings;
    this.#file = file;
  }

  /** Takes a range for what `place` says is there. @returns whether it lies in the file. */
  claim(place: Place, offset: number, length: number): boolean {
    const { size } = this.#source;
    if (offset < 0 || offset + length > size) {
      const what = `lies at ${showNumber(offset)} to ${showNumber(offset + length)}, the file ends at ${size}`;
      this.#findings.corruption(() => ({ ...place, ...this.#file, what }));
      return false;
    }
    if (!this.take(offset, length)) {
      const what = `lies at ${offset} to ${offset + length}, where something else is`;
      this.#findings.corruption(() => ({ ...place, ...this.#file, what }));
    }
    return true;
  }

  /** @returns whether all of it was free. */
  take(offset: number, length: number): boolean {
    const first = Math.floor(offset / SECTOR);
    return this.#sectors.add(first, divCeil(offset + length, SECTOR) - first) === 0;
  }

  /** Bytes of the file that belong to nothing. */
  unreferenced(): number {
    return Math.max(0, this.#source.size - sectorsToBytes(this.#sectors.owned()));
  }
}
