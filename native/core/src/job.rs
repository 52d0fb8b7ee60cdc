//! One job: a block map, its sources, a layout and a sink, and the threads that move the bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::dispenser::Dispenser;
use crate::error::{Error, Result};
use crate::layout::{Layout, Packing};
use crate::ring::Ring;
use crate::sequencer::Sequencer;
use crate::sink::{Ops, Sink};
use crate::source::Source;
use crate::worker::Worker;

/// Takes a lock. A worker that panicked has already failed the job; what it left behind is only read to wind down.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

pub struct Config {
    pub sources: Vec<Source>,
    pub ring: Arc<Ring>,
    /// The part of the virtual disk that the map covers; [0, size) but for reads.
    pub map_start: u64,
    pub map_end: u64,
    pub layout: Layout,
    pub sink: Sink,
    /// Whether a writer takes the allocation log.
    pub logging: bool,
    /// Whether to note which blocks are stored.
    pub scan: bool,
    pub threads: usize,
    /// Power of two. Raised to the largest block that is coded as a whole, on either side.
    pub chunk: u64,
    /// Power of two; 0: zeros are stored.
    pub granularity: u64,
    pub jitter_micros: u64,
}

#[derive(Debug)]
pub struct Outcome {
    pub host_end: u64,
    pub data_bytes: u64,
    /// One bit a block, least significant first.
    pub stored: Option<Vec<u8>>,
}

/// What workers share.
pub struct Shared {
    pub layout: Layout,
    pub sink: Sink,
    pub dispenser: Dispenser,
    pub sequencer: Sequencer,
    pub ring: Arc<Ring>,
    pub chunk: u64,
    pub granularity: u64,
    sources: Vec<Source>,
    pub map_start: u64,
    map_end: u64,
    jitter_micros: u64,
    stored: Option<Mutex<Vec<u8>>>,
    stopped: AtomicBool,
    done: AtomicU64,
    data_bytes: AtomicU64,
    error: Mutex<Option<Error>>,
}

pub struct Job {
    pub shared: Shared,
    threads: usize,
}

const LARGEST_CHUNK: u64 = 16 << 20;

impl Job {
    pub fn new(config: Config) -> Result<Self> {
        config.layout.check()?;
        let g = config.granularity;
        if !config.chunk.is_power_of_two() || (g != 0 && (!g.is_power_of_two() || g < 512 || g > config.chunk)) {
            return Err(Error::internal("chunk and zero granularity must be powers of two, the chunk the larger"));
        }
        let coded = config.sources.iter().filter_map(|s| s.codec).map(|c| c.unit);
        let coded = coded.chain(config.layout.codec.map(|_| config.layout.block_size));
        let chunk = coded.fold(config.chunk, u64::max);
        if !chunk.is_power_of_two() || chunk > LARGEST_CHUNK {
            return Err(Error::internal(format!("a chunk of {chunk} bytes")));
        }
        let blocks = config.map_end.div_ceil(config.layout.block_size);
        let stored = config.scan.then(|| Mutex::new(vec![0; blocks.div_ceil(8) as usize]));
        let shared = Shared {
            dispenser: Dispenser::new(config.map_start, config.map_end, chunk, g == 0),
            sequencer: Sequencer::new(&config.layout, config.logging),
            ring: config.ring,
            layout: config.layout,
            sink: config.sink,
            chunk,
            granularity: g,
            sources: config.sources,
            map_start: config.map_start,
            map_end: config.map_end,
            jitter_micros: config.jitter_micros,
            stored,
            stopped: AtomicBool::new(false),
            done: AtomicU64::new(0),
            data_bytes: AtomicU64::new(0),
            error: Mutex::new(None),
        };
        Ok(Self { shared, threads: config.threads.max(1) })
    }

    /// Moves everything; returns when the last byte is written. The map is pushed, the log taken and the ring served from
    /// other threads meanwhile.
    pub fn run(&self) -> Result<Outcome> {
        let shared = &self.shared;
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                scope.spawn(|| shared.work());
            }
            shared.work();
        });
        let host_end = shared.finish().map_err(|error| shared.fail(error))?;
        shared.sequencer.close();
        shared.ring.close();
        Ok(Outcome {
            host_end,
            data_bytes: shared.data_bytes.load(Ordering::Relaxed),
            stored: shared.stored.as_ref().map(|s| std::mem::take(&mut *lock(s))),
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
            Sink::Memory { bytes, .. } => std::mem::take(&mut *lock(bytes)),
            _ => Vec::new(),
        }
    }
}

impl Shared {
    fn work(&self) {
        let result = catch_unwind(AssertUnwindSafe(|| Worker::new(self)?.run()));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => drop(self.fail(error)),
            Err(panic) => {
                let why = panic.downcast_ref::<String>().map(String::as_str);
                let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
                drop(self.fail(Error::internal(why)));
            }
        }
    }

    /// The first error wins and stops everything. Returns the first one.
    pub fn fail(&self, error: Error) -> Error {
        let first = lock(&self.error).get_or_insert(error).clone();
        self.stopped.store(true, Ordering::Release);
        self.dispenser.stop();
        self.sequencer.stop();
        self.sink.stop();
        self.ring.close();
        first
    }

    fn finish(&self) -> Result<u64> {
        if self.stopped() {
            return Err(Error::aborted());
        }
        let mut ops = Ops::default();
        let host_end = match self.layout.packing {
            Packing::Flat => self.layout.data_start + self.map_end,
            Packing::Blocks => self.sequencer.finish(&mut ops)?,
        };
        self.sink.write(&ops, &[], &[], || self.sequencer.flush())?;
        Ok(host_end)
    }

    pub fn source(&self, file: u32) -> Result<&Source> {
        self.sources.get(file as usize).ok_or_else(|| Error::internal(format!("data file {file} does not exist")))
    }

    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub fn advance(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }

    pub fn count_data(&self, bytes: u64) {
        self.data_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes the blocks that have data, for a scan.
    pub fn mark_stored(&self, runs: &[(u64, u64)]) {
        let Some(bits) = &self.stored else {
            return;
        };
        let mut bits = lock(bits);
        for &(start, end) in runs {
            for block in start / self.layout.block_size..end.div_ceil(self.layout.block_size) {
                bits[(block / 8) as usize] |= 1 << (block % 8);
            }
        }
    }

    /// For tests of the ticket: a wait that differs from unit to unit and thread to thread.
    pub fn jitter(&self, ticket: u64) {
        if self.jitter_micros > 0 {
            let mixed = (ticket + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            std::thread::sleep(Duration::from_micros(mixed % self.jitter_micros));
        }
    }
}
