/** Results as text. Whatever came from an image is escaped: it may have been made to deceive a terminal. */
import {
  type ConvertResult,
  type DiskMetadata,
  escapeText,
  formatSize,
  type ImageInfo,
  METADATA_WORDS,
  type SalvagedRange,
} from '../index.ts';

/** JSON that is safe on a terminal: besides what JSON escapes, whatever {@link escapeText} would. */
export function printJson(value: unknown): string {
  return `${safeJson(value, 2)}\n`;
}

/** @param indent absent: one line. */
export function safeJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(/[^\n -~]/g, (c) =>
    escapeText(c) === c ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** `in.vmdk (vmdk, 8 GiB) -> out.qcow2 (qcow2, 2.1 GiB on disk) in 1.2 s`. */
export function printResult({ source, target, digest, seconds }: ConvertResult): string {
  const from = `${escapeText(source.filename)} (${source.format}, ${formatSize(source.virtualSize)})`;
  const taken =
    target.allocatedSize === null ? formatSize(target.fileSize) : `${formatSize(target.allocatedSize)} on disk`;
  const hash = digest === undefined ? '' : `${digest.algorithm}: ${digest.digest}\n`;
  return `${from} -> ${escapeText(target.filename)} (${target.format}, ${taken}) in ${seconds.toFixed(1)} s\n${hash}`;
}

/** `disk.qcow2 (qcow2, 100 GiB) created, 196 KiB on disk`. */
export function printCreated({ target }: ConvertResult): string {
  const taken = target.allocatedSize === null ? '' : `, ${formatSize(target.allocatedSize)} on disk`;
  return `${escapeText(target.filename)} (${target.format}, ${formatSize(target.virtualSize)}) created${taken}\n`;
}

export function printNotes(notes: readonly string[]): string {
  return notes.map((note) => `vdconv: note: ${escapeText(note)}\n`).join('');
}

/** What the target has no place for, in one line. */
export function printDropped({ dropped, target }: Pick<ConvertResult, 'dropped' | 'target'>): string {
  const what = `not carried over, ${target.format} has no place for it`;
  return dropped.length === 0 ? '' : `vdconv: note: ${what}: ${dropped.join(', ')}\n`;
}

/** What a conversion could not read, a line each. */
export function printLost(ranges: readonly SalvagedRange[]): string {
  const total = ranges.reduce((sum, { length }) => sum + length, 0);
  const lines = ranges.map(
    ({ start, length, why }) => `vdconv: lost: ${length} bytes at ${start}: ${escapeText(why)}\n`,
  );
  return `${lines.join('')}vdconv: ${total} bytes could not be read, and are zeros in the target\n`;
}

export function printInfo(info: ImageInfo): string {
  const rows: [string, string][] = [
    ['file', info.filename],
    ['format', info.subformat === '' ? info.format : `${info.format} (${info.subformat})`],
    ['virtual size', exactSize(info.virtualSize)],
    ['file size', exactSize(info.fileSize)],
  ];
  if (info.wrapped !== undefined) {
    rows.push(['wrapped', `${info.wrapped}, of ${exactSize(info.unwrappedSize ?? 0)}`]);
  }
  if (info.allocatedSize !== null) {
    rows.push(['on disk', formatSize(info.allocatedSize)]);
  }
  if (info.blockSize > 0) {
    rows.push(['block size', formatSize(info.blockSize)]);
  }
  rows.push(...info.references.map((reference): [string, string] => ['refers to', showReference(reference)]));
  rows.push(...info.snapshots.map((snapshot): [string, string] => ['snapshot', showSnapshot(snapshot)]));
  rows.push(
    ...info.bitmaps.map(({ name, granularity, enabled }): [string, string] => [
      'bitmap',
      `${name} (${formatSize(granularity)} a bit${enabled ? '' : ', disabled'})`,
    ]),
  );
  for (const fact of ['encrypted', 'compressed', 'dirty'] as const) {
    if (info[fact]) {
      rows.push([fact, 'yes']);
    }
  }
  rows.push(...metadataRows(info.metadata));
  for (const [key, value] of Object.entries(info.details)) {
    rows.push([key, typeof value === 'string' ? value : JSON.stringify(value)]);
  }
  const width = Math.max(...rows.map(([label]) => label.length)) + 2;
  const table = rows.map(([label, value]) => `${escapeText(`${label}:`).padEnd(width)}${escapeText(value)}\n`);
  return table.join('') + info.warnings.map((warning) => `warning: ${escapeText(warning)}\n`).join('');
}

/** What the image says of the disk, under the words in which a conversion says what it dropped. */
function metadataRows(metadata: DiskMetadata): [string, string][] {
  return (Object.keys(METADATA_WORDS) as (keyof DiskMetadata)[]).flatMap((key) => {
    const value = metadata[key];
    return value === undefined ? [] : [[METADATA_WORDS[key], showMetadata(key, value)]];
  });
}

function showMetadata(key: keyof DiskMetadata, value: DiskMetadata[keyof DiskMetadata]): string {
  if (key === 'time') {
    return new Date(Number(value) * 1000).toISOString();
  }
  if (typeof value === 'object') {
    return `${value.cylinders} cylinders, ${value.heads} heads, ${value.sectors} sectors`;
  }
  return String(value);
}

export function exactSize(bytes: number): string {
  const rounded = formatSize(bytes);
  return rounded === `${bytes} B` ? rounded : `${rounded} (${bytes} bytes)`;
}

function showReference({ kind, name, format, resolved }: ImageInfo['references'][number]): string {
  const said = format === undefined ? '' : `, ${format}`;
  const place = resolved === undefined || resolved === name ? '' : ` -> ${resolved}`;
  return `${name} (${kind}${said})${place}`;
}

function showSnapshot({ id, name, virtualSize }: ImageInfo['snapshots'][number]): string {
  return `${name} (id ${id}${virtualSize === undefined ? '' : `, ${formatSize(virtualSize)}`})`;
}
