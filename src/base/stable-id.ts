/** Ids of images that vdconv writes: from the content and what was asked for, so that the same request gives the same bytes. */

/** What an id follows from. Bytes are a content's fingerprint, or random where fresh ids were asked for. */
export type IdPart = string | number | boolean | Uint8Array | undefined;

/** 16 bytes that follow from `parts` alone; every bit of them depends on all of those. Not for secrets. */
export function stableId(...parts: readonly IdPart[]): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(parts, asPlain));
  const id = new Uint8Array(16);
  const view = new DataView(id.buffer);
  for (const [i, start] of [0x811c9dc5, 0x9e3779b9, 0x85ebca6b, 0xc2b2ae35].entries()) {
    // FNV-1a with another start for each word, mixed at the end as MurmurHash3 does.
    let hash = start;
    for (const byte of text) {
      hash = Math.imul(hash ^ byte, 0x01000193);
    }
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    view.setUint32(4 * i, hash ^ (hash >>> 16));
  }
  return id;
}

/**
 * The same in the form of a UUID of version 8, "made by the writer's own rule" (RFC 9562 §5.8).
 *
 * @param versionByte where the version lies: byte 6, or 7 where a format stores the third field little-endian.
 */
export function stableUuid(versionByte: 6 | 7, ...parts: readonly IdPart[]): Uint8Array {
  const id = stableId(...parts);
  id[versionByte] = ((id[versionByte] as number) & 0x0f) | 0x80;
  id[8] = ((id[8] as number) & 0x3f) | 0x80;
  return id;
}

/** Typed arrays as plain ones: JSON has no other form that tells their bytes. */
function asPlain(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? [...value] : value;
}
