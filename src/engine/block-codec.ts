/** The codecs of the portable engine, from the WebAssembly package. */
import { loadCodecs } from '../io/codecs.ts';

/** One block a call; native/codecs/README.md says what the numbers mean. */
export interface BlockCodec {
  /** Bytes that the last `inflate` or `unzstd` wrote, and that it used. */
  readonly produced: number;
  readonly consumed: number;
  /** A {@link Decoded}, or another number below zero. */
  inflate(raw: boolean, windowBits: number, input: Uint8Array, output: Uint8Array): number;
  unzstd(input: Uint8Array, output: Uint8Array): number;
  /** The stream's length; 0 where it does not fit into `output`; below zero: an error. */
  deflate(raw: boolean, windowBits: number, level: number, input: Uint8Array, output: Uint8Array): number;
  zstd(input: Uint8Array, output: Uint8Array): number;
}

/** The package's `Status`. */
export const Decoded = {
  end: 1,
  outputFull: 2,
  inputEnd: 3,
  badData: -1,
  badSum: -5,
  tooLarge: -6,
  unsupported: -7,
} as const;

/** More than this the package does not take as one input. */
export const MAX_INPUT = 16 * 1024 * 1024;

let made: Promise<BlockCodec> | undefined;

/** The codec of this process: calls are synchronous, so jobs share it and its memory. */
export function loadBlockCodec(): Promise<BlockCodec> {
  made ??= loadCodecs().then(({ BlockCodec }) => new BlockCodec());
  return made;
}
