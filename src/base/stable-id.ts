/**
 * Ids of images that vdconv writes: from what was asked for, so that the same request gives the same bytes. The engine is
 * to hand in a fingerprint of the guest's content, which then joins `parts`.
 */

/** 16 bytes that follow from `parts` alone; every bit of them depends on all of those. Not for secrets. */
export function stableId(...parts: readonly (string | number | boolean)[]): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(parts));
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
export function stableUuid(versionByte: 6 | 7, ...parts: readonly (string | number | boolean)[]): Uint8Array {
  const id = stableId(...parts);
  id[versionByte] = ((id[versionByte] as number) & 0x0f) | 0x80;
  id[8] = ((id[8] as number) & 0x3f) | 0x80;
  return id;
}
