/** Which program compressed a file, by its first bytes. */

/** A whole file compressed: what is around an image, and not its format. */
export type Wrapping = 'gzip' | 'xz' | 'zstd' | 'bzip2';

/** What each is called in file names. */
export const WRAPPING_EXTENSIONS: Record<Wrapping, string> = { gzip: '.gz', xz: '.xz', zstd: '.zst', bzip2: '.bz2' };

/** Bytes that {@link wrappingOf} looks at. */
export const WRAPPING_HEAD = 10;

/**
 * By content: RFC 1952 section 2.3.1 (with the one method there is), The .xz File Format 2.1.1.1, RFC 8878 sections 3.1.1
 * and 3.1.2, and bzip2's level with the magic of a block, or of the end of an empty file.
 */
export function wrappingOf(head: Uint8Array): Wrapping | undefined {
  if (begins(head, 0, 0x1f, 0x8b, 8)) {
    return 'gzip';
  }
  if (begins(head, 0, 0xfd, 0x37, 0x7a, 0x58, 0x5a, 0)) {
    return 'xz';
  }
  // A frame to be skipped has sixteen magics.
  if (
    begins(head, 0, 0x28, 0xb5, 0x2f, 0xfd) ||
    (((head[0] ?? 0) & 0xf0) === 0x50 && begins(head, 1, 0x2a, 0x4d, 0x18))
  ) {
    return 'zstd';
  }
  const level = (head[3] ?? 0) - 0x30;
  const block =
    begins(head, 4, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59) || begins(head, 4, 0x17, 0x72, 0x45, 0x38, 0x50, 0x90);
  return begins(head, 0, 0x42, 0x5a, 0x68) && level >= 1 && level <= 9 && block ? 'bzip2' : undefined;
}

function begins(head: Uint8Array, at: number, ...bytes: number[]): boolean {
  return bytes.every((byte, i) => head[at + i] === byte);
}
