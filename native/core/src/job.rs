//! One job: a block map, its sources, a layout and a sink, and the threads that move the bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use crate::config::Config;
use crate::digest::Hash;
use crate::error::{Error, Result};
use crate::fingerprint::Sum;
use crate::layout::Packing;
use crate::ops::Ops;
use crate::shared::Shared;
use crate::sink::Sink;
use crate::sync::lock;
use crate::worker::Worker;

#[derive(Debug)]
pub struct Outcome {
    pub host_end: u64,
    pub data_bytes: u64,
    /// One bit a block, least significant first.
    pub stored: Option<Vec<u8>>,
    pub fingerprint: Option<Sum>,
    pub digest: Option<Hash>,
}

pub struct Job {
    pub shared: Shared,
    threads: usize,
}

impl Job {
    pub fn new(config: Config) -> Result<Self> {
        let threads = config.threads.max(1);
        Ok(Self { shared: Shared::new(config)?, threads })
    }

    /// Moves everything; returns when the last byte is written. The map is pushed, the log taken and the ring served from
    /// other threads meanwhile.
    pub fn run(&self) -> Result<Outcome> {
        let shared = &self.shared;
        if let Err(error) = shared.sink.begin(shared.layout.data_start) {
            shared.fail(error);
        }
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                // Where the system has no more threads, fewer do the same work.
                if std::thread::Builder::new().spawn_scoped(scope, || work(shared)).is_err() {
                    break;
                }
            }
            work(shared);
        });
        let host_end = caught(|| finish(shared)).map_err(|error| shared.fail(error))?;
        shared.sequencer.close();
        shared.sink.close();
        shared.ring.close();
        Ok(Outcome {
            host_end,
            data_bytes: shared.data_bytes.load(Ordering::Relaxed),
            stored: shared.stored.as_ref().map(|s| std::mem::take(&mut *lock(s))),
            fingerprint: shared.fingerprint.as_ref().map(|sum| *lock(sum)),
            digest: shared.digest.as_ref().map(|(_, outer)| lock(outer).finish()),
        })
    }

    pub fn cancel(&self) {
        self.shared.fail(Error::aborted());
    }

    /// Guest bytes done, counted from the map's start.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// The bytes that a memory sink collected; empty for other sinks and the second time.
    pub fn take_memory(&self) -> Vec<u8> {
        match &self.shared.sink {
            Sink::Memory(bytes) => std::mem::take(&mut *lock(bytes)),
            _ => Vec::new(),
        }
    }
}

fn work(shared: &Shared) {
    if let Err(error) = caught(|| Worker::new(shared)?.run()) {
        shared.fail(error);
    }
}

/// A panic is an error like others: whoever waits for the job must hear of it.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map(String::as_str);
        Err(Error::internal(why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic")))
    })
}

/// Places and, in a stream, writes what is due after the last block.
fn finish(shared: &Shared) -> Result<u64> {
    if shared.stopped() {
        return Err(Error::aborted());
    }
    let mut ops = Ops::default();
    let host_end = match shared.layout.packing {
        Packing::Flat => shared.layout.data_start + shared.size,
        Packing::Blocks => shared.sequencer.finish(&mut ops)?,
    };
    shared.sink.write(&ops, &[], &[], || shared.sequencer.flush())?;
    Ok(host_end)
}
