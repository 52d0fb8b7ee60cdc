//! Where guest bytes come from: descriptors the engine reads itself, or a ring that JavaScript fills.

use std::fs::File;
use std::io::ErrorKind as Io;
use std::os::unix::fs::FileExt;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Codec, Framing};
use crate::ring::Ring;
use std::sync::Arc;

pub enum Bytes {
    File(File),
    /// Asked for by the index of this source.
    Ring(Arc<Ring>),
}

/// How `compressed` extents of a data file are stored (src/map/data-file.ts: `SourceCodec`).
#[derive(Clone, Copy, Debug)]
pub struct SourceCodec {
    pub codec: Codec,
    /// Decoded bytes of one unit.
    pub unit: u64,
    pub framing: Framing,
}

pub struct Source {
    pub bytes: Bytes,
    /// Length when it was opened. Reading stops here even if the file has grown.
    pub size: u64,
    pub codec: Option<SourceCodec>,
}

impl Source {
    /// Fills `buf` from `offset`, or says which bytes are missing. Never returns fewer, never fills with zeros.
    pub fn read_exact(&self, buf: &mut [u8], file: u32, offset: u64) -> Result<()> {
        let want = buf.len() as u64;
        if offset.checked_add(want).is_none_or(|end| end > self.size) {
            return Err(missing(self.size, want, file, offset));
        }
        match &self.bytes {
            Bytes::Ring(ring) => ring.read(buf, file, offset),
            Bytes::File(f) => {
                let mut done = 0;
                while done < buf.len() {
                    match f.read_at(&mut buf[done..], offset + done as u64) {
                        Ok(0) => return Err(missing(offset + done as u64, want, file, offset)),
                        Ok(n) => done += n,
                        Err(e) if e.kind() == Io::Interrupted => {}
                        Err(e) => return Err(Error::read(&e, file, offset + done as u64)),
                    }
                }
                Ok(())
            }
        }
    }
}

fn missing(end: u64, want: u64, file: u32, offset: u64) -> Error {
    let message = format!("{want} bytes of guest data at offset {offset} are missing: the file ends at {end}");
    Error::new(ErrorKind::Truncated, message).in_file(file, offset)
}
