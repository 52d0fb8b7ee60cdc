/**
 * The `uniqueId` of an image that vdconv writes. Until the engine hands in an id made from the guest's content, this is
 * the only place that decides it: from what was asked for, so that the same request gives the same bytes.
 */

/** 16 bytes in the form of RFC 9562 version 8, "made by the writer's own rule". */
export function uniqueId(...parts: readonly (string | number | boolean)[]): Uint8Array {
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
  id[6] = ((id[6] as number) & 0x0f) | 0x80;
  id[8] = ((id[8] as number) & 0x3f) | 0x80;
  return id;
}
