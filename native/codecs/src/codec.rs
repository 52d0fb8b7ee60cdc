//! Deflate and zlib over byte slices, and what all codecs answer: pure Rust, the same on every target, tested by `cargo test`.
//!
//! Nothing here panics on an argument or on input: whatever goes wrong is a [`Status`] below zero.
#![forbid(unsafe_code)]

use wasm_bindgen::prelude::wasm_bindgen;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush};

/// How a call ended. Above zero: it did what it could with the bytes it had. Below zero: an error.
#[wasm_bindgen]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// The stream is complete (zlib: its checksum is right too). Input after it was not consumed.
    End = 1,
    /// The output is full and the stream goes on: its content is longer than the output.
    OutputFull = 2,
    /// All input is consumed, the output is not full, and the stream goes on: it is truncated, or more input is to come.
    InputEnd = 3,
    /// The input is not such a stream (zlib: a wrong checksum, a preset dictionary, a larger window than asked for too).
    BadData = -1,
    /// windowBits is not a whole number 9 to 15, level not one 0 to 9, or a DeflateStream got input after its end.
    BadArgument = -2,
    /// A buffer is longer than a block may be (16 MiB), or it was detached or resized meanwhile.
    BadBuffer = -3,
    /// WebAssembly memory cannot grow.
    NoMemory = -4,
    /// The content does not have the checksum that the stream says.
    BadSum = -5,
    /// The stream asks for a window of more than 128 MiB (zstd) or a dictionary of more than 64 MiB (xz).
    TooLarge = -6,
    /// The stream needs what is not here: a preset dictionary, a check or filters that are not known.
    Unsupported = -7,
    /// The file ends within a stream.
    Truncated = -8,
    /// What is behind a complete stream is no other one.
    Trailing = -9,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub status: Status,
    /// Bytes of the input that belong to the stream so far.
    pub consumed: usize,
    /// Bytes of the output that are written.
    pub produced: usize,
}

impl Step {
    pub const fn failed(status: Status) -> Self {
        Step { status, consumed: 0, produced: 0 }
    }
}

/// More than zlib-rs allocates for one state. It panics where that fails, so the memory is asked for here first.
const STATE_BYTES: usize = 1 << 20;

pub fn memory_for_state() -> Result<(), Status> {
    Vec::<u8>::new().try_reserve_exact(STATE_BYTES).map_err(|_| Status::NoMemory)
}

/// `value` as a whole number in `lowest..=highest`.
fn whole(value: f64, lowest: u8, highest: u8) -> Result<u8, Status> {
    if value.fract() == 0.0 && (f64::from(lowest)..=f64::from(highest)).contains(&value) {
        Ok(value as u8)
    } else {
        Err(Status::BadArgument)
    }
}

fn window(bits: f64) -> Result<u8, Status> {
    whole(bits, 9, 15)
}

/// A decoder that is kept and used again.
#[derive(Default)]
pub struct Decoder {
    kept: Option<(Inflate, u8)>,
}

impl Decoder {
    /// Ready for the first byte of a stream.
    pub fn start(&mut self, raw: bool, window_bits: f64) -> Result<(), Status> {
        let bits = window(window_bits)?;
        // Inflate::reset always asks for 15 bits, so only such a decoder can be used again.
        match &mut self.kept {
            Some((inflate, 15)) if bits == 15 => inflate.reset(!raw),
            _ => {
                self.kept = None;
                memory_for_state()?;
                self.kept = Some((Inflate::new(!raw, bits), bits));
            }
        }
        Ok(())
    }

    /// Decodes from `input` to `output` until one of them is used up or the stream ends. `last`: there will be no
    /// other call for this stream, which saves keeping the window.
    pub fn step(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Step {
        let Some((inflate, _)) = &mut self.kept else { return Step::failed(Status::BadArgument) };
        let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
        let flush = if last { InflateFlush::Finish } else { InflateFlush::NoFlush };
        let result = inflate.decompress(input, output, flush);
        let consumed = (inflate.total_in() - before_in) as usize;
        let produced = (inflate.total_out() - before_out) as usize;
        let status = match result {
            Ok(zlib_rs::Status::StreamEnd) => Status::End,
            Ok(_) if produced == output.len() => Status::OutputFull,
            Ok(_) => Status::InputEnd,
            Err(zlib_rs::InflateError::MemError) => Status::NoMemory,
            Err(_) => Status::BadData,
        };
        Step { status, consumed, produced }
    }
}

/// An encoder that is kept and used again.
#[derive(Default)]
pub struct Encoder {
    kept: Option<(Deflate, (bool, u8, u8))>,
}

impl Encoder {
    /// Ready for the first byte of a stream. No distance in the stream exceeds 2^window_bits.
    pub fn start(&mut self, raw: bool, window_bits: f64, level: f64) -> Result<(), Status> {
        let wanted = (raw, window(window_bits)?, whole(level, 0, 9)?);
        match &mut self.kept {
            Some((deflate, kept)) if *kept == wanted => deflate.reset(),
            _ => {
                self.kept = None;
                memory_for_state()?;
                let (raw, bits, level) = wanted;
                let window_bits = if raw { -i32::from(bits) } else { i32::from(bits) };
                // mem_level 9 is the most, and what qemu-img uses.
                let config =
                    DeflateConfig { level: i32::from(level), window_bits, mem_level: 9, ..DeflateConfig::default() };
                self.kept = Some((Deflate::new_with_config(config), wanted));
            }
        }
        Ok(())
    }

    /// Encodes from `input` to `output` until one of them is used up. `finish`: `input` is the last of the stream;
    /// repeated with what is left of it until the status is `End`.
    pub fn step(&mut self, input: &[u8], output: &mut [u8], finish: bool) -> Step {
        let Some((deflate, _)) = &mut self.kept else { return Step::failed(Status::BadArgument) };
        let (before_in, before_out) = (deflate.total_in(), deflate.total_out());
        let flush = if finish { DeflateFlush::Finish } else { DeflateFlush::NoFlush };
        let result = deflate.compress(input, output, flush);
        let consumed = (deflate.total_in() - before_in) as usize;
        let produced = (deflate.total_out() - before_out) as usize;
        let status = match result {
            Ok(zlib_rs::Status::StreamEnd) => Status::End,
            Ok(_) if produced == output.len() => Status::OutputFull,
            Ok(_) => Status::InputEnd,
            Err(zlib_rs::DeflateError::MemError) => Status::NoMemory,
            Err(_) => Status::BadArgument,
        };
        Step { status, consumed, produced }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that compress somewhat, with matches near and far: an xorshift that often repeats what it said before.
    fn text(length: usize, seed: u32) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        let mut bytes: Vec<u8> = Vec::with_capacity(length);
        while bytes.len() < length {
            let run = 4 + next() as usize % 60;
            if bytes.len() > 64 && next() % 3 != 0 {
                let from = bytes.len() - 1 - next() as usize % bytes.len().min(40_000);
                (0..run).for_each(|i| bytes.push(bytes[from + i]));
            } else {
                (0..run).for_each(|_| bytes.push((next() >> 9) as u8));
            }
        }
        bytes.truncate(length);
        bytes
    }

    fn encode(encoder: &mut Encoder, raw: bool, bits: f64, level: f64, input: &[u8]) -> Vec<u8> {
        let mut output = vec![0; input.len() + input.len() / 8 + 100];
        encoder.start(raw, bits, level).unwrap();
        let step = encoder.step(input, &mut output, true);
        assert_eq!((step.status, step.consumed), (Status::End, input.len()));
        output.truncate(step.produced);
        output
    }

    fn decode(decoder: &mut Decoder, raw: bool, bits: f64, input: &[u8], room: usize) -> (Step, Vec<u8>) {
        let mut output = vec![0; room];
        decoder.start(raw, bits).unwrap();
        let step = decoder.step(input, &mut output, true);
        output.truncate(step.produced);
        (step, output)
    }

    #[test]
    fn both_ways_at_every_window_and_level() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for raw in [true, false] {
            for bits in 9..=15u8 {
                for level in 0..=9u8 {
                    let plain = text(50_000 + usize::from(level), u32::from(bits));
                    let packed = encode(&mut encoder, raw, f64::from(bits), f64::from(level), &plain);
                    let (step, back) = decode(&mut decoder, raw, f64::from(bits), &packed, plain.len());
                    assert_eq!((step.status, step.consumed), (Status::End, packed.len()), "{raw} {bits} {level}");
                    assert!(back == plain, "{raw} {bits} {level}");
                    let fresh = encode(&mut Encoder::default(), raw, f64::from(bits), f64::from(level), &plain);
                    let again = encode(&mut encoder, raw, f64::from(bits), f64::from(level), &plain);
                    assert!(fresh == packed && again == packed, "{raw} {bits} {level}: the same bytes always");
                }
            }
        }
    }

    #[test]
    fn longer_shorter_and_trailing() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let plain = text(65_536, 7);
        for raw in [true, false] {
            let mut packed = encode(&mut encoder, raw, 12.0, 6.0, &plain);
            let length = packed.len();
            let (step, _) = decode(&mut decoder, raw, 15.0, &packed, plain.len() - 1);
            assert_eq!((step.status, step.produced), (Status::OutputFull, plain.len() - 1));
            for cut in [0, 1, 2, length / 2, length - 9] {
                let (step, back) = decode(&mut decoder, raw, 15.0, &packed[..cut], plain.len());
                assert_eq!((step.status, step.consumed), (Status::InputEnd, cut));
                assert!(back.len() < plain.len() && plain.starts_with(&back));
            }
            packed.extend([0xff; 700]);
            let (step, back) = decode(&mut decoder, raw, 15.0, &packed, plain.len() + 5);
            assert_eq!(step, Step { status: Status::End, consumed: length, produced: plain.len() });
            assert!(back == plain);
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let plain = text(30_000, 99);
        for (piece, room) in [(1, 7), (7, 1), (1000, 333), (40_000, 5)] {
            let mut packed = Vec::<u8>::new();
            let mut output = vec![0; room];
            encoder.start(false, 13.0, 6.0).unwrap();
            let mut at = 0;
            loop {
                let end = plain.len().min(at + piece);
                let step = encoder.step(&plain[at..end], &mut output, end == plain.len());
                at += step.consumed;
                packed.extend(&output[..step.produced]);
                match step.status {
                    Status::End => break,
                    status => assert!(status as i32 > 0),
                }
            }
            let (step, back) = decode(&mut decoder, false, 15.0, &packed, plain.len());
            assert!(step.status == Status::End && back == plain);
            let (mut back, mut at) = (Vec::<u8>::new(), 0);
            decoder.start(false, 15.0).unwrap();
            loop {
                let step = decoder.step(&packed[at..packed.len().min(at + piece)], &mut output, false);
                at += step.consumed;
                back.extend(&output[..step.produced]);
                match step.status {
                    Status::End => break,
                    status => assert!(status as i32 > 0),
                }
            }
            assert!(at == packed.len() && back == plain);
        }
    }

    #[test]
    fn damage_is_told_and_never_panics() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let plain = text(5_000, 3);
        let packed = encode(&mut encoder, false, 15.0, 6.0, &plain);
        let mut wrong_sum = packed.clone();
        *wrong_sum.last_mut().unwrap() ^= 1;
        assert_eq!(decode(&mut decoder, false, 15.0, &wrong_sum, 5_000).0.status, Status::BadData);
        assert_eq!(decode(&mut decoder, false, 14.0, &packed, 5_000).0.status, Status::BadData);
        // CMF, FLG with FDICT, DICTID: asks for a preset dictionary.
        assert_eq!(decode(&mut decoder, false, 15.0, &[0x78, 0xbb, 0, 0, 0, 1], 10).0.status, Status::BadData);
        assert_eq!(decode(&mut decoder, true, 15.0, &[7], 10).0.status, Status::BadData);
        for i in 0..packed.len() * 8 {
            let mut bent = packed.clone();
            bent[i / 8] ^= 1 << (i % 8);
            let (step, _) = decode(&mut decoder, false, 15.0, &bent, 6_000);
            assert!(step.consumed <= bent.len() && step.produced <= 6_000);
        }
        for seed in 1..3_000u32 {
            let noise: Vec<u8> = text(300, seed.wrapping_mul(2_654_435_761));
            let (step, _) = decode(&mut decoder, true, 9.0 + f64::from(seed % 7), &noise, 1_000);
            assert!(step.consumed <= noise.len() && step.produced <= 1_000);
        }
    }

    #[test]
    fn arguments() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        assert_eq!(encoder.step(&[1], &mut [0; 9], true).status, Status::BadArgument);
        assert_eq!(decoder.step(&[1], &mut [0; 9], true).status, Status::BadArgument);
        for bits in [8.0, 16.0, 12.5, -12.0, f64::NAN, f64::INFINITY, 4_294_967_308.0] {
            assert_eq!(decoder.start(true, bits), Err(Status::BadArgument));
            assert_eq!(encoder.start(true, bits, 6.0), Err(Status::BadArgument));
        }
        for level in [-1.0, 10.0, 0.5, f64::NAN] {
            assert_eq!(encoder.start(true, 12.0, level), Err(Status::BadArgument));
        }
    }
}
