import { showNumber, VdconvError } from '../base/errors.ts';
import type { ByteSource } from './types.ts';

/** Bytes in memory as a source. They are not copied: who made them must leave them alone. */
export function memorySource(bytes: Uint8Array, name: string): ByteSource {
  return {
    name,
    size: bytes.length,
    async read(offset, length, what) {
      // A format that asks for this has lost its way before it reached the file.
      if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
        throw new VdconvError('internal', `${what}: cannot read ${length} bytes at ${offset}`, { file: name });
      }
      if (offset + length > bytes.length) {
        const range = `${length} bytes at offset ${showNumber(offset)}`;
        throw new VdconvError('truncated', `${what} needs ${range}, the file ends at ${showNumber(bytes.length)}`, {
          file: name,
          field: what,
          offset,
        });
      }
      // Not bytes.slice: a Buffer's shares memory.
      return Uint8Array.prototype.slice.call(bytes, offset, offset + length);
    },
    async close() {},
  };
}
