/** What the refcount table and its blocks say, against what was counted. QCOW2 §Host cluster management. */
import { showNumber } from '../../../base/errors.ts';
import type { ByteSource } from '../../../io/types.ts';
import { UnitCounts } from '../../../map/unit-counts.ts';
import { type CheckContext, type Findings, readPadded } from '../../check.ts';
import type { Header } from '../header.ts';
import type { References } from './references.ts';

/** QCOW2 §Host cluster management: bits 0 to 8 of a refcount table entry are reserved. */
const RESERVED = 512n;
/** qemu limit on the length of a file: what lies behind is no place. */
const MAX_OFFSET = 0x7fffffffc0000000;

export class Refcounts {
  readonly #source: ByteSource;
  readonly #header: Header;
  /** The refcount table; at most 8 MiB. */
  readonly #table: DataView;
  /** Refcounts a block. */
  readonly #perBlock: number;
  /** Clusters of the file whose refcount is exactly one. */
  readonly #ones: UnitCounts;
  /** Number of clusters that {@link compare} looked at, and the blocks among them that cannot be read. */
  #compared = 0;
  readonly #unreadable = new Set<number>();
  #last: { block: number; counts: Float64Array | undefined } | undefined;

  static async read(source: ByteSource, header: Header): Promise<Refcounts> {
    const bytes = header.refcountTableClusters * header.clusterSize;
    return new Refcounts(
      source,
      header,
      await readPadded(source, header.refcountTableOffset, bytes, 'QCOW2 refcount table'),
    );
  }

  constructor(source: ByteSource, header: Header, table: Uint8Array) {
    this.#source = source;
    this.#header = header;
    this.#table = new DataView(table.buffer, table.byteOffset, table.byteLength);
    this.#perBlock = (header.clusterSize * 8) / 2 ** header.refcountOrder;
    this.#ones = new UnitCounts(source.name);
  }

  get #blocks(): number {
    return this.#table.byteLength / 8;
  }

  /** The rules of table entries, and the references to the blocks: to be called after everything else was counted. */
  countBlocks(references: References, findings: Findings): void {
    const { clusterSize, refcountTableOffset } = this.#header;
    for (let i = 0; i < this.#blocks; i += 1) {
      const entry = this.#table.getBigUint64(i * 8);
      if (entry === 0n) {
        continue;
      }
      const place = () => ({ table: `refcount table entry ${i}`, offset: refcountTableOffset + i * 8 });
      const corrupt = (what: string) => findings.corruption(() => ({ ...place(), what }));
      const offset = Number(entry - (entry % RESERVED));
      const cluster = offset / clusterSize;
      if (entry % RESERVED !== 0n) {
        corrupt('bits 0 to 8 are reserved and not all 0');
      } else if (offset % clusterSize !== 0) {
        corrupt(`its block at ${showNumber(offset)} does not begin at a multiple of the cluster size ${clusterSize}`);
      } else if (cluster >= references.clusters) {
        corrupt(`its block at ${showNumber(offset)} lies behind the end of the file`);
      } else {
        references.add(offset, clusterSize, 1, place);
        const count = references.counts.get(cluster);
        if (count !== 1) {
          corrupt(`its block at ${showNumber(offset)} is used for something else too: ${count} references`);
        }
      }
    }
  }

  /** @returns the last cluster that is in use by either count. */
  async compare(references: References, { findings, progress }: CheckContext): Promise<number> {
    const { counts, clusters } = references;
    const differences = new Differences(this.#header, findings);
    let highest = 0;
    for (let first = 0, block = 0; first < clusters; first += this.#perBlock, block += 1) {
      const end = Math.min(clusters, first + this.#perBlock);
      const stored = await this.#block(block);
      if (stored === 'unreadable') {
        findings.checkErrors += end - first;
        this.#unreadable.add(block);
        continue;
      }
      progress(first, clusters);
      for (let cluster = first; cluster < end; cluster += 1) {
        if (stored === undefined) {
          cluster = counts.next(cluster, end);
          if (cluster === end) {
            break;
          }
        }
        const says = stored === undefined ? 0 : (stored[cluster - first] as number);
        const is = counts.get(cluster);
        if (says > 0 || is > 0) {
          highest = cluster;
        }
        if (says === 1) {
          this.#ones.add(cluster);
        }
        if (says !== is) {
          differences.add(cluster, says, is);
        }
      }
    }
    differences.end();
    this.#compared = clusters;
    return highest;
  }

  /** Whether the stored refcount of a cluster is one; undefined where it cannot be read. After {@link compare}. */
  isOne(cluster: number): boolean | Promise<boolean | undefined> {
    const isKnown = cluster < this.#compared && this.#unreadable.size === 0;
    return isKnown ? this.#ones.get(cluster) > 0 : this.#lookUp(cluster);
  }

  async #lookUp(cluster: number): Promise<boolean | undefined> {
    const index = cluster % this.#perBlock;
    const stored = await this.#block((cluster - index) / this.#perBlock);
    return stored === 'unreadable' ? undefined : stored?.[index] === 1;
  }

  /** The refcounts of block `block`; undefined: all are 0. */
  async #block(block: number): Promise<Float64Array | undefined | 'unreadable'> {
    if (block >= this.#blocks) {
      return undefined;
    }
    const entry = this.#table.getBigUint64(block * 8);
    const offset = Number(entry - (entry % RESERVED));
    if (offset === 0) {
      return undefined;
    }
    if (offset % this.#header.clusterSize !== 0 || offset > MAX_OFFSET) {
      return 'unreadable';
    }
    if (this.#last?.block !== block) {
      const bytes = await readPadded(this.#source, offset, this.#header.clusterSize, 'QCOW2 refcount block');
      this.#last = { block, counts: decodeRefcounts(bytes, this.#header.refcountOrder) };
    }
    return this.#last.counts;
  }
}

/** @returns undefined where all are 0. */
export function decodeRefcounts(bytes: Uint8Array, order: number): Float64Array | undefined {
  if (!bytes.some((byte) => byte !== 0)) {
    return undefined;
  }
  const width = 2 ** order;
  const counts = new Float64Array((bytes.length * 8) / width);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < counts.length; i += 1) {
    switch (order) {
      case 3:
        counts[i] = view.getUint8(i);
        break;
      case 4:
        counts[i] = view.getUint16(i * 2);
        break;
      case 5:
        counts[i] = view.getUint32(i * 4);
        break;
      case 6:
        // Rounded beyond 2^53, which no count comes near.
        counts[i] = view.getUint32(i * 8) * 2 ** 32 + view.getUint32(i * 8 + 4);
        break;
      default: {
        // Below a byte: the least significant bits first.
        const bit = i * width;
        counts[i] = ((bytes[bit >> 3] as number) >> (bit & 7)) & (2 ** width - 1);
      }
    }
  }
  return counts;
}

/** Joins clusters that follow one another and differ in the same way to one finding. */
class Differences {
  readonly #header: Header;
  readonly #findings: Findings;
  #run: { first: number; end: number; says: number; is: number } | undefined;

  constructor(header: Header, findings: Findings) {
    this.#header = header;
    this.#findings = findings;
  }

  add(cluster: number, says: number, is: number): void {
    if (this.#run?.end === cluster && this.#run.says === says && this.#run.is === is) {
      this.#run.end += 1;
      return;
    }
    this.end();
    this.#run = { first: cluster, end: cluster + 1, says, is };
  }

  end(): void {
    if (this.#run === undefined) {
      return;
    }
    const { first, end, says, is } = this.#run;
    const said = () => ({
      table: end - first === 1 ? `refcount of cluster ${first}` : `refcounts of clusters ${first} to ${end - 1}`,
      offset: first * this.#header.clusterSize,
      what: `the refcount is ${says}, references are ${is}`,
    });
    if (says < is) {
      this.#findings.corruption(said, end - first);
    } else {
      this.#findings.leak(said, end - first);
    }
    this.#run = undefined;
  }
}
