//! A pipe, or anything else that only takes the next byte: gaps are zeros, tables come in when their place does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind as Io, Write};
use std::sync::{Condvar, Mutex};

use crate::error::{Error, Result};
use crate::sync::{lock, wait};

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

    /// Keeps a table until the stream gets to its place.
    pub fn put_piece(&self, offset: u64, bytes: Vec<u8>) {
        lock(&self.state).pieces.insert(offset, bytes);
        self.arrived.notify_all();
    }

    pub fn stop(&self) {
        lock(&self.state).stopped = true;
        self.arrived.notify_all();
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        lock(&self.state).write(offset, bytes)
    }

    pub fn write_table(&self, offset: u64, length: u64, flush: &impl Fn()) -> Result<()> {
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
