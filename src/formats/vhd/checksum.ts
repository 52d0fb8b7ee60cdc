/** VHD 1.0 §Checksum: the one's complement of the sum of all bytes, those of the checksum itself taken as 0. */

/** @param field offset of the checksum within `structure`. */
export function checksum(structure: Uint8Array, field: number): number {
  let sum = 0;
  for (let i = 0; i < structure.length; i += 1) {
    sum += i >= field && i < field + 4 ? 0 : (structure[i] as number);
  }
  // Of 1024 bytes: far below 2^32.
  return 0xffffffff - sum;
}

/** Fills the checksum in and gives the structure back. */
export function sealed(structure: Uint8Array, field: number): Uint8Array {
  new DataView(structure.buffer, structure.byteOffset).setUint32(field, checksum(structure, field));
  return structure;
}
