/**
 * The GUIDs of an image that vdconv writes. Same disk and options, same GUIDs. They follow from size and options alone
 * for now; the engine will hand in an id of the guest's content, which then takes the part of `text`.
 */
import type { NewDisk } from './front.ts';

export interface Ids {
  fileWriteGuid: Uint8Array;
  dataWriteGuid: Uint8Array;
  /** What the guest's SCSI page 83 says. */
  virtualDiskId: Uint8Array;
}

export function idsOf(disk: NewDisk): Ids {
  const text = JSON.stringify(disk);
  return {
    fileWriteGuid: hashedGuid(`fileWriteGuid ${text}`),
    dataWriteGuid: hashedGuid(`dataWriteGuid ${text}`),
    virtualDiskId: hashedGuid(`virtualDiskId ${text}`),
  };
}

/** A GUID of version 8 (RFC 9562: made by a rule of its maker), stored as Microsoft does. */
function hashedGuid(text: string): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  for (let word = 0; word < 4; word += 1) {
    view.setUint32(word * 4, hash32(`${word} ${text}`));
  }
  view.setUint8(7, (view.getUint8(7) & 0x0f) | 0x80);
  view.setUint8(8, (view.getUint8(8) & 0x3f) | 0x80);
  return new Uint8Array(view.buffer);
}

/** FNV-1a over the text, then MurmurHash3's last step, which lets every bit of it reach every bit of the result. */
function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0; // u32
}
