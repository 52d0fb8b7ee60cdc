/** [MS-VHDX] §2.3.1: one entry of the log. What is not an entry in every respect ends a sequence and is no error. */
import { alignUp } from '../../base/units.ts';
import { checksumOf } from './crc32c.ts';
import {
  DataDescriptor,
  DataSector,
  DESCRIPTOR_BYTES,
  HEADER_DESCRIPTORS,
  LOG_SECTOR,
  LogEntryHeader,
  Signature,
  ZeroDescriptor,
} from './layout.ts';
import type { Patch } from './patched.ts';

export interface LogEntry {
  /** Where it begins in the ring. */
  at: number;
  length: number;
  tail: number;
  sequenceNumber: bigint;
  descriptorCount: number;
  flushedFileOffset: number;
  lastFileOffset: number;
}

/** @returns the entry at `at` of the ring, undefined where there is none. */
export function parseEntry(ring: Uint8Array, at: number, logGuid: Uint8Array): LogEntry | undefined {
  const header = LogEntryHeader.peek(ring, at);
  const { entryLength, descriptorCount, tail, sequenceNumber } = header;
  if (
    header.signature !== Signature.logEntry ||
    header.logGuid.some((byte, i) => byte !== logGuid[i]) ||
    sequenceNumber === 0n ||
    tail % LOG_SECTOR !== 0 ||
    tail >= ring.length ||
    entryLength % LOG_SECTOR !== 0 ||
    entryLength > ring.length ||
    descriptorBytes(descriptorCount) > entryLength
  ) {
    return undefined;
  }
  const entry = { ...header, at, length: entryLength };
  // The cheap signs first: each sector shows what it is, so no sector is part of two entries that get to the checksum.
  const bytes = entryBytes(ring, entry);
  return patchesOf(bytes, entry) !== undefined && checksumOf(bytes) === header.checksum ? entry : undefined;
}

/** The entry without the ring's end in it. */
export function entryBytes(ring: Uint8Array, { at, length }: Pick<LogEntry, 'at' | 'length'>): Uint8Array {
  if (at + length <= ring.length) {
    return ring.subarray(at, at + length);
  }
  const bytes = new Uint8Array(length);
  bytes.set(ring.subarray(at));
  bytes.set(ring.subarray(0, at + length - ring.length), ring.length - at);
  return bytes;
}

/** What an entry changes, in order; undefined where its descriptors or data sectors are not the entry's. */
export function patchesOf(bytes: Uint8Array, entry: LogEntry): Patch[] | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const patches: Patch[] = [];
  let sector = descriptorBytes(entry.descriptorCount);
  for (let i = 0; i < entry.descriptorCount; i += 1) {
    const at = (HEADER_DESCRIPTORS + i) * DESCRIPTOR_BYTES;
    const isData = view.getUint32(at, true) === Signature.dataDescriptor;
    const patch = isData ? dataPatch(bytes, at, sector, entry) : zeroPatch(bytes, at, entry);
    if (patch === undefined) {
      return undefined;
    }
    patches.push(patch);
    sector += isData ? LOG_SECTOR : 0;
  }
  return sector === entry.length ? patches : undefined;
}

/** Whole sectors, header included. */
function descriptorBytes(count: number): number {
  return alignUp((HEADER_DESCRIPTORS + count) * DESCRIPTOR_BYTES, LOG_SECTOR);
}

function zeroPatch(bytes: Uint8Array, at: number, entry: LogEntry): Patch | undefined {
  const { signature, sequenceNumber, fileOffset: offset, zeroLength: length } = ZeroDescriptor.peek(bytes, at);
  return signature === Signature.zeroDescriptor &&
    sequenceNumber === entry.sequenceNumber &&
    offset % LOG_SECTOR === 0 &&
    length % LOG_SECTOR === 0 &&
    Number.isSafeInteger(offset + length)
    ? { offset, length }
    : undefined;
}

/** @param sectorAt where the data sector must lie: they follow the descriptors in their order. */
function dataPatch(bytes: Uint8Array, at: number, sectorAt: number, entry: LogEntry): Patch | undefined {
  const { sequenceNumber, fileOffset: offset, leadingBytes, trailingBytes } = DataDescriptor.peek(bytes, at);
  if (
    sequenceNumber !== entry.sequenceNumber ||
    offset % LOG_SECTOR !== 0 ||
    !Number.isSafeInteger(offset + LOG_SECTOR) ||
    sectorAt + LOG_SECTOR > bytes.length
  ) {
    return undefined;
  }
  const { signature, sequenceHigh, sequenceLow } = DataSector.peek(bytes, sectorAt);
  if (
    signature !== Signature.dataSector ||
    BigInt(sequenceHigh) !== sequenceNumber >> 32n ||
    BigInt(sequenceLow) !== (sequenceNumber & 0xffff_ffffn)
  ) {
    return undefined;
  }
  // Not bytes.slice: a Buffer's shares memory.
  const restored = new Uint8Array(LOG_SECTOR);
  restored.set(bytes.subarray(sectorAt, sectorAt + LOG_SECTOR));
  restored.set(leadingBytes);
  restored.set(trailingBytes, LOG_SECTOR - trailingBytes.length);
  return { offset, length: LOG_SECTOR, bytes: restored };
}
