/** What a check found, in short: `severity table @offset: what`, and what must be equal to what another program counts. */
import type { CheckResult, Finding } from '../index.ts';
import type { QemuCheck } from './oracles.ts';

export function shown({ findings }: CheckResult): string[] {
  return findings.map(({ severity, table, offset, what, count }: Finding) => {
    const times = count === 1 ? '' : ` (${count})`;
    return `${severity} ${table} @${offset}: ${what}${times}`;
  });
}

/** The numbers that `qemu-img check` gives too, with its defaults. */
export function numbersOf(result: CheckResult) {
  const { corruptions, leaks, checkErrors, imageEndOffset, totalClusters } = result;
  const { allocatedClusters, fragmentedClusters, compressedClusters } = result;
  return {
    corruptions,
    leaks,
    checkErrors,
    imageEndOffset,
    totalClusters,
    allocatedClusters,
    fragmentedClusters,
    compressedClusters,
  };
}

export function numbersOfQemu(said: QemuCheck): ReturnType<typeof numbersOf> {
  return {
    corruptions: said.corruptions ?? 0,
    leaks: said.leaks ?? 0,
    checkErrors: said['check-errors'],
    imageEndOffset: said['image-end-offset'],
    totalClusters: said['total-clusters'],
    allocatedClusters: said['allocated-clusters'] ?? 0,
    fragmentedClusters: said['fragmented-clusters'] ?? 0,
    compressedClusters: said['compressed-clusters'] ?? 0,
  };
}
