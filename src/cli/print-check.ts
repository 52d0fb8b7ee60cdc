/** What `check` found, as lines for people and with qemu-img's keys for programs. */
import { type CheckResult, escapeText, type Finding, formatSize } from '../index.ts';

/** `imageEndOffset` becomes `image-end-offset`: qemu-img's names, and ours in its manner. */
export function checkJson(result: CheckResult): Record<string, unknown> {
  const entries = Object.entries(result).filter(([, value]) => value !== undefined);
  return Object.fromEntries(
    entries.map(([key, value]) => [key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`), value]),
  );
}

export function printCheck(result: CheckResult): string {
  const { findings, omitted, filename, format, incomplete } = result;
  const lines = findings.map(findingLine);
  if (omitted > 0) {
    lines.push(`… and ${omitted} more`);
  }
  if (incomplete) {
    lines.push('The damage kept the check from going on: there may be more.');
  }
  lines.push(`${escapeText(filename)} (${format}): ${summary(result)}`);
  lines.push(...numbers(result));
  return lines.map((line) => `${line}\n`).join('');
}

function findingLine({ severity, table, offset, file, what, count }: Finding): string {
  const where = [
    offset === undefined ? '' : ` at offset ${offset}`,
    file === undefined ? '' : ` of ${escapeText(file)}`,
  ];
  const times = count === 1 ? '' : ` (${count} times)`;
  return `${severity}: ${escapeText(table)}${where.join('')}: ${escapeText(what)}${times}`;
}

function summary({ corruptions, leaks, checkErrors }: CheckResult): string {
  const faults = [
    [corruptions, 'corruption', 'corruptions'],
    [leaks, 'leaked cluster: wasted space, no harm to data', 'leaked clusters: wasted space, no harm to data'],
    [checkErrors, 'thing could not be checked', 'things could not be checked'],
  ] as const;
  const found = faults
    .filter(([count]) => count > 0)
    .map(([count, one, many]) => `${count} ${count === 1 ? one : many}`);
  return found.length === 0 ? 'no errors' : found.join('; ');
}

function numbers(result: CheckResult): string[] {
  const { totalClusters, allocatedClusters, fragmentedClusters, compressedClusters } = result;
  const { imageEndOffset, unreferencedBytes } = result;
  const lines: string[] = [];
  if (allocatedClusters !== undefined) {
    const parts = [
      `${allocatedClusters}${totalClusters === undefined ? '' : ` of ${totalClusters}`} blocks are stored`,
    ];
    if (fragmentedClusters !== undefined) {
      parts.push(`${fragmentedClusters} fragmented`);
    }
    if (compressedClusters !== undefined) {
      parts.push(`${compressedClusters} compressed`);
    }
    lines.push(parts.join(', '));
  }
  if (imageEndOffset !== undefined) {
    lines.push(`image end offset: ${imageEndOffset}`);
  }
  if (unreferencedBytes !== undefined && unreferencedBytes > 0) {
    lines.push(`not referred to: ${formatSize(unreferencedBytes)} of the file`);
  }
  return lines;
}
