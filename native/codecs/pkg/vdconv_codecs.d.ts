/* tslint:disable */
/* eslint-disable */

/**
 * Compresses and decompresses whole blocks (QCOW2 clusters, VMDK grains), each in one call with one copy in and one
 * out. Make one and keep it: its buffers grow to the largest block seen. Input and what is decoded are 16 MiB at most.
 */
export class BlockCodec {
    free(): void;
    [Symbol.dispose](): void;
    /**
     * Encodes `input` as one stream at the start of `output`. `raw`: RFC 1951; else RFC 1950. `windowBits`: 9 to 15,
     * no distance in the stream exceeds 2^windowBits (12 for QCOW2). `level`: 0 (stored) to 9.
     *
     * Returns the length of the stream; 0 when it does not fit into `output`; a `Status` below zero on an error. Only
     * with a length is anything written. The same input, `raw`, `windowBits` and `level` always give the same bytes.
     */
    deflate(raw: boolean, windowBits: number, level: number, input: Uint8Array, output: Uint8Array): number;
    /**
     * Decodes one stream from the start of `input` into `output`, at most to its end; `produced` and `consumed` say
     * how far it came. `raw`: RFC 1951; else RFC 1950. `windowBits`: 9 to 15; with 15 every legal stream decodes.
     *
     * - `Status.End`: the stream is complete, in `produced` bytes; `input` beyond `consumed` is not its.
     * - `Status.OutputFull`: `output` is full (`produced === output.length`) and the stream goes on.
     * - `Status.InputEnd`: `input` ends before the stream does, and `output` is not full.
     * - below zero: an error; the `produced` bytes before it are written.
     *
     * So a QCOW2 cluster is good if and only if the status is above zero and `produced === output.length`.
     */
    inflate(raw: boolean, windowBits: number, input: Uint8Array, output: Uint8Array): Status;
    /**
     * An empty codec; memory is taken by the first call that needs it.
     */
    constructor();
    /**
     * Decodes zstd frames from the start of `input` until `output` is full.
     *
     * - `Status.OutputFull`: it is, and `produced === output.length`.
     * - `Status.InputEnd`: the frames give only `produced` bytes; what is behind the last is no frame.
     * - below zero: an error; `TooLarge` where a window exceeds 128 MiB.
     */
    unzstd(input: Uint8Array, output: Uint8Array): Status;
    /**
     * Encodes `input` as one zstd frame at the start of `output`: its length; 0 when it does not fit; a `Status` below
     * zero on an error. Only with a length is anything written. The same input always gives the same bytes.
     */
    zstd(input: Uint8Array, output: Uint8Array): number;
    /**
     * Bytes of `input` that the last call used.
     */
    readonly consumed: number;
    /**
     * Bytes of `output` that the last call wrote.
     */
    readonly produced: number;
}

/**
 * Encodes a stream of any length in pieces of any size. The bytes of the stream depend on the pieces.
 */
export class DeflateStream {
    free(): void;
    [Symbol.dispose](): void;
    /**
     * `raw`: RFC 1951; else RFC 1950. `windowBits`: 9 to 15, no distance in the stream exceeds 2^windowBits.
     * `level`: 0 (stored) to 9. A bad argument is told by the first `push`.
     */
    constructor(raw: boolean, windowBits: number, level: number);
    /**
     * Encodes on, from `input` to `output`; `consumed` and `produced` say how far this call came. `finish`: `input` is
     * the last of the stream; say so again with what is left of it until the status is `Status.End`.
     *
     * - `Status.End`: the stream is complete. `reset` before the next one.
     * - `Status.OutputFull`: call again with the rest of `input` (it may be empty) and fresh room.
     * - `Status.InputEnd`: `input` is taken in; call again with more.
     * - below zero: an error, which every later call repeats until `reset`.
     */
    push(input: Uint8Array, output: Uint8Array, finish: boolean): Status;
    /**
     * Ready for another stream with the same arguments.
     */
    reset(): void;
    /**
     * Bytes of `input` that the last `push` used.
     */
    readonly consumed: number;
    /**
     * Bytes of `output` that the last `push` wrote.
     */
    readonly produced: number;
}

/**
 * Decompresses a whole file in pieces of any size: gzip, xz, zstd or bzip2, with all the members, streams and frames that
 * follow each other in it, and their checksums.
 */
export class FileDecoder {
    free(): void;
    [Symbol.dispose](): void;
    /**
     * `kind`: `gzip`, `xz`, `zstd` or `bzip2`. Another is told by the first `push`.
     */
    constructor(kind: string);
    /**
     * Decodes on, from `input` to `output`; `consumed` and `produced` say how far this call came. `last`: nothing follows
     * `input`; say so again with what is left of it (it may be empty) until the status is `Status.End`.
     *
     * - `Status.End`: the file is complete.
     * - `Status.OutputFull`: call again with the rest of `input` and fresh room.
     * - `Status.InputEnd`: call again with more input.
     * - below zero: an error, which every later call repeats.
     */
    push(input: Uint8Array, output: Uint8Array, last: boolean): Status;
    /**
     * Bytes of `input` that the last `push` used.
     */
    readonly consumed: number;
    /**
     * Bytes of `output` that the last `push` wrote.
     */
    readonly produced: number;
}

/**
 * Decodes a stream of any length in pieces of any size, in little memory.
 */
export class InflateStream {
    free(): void;
    [Symbol.dispose](): void;
    /**
     * `raw`: RFC 1951; else RFC 1950. `windowBits`: 9 to 15. A bad argument is told by the first `push`.
     */
    constructor(raw: boolean, windowBits: number);
    /**
     * Decodes on, from `input` to `output`; `consumed` and `produced` say how far this call came.
     *
     * - `Status.End`: the stream is complete; `input` beyond `consumed` is not its. `reset` before the next one.
     * - `Status.OutputFull`: call again with the rest of `input` (it may be empty) and fresh room.
     * - `Status.InputEnd`: call again with more input. Where there is none, the stream is truncated.
     * - below zero: an error, which every later call repeats until `reset`.
     */
    push(input: Uint8Array, output: Uint8Array): Status;
    /**
     * Ready for another stream with the same arguments.
     */
    reset(): void;
    /**
     * Bytes of `input` that the last `push` used.
     */
    readonly consumed: number;
    /**
     * Bytes of `output` that the last `push` wrote.
     */
    readonly produced: number;
}

/**
 * How a call ended. Above zero: it did what it could with the bytes it had. Below zero: an error.
 */
export enum Status {
    /**
     * The stream is complete (zlib: its checksum is right too). Input after it was not consumed.
     */
    End = 1,
    /**
     * The output is full and the stream goes on: its content is longer than the output.
     */
    OutputFull = 2,
    /**
     * All input is consumed, the output is not full, and the stream goes on: it is truncated, or more input is to come.
     */
    InputEnd = 3,
    /**
     * The input is not such a stream (zlib: a wrong checksum, a preset dictionary, a larger window than asked for too).
     */
    BadData = -1,
    /**
     * windowBits is not a whole number 9 to 15, level not one 0 to 9, or a DeflateStream got input after its end.
     */
    BadArgument = -2,
    /**
     * A buffer is longer than a block may be (16 MiB), or it was detached or resized meanwhile.
     */
    BadBuffer = -3,
    /**
     * WebAssembly memory cannot grow.
     */
    NoMemory = -4,
    /**
     * The content does not have the checksum that the stream says.
     */
    BadSum = -5,
    /**
     * The stream asks for a window of more than 128 MiB (zstd) or a dictionary of more than 64 MiB (xz).
     */
    TooLarge = -6,
    /**
     * The stream needs what is not here: a preset dictionary, a check or filters that are not known.
     */
    Unsupported = -7,
    /**
     * The file ends within a stream.
     */
    Truncated = -8,
    /**
     * What is behind a complete stream is no other one.
     */
    Trailing = -9,
}

export type InitInput = RequestInfo | URL | Response | BufferSource | WebAssembly.Module;

export interface InitOutput {
    readonly memory: WebAssembly.Memory;
    readonly __wbg_blockcodec_free: (a: number, b: number) => void;
    readonly __wbg_deflatestream_free: (a: number, b: number) => void;
    readonly __wbg_filedecoder_free: (a: number, b: number) => void;
    readonly __wbg_inflatestream_free: (a: number, b: number) => void;
    readonly blockcodec_consumed: (a: number) => number;
    readonly blockcodec_deflate: (a: number, b: number, c: number, d: number, e: any, f: any) => number;
    readonly blockcodec_inflate: (a: number, b: number, c: number, d: any, e: any) => number;
    readonly blockcodec_new: () => number;
    readonly blockcodec_produced: (a: number) => number;
    readonly blockcodec_unzstd: (a: number, b: any, c: any) => number;
    readonly blockcodec_zstd: (a: number, b: any, c: any) => number;
    readonly deflatestream_consumed: (a: number) => number;
    readonly deflatestream_new: (a: number, b: number, c: number) => number;
    readonly deflatestream_produced: (a: number) => number;
    readonly deflatestream_push: (a: number, b: any, c: any, d: number) => number;
    readonly deflatestream_reset: (a: number) => void;
    readonly filedecoder_consumed: (a: number) => number;
    readonly filedecoder_new: (a: number, b: number) => number;
    readonly filedecoder_produced: (a: number) => number;
    readonly filedecoder_push: (a: number, b: any, c: any, d: number) => number;
    readonly inflatestream_consumed: (a: number) => number;
    readonly inflatestream_new: (a: number, b: number) => number;
    readonly inflatestream_produced: (a: number) => number;
    readonly inflatestream_push: (a: number, b: any, c: any) => number;
    readonly inflatestream_reset: (a: number) => void;
    readonly __wbindgen_externrefs: WebAssembly.Table;
    readonly __wbindgen_malloc: (a: number, b: number) => number;
    readonly __wbindgen_realloc: (a: number, b: number, c: number, d: number) => number;
    readonly __wbindgen_free: (a: number, b: number, c: number) => void;
    readonly __wbindgen_start: () => void;
}

export type SyncInitInput = BufferSource | WebAssembly.Module;

/**
 * Instantiates the given `module`, which can either be bytes or
 * a precompiled `WebAssembly.Module`.
 *
 * @param {{ module: SyncInitInput }} module - Passing `SyncInitInput` directly is deprecated.
 *
 * @returns {InitOutput}
 */
export function initSync(module: { module: SyncInitInput } | SyncInitInput): InitOutput;

/**
 * If `module_or_path` is {RequestInfo} or {URL}, makes a request and
 * for everything else, calls `WebAssembly.instantiate` directly.
 *
 * @param {{ module_or_path: InitInput | Promise<InitInput> }} module_or_path - Passing `InitInput` directly is deprecated.
 *
 * @returns {Promise<InitOutput>}
 */
export default function __wbg_init (module_or_path?: { module_or_path: InitInput | Promise<InitInput> } | InitInput | Promise<InitInput>): Promise<InitOutput>;
