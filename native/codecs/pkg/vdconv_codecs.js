/* @ts-self-types="./vdconv_codecs.d.ts" */

/**
 * Compresses and decompresses whole blocks (QCOW2 clusters, VMDK grains), each in one call with one copy in and one
 * out. Make one and keep it: its buffers grow to the largest block seen. Input and what is decoded are 16 MiB at most.
 */
export class BlockCodec {
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        BlockCodecFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_blockcodec_free(ptr, 0);
    }
    /**
     * Bytes of `input` that the last call used.
     * @returns {number}
     */
    get consumed() {
        const ret = wasm.blockcodec_consumed(this.__wbg_ptr);
        return ret >>> 0;
    }
    /**
     * Encodes `input` as one stream at the start of `output`. `raw`: RFC 1951; else RFC 1950. `windowBits`: 9 to 15,
     * no distance in the stream exceeds 2^windowBits (12 for QCOW2). `level`: 0 (stored) to 9.
     *
     * Returns the length of the stream; 0 when it does not fit into `output`; a `Status` below zero on an error. Only
     * with a length is anything written. The same input, `raw`, `windowBits` and `level` always give the same bytes.
     * @param {boolean} raw
     * @param {number} windowBits
     * @param {number} level
     * @param {Uint8Array} input
     * @param {Uint8Array} output
     * @returns {number}
     */
    deflate(raw, windowBits, level, input, output) {
        const ret = wasm.blockcodec_deflate(this.__wbg_ptr, raw, windowBits, level, input, output);
        return ret;
    }
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
     * @param {boolean} raw
     * @param {number} windowBits
     * @param {Uint8Array} input
     * @param {Uint8Array} output
     * @returns {Status}
     */
    inflate(raw, windowBits, input, output) {
        const ret = wasm.blockcodec_inflate(this.__wbg_ptr, raw, windowBits, input, output);
        return ret;
    }
    /**
     * An empty codec; memory is taken by the first call that needs it.
     */
    constructor() {
        const ret = wasm.blockcodec_new();
        this.__wbg_ptr = ret;
        BlockCodecFinalization.register(this, this.__wbg_ptr, this);
        return this;
    }
    /**
     * Bytes of `output` that the last call wrote.
     * @returns {number}
     */
    get produced() {
        const ret = wasm.blockcodec_produced(this.__wbg_ptr);
        return ret >>> 0;
    }
    /**
     * Decodes zstd frames from the start of `input` until `output` is full.
     *
     * - `Status.OutputFull`: it is, and `produced === output.length`.
     * - `Status.InputEnd`: the frames give only `produced` bytes; what is behind the last is no frame.
     * - below zero: an error; `TooLarge` where a window exceeds 128 MiB.
     * @param {Uint8Array} input
     * @param {Uint8Array} output
     * @returns {Status}
     */
    unzstd(input, output) {
        const ret = wasm.blockcodec_unzstd(this.__wbg_ptr, input, output);
        return ret;
    }
    /**
     * Encodes `input` as one zstd frame at the start of `output`: its length; 0 when it does not fit; a `Status` below
     * zero on an error. Only with a length is anything written. The same input always gives the same bytes.
     * @param {Uint8Array} input
     * @param {Uint8Array} output
     * @returns {number}
     */
    zstd(input, output) {
        const ret = wasm.blockcodec_zstd(this.__wbg_ptr, input, output);
        return ret;
    }
}
if (Symbol.dispose) BlockCodec.prototype[Symbol.dispose] = BlockCodec.prototype.free;

/**
 * Encodes a stream of any length in pieces of any size. The bytes of the stream depend on the pieces.
 */
export class DeflateStream {
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        DeflateStreamFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_deflatestream_free(ptr, 0);
    }
    /**
     * Bytes of `input` that the last `push` used.
     * @returns {number}
     */
    get consumed() {
        const ret = wasm.deflatestream_consumed(this.__wbg_ptr);
        return ret >>> 0;
    }
    /**
     * `raw`: RFC 1951; else RFC 1950. `windowBits`: 9 to 15, no distance in the stream exceeds 2^windowBits.
     * `level`: 0 (stored) to 9. A bad argument is told by the first `push`.
     * @param {boolean} raw
     * @param {number} windowBits
     * @param {number} level
     */
    constructor(raw, windowBits, level) {
        const ret = wasm.deflatestream_new(raw, windowBits, level);
        this.__wbg_ptr = ret;
        DeflateStreamFinalization.register(this, this.__wbg_ptr, this);
        return this;
    }
    /**
     * Bytes of `output` that the last `push` wrote.
     * @returns {number}
     */
    get produced() {
        const ret = wasm.deflatestream_produced(this.__wbg_ptr);
        return ret >>> 0;
    }
    /**
     * Encodes on, from `input` to `output`; `consumed` and `produced` say how far this call came. `finish`: `input` is
     * the last of the stream; say so again with what is left of it until the status is `Status.End`.
     *
     * - `Status.End`: the stream is complete. `reset` before the next one.
     * - `Status.OutputFull`: call again with the rest of `input` (it may be empty) and fresh room.
     * - `Status.InputEnd`: `input` is taken in; call again with more.
     * - below zero: an error, which every later call repeats until `reset`.
     * @param {Uint8Array} input
     * @param {Uint8Array} output
     * @param {boolean} finish
     * @returns {Status}
     */
    push(input, output, finish) {
        const ret = wasm.deflatestream_push(this.__wbg_ptr, input, output, finish);
        return ret;
    }
    /**
     * Ready for another stream with the same arguments.
     */
    reset() {
        wasm.deflatestream_reset(this.__wbg_ptr);
    }
}
if (Symbol.dispose) DeflateStream.prototype[Symbol.dispose] = DeflateStream.prototype.free;

/**
 * Decompresses a whole file in pieces of any size: gzip, xz, zstd or bzip2, with all the members, streams and frames that
 * follow each other in it, and their checksums.
 */
export class FileDecoder {
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        FileDecoderFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_filedecoder_free(ptr, 0);
    }
    /**
     * Bytes of `input` that the last `push` used.
     * @returns {number}
     */
    get consumed() {
        const ret = wasm.filedecoder_consumed(this.__wbg_ptr);
        return ret >>> 0;
    }
    /**
     * `kind`: `gzip`, `xz`, `zstd` or `bzip2`. Another is told by the first `push`.
     * @param {string} kind
     */
    constructor(kind) {
        const ptr0 = passStringToWasm0(kind, wasm.__wbindgen_malloc, wasm.__wbindgen_realloc);
        const len0 = WASM_VECTOR_LEN;
        const ret = wasm.filedecoder_new(ptr0, len0);
        this.__wbg_ptr = ret;
        FileDecoderFinalization.register(this, this.__wbg_ptr, this);
        return this;
    }
    /**
     * Bytes of `output` that the last `push` wrote.
     * @returns {number}
     */
    get produced() {
        const ret = wasm.filedecoder_produced(this.__wbg_ptr);
        return ret >>> 0;
    }
    /**
     * Decodes on, from `input` to `output`; `consumed` and `produced` say how far this call came. `last`: nothing follows
     * `input`; say so again with what is left of it (it may be empty) until the status is `Status.End`.
     *
     * - `Status.End`: the file is complete.
     * - `Status.OutputFull`: call again with the rest of `input` and fresh room.
     * - `Status.InputEnd`: call again with more input.
     * - below zero: an error, which every later call repeats.
     * @param {Uint8Array} input
     * @param {Uint8Array} output
     * @param {boolean} last
     * @returns {Status}
     */
    push(input, output, last) {
        const ret = wasm.filedecoder_push(this.__wbg_ptr, input, output, last);
        return ret;
    }
}
if (Symbol.dispose) FileDecoder.prototype[Symbol.dispose] = FileDecoder.prototype.free;

/**
 * Decodes a stream of any length in pieces of any size, in little memory.
 */
export class InflateStream {
    __destroy_into_raw() {
        const ptr = this.__wbg_ptr;
        this.__wbg_ptr = 0;
        InflateStreamFinalization.unregister(this);
        return ptr;
    }
    free() {
        const ptr = this.__destroy_into_raw();
        wasm.__wbg_inflatestream_free(ptr, 0);
    }
    /**
     * Bytes of `input` that the last `push` used.
     * @returns {number}
     */
    get consumed() {
        const ret = wasm.inflatestream_consumed(this.__wbg_ptr);
        return ret >>> 0;
    }
    /**
     * `raw`: RFC 1951; else RFC 1950. `windowBits`: 9 to 15. A bad argument is told by the first `push`.
     * @param {boolean} raw
     * @param {number} windowBits
     */
    constructor(raw, windowBits) {
        const ret = wasm.inflatestream_new(raw, windowBits);
        this.__wbg_ptr = ret;
        InflateStreamFinalization.register(this, this.__wbg_ptr, this);
        return this;
    }
    /**
     * Bytes of `output` that the last `push` wrote.
     * @returns {number}
     */
    get produced() {
        const ret = wasm.inflatestream_produced(this.__wbg_ptr);
        return ret >>> 0;
    }
    /**
     * Decodes on, from `input` to `output`; `consumed` and `produced` say how far this call came.
     *
     * - `Status.End`: the stream is complete; `input` beyond `consumed` is not its. `reset` before the next one.
     * - `Status.OutputFull`: call again with the rest of `input` (it may be empty) and fresh room.
     * - `Status.InputEnd`: call again with more input. Where there is none, the stream is truncated.
     * - below zero: an error, which every later call repeats until `reset`.
     * @param {Uint8Array} input
     * @param {Uint8Array} output
     * @returns {Status}
     */
    push(input, output) {
        const ret = wasm.inflatestream_push(this.__wbg_ptr, input, output);
        return ret;
    }
    /**
     * Ready for another stream with the same arguments.
     */
    reset() {
        wasm.inflatestream_reset(this.__wbg_ptr);
    }
}
if (Symbol.dispose) InflateStream.prototype[Symbol.dispose] = InflateStream.prototype.free;

/**
 * How a call ended. Above zero: it did what it could with the bytes it had. Below zero: an error.
 * @enum {1 | 2 | 3 | -1 | -2 | -3 | -4 | -5 | -6 | -7 | -8 | -9}
 */
export const Status = Object.freeze({
    /**
     * The stream is complete (zlib: its checksum is right too). Input after it was not consumed.
     */
    End: 1, "1": "End",
    /**
     * The output is full and the stream goes on: its content is longer than the output.
     */
    OutputFull: 2, "2": "OutputFull",
    /**
     * All input is consumed, the output is not full, and the stream goes on: it is truncated, or more input is to come.
     */
    InputEnd: 3, "3": "InputEnd",
    /**
     * The input is not such a stream (zlib: a wrong checksum, a preset dictionary, a larger window than asked for too).
     */
    BadData: -1, "-1": "BadData",
    /**
     * windowBits is not a whole number 9 to 15, level not one 0 to 9, or a DeflateStream got input after its end.
     */
    BadArgument: -2, "-2": "BadArgument",
    /**
     * A buffer is longer than a block may be (16 MiB), or it was detached or resized meanwhile.
     */
    BadBuffer: -3, "-3": "BadBuffer",
    /**
     * WebAssembly memory cannot grow.
     */
    NoMemory: -4, "-4": "NoMemory",
    /**
     * The content does not have the checksum that the stream says.
     */
    BadSum: -5, "-5": "BadSum",
    /**
     * The stream asks for a window of more than 128 MiB (zstd) or a dictionary of more than 64 MiB (xz).
     */
    TooLarge: -6, "-6": "TooLarge",
    /**
     * The stream needs what is not here: a preset dictionary, a check or filters that are not known.
     */
    Unsupported: -7, "-7": "Unsupported",
    /**
     * The file ends within a stream.
     */
    Truncated: -8, "-8": "Truncated",
    /**
     * What is behind a complete stream is no other one.
     */
    Trailing: -9, "-9": "Trailing",
});
function __wbg_get_imports() {
    const import0 = {
        __proto__: null,
        __wbg___wbindgen_throw_4c88d8bf264fd984: function(arg0, arg1) {
            throw new Error(getStringFromWasm0(arg0, arg1));
        },
        __wbg_length_186163212ffe79c3: function(arg0) {
            const ret = arg0.length;
            return ret;
        },
        __wbg_prototypesetcall_13162965d1fe7aa3: function(arg0, arg1, arg2) {
            Uint8Array.prototype.set.call(getArrayU8FromWasm0(arg0, arg1), arg2);
        },
        __wbg_set_feb3714f475485ba: function(arg0, arg1, arg2) {
            arg0.set(getArrayU8FromWasm0(arg1, arg2));
        },
        __wbg_subarray_58f388a9247ac0bb: function(arg0, arg1, arg2) {
            const ret = arg0.subarray(arg1 >>> 0, arg2 >>> 0);
            return ret;
        },
        __wbindgen_init_externref_table: function() {
            const table = wasm.__wbindgen_externrefs;
            table.set(0, undefined);
            table.set(1024, undefined);
            table.set(1025, null);
            table.set(1026, true);
            table.set(1027, false);
        },
    };
    return {
        __proto__: null,
        "./vdconv_codecs_bg.js": import0,
    };
}

const BlockCodecFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_blockcodec_free(ptr, 1));
const DeflateStreamFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_deflatestream_free(ptr, 1));
const FileDecoderFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_filedecoder_free(ptr, 1));
const InflateStreamFinalization = (typeof FinalizationRegistry === 'undefined')
    ? { register: () => {}, unregister: () => {} }
    : new FinalizationRegistry(ptr => wasm.__wbg_inflatestream_free(ptr, 1));

function getArrayU8FromWasm0(ptr, len) {
    ptr = ptr >>> 0;
    return getUint8ArrayMemory0().subarray(ptr / 1, ptr / 1 + len);
}

function getStringFromWasm0(ptr, len) {
    ptr = ptr >>> 0;
    return decodeText(getUint8ArrayMemory0().subarray(ptr, ptr + len));
}

let cachedUint8ArrayMemory0 = null;
function getUint8ArrayMemory0() {
    if (cachedUint8ArrayMemory0 === null || cachedUint8ArrayMemory0.byteLength === 0) {
        cachedUint8ArrayMemory0 = new Uint8Array(wasm.memory.buffer);
    }
    return cachedUint8ArrayMemory0;
}

function passStringToWasm0(arg, malloc, realloc) {
    if (realloc === undefined) {
        const buf = cachedTextEncoder.encode(arg);
        const ptr = malloc(buf.length, 1) >>> 0;
        getUint8ArrayMemory0().subarray(ptr, ptr + buf.length).set(buf);
        WASM_VECTOR_LEN = buf.length;
        return ptr;
    }

    let len = arg.length;
    let ptr = malloc(len, 1) >>> 0;

    const mem = getUint8ArrayMemory0();

    let offset = 0;

    for (; offset < len; offset++) {
        const code = arg.charCodeAt(offset);
        if (code > 0x7F) break;
        mem[ptr + offset] = code;
    }
    if (offset !== len) {
        if (offset !== 0) {
            arg = arg.slice(offset);
        }
        ptr = realloc(ptr, len, len = offset + arg.length * 3, 1) >>> 0;
        const view = getUint8ArrayMemory0().subarray(ptr + offset, ptr + len);
        const ret = cachedTextEncoder.encodeInto(arg, view);

        offset += ret.written;
        ptr = realloc(ptr, len, offset, 1) >>> 0;
    }

    WASM_VECTOR_LEN = offset;
    return ptr;
}

let cachedTextDecoder = new TextDecoder('utf-8', { ignoreBOM: true });
cachedTextDecoder.decode();
const MAX_SAFARI_DECODE_BYTES = 2146435072;
let numBytesDecoded = 0;
function decodeText(bytes) {
    numBytesDecoded += bytes.length;
    if (numBytesDecoded >= MAX_SAFARI_DECODE_BYTES) {
        cachedTextDecoder = new TextDecoder('utf-8', { ignoreBOM: true });
        cachedTextDecoder.decode();
        numBytesDecoded = bytes.length;
    }
    return cachedTextDecoder.decode(bytes);
}

const cachedTextEncoder = new TextEncoder();

if (!('encodeInto' in cachedTextEncoder)) {
    cachedTextEncoder.encodeInto = function (arg, view) {
        const buf = cachedTextEncoder.encode(arg);
        view.set(buf);
        return {
            read: arg.length,
            written: buf.length
        };
    };
}

let WASM_VECTOR_LEN = 0;

let wasmModule, wasmInstance, wasm;
function __wbg_finalize_init(instance, module) {
    wasmInstance = instance;
    wasm = instance.exports;
    wasmModule = module;
    cachedUint8ArrayMemory0 = null;
    wasm.__wbindgen_start();
    return wasm;
}

async function __wbg_load(module, imports) {
    if (typeof Response === 'function' && module instanceof Response) {
        if (!module.ok) {
            throw new Error(`failed to fetch Wasm: ${module.status} ${module.statusText} fetching '${module.url}'`);
        }

        if (typeof WebAssembly.instantiateStreaming === 'function') {
            try {
                return await WebAssembly.instantiateStreaming(module, imports);
            } catch (e) {
                const validResponse = expectedResponseType(module.type);

                if (validResponse && module.headers.get('Content-Type') !== 'application/wasm') {
                    console.warn("`WebAssembly.instantiateStreaming` failed because your server does not serve Wasm with `application/wasm` MIME type. Falling back to `WebAssembly.instantiate` which is slower. Original error:\n", e);

                } else { throw e; }
            }
        }

        const bytes = await module.arrayBuffer();
        return await WebAssembly.instantiate(bytes, imports);
    } else {
        const instance = await WebAssembly.instantiate(module, imports);

        if (instance instanceof WebAssembly.Instance) {
            return { instance, module };
        } else {
            return instance;
        }
    }

    function expectedResponseType(type) {
        switch (type) {
            case 'basic': case 'cors': case 'default': return true;
        }
        return false;
    }
}

function initSync(module) {
    if (wasm !== undefined) return wasm;


    if (module !== undefined) {
        if (Object.getPrototypeOf(module) === Object.prototype) {
            ({module} = module)
        } else {
            console.warn('using deprecated parameters for `initSync()`; pass a single object instead')
        }
    }

    const imports = __wbg_get_imports();
    if (!(module instanceof WebAssembly.Module)) {
        module = new WebAssembly.Module(module);
    }
    const instance = new WebAssembly.Instance(module, imports);
    return __wbg_finalize_init(instance, module);
}

let __wbg_init_promise;
async function __wbg_init(module_or_path) {
    if (wasm !== undefined) return wasm;
    if (__wbg_init_promise === undefined) {
        __wbg_init_promise = __wbg_init_once(module_or_path);
        __wbg_init_promise.catch(() => { __wbg_init_promise = undefined; });
    }
    return __wbg_init_promise;
}

async function __wbg_init_once(module_or_path) {

    if (module_or_path !== undefined) {
        if (Object.getPrototypeOf(module_or_path) === Object.prototype) {
            ({module_or_path} = module_or_path)
        } else {
            console.warn('using deprecated parameters for the initialization function; pass a single object instead')
        }
    }

    if (module_or_path === undefined) {
        module_or_path = new URL('vdconv_codecs_bg.wasm', import.meta.url);
    }
    const imports = __wbg_get_imports();

    if (typeof module_or_path === 'string' || (typeof Request === 'function' && module_or_path instanceof Request) || (typeof URL === 'function' && module_or_path instanceof URL)) {
        module_or_path = fetch(module_or_path);
    }

    const { instance, module } = await __wbg_load(await module_or_path, imports);

    return __wbg_finalize_init(instance, module);
}

export { initSync, __wbg_init as default };
