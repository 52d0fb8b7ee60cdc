/** A block map as text, a part at a time: it may have millions of entries. */
import { escapeText, formatSize, type MapEntry } from '../index.ts';
import { safeJson } from './print.ts';

/** Characters that are printed at once. */
const PART = 1 << 16;

type Entries = AsyncIterable<MapEntry>;

/** A JSON array, one entry a line; an error on the way leaves it without its end, which no parser takes for whole. */
export async function* jsonArray(entries: Entries): AsyncGenerator<string> {
  let text = '';
  let separator = '[\n';
  for await (const entry of entries) {
    text += separator + safeJson(entry);
    separator = ',\n';
    if (text.length >= PART) {
      yield text;
      text = '';
    }
  }
  yield separator === '[\n' ? '[]\n' : `${text}\n]\n`;
}

/** A table, and at last a line with the bytes of each kind. */
export async function* mapTable(entries: Entries): AsyncGenerator<string> {
  const bytes = { data: 0, compressed: 0, zero: 0, unallocated: 0 };
  let count = 0;
  let text = row('start', 'length', 'kind', 'depth', 'offset', 'file');
  for await (const { start, length, kind, depth, offset, file } of entries) {
    bytes[kind] += length;
    count += 1;
    text += row(start, length, kind, depth, offset ?? '-', file === undefined ? '-' : escapeText(file));
    if (text.length >= PART) {
      yield text;
      text = '';
    }
  }
  const sums = Object.entries(bytes).map(([kind, sum]) => `${kind} ${formatSize(sum)}`);
  yield `${text}${count} ${count === 1 ? 'extent' : 'extents'}: ${sums.join(', ')}\n`;
}

type Cell = string | number;

function row(start: Cell, length: Cell, kind: Cell, depth: Cell, offset: Cell, file: Cell): string {
  const left = [start, length].map((cell) => `${cell}`.padStart(16)).join(' ');
  return `${left}  ${`${kind}`.padEnd(11)} ${`${depth}`.padStart(5)} ${`${offset}`.padStart(16)}  ${file}\n`;
}
