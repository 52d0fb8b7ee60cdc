/** The WebAssembly package: loaded by the first who needs a codec of it, and shared by all of the process. */
import { readFile } from 'node:fs/promises';

export type Codecs = typeof import('../../native/codecs/pkg/vdconv_codecs.js');

let loaded: Promise<Codecs> | undefined;

export function loadCodecs(): Promise<Codecs> {
  loaded ??= load();
  return loaded;
}

async function load(): Promise<Codecs> {
  // The same distance from src/io and from dist/io.
  const codecs = await import('../../native/codecs/pkg/vdconv_codecs.js');
  const wasm = new URL('../../native/codecs/pkg/vdconv_codecs_bg.wasm', import.meta.url);
  codecs.initSync({ module: await readFile(wasm) });
  return codecs;
}
