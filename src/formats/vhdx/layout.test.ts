/** Vectors from the specification and from files of other writers: bytes typed by hand, decoded and encoded again. */
import { expect, test } from 'vitest';
import { MiB } from '../../base/units.ts';
import { guidBytes, guidText } from '../../base/uuid.ts';
import { checksumOf, crc32c, seal } from './crc32c.ts';
import { batEntries, bitmapEntry, chunkRatio, payloadEntry } from './geometry.ts';
import {
  blockStateName,
  DataDescriptor,
  DataSector,
  FileParameters,
  FileTypeIdentifier,
  Header,
  ItemGuid,
  LogEntryHeader,
  LogicalSectorSize,
  MetadataTableEntry,
  MetadataTableHeader,
  ParentLocatorEntry,
  ParentLocatorHeader,
  PhysicalSectorSize,
  RegionGuid,
  RegionTableEntry,
  RegionTableHeader,
  VHDX_LOCATOR_TYPE,
  VirtualDiskId,
  VirtualDiskSize,
  ZeroDescriptor,
} from './layout.ts';

const origin = { file: 'vector', format: 'vhdx', at: 0 };

function bytes(text: string, size?: number): Uint8Array {
  const digits = Buffer.from(text.replaceAll(/[\s|]/g, ''), 'hex');
  const out = new Uint8Array(size ?? digits.length);
  out.set(digits);
  return out;
}

const text = (utf16: string) => Buffer.from(utf16, 'utf16le').toString('hex');

/** A header of which the rest of 4096 bytes is zero. */
const HEADER = `68656164 0d86b56f 0100000000000000 ${'0f'.repeat(16)} ${'0d'.repeat(16)} ${'00'.repeat(16)}
  0000 0100 00001000 0000100000000000`;

const vectors = {
  // As Windows Server 2012 writes it.
  FileTypeIdentifier: [
    FileTypeIdentifier,
    bytes(`7668647866696c65 ${text('Microsoft Windows 6.2.9200.16384')}`, 520),
    { signature: 0x78646876, signatureEnd: 0x656c6966 },
  ],
  Header: [
    Header,
    bytes(HEADER, 4096),
    {
      checksum: 0x6fb5860d,
      sequenceNumber: 1n,
      fileWriteGuid: new Uint8Array(16).fill(0x0f),
      dataWriteGuid: new Uint8Array(16).fill(0x0d),
      logGuid: new Uint8Array(16),
      logVersion: 0,
      version: 1,
      logLength: MiB,
      logOffset: MiB,
    },
  ],
  RegionTableHeader: [RegionTableHeader, bytes('72656769 ae8c6bc6 02000000 00000000'), { entryCount: 2 }],
  RegionTableEntry: [
    RegionTableEntry,
    bytes('6677c22d23f600429d64115e9bfd4a08 0000300000000000 00001000 01000000'),
    { guid: guidBytes(RegionGuid.bat), fileOffset: 3 * MiB, length: MiB, required: 1 },
  ],
  LogEntryHeader: [
    LogEntryHeader,
    bytes(`6c6f6765 78563412 00200000 00100000 0100000000000000 01000000 00000000 ${'ab'.repeat(16)}
      0000800100000000 0000900100000000`),
    {
      checksum: 0x12345678,
      entryLength: 8192,
      tail: 4096,
      sequenceNumber: 1n,
      descriptorCount: 1,
      flushedFileOffset: 0x1800000,
      lastFileOffset: 0x1900000,
    },
  ],
  ZeroDescriptor: [
    ZeroDescriptor,
    bytes('7a65726f 00000000 0010000000000000 0000200000000000 0700000000000000'),
    { zeroLength: 4096, fileOffset: 2 * MiB, sequenceNumber: 7n },
  ],
  // From a log that QEMU left behind.
  DataDescriptor: [
    DataDescriptor,
    bytes('64657363 00000000 0600800000000000 0000200000000000 0100000000000000'),
    {
      leadingBytes: bytes('0600800000000000'),
      trailingBytes: bytes('00000000'),
      fileOffset: 2 * MiB,
      sequenceNumber: 1n,
    },
  ],
  DataSector: [
    DataSector,
    bytes(`64617461 02000000 ${'55'.repeat(4084)} 01000000`),
    { sequenceHigh: 2, sequenceLow: 1, data: new Uint8Array(4084).fill(0x55) },
  ],
  MetadataTableHeader: [MetadataTableHeader, bytes(`6d65746164617461 0000 0500 ${'00'.repeat(20)}`), { entryCount: 5 }],
  MetadataTableEntry: [
    MetadataTableEntry,
    bytes('2442a52f1bcd7648b2115dbed83bf4b8 08000100 08000000 06000000 00000000'),
    { itemId: guidBytes(ItemGuid.virtualDiskSize), offset: 65544, length: 8, flags: 6 },
  ],
  FileParameters: [FileParameters, bytes('00008000 01000000'), { blockSize: 8 * MiB, flags: 1 }],
  VirtualDiskSize: [VirtualDiskSize, bytes('0000c00000000000'), { virtualDiskSize: 12 * MiB }],
  VirtualDiskId: [VirtualDiskId, bytes('000102030405060708090a0b0c0d0e0f'), {}],
  LogicalSectorSize: [LogicalSectorSize, bytes('00100000'), { logicalSectorSize: 4096 }],
  PhysicalSectorSize: [PhysicalSectorSize, bytes('00020000'), { physicalSectorSize: 512 }],
  ParentLocatorHeader: [
    ParentLocatorHeader,
    bytes('b7ef4ab09ed1814ab78925b8e9445913 0000 0500'),
    { locatorType: guidBytes(VHDX_LOCATOR_TYPE), keyValueCount: 5 },
  ],
  ParentLocatorEntry: [
    ParentLocatorEntry,
    bytes('50000000 6e000000 1e00 4c00'),
    { keyOffset: 80, valueOffset: 110, keyLength: 30, valueLength: 76 },
  ],
} as const;

test.each(Object.entries(vectors))('%s', (_, [table, raw, says]) => {
  const values = table.decode(raw, origin);
  expect(values).toMatchObject(says);
  expect(table.encode(values as never)).toEqual(raw);
});

test('CRC-32C: the check value of its definition, and those of files by other writers', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  expect(crc32c(Buffer.from('1234'), Buffer.from('56789'))).toBe(0xe3069283);
  expect(checksumOf(bytes(HEADER, 4096))).toBe(0x6fb5860d);
  // Disk2vhd, twice in its file.
  const disk2vhd = `68656164 2bf65c0f 0100000000000000 132b3081aac7cd478f2796d4c46bf8ea
    1c8903fde529d64a8ee17198d3b1e263 ${'00'.repeat(16)} 0000 0100 00001000 0000100000000000`;
  expect(checksumOf(bytes(disk2vhd, 4096))).toBe(0x0f5cf62b);
  // Windows Server 2012.
  const regions = `72656769 00000000 02000000 00000000
    6677c22d23f600429d64115e9bfd4a08 0000300000000000 00001000 01000000
    06a27c8b90479a4bb8fe575f050f886e 0000200000000000 00001000 01000000`;
  expect(seal(bytes(regions, 65536)).subarray(4, 8)).toEqual(bytes('ae8c6bc6'));
});

test('GUIDs: three groups little-endian, two as they are', () => {
  const stored = bytes('ab12cabee6b2234593efc309e000c746');
  expect(guidText(stored)).toBe('beca12ab-b2e6-4523-93ef-c309e000c746');
  expect(guidBytes('beca12ab-b2e6-4523-93ef-c309e000c746')).toEqual(stored);
});

test('states have the names of the specification, unknown ones their number', () => {
  expect([0, 1, 2, 3, 4, 5, 6, 7].map(blockStateName)).toEqual([
    'PAYLOAD_BLOCK_NOT_PRESENT',
    'PAYLOAD_BLOCK_UNDEFINED',
    'PAYLOAD_BLOCK_ZERO',
    'PAYLOAD_BLOCK_UNMAPPED',
    'unknown-4',
    'unknown-5',
    'PAYLOAD_BLOCK_FULLY_PRESENT',
    'PAYLOAD_BLOCK_PARTIALLY_PRESENT',
  ]);
});

test.each([
  [512, 1, 4096],
  [512, 2, 2048],
  [512, 8, 512],
  [512, 16, 256],
  [512, 32, 128],
  [512, 256, 16],
  [4096, 1, 32768],
  [4096, 256, 128],
])('chunk ratio of sectors of %i bytes, blocks of %i MiB: %i', (logicalSectorSize, miB, ratio) => {
  expect(chunkRatio({ virtualSize: 0, blockSize: miB * MiB, logicalSectorSize, hasParent: false })).toBe(ratio);
});

test('entries of the BAT: a bitmap after each chunk, the last of them only where there is a parent', () => {
  const disk = { blockSize: 256 * MiB, logicalSectorSize: 512, hasParent: false };
  const blocks = (count: number, hasParent = false) =>
    batEntries({ ...disk, virtualSize: count * 256 * MiB, hasParent });
  expect([0, 1, 16, 17, 32, 33].map((n) => blocks(n))).toEqual([0, 1, 16, 18, 33, 35]);
  expect([0, 1, 16, 17, 32, 33].map((n) => blocks(n, true))).toEqual([0, 17, 17, 34, 34, 51]);
  expect([0, 15, 16, 31, 32].map((block) => payloadEntry(block, 16))).toEqual([0, 15, 17, 32, 34]);
  expect([0, 1].map((chunk) => bitmapEntry(chunk, 16))).toEqual([16, 33]);
});
