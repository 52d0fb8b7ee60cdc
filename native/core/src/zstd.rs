//! Zstandard (RFC 8878), one whole block at a time. Contexts live as long as their worker: a unit costs no allocation.

use zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall;
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, ErrorCode, InBuffer, OutBuffer, ResetDirective};

use crate::error::{Error, ErrorKind, Result};

/// Of a frame, RFC 8878 section 3.1.1.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The limit of `zstd -d` and of qemu, 2^27: a frame may declare terabytes.
const MAX_WINDOW: u64 = 128 << 20;

/// A frame longer than its unit has to be decoded as a stream, which takes a buffer of its window. RFC 8878 section
/// 3.1.1.1.2 asks decoders for 8 MiB.
const STREAM_WINDOW_LOG: u32 = 23;

/// The most that a frame takes of a block of `length` bytes.
pub fn bound(length: usize) -> usize {
    zstd_safe::compress_bound(length)
}

pub struct Decoder(DCtx<'static>);

impl Decoder {
    pub fn new() -> Result<Self> {
        Ok(Self(DCtx::try_create().ok_or_else(|| Error::internal("no memory for a zstd decoder"))?))
    }

    /// Decodes frame after frame until `out` is full, and returns how many bytes there were. What is behind the first
    /// frame and does not decode is not the unit's: a descriptor gives only a bound of the length.
    pub fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let (mut rest, mut done) = (input, 0);
        while done < out.len() {
            match self.decode_frame(rest, &mut out[done..]) {
                Ok((size, n)) => {
                    rest = &rest[size..];
                    done += n;
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// The lengths of the frame at the beginning of `input` and of what it holds, at most all of `out`.
    fn decode_frame(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize)> {
        let size = zstd_safe::find_frame_compressed_size(input).map_err(undecodable)?;
        let frame = &input[..size];
        if window(frame) > MAX_WINDOW {
            return Err(corrupt(format!("the zstd frame asks for a window of more than {MAX_WINDOW} bytes")));
        }
        let n = match self.0.decompress(&mut out[..], frame) {
            Err(code) if zstd_safe::is_error_kind(code, ZSTD_error_dstSize_tooSmall) => {
                self.decode_prefix(frame, out)?
            }
            result => result.map_err(undecodable)?,
        };
        Ok((size, n))
    }

    /// Fills `out` from a frame that holds more.
    fn decode_prefix(&mut self, frame: &[u8], out: &mut [u8]) -> Result<usize> {
        self.0.reset(ResetDirective::SessionOnly).map_err(undecodable)?;
        self.0.set_parameter(DParameter::WindowLogMax(STREAM_WINDOW_LOG)).map_err(undecodable)?;
        let mut input = InBuffer::around(frame);
        let mut output = OutBuffer::around(out);
        while output.pos() < output.capacity() {
            let before = (input.pos(), output.pos());
            self.0.decompress_stream(&mut output, &mut input).map_err(undecodable)?;
            if before == (input.pos(), output.pos()) {
                break;
            }
        }
        let n = output.pos();
        self.0.reset(ResetDirective::SessionOnly).map_err(undecodable)?;
        Ok(n)
    }
}

/// The Window_Size that a frame's header asks for; 0 where it does not (a single segment, a skippable frame). RFC 8878
/// section 3.1.1.1.
fn window(frame: &[u8]) -> u64 {
    const SINGLE_SEGMENT: u8 = 0x20;
    match frame.strip_prefix(&MAGIC) {
        Some(&[descriptor, window, ..]) if descriptor & SINGLE_SEGMENT == 0 => {
            let base = 1u64 << (10 + (window >> 3));
            base + base / 8 * u64::from(window & 7)
        }
        _ => 0,
    }
}

pub struct Encoder(CCtx<'static>);

impl Encoder {
    pub fn new(level: u32) -> Result<Self> {
        let mut context = CCtx::try_create().ok_or_else(|| Error::internal("no memory for a zstd encoder"))?;
        let level = i32::try_from(level).unwrap_or(0);
        context.set_parameter(CParameter::CompressionLevel(level)).map_err(|c| failed("level", c))?;
        Ok(Self(context))
    }

    /// Writes `block` as one frame with its size and without a checksum, as qemu does; `None` where `out` is too small.
    pub fn encode(&mut self, block: &[u8], out: &mut [u8]) -> Result<Option<usize>> {
        match self.0.compress2(out, block) {
            Ok(length) => Ok(Some(length)),
            Err(code) if zstd_safe::is_error_kind(code, ZSTD_error_dstSize_tooSmall) => Ok(None),
            Err(code) => Err(failed("compress", code)),
        }
    }
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

fn undecodable(code: ErrorCode) -> Error {
    corrupt(format!("the zstd frame does not decode ({})", zstd_safe::get_error_name(code)))
}

fn failed(what: &str, code: ErrorCode) -> Error {
    Error::internal(format!("zstd {what}: {}", zstd_safe::get_error_name(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 65536 × 'A', as qemu wrote it into a cluster (QCOW2 sheet, vector E).
    const VECTOR_E: [u8; 20] =
        [0x28, 0xb5, 0x2f, 0xfd, 0x60, 0, 0xff, 0x55, 0, 0, 0x10, 0x41, 0x41, 0x01, 0, 0xfb, 0x7f, 0x1d, 0x60, 0x01];

    fn decode(input: &[u8], room: usize) -> Result<Vec<u8>> {
        let mut out = vec![0; room];
        let n = Decoder::new().unwrap().decode(input, &mut out)?;
        out.truncate(n);
        Ok(out)
    }

    #[test]
    fn reads_foreign_frames_with_anything_around_them() {
        let skippable = [0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        for behind in [vec![], vec![0; 100], vec![0xff; 100], VECTOR_E.to_vec(), vec![0x28, 0xb5, 0x2f, 0xfd]] {
            let input = [&skippable[..], &VECTOR_E, &behind].concat();
            assert!(decode(&input, 65536).unwrap() == vec![b'A'; 65536]);
        }
        let two = [&VECTOR_E[..], &skippable, &VECTOR_E, &[7; 9]].concat();
        assert!(decode(&two, 131_072).unwrap() == vec![b'A'; 131_072]);
    }

    #[test]
    fn a_frame_may_go_on_behind_its_unit_and_a_short_one_says_so() {
        let mut decoder = Decoder::new().unwrap();
        for _ in 0..3 {
            let mut out = vec![0; 1000];
            assert_eq!(decoder.decode(&VECTOR_E, &mut out).unwrap(), 1000);
            assert!(out == vec![b'A'; 1000]);
            assert_eq!(decoder.decode(&VECTOR_E, &mut vec![0; 70_000]).unwrap(), 65536);
        }
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let refused = |input: &[u8]| decode(input, 65536).unwrap_err().message;
        assert_eq!(refused(&[]), "the zstd frame does not decode (Src size is incorrect)");
        assert_eq!(refused(&[0xff; 64]), "the zstd frame does not decode (Unknown frame descriptor)");
        assert_eq!(refused(&VECTOR_E[..19]), "the zstd frame does not decode (Src size is incorrect)");
        assert_eq!(decode(&[&VECTOR_E[..], &VECTOR_E[..12]].concat(), 70_000).unwrap().len(), 65536);
    }

    #[test]
    fn a_window_is_no_reason_to_take_memory() {
        // No content size; one block of 65536 × 'A' (RLE, last).
        let with_window = |byte: u8| [&MAGIC[..], &[0, byte], &[0x03, 0x00, 0x08], b"A"].concat();
        for good in [0x30, 0x88] {
            assert!(decode(&with_window(good), 65536).unwrap() == vec![b'A'; 65536]);
        }
        let long = "the zstd frame asks for a window of more than 134217728 bytes";
        assert_eq!(decode(&with_window(0x89), 65536).unwrap_err().message, long);
        assert!(decode(&with_window(0xf8), 65536).is_err());
        // Longer than its unit, with a window that only a stream would need.
        assert_eq!(decode(&with_window(0x68), 1000).unwrap().len(), 1000);
        assert!(decode(&with_window(0x69), 1000).unwrap_err().message.contains("memory"));
    }

    #[test]
    fn a_checksum_is_checked() {
        let mut context = CCtx::create();
        context.set_parameter(CParameter::ChecksumFlag(true)).unwrap();
        let mut frame = vec![0; 1000];
        let length = context.compress2(&mut frame[..], &[7; 5000]).unwrap();
        frame.truncate(length);
        assert_eq!(decode(&frame, 5000).unwrap(), [7; 5000]);
        *frame.last_mut().unwrap() ^= 1;
        assert!(decode(&frame, 5000).unwrap_err().message.contains("checksum"));
    }

    #[test]
    fn a_block_that_does_not_shrink_leaves_the_encoder_as_it_was() {
        let mut seed = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 56) as u8
        })
        .take(65536)
        .collect();
        for level in [1, 3, 19, 22] {
            let mut encoder = Encoder::new(level).unwrap();
            let mut out = vec![0; bound(65536)];
            assert_eq!(encoder.encode(&noise, &mut out[..65535]).unwrap(), None);
            let length = encoder.encode(&noise, &mut out).unwrap().unwrap();
            assert!(decode(&out[..length], 65536).unwrap() == noise);
            let length = encoder.encode(&[b'A'; 65536], &mut out).unwrap().unwrap();
            assert!(length < 100 && decode(&out[..length], 65536).unwrap() == [b'A'; 65536]);
        }
    }
}
