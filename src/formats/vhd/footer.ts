/**
 * Finds the footer. It ends the file; a dynamic or differencing disk has a copy of it at offset 0, which serves where the
 * one at the end is damaged or gone. VHD 1.0 §Hard Disk Footer Format.
 */
import { showNumber, VdconvError } from '../../base/errors.ts';
import { illegalValue } from '../../base/struct.ts';
import { alignDown, KiB, SECTOR } from '../../base/units.ts';
import type { ByteSource } from '../../io/types.ts';
import type { Sample } from '../format.ts';
import { checksum } from './checksum.ts';
import { DiskType, FOOTER_COOKIE, Footer, VERSION_1 } from './layout.ts';

/** How far before the end the footer of a fixed disk is looked for: programs pad files to whole sectors or clusters. */
const SEARCH = 64 * KiB;
/** Virtual PC before 2004 left the last byte out. */
const SHORT_FOOTER = SECTOR - 1;

/** Sectors of the file that begin as a footer does. */
interface Candidate {
  at: number;
  bytes: Uint8Array;
  sound: boolean;
}

interface Candidates {
  head?: Candidate;
  /** At the end of the file, or before bytes that were appended to it. */
  tail?: Candidate;
}

export interface FoundFooter {
  footer: Footer;
  /** Byte offset of the one that was taken. */
  at: number;
  /** Guest data ends here at the latest: at the footer, or at the end of a file that has none. */
  dataEnd: number;
  warnings: string[];
}

/** Whether there is a footer, sound or not; a raw disk that merely ends in the cookie has none. */
export function hasFooter(sample: Sample): boolean {
  const { head, tail } = candidates(sample);
  return [tail, head].some((found) => found !== undefined && (found.sound || resembles(found)));
}

export async function readFooter(source: ByteSource): Promise<FoundFooter> {
  const { size } = source;
  const head = await source.read(0, Math.min(SECTOR, size), 'VHD footer copy');
  const start = Math.max(0, size - SEARCH);
  const tail = await source.read(start, size - start, Footer.name);
  const found = candidates({ head, tail, size });
  const chosen = choose(found, source);
  const origin = { file: source.name, format: 'vhd', at: chosen.at };
  const footer = Footer.decode(chosen.bytes, origin);
  const isTail = chosen === found.tail;
  if (footer.diskType === DiskType.fixed && !isTail) {
    const says = 'a fixed disk has no copy of its footer in front; VHD 1.0 §Hard Disk Footer Format';
    throw illegalValue('corrupt', Footer.name, 'diskType', '2', origin, Footer.fields.diskType.offset, says);
  }
  return { footer, at: chosen.at, dataEnd: isTail ? chosen.at : size, warnings: differences(found, footer) };
}

function candidates({ head, tail, size }: Sample): Candidates {
  const front = candidate(head, 0, 0);
  const end = candidate(tail, size - tail.length, tail.length - SECTOR);
  const found = end ?? shortFooter(tail, size) ?? appended(tail, size);
  return { ...(front && { head: front }), ...(found && found.at > 0 && { tail: found }) };
}

/** The sector at `at` of `bytes`, which begin at `start` of the file. */
function candidate(bytes: Uint8Array, start: number, at: number): Candidate | undefined {
  if (at < 0 || bytes.length < at + SECTOR || FOOTER_COOKIE.some((byte, i) => bytes[at + i] !== byte)) {
    return undefined;
  }
  const sector = bytes.slice(at, at + SECTOR);
  const { checksum: field } = Footer.fields;
  return { at: start + at, bytes: sector, sound: Footer.peek(sector).checksum === checksum(sector, field.offset) };
}

function shortFooter(tail: Uint8Array, size: number): Candidate | undefined {
  if (size % SECTOR !== SHORT_FOOTER || tail.length < SHORT_FOOTER) {
    return undefined;
  }
  const padded = new Uint8Array(SECTOR);
  padded.set(tail.subarray(tail.length - SHORT_FOOTER));
  return candidate(padded, size - SHORT_FOOTER, 0);
}

/**
 * The footer of a fixed disk to which bytes were appended. It must be beyond doubt, lest a raw disk be taken for a VHD file
 * that its guest keeps near its end: sound, and exactly behind the disk that it describes.
 */
function appended(tail: Uint8Array, size: number): Candidate | undefined {
  const start = size - tail.length;
  // Sectors of the file, wherever the sample begins.
  for (let at = alignDown(size, SECTOR) - start; at >= 0; at -= SECTOR) {
    const found = candidate(tail, start, at);
    if (found?.sound === true) {
      const { diskType, currentSize } = Footer.peek(found.bytes);
      if (diskType === DiskType.fixed && currentSize === found.at) {
        return found;
      }
    }
  }
  return undefined;
}

/** Damaged, but a footer. */
function resembles({ bytes }: Candidate): boolean {
  const { fileFormatVersion, diskType } = Footer.peek(bytes);
  return fileFormatVersion === VERSION_1 && (Object.values(DiskType) as number[]).includes(diskType);
}

/** The one at the end is kept up to date; the copy serves where it fails. */
function choose({ head, tail }: Candidates, source: ByteSource): Candidate {
  const found = tail?.sound === true ? tail : head?.sound === true ? head : (tail ?? head);
  if (found === undefined) {
    throw new VdconvError('wrong-format', 'not a VHD: no footer at its end and no copy of one at its start', {
      file: source.name,
      format: 'vhd',
    });
  }
  if (!found.sound) {
    const { offset } = Footer.fields.checksum;
    const says = `the bytes add up to ${showNumber(checksum(found.bytes, offset))}; VHD 1.0 §Checksum`;
    const value = showNumber(Footer.peek(found.bytes).checksum);
    const origin = { file: source.name, format: 'vhd' };
    throw illegalValue('corrupt', Footer.name, 'checksum', value, origin, found.at + offset, says);
  }
  return found;
}

function differences({ head, tail }: Candidates, footer: Footer): string[] {
  if (tail === undefined) {
    return ['the footer at the end of the file is missing (was the file cut?); its copy at the start is used'];
  }
  if (!tail.sound) {
    return [`the footer at offset ${tail.at} is damaged (its checksum is wrong); its copy at the start is used`];
  }
  if (footer.diskType === DiskType.fixed) {
    return [];
  }
  if (head?.sound !== true) {
    return ['the copy of the footer at the start of the file is damaged; the footer at the end is used'];
  }
  return head.bytes.some((byte, i) => byte !== tail.bytes[i])
    ? ['the footer and its copy at the start of the file differ; the footer at the end is used']
    : [];
}
