/** Which of VMware's file kinds a file is, by its first bytes. */
import { COWD_MAGIC } from './cowd/layout.ts';
import { HOSTED_MAGIC } from './hosted/layout.ts';
import { SESPARSE_MAGIC } from './sesparse/layout.ts';

/** `flat` extents have no magic and are no kind: only a descriptor leads to them. */
export type FileKind = 'hosted' | 'cowd' | 'seSparse' | 'descriptor';

/** What descriptors begin with, where their writer kept the comment. */
const TITLE = /^\s*# *disk *descriptorfile/i;
const CREATE_TYPE = /^[ \t]*createtype[ \t]*=/im;
const EXTENT_LINE = /^[ \t]*(rw|rdonly|noaccess)[ \t]+\d+[ \t]+[a-z]+/im;
// biome-ignore lint/suspicious/noControlCharactersInRegex: text has none but tab, line feed, form feed and return
const CONTROL = /[\u0001-\u0008\u000b\u000e-\u001f]/;

export function fileKind(head: Uint8Array): FileKind | undefined {
  if (head.length >= 4) {
    const magic = new DataView(head.buffer, head.byteOffset, head.byteLength).getUint32(0, true);
    if (magic === HOSTED_MAGIC) {
      return 'hosted';
    }
    if (magic === COWD_MAGIC) {
      return 'cowd';
    }
    if (magic === SESPARSE_MAGIC && head.length >= 8 && head.subarray(4, 8).every((byte) => byte === 0)) {
      return 'seSparse';
    }
  }
  return isDescriptor(head) ? 'descriptor' : undefined;
}

/** Text with a title, or with a createType and an extent; more lenient than qemu, which calls some descriptors raw. */
function isDescriptor(head: Uint8Array): boolean {
  const nul = head.indexOf(0);
  const text = new TextDecoder('latin1').decode(nul < 0 ? head : head.subarray(0, nul));
  return TITLE.test(text) || (!CONTROL.test(text) && CREATE_TYPE.test(text) && EXTENT_LINE.test(text));
}
