/** Images typed in as hexadecimal by offset, and block maps as lines: for tests that compare with a document, byte by byte. */
import type { ByteSource } from '../io/types.ts';
import { type Extent, Kind } from '../map/extents.ts';

export function hex(text: string): Uint8Array {
  const digits = text.replaceAll(/\s/g, '');
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** Bytes of a file of any size that is zeros but for `parts`, given in hexadecimal by offset. */
export function sparseSource(size: number, parts: Record<number, string>): ByteSource & { reads: [number, number][] } {
  const chunks = Object.entries(parts).map(([offset, text]) => ({ offset: Number(offset), bytes: hex(text) }));
  const reads: [number, number][] = [];
  return {
    name: 'disk.qcow2',
    size,
    reads,
    async read(offset, length, what) {
      if (offset + length > size) {
        throw new Error(`${what}: read beyond the end of the file: ${offset}, ${length}`);
      }
      reads.push([offset, length]);
      const out = new Uint8Array(length);
      for (const { offset: at, bytes } of chunks) {
        const from = Math.max(at, offset);
        const to = Math.min(at + bytes.length, offset + length);
        if (from < to) {
          out.set(bytes.subarray(from - at, to - at), from - offset);
        }
      }
      return out;
    },
    async close() {},
  };
}

/** Extents as lines: what is where. */
export function lines(extents: readonly Extent[]): string[] {
  return extents.map((e) => {
    switch (e.kind) {
      case Kind.data:
        return `${e.start}+${e.length} data ${e.offset}`;
      case Kind.compressed:
        return `${e.start}+${e.length} compressed ${e.offset}/${e.stored} skip ${e.skip}`;
      default:
        return `${e.start}+${e.length} ${e.kind === Kind.zero ? 'zero' : 'unallocated'}`;
    }
  });
}
