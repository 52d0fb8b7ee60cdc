//! A pipe, or anything else that only takes the next byte: gaps are zeros, tables come in when their place does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crate::error::{Error, Result};
use crate::sink::{Outlet, Taken};
use crate::sync::{lock, wait};

pub struct StreamSink {
    /// Held while a write waits for the reader; JavaScript's own thread never takes it.
    out: Mutex<Out>,
    /// Where JavaScript takes the bytes: it is woken when the job stops.
    taken: Option<Arc<Taken>>,
    tables: Mutex<Tables>,
    arrived: Condvar,
    room: Condvar,
    /// The tables were computed ahead: where they do not fit, the source has changed since.
    foreseen: bool,
    /// Set under the lock of `tables`.
    stopped: AtomicBool,
}

struct Out {
    to: Outlet,
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
    pub fn new(to: Outlet, foreseen: bool) -> Self {
        Self {
            taken: match &to {
                Outlet::Taken(taken) => Some(Arc::clone(taken)),
                Outlet::File(_) => None,
            },
            out: Mutex::new(Out { to, cursor: 0 }),
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
        if let Some(taken) = &self.taken {
            taken.close();
        }
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

    fn put(&mut self, bytes: &[u8], stopped: &AtomicBool) -> Result<()> {
        self.to.write(bytes, &mut self.cursor, stopped)
    }
}
