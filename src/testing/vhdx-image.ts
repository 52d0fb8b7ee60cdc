/**
 * VHDX files made by hand, for tests: differencing disks, dirty logs, 4 KiB sectors and damage, which
 * no tool here writes. Written from [MS-VHDX] with literal offsets, and from nothing of the format's own code, so that
 * a mistake there has no twin here.
 */
import { MiB } from '../base/units.ts';

/** Where {@link handMade} puts things. Blocks of the caller's begin at {@link FIRST_BLOCK}, in MiB. */
export const PLACE = { log: MiB, metadata: 2 * MiB, items: 2 * MiB + 65536, bat: 3 * MiB } as const;
export const FIRST_BLOCK = 4;

export interface HandMade {
  /** Bytes of the virtual disk. */
  size: number;
  /** MiB; 1 where it is left out. */
  blockMiB?: number;
  sector?: number;
  /** Bit 0: leave blocks allocated; bit 1, has a parent, follows from `locator`. */
  flags?: number;
  /** By index in the BAT: state, and place in MiB. */
  bat?: Record<number, readonly [state: number, atMiB: number]>;
  /** Content by place in MiB. */
  data?: Record<number, Uint8Array>;
  locator?: Record<string, string>;
  locatorType?: string;
  dataWriteGuid?: string;
  logGuid?: string;
  /** The log region, 1 MiB. */
  log?: Uint8Array;
  /** Length of the file in MiB. */
  miB?: number;
}

const hex = (text: string) => Buffer.from(text.replaceAll(/[\s|]/g, ''), 'hex');

export function handMade(disk: HandMade): Buffer {
  const used = Object.entries(disk.data ?? {}).map(([at, bytes]) => Number(at) + Math.ceil(bytes.length / MiB));
  const file = Buffer.alloc((disk.miB ?? Math.max(FIRST_BLOCK, ...used)) * MiB);
  file.write('vhdxfile', 0, 'latin1');
  file.write('made by hand', 8, 'utf16le');
  for (const [i, at] of [65536, 131072].entries()) {
    file.write('head', at, 'latin1');
    file.writeBigUInt64LE(BigInt(i + 1), at + 8);
    hex('0f'.repeat(16)).copy(file, at + 16);
    hex(disk.dataWriteGuid ?? '0d'.repeat(16)).copy(file, at + 32);
    hex(disk.logGuid ?? '00'.repeat(16)).copy(file, at + 48);
    file.writeUInt16LE(1, at + 66);
    file.writeUInt32LE(MiB, at + 68);
    file.writeBigUInt64LE(BigInt(PLACE.log), at + 72);
  }
  for (const at of [196608, 262144]) {
    hex(
      `72656769 00000000 02000000 00000000
       6677c22d23f600429d64115e9bfd4a08 0000300000000000 00001000 01000000
       06a27c8b90479a4bb8fe575f050f886e 0000200000000000 00001000 01000000`,
    ).copy(file, at);
  }
  putMetadata(file, disk);
  for (const [index, [state, atMiB]] of Object.entries(disk.bat ?? {})) {
    file.writeBigUInt64LE((BigInt(atMiB) << 20n) | BigInt(state), PLACE.bat + Number(index) * 8);
  }
  for (const [at, bytes] of Object.entries(disk.data ?? {})) {
    file.set(bytes, Number(at) * MiB);
  }
  file.set(disk.log ?? new Uint8Array(), PLACE.log);
  return seal(file);
}

function putMetadata(file: Buffer, disk: HandMade): void {
  const locator = disk.locator && locatorItem(disk.locator, disk.locatorType);
  const entries = [
    '3767a1ca36fa434db3b633f0aa44e76b 00000100 08000000 04000000 00000000',
    '2442a52f1bcd7648b2115dbed83bf4b8 08000100 08000000 06000000 00000000',
    'ab12cabee6b2234593efc309e000c746 10000100 10000000 06000000 00000000',
    '1dbf41816fa90947ba47f233a8faab5f 20000100 04000000 06000000 00000000',
    'c748a3cd5d4471449cc9e9885251c556 24000100 04000000 06000000 00000000',
  ];
  if (locator !== undefined) {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(locator.length);
    entries.push(`2d5fd3a80bb34d45abf7d3d84834ab0c 28000100 ${length.toString('hex')} 04000000 00000000`);
    locator.copy(file, PLACE.items + 40);
  }
  file.write('metadata', PLACE.metadata, 'latin1');
  file.writeUInt16LE(entries.length, PLACE.metadata + 10);
  hex(entries.join('')).copy(file, PLACE.metadata + 32);
  file.writeUInt32LE((disk.blockMiB ?? 1) * MiB, PLACE.items);
  file.writeUInt32LE((disk.flags ?? 0) + (locator === undefined ? 0 : 2), PLACE.items + 4);
  file.writeBigUInt64LE(BigInt(disk.size), PLACE.items + 8);
  hex('1d'.repeat(16)).copy(file, PLACE.items + 16);
  file.writeUInt32LE(disk.sector ?? 512, PLACE.items + 32);
  file.writeUInt32LE(4096, PLACE.items + 36);
}

/** A parent locator: header, entries, then keys and values one after the other. */
export function locatorItem(keys: Record<string, string>, type = 'b7ef4ab09ed1814ab78925b8e9445913'): Buffer {
  const pairs = Object.entries(keys).map(
    (pair) => pair.map((text) => Buffer.from(text, 'utf16le')) as [Buffer, Buffer],
  );
  const head = Buffer.alloc(20 + pairs.length * 12);
  hex(type).copy(head);
  head.writeUInt16LE(pairs.length, 18);
  let at = head.length;
  pairs.forEach(([key, value], i) => {
    const entry = 20 + i * 12;
    head.writeUInt32LE(at, entry);
    head.writeUInt32LE(at + key.length, entry + 4);
    head.writeUInt16LE(key.length, entry + 8);
    head.writeUInt16LE(value.length, entry + 10);
    at += key.length + value.length;
  });
  return Buffer.concat([head, ...pairs.flat()]);
}

/** Makes the checksums of headers and region tables right; of the copies at other offsets than `skip`. */
export function seal(file: Buffer, skip: readonly number[] = []): Buffer {
  for (const [at, length] of [
    [65536, 4096],
    [131072, 4096],
    [196608, 65536],
    [262144, 65536],
  ] as const) {
    if (!skip.includes(at) && file.length >= at + length) {
      file.writeUInt32LE(0, at + 4);
      file.writeUInt32LE(castagnoli(file.subarray(at, at + length)), at + 4);
    }
  }
  return file;
}

/** CRC-32C, bit by bit. */
export function castagnoli(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) {
      crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    }
  }
  return ~crc >>> 0; // u32
}

export interface LogChange {
  at: number;
  /** 4096 bytes; a number: so many zero bytes instead. */
  to: Uint8Array | number;
}

export interface LogEntryMade {
  sequence: number;
  /** Offset in the ring of the oldest entry that is still needed. */
  tail: number;
  guid: string;
  changes: readonly LogChange[];
  flushed?: number;
  last?: number;
}

/** One entry of the log. */
export function logEntry({ sequence, tail, guid, changes, flushed = 0, last = 0 }: LogEntryMade): Buffer {
  const data = changes.flatMap(({ to }) => (typeof to === 'number' ? [] : [to]));
  const front = Math.ceil((64 + 32 * changes.length) / 4096) * 4096;
  const entry = Buffer.alloc(front + data.length * 4096);
  entry.write('loge', 0, 'latin1');
  entry.writeUInt32LE(entry.length, 8);
  entry.writeUInt32LE(tail, 12);
  entry.writeBigUInt64LE(BigInt(sequence), 16);
  entry.writeUInt32LE(changes.length, 24);
  hex(guid).copy(entry, 32);
  entry.writeBigUInt64LE(BigInt(flushed), 48);
  entry.writeBigUInt64LE(BigInt(last), 56);
  changes.forEach(({ at, to }, i) => {
    const descriptor = 64 + i * 32;
    entry.writeBigUInt64LE(BigInt(at), descriptor + 16);
    entry.writeBigUInt64LE(BigInt(sequence), descriptor + 24);
    if (typeof to === 'number') {
      entry.write('zero', descriptor, 'latin1');
      entry.writeBigUInt64LE(BigInt(to), descriptor + 8);
    } else {
      entry.write('desc', descriptor, 'latin1');
      entry.set(to.subarray(4092), descriptor + 4);
      entry.set(to.subarray(0, 8), descriptor + 8);
    }
  });
  data.forEach((bytes, i) => {
    const sector = front + i * 4096;
    entry.set(bytes, sector);
    entry.write('data', sector, 'latin1');
    entry.writeUInt32LE(Math.floor(sequence / 2 ** 32), sector + 4);
    entry.writeUInt32LE(sequence % 2 ** 32, sector + 4092);
  });
  entry.writeUInt32LE(castagnoli(entry), 4);
  return entry;
}

/** A log of 1 MiB with entries at their offsets, round its end where they pass it. */
export function logRing(entries: Record<number, Uint8Array>): Buffer {
  const ring = Buffer.alloc(MiB);
  for (const [at, bytes] of Object.entries(entries)) {
    const first = Math.min(bytes.length, MiB - Number(at));
    ring.set(bytes.subarray(0, first), Number(at));
    ring.set(bytes.subarray(first), 0);
  }
  return ring;
}

/** Bytes without a zero among them. */
export function noise(seed: number, length: number): Uint8Array {
  let state = seed * 2 + 1;
  return Uint8Array.from({ length }, () => {
    state = Math.imul(state, 0x915f77f5) + 1;
    return 1 + ((state >>> 16) % 255);
  });
}
