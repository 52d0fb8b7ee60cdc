//! Where a stream's bytes go: a descriptor that only takes the next byte, or JavaScript, which takes them when it wants.

use std::fs::File;
use std::io::{ErrorKind as Io, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::sync::{lock, wait};

pub enum Outlet {
    File(File),
    Taken(Arc<Taken>),
}

/// How long a stopped job may wait for a reader.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Most bytes of one write, between which a stopped job ends.
const PIECE: usize = 1 << 20;

impl Outlet {
    pub fn file(file: File) -> Self {
        Self::File(without_waiting(file))
    }

    /// All of `bytes`, of which `cursor` counts those that are out.
    pub fn write(&mut self, mut bytes: &[u8], cursor: &mut u64, stopped: &AtomicBool) -> Result<()> {
        while !bytes.is_empty() {
            if stopped.load(Ordering::Acquire) {
                return Err(Error::aborted());
            }
            let piece = &bytes[..bytes.len().min(PIECE)];
            let n = match self {
                Self::File(file) => match file.write(piece) {
                    Ok(0) => return Err(Error::write(&Io::WriteZero.into(), *cursor)),
                    Ok(n) => n,
                    Err(e) if e.kind() == Io::Interrupted => 0,
                    Err(e) if e.kind() == Io::WouldBlock => {
                        wait_for_reader(file, *cursor)?;
                        0
                    }
                    Err(e) => return Err(Error::write(&e, *cursor)),
                },
                Self::Taken(taken) => taken.put(piece)?,
            };
            *cursor += n as u64;
            bytes = &bytes[n..];
        }
        Ok(())
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

fn wait_for_reader(file: &File, cursor: u64) -> Result<()> {
    match poll(&mut [PollFd::new(file, PollFlags::OUT)], Some(&TICK)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(Error::write(&e.into(), cursor)),
    }
}

/// Bytes that JavaScript takes, a piece at a time. At most one piece waits: that is the back-pressure.
#[derive(Default)]
pub struct Taken {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// No more will come, or nobody will take it.
    closed: bool,
}

impl Taken {
    /// As much of `bytes` as there is room for, at least one byte. Blocks.
    fn put(&self, bytes: &[u8]) -> Result<usize> {
        let mut waiting = lock(&self.waiting);
        while waiting.bytes.len() >= PIECE && !waiting.closed {
            waiting = wait(&self.changed, waiting);
        }
        if waiting.closed {
            return Err(Error::aborted());
        }
        let n = bytes.len().min(PIECE - waiting.bytes.len());
        waiting.bytes.extend_from_slice(&bytes[..n]);
        drop(waiting);
        self.changed.notify_all();
        Ok(n)
    }

    /// What is there; none when there will be nothing more. Blocks.
    pub fn take(&self) -> Option<Vec<u8>> {
        let mut waiting = lock(&self.waiting);
        while waiting.bytes.is_empty() && !waiting.closed {
            waiting = wait(&self.changed, waiting);
        }
        let bytes = std::mem::take(&mut waiting.bytes);
        drop(waiting);
        self.changed.notify_all();
        (!bytes.is_empty()).then_some(bytes)
    }

    pub fn close(&self) {
        lock(&self.waiting).closed = true;
        self.changed.notify_all();
    }
}
