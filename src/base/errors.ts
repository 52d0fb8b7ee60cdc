/**
 * The one error of vdconv. Every failure that a caller can meet is an instance of {@link VdconvError};
 * the command line maps its code to an exit status (src/cli/exit.ts).
 */

/**
 * What went wrong, for programs:
 * - `usage`: the call is wrong (unknown format or option, source is the target);
 * - `exists`: the target exists and replacing it was not asked for;
 * - `wrong-format`: the bytes are not what they were said to be, or not recognised;
 * - `corrupt`: a structure holds an illegal value; `truncated`: bytes that the image promises are missing;
 * - `unsupported`: legal, but not implemented (encryption, unknown feature bit);
 * - `read`: the operating system could not read the input; `write`: the output could not be written;
 * - `refused`: policy (a reference to another file); the message names the flag that allows it;
 * - `changed`: the source changed while it was read; `locked`: another program has it in use;
 * - `limit`: over a hard limit; `aborted`: cancelled by the caller's signal; `internal`: a defect of vdconv.
 */
export type ErrorCode =
  | 'usage'
  | 'exists'
  | 'wrong-format'
  | 'corrupt'
  | 'truncated'
  | 'unsupported'
  | 'read'
  | 'write'
  | 'refused'
  | 'changed'
  | 'locked'
  | 'limit'
  | 'aborted'
  | 'internal';

export interface ErrorDetails {
  /** The image or file concerned, as the user named it. */
  file?: string | undefined;
  /** Format name, for example `qcow2`. */
  format?: string | undefined;
  /** Table or field, in the words of its specification. */
  field?: string | undefined;
  /** Byte offset in `file`. */
  offset?: number | undefined;
  /** What the user can do next, one sentence. */
  hint?: string | undefined;
  cause?: unknown;
}

/**
 * A failure of vdconv. `message` is one line: `FILE: what is wrong (where); hint`, and every text that came from an
 * image is already escaped in it.
 */
export class VdconvError extends Error {
  override readonly name = 'VdconvError';
  readonly code: ErrorCode;
  readonly file: string | undefined;
  readonly format: string | undefined;
  readonly field: string | undefined;
  readonly offset: number | undefined;
  readonly hint: string | undefined;
  /** The message without the file and the hint. */
  readonly what: string;

  constructor(code: ErrorCode, what: string, details: ErrorDetails = {}) {
    const at = details.file === undefined ? '' : `${escapeText(details.file)}: `;
    const next = details.hint === undefined ? '' : `; ${details.hint}`;
    super(`${at}${what}${next}`, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.file = details.file;
    this.format = details.format;
    this.field = details.field;
    this.offset = details.offset;
    this.hint = details.hint;
    this.what = what;
  }
}

/** C0, DEL, C1, line and paragraph separators, Unicode's Bidi_Control, and the byte order mark. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is the purpose
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

/**
 * Makes text from an image or a file name safe to print on a terminal: control characters become `\xNN` or `\u{NNNN}`,
 * so that an image cannot move the cursor or forge a line.
 */
export function escapeText(text: string): string {
  return text.replace(UNSAFE, (c) => {
    const n = c.charCodeAt(0);
    return n < 0x100 ? `\\x${n.toString(16).padStart(2, '0')}` : `\\u{${n.toString(16)}}`;
  });
}

/** A number as messages show it: decimal, from 1024 up with its hexadecimal. */
export function showNumber(value: number | bigint): string {
  return value < 1024 ? `${value}` : `${value} (0x${value.toString(16)})`;
}
