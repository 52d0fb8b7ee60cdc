/** Makes the checksums of a mutated image right again: otherwise hardly a mutation would get past them. */
import { checksumOf } from '../../formats/vhdx/crc32c.ts';

/** The same bytes, sealed where the format has checksums. */
export function reseal(format: string, bytes: Uint8Array): void {
  if (format === 'vhd') {
    for (const at of [0, bytes.length - 512]) {
      sealVhd(bytes, at, 512, 64, 'conectix');
    }
    // The dynamic header lies where the footer says, in what is written usually behind the copy.
    sealVhd(bytes, 512, 1024, 36, 'cxsparse');
  }
  if (format === 'vhdx') {
    sealVhdx(bytes, 64 * 1024, 4096, 'head');
    sealVhdx(bytes, 128 * 1024, 4096, 'head');
    sealVhdx(bytes, 192 * 1024, 64 * 1024, 'regi');
    sealVhdx(bytes, 256 * 1024, 64 * 1024, 'regi');
  }
}

/** VHD 1.0 §Checksum: the one's complement of the sum of the other bytes. */
function sealVhd(bytes: Uint8Array, at: number, size: number, field: number, cookie: string): void {
  if (at < 0 || at + size > bytes.length || !begins(bytes, at, cookie)) {
    return;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, size);
  view.setUint32(field, 0);
  let sum = 0;
  for (let i = 0; i < size; i += 1) {
    sum += bytes[at + i] as number;
  }
  view.setUint32(field, 0xffffffff - sum);
}

function sealVhdx(bytes: Uint8Array, at: number, size: number, signature: string): void {
  if (at + size <= bytes.length && begins(bytes, at, signature)) {
    const structure = bytes.subarray(at, at + size);
    new DataView(bytes.buffer, bytes.byteOffset + at).setUint32(4, checksumOf(structure), true);
  }
}

function begins(bytes: Uint8Array, at: number, text: string): boolean {
  return [...text].every((letter, i) => bytes[at + i] === letter.charCodeAt(0));
}
