/** `ddb.comment`, one line of text: VirtualBox escapes quotes, backslashes and line ends. */

export function decodeComment(text: string): string {
  return text.replaceAll(/\\(.)/g, (_, escaped: string) => ESCAPES[escaped] ?? escaped);
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r' };

/**
 * Undefined for a comment that the line cannot hold. A comment comes from an image of anybody's making, and readers search
 * the descriptor as a whole: qemu takes the first `parentFileNameHint` in it, wherever it stands, for a file to open.
 */
export function encodeComment(text: string): string | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is the purpose
  if (text.length > MAX_COMMENT || /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]|parentFileNameHint/i.test(text)) {
    return undefined;
  }
  return text.replaceAll(/["\\\r\n]/g, (c) => (c === '\n' ? '\\n' : c === '\r' ? '\\r' : `\\${c}`));
}

/** In UTF-8 at most three bytes each: a descriptor has room for 10 KiB. */
const MAX_COMMENT = 2048;
