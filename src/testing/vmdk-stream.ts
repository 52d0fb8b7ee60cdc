const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

/** The least one-pass streamOptimized image, typed by hand: 64 KiB of the letter A in 13 sectors. */
export function streamOfA(): Uint8Array {
  const bytes = new Uint8Array(13 * 512);
  const header = (gdOffset: string) =>
    hex(`4b444d56 03000000 01000300 8000000000000000 8000000000000000 0100000000000000 0100000000000000
         00020000 0000000000000000 ${gdOffset} 0200000000000000 00 0a200d0a 0100`);
  const descriptor =
    'version=1\nCID=3a1b2c4d\nparentCID=ffffffff\ncreateType="streamOptimized"\nRW 128 SPARSE "mini.vmdk"\n';
  bytes.set(header('ffffffffffffffff'), 0);
  bytes.set(new TextEncoder().encode(descriptor), 512);
  bytes.set(hex('0000000000000000 55000000 789cedc181000000008020b6fda516a90a'), 2 * 512);
  bytes.set(hex('6a1e8703d0'), 2 * 512 + 12 + 85 - 5);
  bytes.set(hex('0400000000000000 00000000 01000000'), 3 * 512);
  bytes.set(hex('02000000'), 4 * 512);
  bytes.set(hex('0100000000000000 00000000 02000000'), 8 * 512);
  bytes.set(hex('04000000'), 9 * 512);
  bytes.set(hex('0100000000000000 00000000 03000000'), 10 * 512);
  bytes.set(header('0900000000000000'), 11 * 512);
  return bytes;
}
