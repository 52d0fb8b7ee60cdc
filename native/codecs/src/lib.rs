//! Codecs for the portable engine, and of compressed files: what JavaScript sees. The modules do the work on slices; this
//! file moves bytes between the caller's arrays and buffers inside WebAssembly memory that are kept and used again.
//!
//! Every length is checked here, and errors are values of [`Status`], never exceptions or traps.
#![warn(missing_docs)]

use js_sys::Uint8Array;
use wasm_bindgen::prelude::wasm_bindgen;

mod codec;
mod unwrap;
mod zstd;

pub use codec::Status;
use codec::{Decoder, Encoder, Step};
use unwrap::Unwrap;

/// The longest input or output of [`BlockCodec`]: its buffers stay in WebAssembly memory.
const MAX_BLOCK: usize = 16 << 20;

/// Room for any stream of so much input: incompressible bytes cost 9 bits each at level 1, less at the others.
const fn stream_bound(length: usize) -> usize {
    length + length / 8 + 1024
}

/// What the streams take of their caller's arrays at a time.
const STAGE: usize = 64 << 10;

/// A buffer that only grows.
#[derive(Default)]
struct Buffer(Vec<u8>);

impl Buffer {
    fn reserve(&mut self, length: usize) -> Result<(), Status> {
        let missing = length.saturating_sub(self.0.len());
        self.0.try_reserve_exact(missing).map_err(|_| Status::NoMemory)?;
        self.0.resize(self.0.len() + missing, 0);
        Ok(())
    }
}

/// `array[from..to]` into `buffer`. The array can have become shorter: growing memory detaches views of it.
fn copy_in<'a>(array: &Uint8Array, from: usize, to: usize, buffer: &'a mut Buffer) -> Result<&'a [u8], Status> {
    let length = array.length() as usize;
    let target = buffer.0.get_mut(..to - from).ok_or(Status::BadBuffer)?;
    if to > length {
        return Err(Status::BadBuffer);
    }
    if target.len() == length && length > 0 {
        array.copy_to(target);
    } else if !target.is_empty() {
        array.subarray(from as u32, to as u32).copy_to(target);
    }
    Ok(target)
}

/// `bytes` into `array` at `from`.
fn copy_out(bytes: &[u8], array: &Uint8Array, from: usize) -> Result<(), Status> {
    let length = array.length() as usize;
    let to = from + bytes.len();
    if to > length {
        return Err(Status::BadBuffer);
    }
    if bytes.len() == length && length > 0 {
        array.copy_from(bytes);
    } else if !bytes.is_empty() {
        array.subarray(from as u32, to as u32).copy_from(bytes);
    }
    Ok(())
}

/// Compresses and decompresses whole blocks (QCOW2 clusters, VMDK grains), each in one call with one copy in and one
/// out. Make one and keep it: its buffers grow to the largest block seen. Input and what is decoded are 16 MiB at most.
#[wasm_bindgen]
pub struct BlockCodec {
    input: Buffer,
    output: Buffer,
    decoder: Decoder,
    encoder: Encoder,
    zstd: zstd::Decoder,
    consumed: u32,
    produced: u32,
}

#[wasm_bindgen]
impl BlockCodec {
    /// An empty codec; memory is taken by the first call that needs it.
    #[wasm_bindgen(constructor)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> BlockCodec {
        BlockCodec {
            input: Buffer::default(),
            output: Buffer::default(),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            zstd: zstd::Decoder::default(),
            consumed: 0,
            produced: 0,
        }
    }

    /// Decodes one stream from the start of `input` into `output`, at most to its end; `produced` and `consumed` say
    /// how far it came. `raw`: RFC 1951; else RFC 1950. `windowBits`: 9 to 15; with 15 every legal stream decodes.
    ///
    /// - `Status.End`: the stream is complete, in `produced` bytes; `input` beyond `consumed` is not its.
    /// - `Status.OutputFull`: `output` is full (`produced === output.length`) and the stream goes on.
    /// - `Status.InputEnd`: `input` ends before the stream does, and `output` is not full.
    /// - below zero: an error; the `produced` bytes before it are written.
    ///
    /// So a QCOW2 cluster is good if and only if the status is above zero and `produced === output.length`.
    pub fn inflate(
        &mut self,
        raw: bool,
        #[wasm_bindgen(js_name = "windowBits")] window_bits: f64,
        input: &Uint8Array,
        output: &Uint8Array,
    ) -> Status {
        let step = self.try_inflate(raw, window_bits, input, output).unwrap_or_else(Step::failed);
        self.keep(step)
    }

    /// Encodes `input` as one stream at the start of `output`. `raw`: RFC 1951; else RFC 1950. `windowBits`: 9 to 15,
    /// no distance in the stream exceeds 2^windowBits (12 for QCOW2). `level`: 0 (stored) to 9.
    ///
    /// Returns the length of the stream; 0 when it does not fit into `output`; a `Status` below zero on an error. Only
    /// with a length is anything written. The same input, `raw`, `windowBits` and `level` always give the same bytes.
    pub fn deflate(
        &mut self,
        raw: bool,
        #[wasm_bindgen(js_name = "windowBits")] window_bits: f64,
        level: f64,
        input: &Uint8Array,
        output: &Uint8Array,
    ) -> i32 {
        let step = self.try_deflate(raw, window_bits, level, input, output).unwrap_or_else(Step::failed);
        match self.keep(step) {
            Status::End => step.produced as i32,
            status if (status as i32) < 0 => status as i32,
            _ => 0,
        }
    }

    /// Decodes zstd frames from the start of `input` until `output` is full.
    ///
    /// - `Status.OutputFull`: it is, and `produced === output.length`.
    /// - `Status.InputEnd`: the frames give only `produced` bytes; what is behind the last is no frame.
    /// - below zero: an error; `TooLarge` where a window exceeds 128 MiB.
    pub fn unzstd(&mut self, input: &Uint8Array, output: &Uint8Array) -> Status {
        let step = self.try_unzstd(input, output).unwrap_or_else(Step::failed);
        self.keep(step)
    }

    /// Encodes `input` as one zstd frame at the start of `output`: its length; 0 when it does not fit; a `Status` below
    /// zero on an error. Only with a length is anything written. The same input always gives the same bytes.
    pub fn zstd(&mut self, input: &Uint8Array, output: &Uint8Array) -> i32 {
        match self.try_zstd(input, output) {
            Ok(length) => length as i32,
            Err(status) => status as i32,
        }
    }

    /// Bytes of `input` that the last call used.
    #[wasm_bindgen(getter)]
    pub fn consumed(&self) -> u32 {
        self.consumed
    }

    /// Bytes of `output` that the last call wrote.
    #[wasm_bindgen(getter)]
    pub fn produced(&self) -> u32 {
        self.produced
    }
}

impl BlockCodec {
    fn keep(&mut self, step: Step) -> Status {
        self.consumed = step.consumed as u32;
        self.produced = step.produced as u32;
        step.status
    }

    /// The length of a caller's array, if it is a block's.
    fn block(array: &Uint8Array) -> Result<usize, Status> {
        let length = array.length() as usize;
        if length <= MAX_BLOCK { Ok(length) } else { Err(Status::BadBuffer) }
    }

    fn try_inflate(&mut self, raw: bool, bits: f64, input: &Uint8Array, output: &Uint8Array) -> Result<Step, Status> {
        self.decoder.start(raw, bits)?;
        let (from, to) = (Self::block(input)?, Self::block(output)?);
        self.input.reserve(from)?;
        self.output.reserve(to)?;
        let bytes = copy_in(input, 0, from, &mut self.input)?;
        let room = &mut self.output.0[..to];
        let step = self.decoder.step(bytes, room, true);
        copy_out(&room[..step.produced], output, 0)?;
        Ok(step)
    }

    fn try_deflate(
        &mut self,
        raw: bool,
        bits: f64,
        level: f64,
        input: &Uint8Array,
        output: &Uint8Array,
    ) -> Result<Step, Status> {
        self.encoder.start(raw, bits, level)?;
        let from = Self::block(input)?;
        self.input.reserve(from)?;
        // Not the caller's room: level 0 chooses its blocks by the room, and a stream that fills it to the byte is
        // only known to be complete by the next call.
        self.output.reserve(stream_bound(from))?;
        let bytes = copy_in(input, 0, from, &mut self.input)?;
        let step = self.encoder.step(bytes, &mut self.output.0[..stream_bound(from)], true);
        if step.status != Status::End {
            return Err(step.status);
        }
        if step.produced > output.length() as usize {
            return Err(Status::OutputFull);
        }
        copy_out(&self.output.0[..step.produced], output, 0)?;
        Ok(step)
    }
}

impl BlockCodec {
    fn try_unzstd(&mut self, input: &Uint8Array, output: &Uint8Array) -> Result<Step, Status> {
        let (from, to) = (Self::block(input)?, Self::block(output)?);
        self.input.reserve(from)?;
        self.output.reserve(to)?;
        let bytes = copy_in(input, 0, from, &mut self.input)?;
        let room = &mut self.output.0[..to];
        let step = self.zstd.block(bytes, room);
        copy_out(&room[..step.produced], output, 0)?;
        Ok(step)
    }

    fn try_zstd(&mut self, input: &Uint8Array, output: &Uint8Array) -> Result<usize, Status> {
        let from = Self::block(input)?;
        self.input.reserve(from)?;
        let frame = zstd::encode(copy_in(input, 0, from, &mut self.input)?);
        if frame.len() > output.length() as usize {
            return Ok(0);
        }
        copy_out(&frame, output, 0)?;
        Ok(frame.len())
    }
}

/// What all kinds of stream hold beside their codec.
#[derive(Default)]
struct Stage {
    input: Buffer,
    output: Buffer,
    consumed: u32,
    produced: u32,
    failed: Option<Status>,
}

impl Stage {
    fn restart(&mut self, started: Result<(), Status>) {
        self.consumed = 0;
        self.produced = 0;
        self.failed = started.err();
    }

    /// Carries `input` through `step` to `output` in pieces, until one is used up or the stream ends. The flag that
    /// `step` gets says that its piece is the last of `input`.
    fn pump(
        &mut self,
        input: &Uint8Array,
        output: &Uint8Array,
        mut step: impl FnMut(&[u8], &mut [u8], bool) -> Step,
    ) -> Status {
        let (mut consumed, mut produced) = (0, 0);
        let status = match self.failed {
            Some(status) => status,
            None => self.pump_pieces(input, output, &mut step, &mut consumed, &mut produced).unwrap_or_else(|e| e),
        };
        if (status as i32) < 0 {
            self.failed = Some(status);
        }
        self.consumed = consumed as u32;
        self.produced = produced as u32;
        status
    }

    fn pump_pieces(
        &mut self,
        input: &Uint8Array,
        output: &Uint8Array,
        step: &mut impl FnMut(&[u8], &mut [u8], bool) -> Step,
        consumed: &mut usize,
        produced: &mut usize,
    ) -> Result<Status, Status> {
        self.input.reserve(STAGE)?;
        self.output.reserve(STAGE)?;
        let (from, to) = (input.length() as usize, output.length() as usize);
        loop {
            let end = from.min(*consumed + STAGE);
            let bytes = copy_in(input, *consumed, end, &mut self.input)?;
            let room = &mut self.output.0[..STAGE.min(to - *produced)];
            let did = step(bytes, room, end == from);
            copy_out(&room[..did.produced], output, *produced)?;
            *consumed += did.consumed;
            *produced += did.produced;
            let more = match did.status {
                Status::OutputFull => *produced < to,
                Status::InputEnd => *consumed < from,
                _ => false,
            };
            if !more || (did.consumed == 0 && did.produced == 0) {
                return Ok(did.status);
            }
        }
    }
}

/// Decodes a stream of any length in pieces of any size, in little memory.
#[wasm_bindgen]
pub struct InflateStream {
    raw: bool,
    window_bits: f64,
    decoder: Decoder,
    stage: Stage,
}

#[wasm_bindgen]
impl InflateStream {
    /// `raw`: RFC 1951; else RFC 1950. `windowBits`: 9 to 15. A bad argument is told by the first `push`.
    #[wasm_bindgen(constructor)]
    pub fn new(raw: bool, #[wasm_bindgen(js_name = "windowBits")] window_bits: f64) -> InflateStream {
        let mut stream = InflateStream { raw, window_bits, decoder: Decoder::default(), stage: Stage::default() };
        stream.reset();
        stream
    }

    /// Ready for another stream with the same arguments.
    pub fn reset(&mut self) {
        let started = self.decoder.start(self.raw, self.window_bits);
        self.stage.restart(started);
    }

    /// Decodes on, from `input` to `output`; `consumed` and `produced` say how far this call came.
    ///
    /// - `Status.End`: the stream is complete; `input` beyond `consumed` is not its. `reset` before the next one.
    /// - `Status.OutputFull`: call again with the rest of `input` (it may be empty) and fresh room.
    /// - `Status.InputEnd`: call again with more input. Where there is none, the stream is truncated.
    /// - below zero: an error, which every later call repeats until `reset`.
    pub fn push(&mut self, input: &Uint8Array, output: &Uint8Array) -> Status {
        let decoder = &mut self.decoder;
        self.stage.pump(input, output, |bytes, room, _| decoder.step(bytes, room, false))
    }

    /// Bytes of `input` that the last `push` used.
    #[wasm_bindgen(getter)]
    pub fn consumed(&self) -> u32 {
        self.stage.consumed
    }

    /// Bytes of `output` that the last `push` wrote.
    #[wasm_bindgen(getter)]
    pub fn produced(&self) -> u32 {
        self.stage.produced
    }
}

/// Encodes a stream of any length in pieces of any size. The bytes of the stream depend on the pieces.
#[wasm_bindgen]
pub struct DeflateStream {
    raw: bool,
    window_bits: f64,
    level: f64,
    encoder: Encoder,
    stage: Stage,
}

#[wasm_bindgen]
impl DeflateStream {
    /// `raw`: RFC 1951; else RFC 1950. `windowBits`: 9 to 15, no distance in the stream exceeds 2^windowBits.
    /// `level`: 0 (stored) to 9. A bad argument is told by the first `push`.
    #[wasm_bindgen(constructor)]
    pub fn new(raw: bool, #[wasm_bindgen(js_name = "windowBits")] window_bits: f64, level: f64) -> DeflateStream {
        let mut stream =
            DeflateStream { raw, window_bits, level, encoder: Encoder::default(), stage: Stage::default() };
        stream.reset();
        stream
    }

    /// Ready for another stream with the same arguments.
    pub fn reset(&mut self) {
        let started = self.encoder.start(self.raw, self.window_bits, self.level);
        self.stage.restart(started);
    }

    /// Encodes on, from `input` to `output`; `consumed` and `produced` say how far this call came. `finish`: `input` is
    /// the last of the stream; say so again with what is left of it until the status is `Status.End`.
    ///
    /// - `Status.End`: the stream is complete. `reset` before the next one.
    /// - `Status.OutputFull`: call again with the rest of `input` (it may be empty) and fresh room.
    /// - `Status.InputEnd`: `input` is taken in; call again with more.
    /// - below zero: an error, which every later call repeats until `reset`.
    pub fn push(&mut self, input: &Uint8Array, output: &Uint8Array, finish: bool) -> Status {
        let encoder = &mut self.encoder;
        self.stage.pump(input, output, |bytes, room, last| encoder.step(bytes, room, finish && last))
    }

    /// Bytes of `input` that the last `push` used.
    #[wasm_bindgen(getter)]
    pub fn consumed(&self) -> u32 {
        self.stage.consumed
    }

    /// Bytes of `output` that the last `push` wrote.
    #[wasm_bindgen(getter)]
    pub fn produced(&self) -> u32 {
        self.stage.produced
    }
}

/// Decompresses a whole file in pieces of any size: gzip, xz, zstd or bzip2, with all the members, streams and frames that
/// follow each other in it, and their checksums.
#[wasm_bindgen]
pub struct FileDecoder {
    unwrap: Option<Unwrap>,
    stage: Stage,
}

#[wasm_bindgen]
impl FileDecoder {
    /// `kind`: `gzip`, `xz`, `zstd` or `bzip2`. Another is told by the first `push`.
    #[wasm_bindgen(constructor)]
    pub fn new(kind: &str) -> FileDecoder {
        FileDecoder { unwrap: Unwrap::new(kind), stage: Stage::default() }
    }

    /// Decodes on, from `input` to `output`; `consumed` and `produced` say how far this call came. `last`: nothing follows
    /// `input`; say so again with what is left of it (it may be empty) until the status is `Status.End`.
    ///
    /// - `Status.End`: the file is complete.
    /// - `Status.OutputFull`: call again with the rest of `input` and fresh room.
    /// - `Status.InputEnd`: call again with more input.
    /// - below zero: an error, which every later call repeats.
    pub fn push(&mut self, input: &Uint8Array, output: &Uint8Array, last: bool) -> Status {
        let unwrap = &mut self.unwrap;
        self.stage.pump(input, output, |bytes, room, end| match unwrap {
            Some(unwrap) => unwrap.step(bytes, room, last && end),
            None => Step::failed(Status::BadArgument),
        })
    }

    /// Bytes of `input` that the last `push` used.
    #[wasm_bindgen(getter)]
    pub fn consumed(&self) -> u32 {
        self.stage.consumed
    }

    /// Bytes of `output` that the last `push` wrote.
    #[wasm_bindgen(getter)]
    pub fn produced(&self) -> u32 {
        self.stage.produced
    }
}
