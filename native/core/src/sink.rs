//! Where the output goes: a new file (positioned writes), a pipe (the next byte only), memory, or nowhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind as Io, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::job::{lock, wait};

/// Where an operation's bytes are, in the worker that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The chunk as the guest sees it.
    Chunk(usize),
    /// The encoded blocks.
    Encoded(usize),
    /// A constant.
    Fill(u8),
    /// A table that the writer will supply.
    Writer,
}

impl From {
    fn plus(self, n: usize) -> Self {
        match self {
            Self::Chunk(at) => Self::Chunk(at + n),
            Self::Encoded(at) => Self::Encoded(at + n),
            same => same,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub offset: u64,
    pub length: u64,
    pub from: From,
}

/// The writes of one unit, neighbours merged. Ascending by offset where the layout only appends.
#[derive(Default)]
pub struct Ops {
    pub list: Vec<Op>,
}

impl Ops {
    pub fn push(&mut self, offset: u64, length: u64, from: From) {
        if let Some(last) = self.list.last_mut()
            && last.offset + last.length == offset
            && last.from.plus(last.length as usize) == from
            && from != From::Writer
        {
            last.length += length;
            return;
        }
        self.list.push(Op { offset, length, from });
    }

    pub fn reserve(&mut self, offset: u64, length: u64) {
        self.push(offset, length, From::Writer);
    }
}

pub enum Sink {
    File(FileSink),
    Stream(StreamSink),
    /// Guest bytes from `origin` on.
    Memory {
        origin: u64,
        bytes: Mutex<Vec<u8>>,
    },
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
            Self::Memory { origin, bytes: memory } => {
                let at = (offset - origin) as usize;
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
                lock(&s.state).pieces.insert(offset, bytes);
                s.arrived.notify_all();
                Ok(())
            }
            Self::Memory { .. } | Self::None => Err(Error::internal("this sink takes no metadata")),
        }
    }

    pub fn stop(&self) {
        if let Self::Stream(s) = self {
            lock(&s.state).stopped = true;
            s.arrived.notify_all();
        }
    }
}

pub struct FileSink {
    file: File,
    /// Cleared at the first refusal: then the file system cannot.
    fallocates: AtomicBool,
}

impl FileSink {
    pub fn new(file: File) -> Self {
        Self { file, fallocates: AtomicBool::new(true) }
    }

    /// Allocates, then writes: on ext4 the allocation in one step costs less than half the CPU of delayed allocation
    /// page by page.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if bytes.len() >= 128 << 10 && self.fallocates.load(Ordering::Relaxed) {
            match fallocate(&self.file, FallocateFlags::empty(), offset, bytes.len() as u64) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.fallocates.store(false, Ordering::Relaxed),
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::write(&e.into(), offset)),
            }
        }
        self.write_all(offset, bytes)
    }

    fn write_all(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|e| Error::write(&e, offset))
    }
}

pub struct StreamSink {
    state: Mutex<Stream>,
    arrived: Condvar,
}

struct Stream {
    file: File,
    cursor: u64,
    /// Tables that came before the stream got to them.
    pieces: BTreeMap<u64, Vec<u8>>,
    /// Every piece that was computed ahead has come.
    complete: bool,
    stopped: bool,
}

impl StreamSink {
    pub fn new(file: File) -> Self {
        let state = Stream { file, cursor: 0, pieces: BTreeMap::new(), complete: false, stopped: false };
        Self { state: Mutex::new(state), arrived: Condvar::new() }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        lock(&self.state).write(offset, bytes)
    }

    fn write_table(&self, offset: u64, length: u64, flush: &impl Fn()) -> Result<()> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return Err(Error::aborted());
            }
            if let Some(bytes) = state.pieces.remove(&offset) {
                if bytes.len() as u64 != length {
                    return Err(Error::internal(format!("a table of {} bytes for {length} at {offset}", bytes.len())));
                }
                return state.write(offset, &bytes);
            }
            if state.complete {
                return Err(Error::changed());
            }
            flush();
            state = wait(&self.arrived, state);
        }
    }

    /// No more pieces will come; a table that is still missing then was not foreseen.
    pub fn complete(&self) {
        lock(&self.state).complete = true;
        self.arrived.notify_all();
    }

    /// Writes the pieces that lie before `end`, in order, and zeros up to it.
    pub fn write_up_to(&self, end: u64) -> Result<()> {
        let mut state = lock(&self.state);
        while let Some(first) = state.pieces.first_entry() {
            if *first.key() >= end {
                break;
            }
            let (offset, bytes) = first.remove_entry();
            state.write(offset, &bytes)?;
        }
        state.write(end, &[])
    }
}

impl Stream {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let Some(mut gap) = offset.checked_sub(self.cursor) else {
            return Err(Error::internal(format!("a stream at {} cannot go back to {offset}", self.cursor)));
        };
        static ZEROS: [u8; 65536] = [0; 65536];
        while gap > 0 {
            let n = gap.min(ZEROS.len() as u64);
            self.put(&ZEROS[..n as usize])?;
            gap -= n;
        }
        self.put(bytes)
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(Error::write(&Io::WriteZero.into(), self.cursor)),
                Ok(n) => {
                    self.cursor += n as u64;
                    bytes = &bytes[n..];
                }
                Err(e) if e.kind() == Io::Interrupted => {}
                Err(e) => return Err(Error::write(&e, self.cursor)),
            }
        }
        Ok(())
    }
}
