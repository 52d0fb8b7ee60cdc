/** Who uses which host cluster: what the refcounts ought to be. QCOW2 §Host cluster management. */
import { showNumber } from '../../../base/errors.ts';
import { divCeil } from '../../../base/units.ts';
import type { ByteSource } from '../../../io/types.ts';
import { UnitCounts } from '../../../map/unit-counts.ts';
import type { Findings, Place } from '../../check.ts';
import type { Header } from '../header.ts';

/** qemu limit: 2^31 - 1 clusters in a file. */
export const MAX_HOST_CLUSTERS = 2 ** 31 - 1;

export class References {
  /** References to each cluster, no more than a refcount can say. */
  readonly counts: UnitCounts;
  /** Clusters of the file; one more where a last one that was not written whole is referred to. */
  clusters: number;
  readonly #clusterSize: number;
  readonly #fileSize: number;
  readonly #max: number;
  readonly #findings: Findings;

  constructor({ clusterSize, refcountOrder }: Header, { name, size }: ByteSource, findings: Findings) {
    this.counts = new UnitCounts(name);
    this.clusters = divCeil(size, clusterSize);
    this.#clusterSize = clusterSize;
    this.#fileSize = size;
    this.#max = Math.min(2 ** (2 ** refcountOrder) - 1, 0xffffffff);
    this.#findings = findings;
  }

  /** Whether a region ends so far behind the file that it cannot be a last cluster that was not written whole. */
  isOutside(offset: number, length: number): boolean {
    return offset + length - this.#fileSize >= this.#clusterSize;
  }

  /** `times` references to one cluster of the file, where a refcount can say so many more; otherwise none. */
  addCluster(cluster: number, times: number): boolean {
    if (times > this.#max || this.counts.get(cluster) > this.#max - times) {
      return false;
    }
    this.counts.add(cluster, 1, times, this.#max);
    return true;
  }

  /** `times` references to the clusters of [offset, offset + length), from the entry or field at `place`. */
  add(offset: number, length: number, times: number, place: () => Place): void {
    if (length <= 0) {
      return;
    }
    if (this.isOutside(offset, length)) {
      const what = () =>
        `refers to ${showNumber(offset)} to ${showNumber(offset + length)}, the file ends at ${showNumber(this.#fileSize)}`;
      this.#findings.corruption(() => ({ ...place(), what: what() }), times);
      return;
    }
    const last = Math.floor((offset + length - 1) / this.#clusterSize);
    for (let cluster = Math.floor(offset / this.#clusterSize); cluster <= last; cluster += 1) {
      const before = this.counts.add(cluster, 1, times, this.#max);
      if (before + times > this.#max) {
        this.#findings.corruption(
          () => ({
            ...place(),
            what: `cluster ${cluster} has more references than its refcount can say, ${this.#max}`,
          }),
          Math.min(times, before + times - this.#max),
        );
      }
      this.clusters = Math.max(this.clusters, cluster + 1);
    }
  }
}
