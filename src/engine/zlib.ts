/** Deflate and zlib for the portable engine: the WebAssembly package, loaded by the first job that needs a codec. */
import { readFile } from 'node:fs/promises';

/** One block a call; native/zlib/README.md says what the numbers mean. */
export interface Zlib {
  /** Bytes that the last `inflate` wrote, and that it used. */
  readonly produced: number;
  readonly consumed: number;
  /** An {@link Inflated}, or another number below zero. */
  inflate(raw: boolean, windowBits: number, input: Uint8Array, output: Uint8Array): number;
  /** The stream's length; 0 where it does not fit into `output`; below zero: an error. */
  deflate(raw: boolean, windowBits: number, level: number, input: Uint8Array, output: Uint8Array): number;
}

/** The package's `Status`. */
export const Inflated = { end: 1, outputFull: 2, inputEnd: 3, badData: -1 } as const;

/** More than this the package does not take as one input. */
export const MAX_INPUT = 16 * 1024 * 1024;

let loaded: Promise<Zlib> | undefined;

/** The codec of this process: calls are synchronous, so jobs share it and its memory. */
export function loadZlib(): Promise<Zlib> {
  loaded ??= load();
  return loaded;
}

async function load(): Promise<Zlib> {
  // The same distance from src/engine and from dist/engine.
  const { BlockCodec, initSync } = await import('../../native/zlib/pkg/vdconv_zlib.js');
  const wasm = new URL('../../native/zlib/pkg/vdconv_zlib_bg.wasm', import.meta.url);
  initSync({ module: await readFile(wasm) });
  return new BlockCodec();
}
