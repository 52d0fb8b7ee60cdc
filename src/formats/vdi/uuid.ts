/** UUIDs as VirtualBox stores them: of the five parts the first three are little-endian numbers. */

const ORDER = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15] as const;

export function showUuid(stored: Uint8Array): string {
  const hex = ORDER.map((i) => (stored[i] as number).toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Bytes in the order in which a UUID is written, in the order in which it is stored; the same backwards. */
export function toStored(uuid: Uint8Array): Uint8Array {
  return Uint8Array.from(ORDER, (i) => uuid[i] as number);
}

export function isNil(uuid: Uint8Array): boolean {
  return uuid.every((byte) => byte === 0);
}
