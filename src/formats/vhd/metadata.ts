/** What a VHD says of the disk besides its bytes: all of it in the footer. VHD 1.0 §Hard Disk Footer Format. */
import { NIL_UUID, uuidText } from '../../base/uuid.ts';
import type { DiskMetadata } from '../metadata.ts';
import type { Footer } from './layout.ts';

/** 2000-01-01 00:00:00 UTC, where time stamps begin. */
const EPOCH = 946684800;

/** Seconds since 1970 as a time stamp, which has 32 bits. */
export function toTimeStamp(time: number): number {
  return Math.min(Math.max(Math.floor(time) - EPOCH, 0), 0xffffffff);
}

export function fromTimeStamp(timeStamp: number): number {
  return timeStamp + EPOCH;
}

export function diskMetadata(footer: Footer): DiskMetadata {
  const { cylinders, heads, sectorsPerTrack: sectors, timeStamp } = footer;
  const uuid = uuidText(footer.uniqueId);
  const creator = text(footer.creatorApplication);
  return {
    ...(cylinders * heads * sectors > 0 && { geometry: { cylinders, heads, sectors } }),
    ...(uuid !== NIL_UUID && { uuid }),
    ...(creator !== '' && { creator: `${creator} ${creatorVersion(footer)}` }),
    // 0 is what programs write that give no date.
    ...(timeStamp > 0 && { time: fromTimeStamp(timeStamp) }),
  };
}

export function creatorVersion({ creatorVersion: version }: Footer): string {
  return `${version >>> 16}.${version & 0xffff}`;
}

/** Four characters, where NUL and spaces are padding. */
export function text(bytes: Uint8Array): string {
  return new TextDecoder('latin1').decode(bytes).replace(/[\0 ]+$/, '');
}
