//! A pipe, or anything else that only takes the next byte: gaps are zeros, tables come in when their place does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind as Io, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::sync::{lock, wait};

pub struct StreamSink {
    /// Held while a write waits for the reader; JavaScript's own thread never takes it.
    out: Mutex<Out>,
    tables: Mutex<Tables>,
    arrived: Condvar,
    room: Condvar,
    /// The tables were computed ahead: where they do not fit, the source has changed since.
    foreseen: bool,
    /// Set under the lock of `tables`.
    stopped: AtomicBool,
}

struct Out {
    file: File,
    cursor: u64,
}

#[derive(Default)]
struct Tables {
    /// Those that came before the stream got to them.
    pieces: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
    /// The stream waits for one that has not come, or has come to its end.
    wanted: bool,
    /// Every piece that was computed ahead has come.
    complete: bool,
}

/// Bytes of tables that may wait; whoever computes them ahead pauses beyond it.
const ROOM: usize = 8 << 20;

impl StreamSink {
    pub fn new(file: File, foreseen: bool) -> Self {
        Self {
            out: Mutex::new(Out { file: without_waiting(file), cursor: 0 }),
            tables: Mutex::default(),
            arrived: Condvar::new(),
            room: Condvar::new(),
            foreseen,
            stopped: AtomicBool::new(false),
        }
    }

    /// Keeps a table until the stream gets to its place.
    pub fn put_piece(&self, offset: u64, bytes: Vec<u8>) {
        lock(&self.tables).insert(offset, bytes);
        self.arrived.notify_all();
    }

    /// Blocks until another table that was computed ahead is welcome. False: the job is over.
    pub fn wait_room(&self) -> bool {
        let mut tables = lock(&self.tables);
        while tables.bytes >= ROOM && !tables.wanted && !self.stopped.load(Ordering::Acquire) {
            tables = wait(&self.room, tables);
        }
        !self.stopped.load(Ordering::Acquire)
    }

    /// All data is written: what tables are to come follow it.
    pub fn close(&self) {
        lock(&self.tables).wanted = true;
        self.room.notify_all();
    }

    pub fn stop(&self) {
        let tables = lock(&self.tables);
        self.stopped.store(true, Ordering::Release);
        drop(tables);
        self.arrived.notify_all();
        self.room.notify_all();
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut out = lock(&self.out);
        if offset < out.cursor {
            return Err(self.unfit(format!("a stream at {} cannot go back to {offset}", out.cursor)));
        }
        out.write(offset, bytes, &self.stopped)
    }

    fn unfit(&self, what: String) -> Error {
        if self.foreseen { Error::changed() } else { Error::internal(what) }
    }

    pub fn write_table(&self, offset: u64, length: u64, flush: &impl Fn()) -> Result<()> {
        let bytes = self.take_table(offset, flush)?;
        if bytes.len() as u64 != length {
            return Err(self.unfit(format!("a table of {} bytes for {length} at {offset}", bytes.len())));
        }
        self.write(offset, &bytes)
    }

    fn take_table(&self, offset: u64, flush: &impl Fn()) -> Result<Vec<u8>> {
        let mut tables = lock(&self.tables);
        loop {
            if self.stopped.load(Ordering::Acquire) {
                return Err(Error::aborted());
            }
            if let Some(bytes) = tables.pieces.remove(&offset) {
                tables.bytes -= bytes.len();
                tables.wanted = false;
                drop(tables);
                self.room.notify_all();
                return Ok(bytes);
            }
            if tables.complete {
                return Err(Error::changed());
            }
            tables.wanted = true;
            self.room.notify_all();
            flush();
            tables = wait(&self.arrived, tables);
        }
    }

    /// No more pieces will come; a table that is still missing then was not foreseen.
    pub fn complete(&self) {
        lock(&self.tables).complete = true;
        self.arrived.notify_all();
    }

    /// Writes the pieces that lie before `end`, in order, and zeros up to it.
    pub fn write_up_to(&self, end: u64) -> Result<()> {
        while let Some((offset, bytes)) = self.take_first(end) {
            self.write(offset, &bytes)?;
        }
        self.write(end, &[])
    }

    fn take_first(&self, end: u64) -> Option<(u64, Vec<u8>)> {
        let mut tables = lock(&self.tables);
        let first = tables.pieces.first_entry().filter(|first| *first.key() < end)?.remove_entry();
        tables.bytes -= first.1.len();
        Some(first)
    }
}

impl Tables {
    fn insert(&mut self, offset: u64, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        if let Some(old) = self.pieces.insert(offset, bytes) {
            self.bytes -= old.len();
        }
    }
}

/// The same pipe, opened anew so that writing to it never waits: a write that waits for the reader cannot be stopped. The
/// flag belongs to the open file, which others may share, so it is not set on `file` itself.
fn without_waiting(file: File) -> File {
    if file.metadata().is_ok_and(|m| m.file_type().is_fifo()) {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        if let Ok(own) = open(path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
            return own.into();
        }
    }
    file
}

/// How long a stopped job may wait for a reader.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Most bytes of one write, between which a stopped job ends.
const PIECE: usize = 1 << 20;

impl Out {
    /// `offset` is not behind the cursor.
    fn write(&mut self, offset: u64, bytes: &[u8], stopped: &AtomicBool) -> Result<()> {
        let mut gap = offset - self.cursor;
        static ZEROS: [u8; 65536] = [0; 65536];
        while gap > 0 {
            let n = gap.min(ZEROS.len() as u64);
            self.put(&ZEROS[..n as usize], stopped)?;
            gap -= n;
        }
        self.put(bytes, stopped)
    }

    fn put(&mut self, mut bytes: &[u8], stopped: &AtomicBool) -> Result<()> {
        while !bytes.is_empty() {
            if stopped.load(Ordering::Acquire) {
                return Err(Error::aborted());
            }
            match self.file.write(&bytes[..bytes.len().min(PIECE)]) {
                Ok(0) => return Err(Error::write(&Io::WriteZero.into(), self.cursor)),
                Ok(n) => {
                    self.cursor += n as u64;
                    bytes = &bytes[n..];
                }
                Err(e) if e.kind() == Io::Interrupted => {}
                Err(e) if e.kind() == Io::WouldBlock => self.wait_for_reader()?,
                Err(e) => return Err(Error::write(&e, self.cursor)),
            }
        }
        Ok(())
    }

    fn wait_for_reader(&self) -> Result<()> {
        match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&TICK)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(Error::write(&e.into(), self.cursor)),
        }
    }
}
