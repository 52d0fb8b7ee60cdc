/** GUIDs as Microsoft stores them: the first three groups little-endian, the last two as they are written. */

/** The byte of the stored form from which each byte of the text comes. */
const ORDER = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

/** Lower case, without braces. */
export function guidText(bytes: Uint8Array): string {
  const hex = ORDER.map((i) => (bytes[i] as number).toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

export function guidBytes(text: string): Uint8Array {
  const hex = text.replaceAll('-', '');
  const bytes = new Uint8Array(16);
  ORDER.forEach((to, i) => {
    bytes[to] = Number.parseInt(hex.slice(i * 2, i * 2 + 2), 16);
  });
  return bytes;
}

export const NO_GUID = '00000000-0000-0000-0000-000000000000';
