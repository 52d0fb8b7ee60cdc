//! Whole compressed files over byte slices: gzip, xz, zstd, bzip2, each with the concatenations that its program reads.
#![forbid(unsafe_code)]

use bzip2::Decompress;
use lzma_rust2::{Action, XzStream};
use zlib_rs::{Inflate, InflateFlush};

use crate::codec::{Status, Step, memory_for_state};
use crate::zstd;

/// 64 MiB of dictionary (`xz -9`), and what the decoder needs beside it.
const XZ_MEMORY_KIB: u32 = (64 << 10) + 64;

/// What a file is compressed with.
pub enum Unwrap {
    Gzip(Members<Inflate>),
    Xz(Box<XzStream>),
    Zstd(Box<zstd::Stream>),
    Bzip2(Members<Decompress>),
}

impl Unwrap {
    pub fn new(kind: &str) -> Option<Self> {
        match kind {
            "gzip" => Some(Self::Gzip(Members::default())),
            "xz" => Some(Self::Xz(Box::new(XzStream::new_mem_limit(true, XZ_MEMORY_KIB)))),
            "zstd" => Some(Self::Zstd(Box::new(zstd::Stream::new()))),
            "bzip2" => Some(Self::Bzip2(Members::default())),
            _ => None,
        }
    }

    /// Decodes until `output` is full or `input` used up. `last`: no input follows; then the file is complete (`End`) or
    /// `Truncated`.
    pub fn step(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Step {
        let (step, complete) = match self {
            Self::Gzip(members) => (members.step(input, output), members.complete()),
            Self::Bzip2(members) => (members.step(input, output), members.complete()),
            Self::Zstd(stream) => (stream.step(input, output), stream.complete()),
            Self::Xz(stream) => return xz(stream, input, output, last),
        };
        let status = match step.status {
            Status::InputEnd if last && complete => Status::End,
            Status::InputEnd if last => Status::Truncated,
            status => status,
        };
        Step { status, ..step }
    }
}

fn xz(stream: &mut XzStream, input: &[u8], output: &mut [u8], last: bool) -> Step {
    use lzma_rust2::{Error, Status as Xz};
    let before = (stream.total_in(), stream.total_out());
    let result = stream.process(input, output, if last { Action::Finish } else { Action::Run });
    let consumed = (stream.total_in() - before.0) as usize;
    let produced = (stream.total_out() - before.1) as usize;
    let status = match result {
        Ok(done) if matches!(done.status, Xz::StreamEnd) => Status::End,
        Ok(_) if produced == output.len() => Status::OutputFull,
        Ok(_) if last && consumed == 0 && produced == 0 => Status::Truncated,
        Ok(_) => Status::InputEnd,
        Err(Error::Eof) => Status::Truncated,
        Err(Error::OutOfMemory(_)) => Status::TooLarge,
        Err(Error::Unsupported(_)) => Status::Unsupported,
        Err(_) => Status::BadData,
    };
    Step { status, consumed, produced }
}

/// Decodes one member of a file that may have several, one after the other.
pub trait Member: Sized {
    /// The first byte of each.
    const FIRST: u8;
    fn begin() -> Result<Self, Status>;
    /// `End`: of this member.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step;
}

impl Member for Inflate {
    const FIRST: u8 = 0x1f;

    fn begin() -> Result<Self, Status> {
        memory_for_state()?;
        // 16 more: a gzip header and trailer, not zlib's.
        Ok(Inflate::new(true, 15 + 16))
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let before = (self.total_in(), self.total_out());
        let result = self.decompress(input, output, InflateFlush::NoFlush);
        let status = match result {
            Ok(zlib_rs::Status::StreamEnd) => Status::End,
            Ok(_) => Status::InputEnd,
            Err(zlib_rs::InflateError::MemError) => Status::NoMemory,
            Err(_) if matches!(self.error_message(), Some("incorrect data check" | "incorrect length check")) => {
                Status::BadSum
            }
            Err(_) => Status::BadData,
        };
        let (consumed, produced) = (self.total_in() - before.0, self.total_out() - before.1);
        Step { status, consumed: consumed as usize, produced: produced as usize }
    }
}

impl Member for Decompress {
    const FIRST: u8 = b'B';

    fn begin() -> Result<Self, Status> {
        // The decoder's tables are 4 bytes for each of 900,000.
        Vec::<u8>::new().try_reserve_exact(4 << 20).map_err(|_| Status::NoMemory)?;
        Ok(Decompress::new(false))
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let before = (self.total_in(), self.total_out());
        let status = match self.decompress(input, output) {
            Ok(bzip2::Status::StreamEnd) => Status::End,
            Ok(bzip2::Status::MemNeeded) => Status::NoMemory,
            Ok(_) => Status::InputEnd,
            // A wrong checksum of a block is told no other way.
            Err(_) => Status::BadData,
        };
        let (consumed, produced) = (self.total_in() - before.0, self.total_out() - before.1);
        Step { status, consumed: consumed as usize, produced: produced as usize }
    }
}

/// A file of members; behind the last there may be zeros, as tapes and block devices leave them.
pub struct Members<M> {
    member: Option<M>,
    ended: usize,
    padding: bool,
}

impl<M> Default for Members<M> {
    fn default() -> Self {
        Members { member: None, ended: 0, padding: false }
    }
}

impl<M: Member> Members<M> {
    fn complete(&self) -> bool {
        self.ended > 0 && self.member.is_none()
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let (mut consumed, mut produced) = (0, 0);
        let status = loop {
            let rest = &input[consumed..];
            let Some(member) = &mut self.member else {
                match self.between(rest) {
                    Ok(zeros) => consumed += zeros,
                    Err(status) => break status,
                }
                if self.member.is_none() {
                    break Status::InputEnd;
                }
                continue;
            };
            let did = member.step(rest, &mut output[produced..]);
            consumed += did.consumed;
            produced += did.produced;
            match did.status {
                Status::End => {
                    self.member = None;
                    self.ended += 1;
                }
                status if (status as i32) < 0 => break status,
                // The member may still hold bytes that need no input.
                _ if produced == output.len() => break Status::OutputFull,
                _ if consumed == input.len() => break Status::InputEnd,
                _ if did.consumed == 0 && did.produced == 0 => break Status::BadData,
                _ => {}
            }
        };
        Step { status, consumed, produced }
    }

    /// Begins the next member where `rest` does, and says how many zeros of padding were before its end.
    fn between(&mut self, rest: &[u8]) -> Result<usize, Status> {
        match rest.first() {
            None => Ok(0),
            Some(&first) if first == M::FIRST && !self.padding => {
                self.member = Some(M::begin()?);
                Ok(0)
            }
            Some(0) if self.ended > 0 => {
                self.padding = true;
                if rest.iter().all(|&b| b == 0) { Ok(rest.len()) } else { Err(Status::Trailing) }
            }
            Some(_) => Err(if self.ended > 0 { Status::Trailing } else { Status::BadData }),
        }
    }
}
