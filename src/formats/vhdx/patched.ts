/** A file as it would be after changes that are not made to it. */
import type { ByteSource } from '../../io/types.ts';

/** New content of [offset, offset + length); without `bytes` it is zeros. */
export interface Patch {
  offset: number;
  length: number;
  bytes?: Uint8Array;
}

/**
 * The source with patches over it, later ones over earlier ones; between its old end and `size` there are zeros. It has
 * no descriptor, so every engine reads it through {@link ByteSource.read}. It does not own the source: whoever opened
 * that closes it.
 */
export function patched(source: ByteSource, patches: readonly Patch[], size: number): ByteSource {
  const ranges = new Ranges();
  for (const patch of patches) {
    ranges.insert(patch);
  }
  return {
    name: source.name,
    size,
    async read(offset, length, what) {
      if (offset + length > size) {
        // The source says it in its own words.
        return source.read(offset, length, what);
      }
      const there = Math.max(0, Math.min(length, source.size - offset));
      const old = there === 0 ? new Uint8Array() : await source.read(offset, there, what);
      const bytes = there === length ? old : new Uint8Array(length);
      if (bytes !== old) {
        bytes.set(old);
      }
      ranges.apply(bytes, offset);
      return bytes;
    },
    async close() {},
  };
}

/** Patches that do not overlap, in order of offset. */
class Ranges {
  readonly #list: Patch[] = [];

  insert(patch: Patch): void {
    const end = patch.offset + patch.length;
    const first = this.#firstEndingAfter(patch.offset);
    let last = first;
    const parts: Patch[] = [];
    for (; last < this.#list.length; last += 1) {
      const old = this.#list[last] as Patch;
      if (old.offset >= end) {
        break;
      }
      parts.push(...cut(old, old.offset, patch.offset), ...cut(old, end, old.offset + old.length));
    }
    parts.push(patch);
    parts.sort((a, b) => a.offset - b.offset);
    this.#list.splice(first, last - first, ...parts);
  }

  /** Writes what lies in `bytes`, which begin at file offset `offset`. */
  apply(bytes: Uint8Array, offset: number): void {
    const end = offset + bytes.length;
    for (let i = this.#firstEndingAfter(offset); i < this.#list.length; i += 1) {
      const range = this.#list[i] as Patch;
      if (range.offset >= end) {
        return;
      }
      for (const part of cut(range, Math.max(offset, range.offset), Math.min(end, range.offset + range.length))) {
        const at = part.offset - offset;
        if (part.bytes === undefined) {
          bytes.fill(0, at, at + part.length);
        } else {
          bytes.set(part.bytes, at);
        }
      }
    }
  }

  #firstEndingAfter(offset: number): number {
    let low = 0;
    let high = this.#list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const { offset: at, length } = this.#list[middle] as Patch;
      if (at + length > offset) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }
}

/** The part of a patch in [from, to), which do not pass its ends; none where that is empty. */
function cut({ offset, bytes }: Patch, from: number, to: number): Patch[] {
  if (from >= to) {
    return [];
  }
  const length = to - from;
  return [
    bytes === undefined
      ? { offset: from, length }
      : { offset: from, length, bytes: bytes.subarray(from - offset, to - offset) },
  ];
}
