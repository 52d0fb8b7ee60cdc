/**
 * One hosted sparse file: both directories and their tables, every grain's place, and in a stream-optimized file the
 * markers before them. VMDK 5.0 §Hosted sparse extents, §Stream-optimized compressed sparse extents.
 */
import { VdconvError } from '../../../base/errors.ts';
import { LIMITS } from '../../../base/limits.ts';
import { divCeil, MiB, SECTOR, sectorsToBytes } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import { UnitCounts } from '../../../map/unit-counts.ts';
import { type CheckContext, isHole, type Place, ReadAhead } from '../../check.ts';
import { ENTRY_BYTES } from '../grain-tables.ts';
import { Flag, MarkerType, MetadataMarker, type SparseExtentHeader } from '../hosted/layout.ts';
import { type HostedHeader, readHostedHeader } from '../hosted/open.ts';
import { Grains } from './grains.ts';
import { Owners } from './owners.ts';

const PIECE = MiB / ENTRY_BYTES;

export interface CheckedExtent {
  header: SparseExtentHeader;
  allocated: number;
  fragmented: number;
  compressed: number;
  unreferencedBytes: number;
}

/** @param file for findings; undefined where it is the image itself. */
export async function checkHosted(
  source: ByteSource,
  context: CheckContext,
  file: string | undefined,
): Promise<CheckedExtent> {
  const warnings: string[] = [];
  const found = await readHostedHeader(source, warnings);
  const in_ = file === undefined ? {} : { file };
  for (const what of warnings) {
    context.findings.note(() => ({ table: 'header', ...in_, what }));
  }
  return new HostedCheck(source, found, context, file).run();
}

interface Directory {
  name: string;
  at: number;
  /** The header's field that says so. */
  from: number;
}

class HostedCheck {
  readonly #source: ByteSource;
  readonly #found: HostedHeader;
  readonly #context: CheckContext;
  readonly #file: Pick<Place, 'file'>;
  readonly #owners: Owners;
  readonly #grains: Grains;
  readonly #numGTs: number;
  readonly #gtBytes: number;

  constructor(source: ByteSource, found: HostedHeader, context: CheckContext, file: string | undefined) {
    const { capacity, grainSize, numGTEsPerGT } = found.header;
    this.#source = source;
    this.#found = found;
    this.#context = context;
    this.#file = file === undefined ? {} : { file };
    this.#owners = new Owners(source, context.findings, this.#file);
    this.#numGTs = divCeil(capacity, grainSize * numGTEsPerGT);
    this.#gtBytes = numGTEsPerGT * ENTRY_BYTES;
    this.#grains = new Grains(source, found.header, this.#owners, context.findings, this.#file);
  }

  async run(): Promise<CheckedExtent> {
    const { header, front, footerAt } = this.#found;
    if (this.#numGTs * ENTRY_BYTES > LIMITS.tables) {
      const what = `the grain directory has ${this.#numGTs} entries; vdconv takes at most ${LIMITS.tables / ENTRY_BYTES}`;
      throw new VdconvError('limit', what, { file: this.#source.name, format: 'vmdk', field: 'capacity', offset: 12 });
    }
    this.#owners.claim({ table: 'header', offset: 0 }, 0, SECTOR);
    if (header.descriptorOffset > 0) {
      const place = { table: 'descriptor', offset: 28 };
      this.#owners.claim(place, sectorsToBytes(header.descriptorOffset), sectorsToBytes(header.descriptorSize));
    }
    if (footerAt !== undefined) {
      this.#owners.claim({ table: 'footer', offset: footerAt }, footerAt - SECTOR, 2 * SECTOR);
      await this.#checkMarker('footer', footerAt, MarkerType.footer, 1);
      await this.#checkEnd(footerAt + SECTOR);
    }
    const first = { name: 'grain directory', at: sectorsToBytes(Number(front.gdOffset)), from: 56 };
    const second = { name: 'redundant grain directory', at: sectorsToBytes(Number(front.rgdOffset)), from: 48 };
    const hasSecond = (front.flags & Flag.redundantDirectory) !== 0;
    const isThere = this.#claimDirectory(first);
    const isCopyThere = hasSecond && this.#claimDirectory(second);
    // All tables before all grains: what lies over a table is the grain's fault.
    if (isThere) {
      await this.#claimTables(first, footerAt !== undefined);
    }
    if (isCopyThere) {
      await this.#claimTables(second, false);
    }
    // Where the first directory is lost, the second one leads to the grains.
    if (isThere || isCopyThere) {
      await this.#checkGrains(isThere ? first : second);
    }
    if (isThere && isCopyThere) {
      await this.#compareCopies(first, second);
    }
    const { allocated, fragmented, compressed } = this.#grains;
    return { header, allocated, fragmented, compressed, unreferencedBytes: this.#owners.unreferenced() };
  }

  #claimDirectory({ name, at, from }: Directory): boolean {
    const length = this.#numGTs * ENTRY_BYTES;
    return at > 0 && this.#owners.claim({ table: name, offset: from }, at, length);
  }

  /** The stream ends with a sector of zeros; behind it there should be nothing. */
  async #checkEnd(at: number): Promise<void> {
    const place = { table: 'end-of-stream marker', offset: at };
    if (!this.#owners.claim(place, at, SECTOR)) {
      return;
    }
    const bytes = await this.#source.read(at, SECTOR, 'VMDK end-of-stream marker');
    const { numSectors, size, type } = MetadataMarker.peek(bytes);
    if (numSectors !== 0 || size !== 0 || type !== MarkerType.endOfStream) {
      this.#corrupt(place, 'is no such marker; the stream is cut, or damaged at its end');
    }
  }

  /** @param withMarkers for the directory of a stream-optimized file, where a marker says what follows. */
  async #claimTables(directory: Directory, withMarkers: boolean): Promise<void> {
    const tableSectors = divCeil(this.#gtBytes, SECTOR);
    for await (const { first, entries } of this.#entries(directory)) {
      this.#context.progress(first, 2 * this.#numGTs);
      for (let i = 0; i < entries.length; i += 1) {
        const at = sectorsToBytes(entries[i] as number);
        const place = {
          table: `${directory.name} entry ${first + i}`,
          offset: directory.at + (first + i) * ENTRY_BYTES,
        };
        if (at > 0 && this.#owners.claim(place, at, this.#gtBytes) && withMarkers) {
          this.#owners.claim(place, at - SECTOR, SECTOR);
          await this.#checkMarker(place.table, at, MarkerType.grainTable, tableSectors);
        }
      }
    }
    if (withMarkers) {
      const sectors = divCeil(this.#numGTs * ENTRY_BYTES, SECTOR);
      this.#owners.claim({ table: directory.name, offset: directory.from }, directory.at - SECTOR, SECTOR);
      await this.#checkMarker(directory.name, directory.at, MarkerType.grainDirectory, sectors);
    }
  }

  async #checkGrains(directory: Directory): Promise<void> {
    const tables = new ReadAhead(this.#source);
    const done = new UnitCounts(this.#source.name);
    for await (const { first, entries } of this.#entries(directory)) {
      for (let i = 0; i < entries.length; i += 1) {
        const at = sectorsToBytes(entries[i] as number);
        const isThere = at > 0 && at + this.#gtBytes <= this.#source.size;
        // A table that two entries have was found already, and its grains are not those of the second one.
        if (!isThere || done.add(at / SECTOR) > 0) {
          continue;
        }
        this.#context.progress(this.#numGTs + first + i, 2 * this.#numGTs);
        if (!isHole(this.#source, at, this.#gtBytes)) {
          await this.#grains.check(first + i, at, await tables.read(at, this.#gtBytes, 'VMDK grain table'));
        }
      }
    }
  }

  /** The marker before a table at `at` says what follows it. */
  async #checkMarker(table: string, at: number, type: number, sectors: number): Promise<void> {
    const bytes = await this.#source.read(at - SECTOR, SECTOR, 'VMDK marker');
    const marker = MetadataMarker.peek(bytes);
    if (marker.size !== 0 || marker.type !== type || marker.numSectors !== sectors) {
      const what = `the marker before it says type ${marker.type}, ${marker.numSectors} sectors; it must say ${type} and ${sectors}`;
      this.#corrupt({ table, offset: at - SECTOR }, what);
    }
  }

  /** Every entry of both must say the same, table by table. */
  async #compareCopies(first: Directory, second: Directory): Promise<void> {
    const [a, b] = [new ReadAhead(this.#source), new ReadAhead(this.#source)];
    const { size } = this.#source;
    const copies = this.#entries(second);
    for await (const piece of this.#entries(first)) {
      const copy = (await copies.next()).value?.entries ?? piece.entries;
      for (let i = 0; i < piece.entries.length; i += 1) {
        const [atA, atB] = [sectorsToBytes(piece.entries[i] as number), sectorsToBytes(copy[i] as number)];
        const places = [atA, atB].map((at) => (at === 0 ? 'none' : at + this.#gtBytes > size ? 'outside' : 'in'));
        const place = {
          table: `${second.name} entry ${piece.first + i}`,
          offset: second.at + (piece.first + i) * ENTRY_BYTES,
        };
        if (places.includes('outside') || places.every((p) => p === 'none')) {
          continue;
        }
        if (places.includes('none')) {
          this.#corrupt(place, 'one directory has a grain table here, the other has none');
        } else if (!isHole(this.#source, atA, this.#gtBytes) || !isHole(this.#source, atB, this.#gtBytes)) {
          const table = await a.read(atA, this.#gtBytes, 'VMDK grain table');
          const other = await b.read(atB, this.#gtBytes, 'VMDK grain table');
          const at = table.findIndex((byte, j) => byte !== other[j]);
          if (at >= 0) {
            this.#corrupt(
              place,
              `entry ${Math.floor(at / ENTRY_BYTES)} of its grain table differs from the first copy`,
            );
          }
        }
      }
    }
  }

  async *#entries({ at, name }: Directory): AsyncGenerator<{ first: number; entries: Uint32Array }, undefined> {
    for (let first = 0; first < this.#numGTs; first += PIECE) {
      const count = Math.min(PIECE, this.#numGTs - first);
      const bytes = await this.#source.read(at + first * ENTRY_BYTES, count * ENTRY_BYTES, `VMDK ${name}`);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      yield { first, entries: Uint32Array.from({ length: count }, (_, i) => view.getUint32(i * ENTRY_BYTES, true)) };
    }
    return undefined;
  }

  #corrupt(place: Place, what: string): void {
    this.#context.findings.corruption(() => ({ ...place, ...this.#file, what }));
  }
}
