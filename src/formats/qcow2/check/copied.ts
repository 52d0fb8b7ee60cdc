/** QCOW2 §Cluster mapping: the COPIED flag says that a refcount is exactly one. For the active state only. */
import type { ByteSource } from '../../../io/types.ts';
import { UnitCounts } from '../../../map/unit-counts.ts';
import { type CheckContext, isHole, readPadded } from '../../check.ts';
import { has, Incompatible } from '../features.ts';
import type { Header } from '../header.ts';
import { Entry } from '../layout.ts';
import { type L1Table, l1Pieces, l2Offset, MAX_UNALIGNED } from './l1-tables.ts';
import { entryBytes, entryKind, hostOffset } from './l2-tables.ts';
import type { Refcounts } from './refcounts.ts';

export class CopiedFlags {
  readonly #source: ByteSource;
  readonly #header: Header;
  readonly #refcounts: Refcounts;
  readonly #context: CheckContext;

  constructor(source: ByteSource, header: Header, refcounts: Refcounts, context: CheckContext) {
    this.#source = source;
    this.#header = header;
    this.#refcounts = refcounts;
    this.#context = context;
  }

  async check(table: L1Table): Promise<void> {
    const { clusterSize } = this.#header;
    const { findings, progress } = this.#context;
    const users = new UnitCounts(this.#source.name);
    for await (const { first, count, entries } of l1Pieces(this.#source, table)) {
      for (let i = 0; i < count; i += 1) {
        const offset = l2Offset(entries, i);
        if (offset === 0) {
          continue;
        }
        const isCopied = (entries.getUint32(i * 8) & Entry.copiedHigh) !== 0;
        const isOne = await this.#refcounts.isOne(Math.floor(offset / clusterSize));
        if (isOne !== undefined && isOne !== isCopied) {
          const place = { table: `${table.name} entry ${first + i}`, offset: table.offset + (first + i) * 8 };
          findings.corruption(() => ({ ...place, what: says(isCopied) }));
        }
        if (offset < this.#source.size && offset % clusterSize === 0) {
          users.add(offset / clusterSize);
        }
      }
    }
    const done = new UnitCounts(this.#source.name);
    let unaligned = 0;
    for await (const { first, count, entries } of l1Pieces(this.#source, table)) {
      for (let i = 0; i < count; i += 1) {
        const offset = l2Offset(entries, i);
        if (offset === 0 || offset >= this.#source.size) {
          continue;
        }
        const isAligned = offset % clusterSize === 0;
        unaligned += isAligned ? 0 : 1;
        if (isAligned ? done.add(offset / clusterSize) === 0 : unaligned <= MAX_UNALIGNED) {
          progress(first + i, table.entries);
          await this.#checkL2(offset, first + i, isAligned ? users.get(offset / clusterSize) : 1);
        }
      }
    }
  }

  async #checkL2(at: number, l1Index: number, times: number): Promise<void> {
    const { clusterSize, incompatibleFeatures } = this.#header;
    if (isHole(this.#source, at, clusterSize)) {
      return;
    }
    const bytes = await readPadded(this.#source, at, clusterSize, 'QCOW2 L2 table');
    const entries = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const size = entryBytes(this.#header);
    const external = has(incompatibleFeatures, Incompatible.externalDataFile);
    for (let i = 0; (i + 1) * size <= clusterSize; i += 1) {
      const high = entries.getUint32(i * size);
      const low = entries.getUint32(i * size + 4);
      if ((high | low) === 0) {
        continue;
      }
      const kind = entryKind(high, low, size === 16, external);
      if (kind !== 'data' && kind !== 'zeroAllocated') {
        continue;
      }
      const isCopied = (high & Entry.copiedHigh) !== 0;
      const found = external || this.#refcounts.isOne(Math.floor(hostOffset(high, low) / clusterSize));
      const isOne = typeof found === 'boolean' ? found : await found;
      if (isOne !== undefined && isOne !== isCopied) {
        const guest = ((l1Index * clusterSize) / size + i) * clusterSize;
        const place = { table: `L2 entry of guest offset ${guest}`, offset: at + i * size };
        this.#context.findings.corruption(() => ({ ...place, what: says(isCopied) }), times);
      }
    }
  }
}

function says(isCopied: boolean): string {
  return isCopied ? 'COPIED is set, but the refcount is not 1' : 'COPIED is clear, but the refcount is 1';
}
