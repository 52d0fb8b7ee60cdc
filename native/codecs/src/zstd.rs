//! Zstandard (RFC 8878) over byte slices, by ruzstd: a stream in pieces, and whole blocks.
#![forbid(unsafe_code)]

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress};
use ruzstd::io::Read;

use crate::codec::{Status, Step};

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The limit of `zstd -d` and of qemu.
const MAX_WINDOW: u64 = 128 << 20;

/// The Window_Descriptor of 4 MiB: within the largest block that is ever decoded whole, no match is farther.
const BLOCK_WINDOW: u8 = 12 << 3;

/// What RFC 8878 section 3.1.1.1 puts before the blocks of a frame.
struct Header {
    length: usize,
    content: Option<u64>,
    checksum: bool,
}

enum Start {
    /// So many bytes are needed to tell.
    Short(usize),
    /// Section 3.1.2: so many bytes follow to be skipped.
    Skippable(u32),
    Frame(Header),
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

/// Asks for no byte more than the header has: the blocks follow it.
fn start(bytes: &[u8]) -> Result<Start, Status> {
    let begins = |magic: [u8; 4]| bytes.iter().zip(magic).all(|(&a, b)| a == b);
    let skippable = bytes.first().is_some_and(|&b| begins([b & 0x0f | 0x50, 0x2a, 0x4d, 0x18]));
    if skippable && let Some(length) = bytes.get(4..8) {
        return Ok(Start::Skippable(little_endian(length) as u32));
    }
    if !skippable && !begins(MAGIC) {
        return Err(Status::BadData);
    }
    if bytes.len() < 5 || skippable {
        return Ok(Start::Short(if skippable { 8 } else { 5 }));
    }
    let descriptor = bytes[4];
    let (single, reserved) = (descriptor & 0x20 != 0, descriptor & 0x08 != 0);
    if reserved {
        return Err(Status::BadData);
    }
    let content_bytes = match descriptor >> 6 {
        0 => usize::from(single),
        flag => 1 << flag,
    };
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let at = 5 + usize::from(!single) + dictionary_bytes;
    let length = at + content_bytes;
    if bytes.len() < length {
        return Ok(Start::Short(length));
    }
    let content = little_endian(&bytes[at..length]) + if content_bytes == 2 { 256 } else { 0 };
    let content = (content_bytes > 0).then_some(content);
    let window = match content {
        Some(size) if single => size,
        _ => {
            let base = 1u64 << (10 + (bytes[5] >> 3));
            base + base / 8 * u64::from(bytes[5] & 7)
        }
    };
    if window > MAX_WINDOW {
        return Err(Status::TooLarge);
    }
    Ok(Start::Frame(Header { length, content, checksum: descriptor & 4 != 0 }))
}

enum State {
    Header,
    Skip(u32),
    Block(Header),
    /// The last block is decoded.
    Drain(Header),
}

/// Decodes frames, one after the other. ruzstd takes whole blocks: `pending` keeps the beginning of one.
pub struct Stream {
    decoder: FrameDecoder,
    state: State,
    pending: Vec<u8>,
    /// Bytes that the frame gave so far, and the frames that are complete.
    content: u64,
    frames: usize,
    /// Windows no larger than a block needs.
    blocks: bool,
}

impl Stream {
    pub fn new() -> Self {
        Stream {
            decoder: FrameDecoder::new(),
            state: State::Header,
            pending: Vec::new(),
            content: 0,
            frames: 0,
            blocks: false,
        }
    }

    /// Between two frames, behind the first.
    pub fn complete(&self) -> bool {
        self.frames > 0 && self.pending.is_empty() && matches!(self.state, State::Header)
    }

    /// Decodes until `output` is full or `input` used up.
    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let (mut rest, mut produced) = (input, 0);
        let status = loop {
            match self.advance(&mut rest, output, &mut produced) {
                Ok(None) => {}
                Ok(Some(status)) | Err(status) => break status,
            }
        };
        Step { status, consumed: input.len() - rest.len(), produced }
    }

    /// One part of the stream; `None`: there may be more to do.
    fn advance(&mut self, rest: &mut &[u8], output: &mut [u8], produced: &mut usize) -> Result<Option<Status>, Status> {
        self.drain(output, produced)?;
        if *produced == output.len() {
            return Ok(Some(Status::OutputFull));
        }
        match &mut self.state {
            State::Drain(_) => {}
            State::Skip(left) => {
                let n = rest.len().min(*left as usize);
                *rest = &rest[n..];
                *left -= n as u32;
                if *left > 0 {
                    return Ok(Some(Status::InputEnd));
                }
                self.state = State::Header;
                self.frames += 1;
            }
            State::Header => match self.start()? {
                Start::Short(length) if self.take(rest, length) => {}
                // Of two bytes it may be known already that they begin nothing.
                Start::Short(_) => return self.start().map(|_| Some(Status::InputEnd)),
                Start::Skippable(length) => {
                    self.pending.clear();
                    self.state = State::Skip(length);
                }
                Start::Frame(header) => self.begin(header)?,
            },
            State::Block(Header { checksum, .. }) => {
                let checksum = *checksum;
                let Some(&[a, b, c]) = self.pending.first_chunk() else {
                    return Ok(if self.take(rest, 3) { None } else { Some(Status::InputEnd) });
                };
                // Section 3.1.1.2: Last_Block, Block_Type, Block_Size.
                let bits = little_endian(&[a, b, c]) as usize;
                let stored = match bits >> 1 & 3 {
                    0 | 2 => bits >> 3,
                    1 => 1,
                    _ => return Err(Status::BadData),
                };
                if bits >> 3 > 128 << 10 {
                    return Err(Status::BadData);
                }
                if !self.take(rest, 3 + stored + if checksum && bits & 1 == 1 { 4 } else { 0 }) {
                    return Ok(Some(Status::InputEnd));
                }
                self.block()?;
            }
        }
        Ok(None)
    }

    fn start(&self) -> Result<Start, Status> {
        start(&self.pending).map_err(|e| if e == Status::BadData && self.frames > 0 { Status::Trailing } else { e })
    }

    /// Makes `pending` so long; `false` where the input ends before.
    fn take(&mut self, rest: &mut &[u8], length: usize) -> bool {
        let n = rest.len().min(length.saturating_sub(self.pending.len()));
        self.pending.extend_from_slice(&rest[..n]);
        *rest = &rest[n..];
        self.pending.len() >= length
    }

    fn begin(&mut self, header: Header) -> Result<(), Status> {
        const SINGLE_SEGMENT: u8 = 0x20;
        if self.blocks && self.pending[4] & SINGLE_SEGMENT == 0 {
            self.pending[5] = self.pending[5].min(BLOCK_WINDOW);
        }
        self.decoder.reset(&self.pending[..header.length]).map_err(|e| match e {
            FrameDecoderError::DictNotProvided { .. } => Status::Unsupported,
            _ => Status::BadData,
        })?;
        self.pending.clear();
        self.content = 0;
        self.state = State::Block(header);
        Ok(())
    }

    /// Decodes the block in `pending`.
    fn block(&mut self) -> Result<(), Status> {
        let strategy = BlockDecodingStrategy::UptoBlocks(1);
        let last = self.decoder.decode_blocks(&self.pending[..], strategy).map_err(|_| Status::BadData)?;
        self.pending.clear();
        if last && let State::Block(header) = std::mem::replace(&mut self.state, State::Header) {
            self.state = State::Drain(header);
        }
        Ok(())
    }

    /// Takes out what is decoded and no longer needed; at the end of a frame, checks it.
    fn drain(&mut self, output: &mut [u8], produced: &mut usize) -> Result<(), Status> {
        if matches!(self.state, State::Block(_) | State::Drain(_)) {
            let n = self.decoder.read(&mut output[*produced..]).map_err(|_| Status::BadData)?;
            *produced += n;
            self.content += n as u64;
        }
        if let State::Drain(header) = &self.state
            && self.decoder.can_collect() == 0
        {
            let read = self.decoder.get_checksum_from_data();
            if header.checksum && read != self.decoder.get_calculated_checksum() {
                return Err(Status::BadSum);
            }
            if header.content.is_some_and(|size| size != self.content) {
                return Err(Status::BadData);
            }
            self.state = State::Header;
            self.frames += 1;
        }
        Ok(())
    }
}

/// Decodes blocks that are stored as frames.
#[derive(Default)]
pub struct Decoder(Option<Stream>);

impl Decoder {
    /// Decodes frame after frame until `output` is full: `OutputFull`. `InputEnd`: there are not so many bytes; what is
    /// behind the first frame and does not decode is not the block's.
    pub fn block(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let stream = self.0.get_or_insert_with(|| Stream { blocks: true, ..Stream::new() });
        (stream.state, stream.content, stream.frames) = (State::Header, 0, 0);
        stream.pending.clear();
        let step = stream.step(input, output);
        if (step.status as i32) < 0 && stream.frames > 0 { Step { status: Status::InputEnd, ..step } } else { step }
    }
}

/// Encodes `input` as one frame with a checksum, at the one level that ruzstd has (about zstd's 1).
pub fn encode(input: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    compress(input, &mut frame, CompressionLevel::Fastest);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 65536 × 'A', as qemu wrote it into a cluster (QCOW2 sheet, vector E).
    const VECTOR_E: [u8; 20] =
        [0x28, 0xb5, 0x2f, 0xfd, 0x60, 0, 0xff, 0x55, 0, 0, 0x10, 0x41, 0x41, 0x01, 0, 0xfb, 0x7f, 0x1d, 0x60, 0x01];

    #[test]
    fn blocks_of_foreign_frames() {
        let mut decoder = Decoder::default();
        for behind in [&[][..], &[0; 100], &[0xff; 100], &VECTOR_E[..12]] {
            let input = [&VECTOR_E[..], behind].concat();
            let mut out = vec![0; 65536];
            let step = decoder.block(&input, &mut out);
            assert_eq!((step.status, step.produced), (Status::OutputFull, 65536));
            assert!(out == vec![b'A'; 65536]);
            let step = decoder.block(&input, &mut vec![0; 70_000]);
            assert_eq!((step.status, step.produced), (Status::InputEnd, 65536));
            let step = decoder.block(&input, &mut out[..1000]);
            assert_eq!((step.status, step.produced), (Status::OutputFull, 1000));
        }
    }
}
