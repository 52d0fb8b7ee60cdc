//! Deflate, zlib and zstd, both ways, one whole block at a time.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Codec, Framing, TargetCodec};
use crate::source::SourceCodec;
use crate::zstd;

/// Decodes units of one worker; holds the codec's tables so that a unit costs no allocation.
pub struct Decoder {
    fast: Decompressor,
    slow: Decompress,
    /// Made by the first unit that needs it.
    zstd: Option<zstd::Decoder>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { fast: Decompressor::new(), slow: Decompress::new(false), zstd: None }
    }
}

impl Decoder {
    /// Decodes the unit at guest offset `unit_start` into `out` and returns how many bytes it had. `input` may go on
    /// behind the stream: formats give only a bound of the stored length.
    pub fn decode(&mut self, codec: &SourceCodec, unit_start: u64, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let stream = match codec.framing {
            Framing::None => input,
            Framing::GrainMarker => grain_stream(unit_start, input)?,
        };
        let result = match codec.codec {
            Codec::Deflate => self.fast.deflate_decompress(stream, out),
            Codec::Zlib => self.fast.zlib_decompress(stream, out),
            Codec::Zstd => {
                let decoder = match &mut self.zstd {
                    Some(decoder) => decoder,
                    none => none.insert(zstd::Decoder::new()?),
                };
                return decoder.decode(stream, out);
            }
        };
        match (result, codec.codec) {
            (Ok(n), _) => Ok(n),
            // QCOW2 lets a stream go on behind its cluster: what fits counts (qemu reads it so).
            (Err(DecompressionError::InsufficientSpace), Codec::Deflate) => self.decode_prefix(stream, out),
            (Err(DecompressionError::InsufficientSpace), _) => {
                Err(corrupt(format!("the zlib stream decodes to more than {} bytes", out.len())))
            }
            (Err(DecompressionError::BadData), _) => Err(corrupt("the compressed data does not decode")),
        }
    }

    fn decode_prefix(&mut self, stream: &[u8], out: &mut [u8]) -> Result<usize> {
        self.slow.reset(false);
        self.slow
            .decompress(stream, out, FlushDecompress::None)
            .map_err(|e| corrupt(format!("the deflate stream does not decode ({e})")))?;
        Ok(self.slow.total_out() as usize)
    }
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

/// VMDK §Stream-optimized: marker = u64 LE sector of the grain, u32 LE bytes of the stream that follows.
fn grain_stream(unit_start: u64, input: &[u8]) -> Result<&[u8]> {
    let (Some(lba), Some(size)) = (input.first_chunk::<8>(), input.get(8..12)) else {
        return Err(corrupt("the grain marker is cut off"));
    };
    let lba = u64::from_le_bytes(*lba);
    if lba.checked_mul(512) != Some(unit_start) {
        return Err(corrupt(format!("the grain marker says sector {lba}, the grain table {}", unit_start / 512)));
    }
    let size = size.iter().rev().fold(0usize, |n, &b| n << 8 | usize::from(b));
    input
        .get(12..12 + size)
        .filter(|s| !s.is_empty())
        .ok_or_else(|| corrupt(format!("the grain marker says {size} bytes, {} are there", input.len() - 12)))
}

/// Compresses blocks of one worker.
pub struct Encoder {
    target: TargetCodec,
    how: How,
}

enum How {
    /// 32 KiB window: the faster and smaller codec.
    Whole(Box<Compressor>),
    /// Smaller windows.
    Windowed(Box<Compress>),
    Zstd(zstd::Encoder),
}

impl Encoder {
    pub fn new(target: TargetCodec) -> Result<Self> {
        let zlib = target.codec == Codec::Zlib;
        let how = match target.window_bits {
            _ if target.codec == Codec::Zstd => How::Zstd(zstd::Encoder::new(target.level)?),
            15 => {
                let level = CompressionLvl::new(i32::try_from(target.level).unwrap_or(6))
                    .map_err(|_| Error::internal(format!("compression level {}", target.level)))?;
                How::Whole(Box::new(Compressor::new(level)))
            }
            bits @ 9..15 => How::Windowed(Box::new(Compress::new_with_window_bits(
                Compression::new(target.level.clamp(1, 9)),
                zlib,
                bits,
            ))),
            bits => return Err(Error::internal(format!("a window of {bits} bits"))),
        };
        Ok(Self { target, how })
    }

    /// Appends `block`, which begins at guest byte `start`, to `out` in its stored form, framing included, and returns
    /// that form's length; `None` where it should be stored plain, with `out` as it was.
    pub fn encode(&mut self, start: u64, block: &[u8], out: &mut Vec<u8>) -> Result<Option<u32>> {
        let begin = out.len();
        let framing = self.target.framing.bytes();
        // Stored plain unless it shrinks; otherwise room for the codec's worst case.
        let n = block.len();
        let room = match self.how {
            _ if self.target.incompressible_plain => n - 1,
            How::Zstd(_) => zstd::bound(n),
            // zlib-rs has at level 1 only fixed codes, of up to 9 bits a byte.
            How::Whole(_) | How::Windowed(_) => n + n / 8 + n / 64 + 64,
        };
        out.resize(begin + framing + room, 0);
        let length = match &mut self.how {
            How::Whole(c) if self.target.codec == Codec::Zlib => {
                c.zlib_compress(block, &mut out[begin + framing..]).ok()
            }
            How::Whole(c) => c.deflate_compress(block, &mut out[begin + framing..]).ok(),
            How::Windowed(c) => {
                c.reset();
                if compress(c, block, &mut out[begin + framing..])? {
                    Some(c.total_out() as usize)
                } else {
                    finish(c, block)?;
                    None
                }
            }
            How::Zstd(c) => c.encode(block, &mut out[begin + framing..])?,
        };
        let Some(length) = length else {
            out.truncate(begin);
            return if self.target.incompressible_plain {
                Ok(None)
            } else {
                Err(Error::internal("a block needed more than its worst case"))
            };
        };
        if self.target.framing == Framing::GrainMarker {
            out[begin..begin + 8].copy_from_slice(&(start / 512).to_le_bytes());
            out[begin + 8..begin + 12].copy_from_slice(&(length as u32).to_le_bytes());
        }
        out.truncate(begin + framing + length);
        Ok(Some((framing + length) as u32))
    }
}

/// Feeds what `c` has not taken of `block` yet; whether the stream ended within `out`.
fn compress(c: &mut Compress, block: &[u8], out: &mut [u8]) -> Result<bool> {
    c.compress(&block[c.total_in() as usize..], out, FlushCompress::Finish)
        .map(|status| status == Status::StreamEnd)
        .map_err(|e| Error::internal(format!("deflate: {e}")))
}

/// Takes the rest of a stream out of `c`. zlib-rs's reset (0.6.8) keeps the place of output that nobody took, and once
/// that adds up to its buffer a later stream panics.
fn finish(c: &mut Compress, block: &[u8]) -> Result<()> {
    let mut rest = [0; 1024];
    while !compress(c, block, &mut rest)? {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(codec: Codec, framing: Framing) -> SourceCodec {
        SourceCodec { codec, unit: 65536, framing }
    }

    /// Raw deflate of 65536 × 'A' with a 4 KiB window as qemu wrote it (79 bytes; QCOW2 sheet, vector D).
    fn vector_d() -> Vec<u8> {
        let mut v = vec![0u8; 79];
        v[..14].copy_from_slice(&[0xed, 0xc1, 0x81, 0, 0, 0, 0, 0x80, 0x20, 0xb6, 0xfd, 0xa5, 0x16, 0xa9]);
        v[14] = 0x0a;
        v[78] = 0x6a;
        v
    }

    #[test]
    fn reads_a_foreign_stream_with_bytes_behind_it() {
        let mut input = vector_d();
        input.extend([0xff; 100]);
        let mut out = vec![0; 65536];
        let n = Decoder::default().decode(&codec(Codec::Deflate, Framing::None), 0, &input, &mut out).unwrap();
        assert_eq!(n, 65536);
        assert!(out.iter().all(|&b| b == b'A'));
    }

    #[test]
    fn a_deflate_stream_may_go_on_behind_its_unit_and_a_short_one_says_so() {
        let mut out = vec![0; 1000];
        let decode = |out: &mut [u8]| {
            Decoder::default().decode(&codec(Codec::Deflate, Framing::None), 0, &vector_d(), out).unwrap()
        };
        assert_eq!(decode(&mut out), 1000);
        assert!(out.iter().all(|&b| b == b'A'));
        assert_eq!(decode(&mut vec![0; 70000]), 65536);
    }

    /// VMDK sheet, vector V3: marker of sector 0, 85 bytes of zlib (level 6, as Python's zlib module writes it).
    fn vector_v3() -> Vec<u8> {
        let mut v = vec![0u8; 97];
        v[8] = 0x55;
        v[12..28]
            .copy_from_slice(&[0x78, 0x9c, 0xed, 0xc1, 0x81, 0, 0, 0, 0, 0x80, 0x20, 0xb6, 0xfd, 0xa5, 0x16, 0xa9]);
        v[28] = 0x0a;
        v[92..97].copy_from_slice(&[0x6a, 0x1e, 0x87, 0x03, 0xd0]);
        v
    }

    #[test]
    fn a_grain_marker_is_checked() {
        let zlib = codec(Codec::Zlib, Framing::GrainMarker);
        let mut out = vec![0; 65536];
        let mut grain = vector_v3();
        assert_eq!(Decoder::default().decode(&zlib, 0, &grain, &mut out).unwrap(), 65536);
        let moved = Decoder::default().decode(&zlib, 65536, &grain, &mut out).unwrap_err();
        assert_eq!(moved.message, "the grain marker says sector 0, the grain table 128");
        grain[96] ^= 1; // the Adler-32
        let damaged = Decoder::default().decode(&zlib, 0, &grain, &mut out).unwrap_err();
        assert_eq!(
            (damaged.kind, damaged.message.as_str()),
            (ErrorKind::Corrupt, "the compressed data does not decode")
        );
        grain[8] = 0x56;
        let long = Decoder::default().decode(&zlib, 0, &grain, &mut out).unwrap_err();
        assert_eq!(long.message, "the grain marker says 86 bytes, 85 are there");
    }

    fn target(codec: Codec, window_bits: u8, plain: bool, framing: Framing) -> TargetCodec {
        TargetCodec { codec, level: 6, window_bits, packing: 1, framing, incompressible_plain: plain, max_share: 0 }
    }

    #[test]
    fn blocks_that_do_not_shrink_leave_the_encoder_as_it_was() {
        let mut seed = 1u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 56) as u8
        };
        for (size, level) in [(512, 1), (512, 6), (4096, 6), (65536, 1), (65536, 9)] {
            let mut encoder =
                Encoder::new(TargetCodec { level, ..target(Codec::Deflate, 12, true, Framing::None) }).unwrap();
            let mut out = Vec::new();
            for _ in 0..(1 << 20) / size {
                let block: Vec<u8> = std::iter::repeat_with(&mut noise).take(size).collect();
                assert_eq!(encoder.encode(0, &block, &mut out).unwrap(), None);
            }
            let text = vec![b'A'; size];
            assert!(encoder.encode(0, &text, &mut out).unwrap().is_some());
            let mut back = vec![0; size];
            Decoder::default().decode(&codec(Codec::Deflate, Framing::None), 0, &out, &mut back).unwrap();
            assert!(back == text);
        }
    }

    #[test]
    fn a_block_that_grows_has_room_at_every_level() {
        let mut seed = 1u64;
        let high = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 56) as u8 | 0x90
        });
        let block: Vec<u8> = high.take(65536).collect();
        for (level, window_bits) in (1..=9).flat_map(|level| [(level, 12), (level, 15)]) {
            let target = TargetCodec { level, ..target(Codec::Deflate, window_bits, false, Framing::None) };
            assert!(Encoder::new(target).unwrap().encode(0, &block, &mut Vec::new()).unwrap().is_some());
        }
    }

    #[test]
    fn what_is_encoded_decodes_and_what_does_not_shrink_is_left() {
        let text: Vec<u8> = (0..65536u32).map(|i| (i / 7 % 251) as u8).collect();
        let mut seed = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 56) as u8
        })
        .take(65536)
        .collect();
        for (c, window, framing) in [
            (Codec::Deflate, 12, Framing::None),
            (Codec::Deflate, 15, Framing::None),
            (Codec::Zlib, 15, Framing::GrainMarker),
        ] {
            for (block, plain) in [(&text, true), (&text, false), (&noise, true), (&noise, false)] {
                let mut out = b"before".to_vec();
                let length =
                    Encoder::new(target(c, window, plain, framing)).unwrap().encode(65536, block, &mut out).unwrap();
                if std::ptr::eq(block, &noise) && plain {
                    assert_eq!((length, out.as_slice()), (None, &b"before"[..]));
                    continue;
                }
                assert_eq!(length.unwrap() as usize, out.len() - 6);
                let mut back = vec![0; 65536];
                let n = Decoder::default().decode(&codec(c, framing), 65536, &out[6..], &mut back).unwrap();
                assert!(n == 65536 && back == *block);
            }
        }
    }
}
