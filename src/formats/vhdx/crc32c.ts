/** CRC-32C (Castagnoli), the checksum of VHDX: reflected polynomial 0x82f63b78, initial and final value all ones. */

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let crc = index;
  for (let bit = 0; bit < 8; bit += 1) {
    crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return crc;
});

export function crc32c(...parts: readonly Uint8Array[]): number {
  let crc = 0xffffffff;
  for (const bytes of parts) {
    for (let i = 0; i < bytes.length; i += 1) {
      crc = (TABLE[(crc ^ (bytes[i] as number)) & 0xff] as number) ^ (crc >>> 8);
    }
  }
  return (crc ^ 0xffffffff) >>> 0; // u32
}

/** Where every structure that has a checksum keeps it: [MS-VHDX] §2.2.2, §2.2.3.1, §2.3.1.1. */
export const CHECKSUM_OFFSET = 4;
const NO_CHECKSUM = new Uint8Array(4);

/** The checksum of a whole structure: computed as if its own four bytes were zero. */
export function checksumOf(bytes: Uint8Array): number {
  return crc32c(bytes.subarray(0, CHECKSUM_OFFSET), NO_CHECKSUM, bytes.subarray(CHECKSUM_OFFSET + 4));
}

/** Computes the checksum of an encoded structure and puts it in its place. */
export function seal(bytes: Uint8Array): Uint8Array {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(CHECKSUM_OFFSET, checksumOf(bytes), true);
  return bytes;
}
