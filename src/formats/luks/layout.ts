/**
 * Spec: LUKS On-Disk Format Specification 1.2.3 (LUKS1) and LUKS2 On-Disk Format Specification 1.1.3. Big-endian. A qcow2
 * with encryption method 2 has a LUKS1 header too, at a place of its own.
 */
import { bytes, reserved, type StructValues, struct, u16, u32, u64 } from '../../base/struct.ts';
import { MiB } from '../../base/units.ts';

/** `LUKS\xba\xbe` */
export const MAGIC = [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe] as const;
/** Magic and version, which both versions share. */
export const COMMON_BYTES = 8;

/** The longest JSON area that the specification has. */
export const MAX_LUKS2_HEADER = 4 * MiB;

const KEY_SLOTS = 8;
const KEY_SLOT_BYTES = 48;
/** The first word of a key slot that holds a key. */
export const SLOT_ENABLED = 0x00ac71f3;

export const Luks1 = struct('LUKS header', 'be', 592, 'LUKS 1.2.3 §The partition header', {
  magic: bytes(0, 6, MAGIC),
  version: u16(6, { equals: 1, code: 'unsupported' }),
  /** `aes`, …; padded with NUL, as the next two are. */
  cipherName: bytes(8, 32),
  /** `xts-plain64`, `cbc-essiv:sha256`, … */
  cipherMode: bytes(40, 32),
  hashSpec: bytes(72, 32),
  /** Of the encrypted disk, in sectors of 512 bytes; 0: the header is detached. */
  payloadOffset: u32(104),
  keyBytes: u32(108),
  mkDigest: bytes(112, 20),
  mkDigestSalt: bytes(132, 32),
  mkDigestIterations: u32(164),
  uuid: bytes(168, 40),
  keySlots: bytes(208, KEY_SLOTS * KEY_SLOT_BYTES),
});
export type Luks1 = StructValues<typeof Luks1>;
export { KEY_SLOT_BYTES };

/** JSON follows it up to headerSize. */
export const Luks2 = struct('LUKS2 header', 'be', 4096, 'LUKS2 1.1.3 §Binary header', {
  magic: bytes(0, 6, MAGIC),
  version: u16(6, { equals: 2, code: 'unsupported' }),
  /** Bytes of this and of the JSON. */
  headerSize: u64(8, { min: 4096, limit: MAX_LUKS2_HEADER }),
  sequenceId: u64(16),
  label: bytes(24, 48),
  checksumAlgorithm: bytes(72, 32),
  salt: bytes(104, 64),
  uuid: bytes(168, 40),
  rest: reserved(208, 3888),
});
