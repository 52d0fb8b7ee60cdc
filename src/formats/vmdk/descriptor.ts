/** The descriptor: the text that says what a VMDK consists of. VMDK 5.0 §The descriptor file. */
import { escapeText, VdconvError } from '../../base/errors.ts';
import { LIMITS, type Limits } from '../../base/limits.ts';
import type { Sectors } from '../../base/units.ts';
import { MAX_CAPACITY } from './limits.ts';

/** `parentCID` of a disk without parent. */
export const NO_PARENT = 'ffffffff';

/** One line of the extent description; extents follow one another from sector 0 of the disk. */
export interface DescriptorExtent {
  access: 'RW' | 'RDONLY' | 'NOACCESS';
  sectors: Sectors;
  /** `FLAT`, `SPARSE`, `ZERO`, `VMFS`, …: upper case. */
  type: string;
  /** File name as the descriptor says it; `ZERO` has none. */
  name: string | undefined;
  /** Sector of the file at which a flat extent begins. */
  offset: Sectors;
}

export interface Descriptor {
  /** Keys before the extents, in lower case. */
  header: ReadonlyMap<string, string>;
  extents: readonly DescriptorExtent[];
  /** The disk database: names without `ddb.`, in lower case. */
  ddb: ReadonlyMap<string, string>;
  createType: string;
}

/** Keys that decide what the guest reads: two lines that disagree cannot both be obeyed. */
const SINGLE_KEYS = new Set(['cid', 'parentcid', 'createtype', 'parentfilenamehint']);

/**
 * Reads descriptor text, leniently: any line ending, order, letter case and spacing; unknown keys are kept, comments
 * and lines that are nothing are skipped. `text` ends at its first NUL (the embedded form is padded with them).
 */
export function parseDescriptor(text: Uint8Array, file: string, limits: Limits = LIMITS): Descriptor {
  const header = new Map<string, string>();
  const ddb = new Map<string, string>();
  const extents: DescriptorExtent[] = [];
  for (const [index, raw] of decodeText(text)
    .split(/\r\n|\n|\r/)
    .entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) {
      continue;
    }
    const wrong = (what: string, code: 'corrupt' | 'limit' = 'corrupt') =>
      new VdconvError(code, `descriptor line ${index + 1}: ${what}`, { file, format: 'vmdk', field: 'descriptor' });
    const equals = line.indexOf('=');
    if (/^(rw|rdonly|noaccess)[ \t]/i.test(line)) {
      if (extents.length === limits.extents) {
        throw wrong(`more than ${limits.extents} extents; --limit=extents=N takes more`, 'limit');
      }
      extents.push(parseExtent(line, wrong));
    } else if (equals > 0) {
      setKey(line.slice(0, equals).trim().toLowerCase(), unquote(line.slice(equals + 1).trim()), header, ddb, wrong);
    }
  }
  const createType = header.get('createtype');
  if (createType === undefined || createType === '') {
    throw new VdconvError('corrupt', 'the descriptor has no createType', { file, format: 'vmdk', field: 'createType' });
  }
  return { header, extents, ddb, createType };
}

function setKey(
  key: string,
  value: string,
  header: Map<string, string>,
  ddb: Map<string, string>,
  wrong: (what: string) => VdconvError,
): void {
  if (key.startsWith('ddb.')) {
    ddb.set(key.slice(4), value);
    return;
  }
  const before = header.get(key);
  if (before !== undefined && before !== value && SINGLE_KEYS.has(key)) {
    throw wrong(`a second ${key}, '${show(value)}' after '${show(before)}'`);
  }
  if (before === undefined) {
    header.set(key, value);
  }
}

/** `ACCESS SECTORS TYPE ["name" [OFFSET [partition UUID [device id]]]]`; what follows OFFSET is ignored. */
const EXTENT_LINE = /^(\w+)[ \t]+(\S+)[ \t]+(\w+)(?:[ \t]+"([^"]*)")?(?:[ \t]+(\S+).*)?$/;

function parseExtent(line: string, wrong: (what: string, code?: 'corrupt' | 'limit') => VdconvError): DescriptorExtent {
  const [, access = '', sectors = '', type = '', name, offset = '0'] = EXTENT_LINE.exec(line) ?? [];
  const extent = { sectors: decimal(sectors), type: type.toUpperCase(), name, offset: decimal(offset) };
  if (Number.isNaN(extent.sectors + extent.offset) || (name === undefined && extent.type !== 'ZERO')) {
    throw wrong(`'${show(line)}' is not an extent (ACCESS SECTORS TYPE "name" OFFSET; VMDK 5.0 §Extent description)`);
  }
  if (extent.sectors > MAX_CAPACITY || extent.offset > MAX_CAPACITY) {
    throw wrong(`'${show(line)}' goes beyond 64 TiB, vdconv's limit`, 'limit');
  }
  return { access: access.toUpperCase() as DescriptorExtent['access'], ...extent };
}

function decimal(text: string): number {
  return /^\d+$/.test(text) ? Number(text) : Number.NaN;
}

function unquote(value: string): string {
  return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
}

/** Untrusted text in a message: escaped, and no longer than a line of a terminal. */
function show(text: string): string {
  return escapeText(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

/** Up to the first NUL, in the encoding that the text itself names (its keys are ASCII in every encoding seen). */
function decodeText(text: Uint8Array): string {
  const nul = text.indexOf(0);
  const bytes = nul < 0 ? text : text.subarray(0, nul);
  const label = /^[ \t]*encoding[ \t]*=[ \t]*"?([\w.-]+)/im.exec(new TextDecoder('latin1').decode(bytes))?.[1];
  try {
    return new TextDecoder(label ?? 'utf-8').decode(bytes);
  } catch {
    return new TextDecoder().decode(bytes);
  }
}
