/** UUIDs: their text, and the two ways in which formats store their 16 bytes. */
import { escapeText, VdconvError } from './errors.ts';

export const NIL_UUID = '00000000-0000-0000-0000-000000000000';

/** Lower case, of bytes in the order in which they are written. */
export function uuidText(bytes: Uint8Array): string {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

export function uuidBytes(text: string): Uint8Array {
  const hex = text.replaceAll('-', '');
  return Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(hex.slice(i * 2, i * 2 + 2), 16));
}

/** Microsoft's and VirtualBox's way: the first three groups are little-endian numbers. */
const ORDER = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15] as const;

/** From one way of storing to the other; the same backwards. */
export function mixedEndian(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(ORDER, (i) => bytes[i] as number);
}

export function guidText(stored: Uint8Array): string {
  return uuidText(mixedEndian(stored));
}

export function guidBytes(text: string): Uint8Array {
  return mixedEndian(uuidBytes(text));
}

/** For an option that takes an id; '' is none. Throws `usage`. */
export function checkUuid(value: number | string | boolean): void {
  const text = String(value);
  if (text !== '' && (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text) || text === NIL_UUID)) {
    const form = 'it must be a UUID such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8, not all zeros';
    throw new VdconvError('usage', `uuid is ${escapeText(text)}: ${form}`);
  }
}
