/** UTF-16LE, the only text of VHDX. */

/** Lone surrogates become U+FFFD, so they name nothing that could be opened. */
export function utf16(bytes: Uint8Array): string {
  return new TextDecoder('utf-16le', { ignoreBOM: true }).decode(bytes);
}

export function utf16Bytes(text: string): Uint8Array {
  const view = new DataView(new ArrayBuffer(text.length * 2));
  for (let i = 0; i < text.length; i += 1) {
    view.setUint16(i * 2, text.charCodeAt(i), true);
  }
  return new Uint8Array(view.buffer);
}
