//! Where the output goes: a new file (positioned writes), a pipe (the next byte only), memory, or nowhere.

use std::sync::Mutex;

use crate::error::{Error, Result};
use crate::ops::{From, Ops};
use crate::sync::lock;

pub use file::FileSink;
pub use outlet::{Outlet, Taken};
pub use stream::StreamSink;

mod file;
mod outlet;
mod stream;

pub enum Sink {
    File(FileSink),
    Stream(StreamSink),
    Memory(Mutex<Vec<u8>>),
    None,
}

impl Sink {
    /// Whether writes must happen in order, within the turn.
    pub fn in_turn(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Carries out a unit's operations. `flush` is called before waiting for a table of the writer.
    pub fn write(&self, ops: &Ops, chunk: &[u8], encoded: &[u8], flush: impl Fn()) -> Result<()> {
        for op in &ops.list {
            let n = op.length as usize;
            match (self, op.from) {
                (Self::None, _) => {}
                (Self::Stream(s), From::Writer) => s.write_table(op.offset, op.length, &flush)?,
                (_, From::Writer) => {}
                (_, From::Chunk(at)) => self.put(op.offset, &chunk[at..at + n])?,
                (_, From::Encoded(at)) => self.put(op.offset, &encoded[at..at + n])?,
                (_, From::Fill(byte)) => self.put(op.offset, &vec![byte; n])?,
            }
        }
        Ok(())
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        match self {
            Self::File(f) => f.write(offset, bytes),
            Self::Stream(s) => s.write(offset, bytes),
            Self::Memory(memory) => {
                let at = offset as usize;
                lock(memory)[at..at + bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            Self::None => Ok(()),
        }
    }

    /// A piece of metadata from the writer: written now (file), or when the stream gets there.
    pub fn put_piece(&self, offset: u64, bytes: Vec<u8>) -> Result<()> {
        match self {
            Self::File(f) => f.write_all(offset, &bytes),
            Self::Stream(s) => {
                s.put_piece(offset, bytes);
                Ok(())
            }
            // A measurement: the writer is asked, nothing is kept.
            Self::None => Ok(()),
            Self::Memory(_) => Err(Error::internal("this sink takes no metadata")),
        }
    }

    /// A stream begins with what was put before the job, up to where data may be.
    pub fn begin(&self, data_start: u64) -> Result<()> {
        match self {
            Self::Stream(s) => s.write_up_to(data_start),
            _ => Ok(()),
        }
    }

    /// All data is written.
    pub fn close(&self) {
        if let Self::Stream(s) = self {
            s.close();
        }
    }

    pub fn stop(&self) {
        if let Self::Stream(s) = self {
            s.stop();
        }
    }
}
