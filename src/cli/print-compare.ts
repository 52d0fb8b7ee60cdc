import { type ComparedImage, type CompareResult, escapeText, formatSize } from '../index.ts';

/** One sentence, and a second one where the sizes differ. */
export function printComparison({ identical, firstDifference, a, b }: CompareResult): string {
  const names = `${shown(a)} and ${shown(b)}`;
  const sizes =
    a.virtualSize === b.virtualSize
      ? ''
      : `${shown(a)} has ${a.virtualSize} bytes, ${shown(b)} has ${b.virtualSize}${identical ? ': the rest is zeros' : ''}\n`;
  if (identical) {
    return `${names} hold the same disk (${formatSize(a.virtualSize)})\n${sizes}`;
  }
  if (firstDifference === undefined) {
    return `${names} differ in size\n${sizes}`;
  }
  return `${names} differ, first at byte ${firstDifference} (0x${firstDifference.toString(16)})\n${sizes}`;
}

function shown({ filename, format }: ComparedImage): string {
  return `${escapeText(filename)} (${format})`;
}
