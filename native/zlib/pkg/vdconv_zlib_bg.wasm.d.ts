/* tslint:disable */
/* eslint-disable */
export const memory: WebAssembly.Memory;
export const __wbg_blockcodec_free: (a: number, b: number) => void;
export const __wbg_deflatestream_free: (a: number, b: number) => void;
export const __wbg_inflatestream_free: (a: number, b: number) => void;
export const blockcodec_consumed: (a: number) => number;
export const blockcodec_deflate: (a: number, b: number, c: number, d: number, e: any, f: any) => number;
export const blockcodec_inflate: (a: number, b: number, c: number, d: any, e: any) => number;
export const blockcodec_new: () => number;
export const blockcodec_produced: (a: number) => number;
export const deflatestream_consumed: (a: number) => number;
export const deflatestream_new: (a: number, b: number, c: number) => number;
export const deflatestream_produced: (a: number) => number;
export const deflatestream_push: (a: number, b: any, c: any, d: number) => number;
export const deflatestream_reset: (a: number) => void;
export const inflatestream_consumed: (a: number) => number;
export const inflatestream_new: (a: number, b: number) => number;
export const inflatestream_produced: (a: number) => number;
export const inflatestream_push: (a: number, b: any, c: any) => number;
export const inflatestream_reset: (a: number) => void;
export const __wbindgen_externrefs: WebAssembly.Table;
export const __wbindgen_start: () => void;
