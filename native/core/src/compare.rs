//! Compares two disks: the same workers' chunks, filled from either side. Both maps are cut alike and say nothing where
//! there is nothing to compare (src/map/paired.ts), so both sides' units are the same ones.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::chunk::{Filling, GuestChunk};
use crate::dispenser::{Dispenser, Give, Unit};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::job::caught;
use crate::ring::Ring;
use crate::shared::LARGEST_CHUNK;
use crate::source::Source;
use crate::sync::lock;

pub struct CompareConfig {
    /// Of both sides: extents say which.
    pub sources: Vec<Source>,
    pub ring: Arc<Ring>,
    pub size: u64,
    /// Present: all is compared, and blocks of this size are told. Else the first difference ends it.
    pub block: Option<u64>,
    pub threads: usize,
    pub chunk: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Compared {
    pub first_difference: Option<u64>,
    /// One bit a block, least significant first.
    pub differs: Option<Vec<u8>>,
    /// Both sides together.
    pub bytes_read: u64,
}

pub struct Compare {
    sources: Vec<Source>,
    pub ring: Arc<Ring>,
    sides: [Dispenser; 2],
    /// Held to take a unit of each side.
    taking: Mutex<()>,
    block: Option<u64>,
    threads: usize,
    chunk: u64,
    first: AtomicU64,
    differs: Option<Mutex<Vec<u8>>>,
    bytes_read: AtomicU64,
    done: AtomicU64,
    stopped: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl Compare {
    pub fn new(config: CompareConfig) -> Result<Self> {
        let units = config.sources.iter().filter_map(|s| s.codec).map(|c| c.unit);
        let chunk = units.fold(config.chunk, u64::max);
        if !chunk.is_power_of_two() || chunk > LARGEST_CHUNK || config.block.is_some_and(|b| !b.is_power_of_two()) {
            return Err(Error::internal(format!("a comparison in chunks of {chunk} bytes")));
        }
        let side = || Dispenser::new(0, config.size, chunk, Give::Known, true);
        let bits = |block| Mutex::new(vec![0; config.size.div_ceil(block).div_ceil(8) as usize]);
        Ok(Self {
            sources: config.sources,
            ring: config.ring,
            sides: [side(), side()],
            taking: Mutex::new(()),
            block: config.block,
            threads: config.threads.max(1),
            chunk,
            first: AtomicU64::new(u64::MAX),
            differs: config.block.map(bits),
            bytes_read: AtomicU64::new(0),
            done: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            error: Mutex::new(None),
        })
    }

    /// The next extents of both maps: as many, with the same borders.
    pub fn push(&self, a: Vec<Extent>, b: Vec<Extent>) -> Result<()> {
        let alike = |(a, b): (&Extent, &Extent)| (a.start, a.length) == (b.start, b.length);
        if a.len() != b.len() || !a.iter().zip(&b).all(alike) {
            return Err(Error::internal("the two block maps are not cut alike"));
        }
        self.sides[0].push(a)?;
        self.sides[1].push(b)
    }

    /// Blocks until another batch is welcome. False: the job is over, push no more. A unit of the second side is taken
    /// after the first side's: its queue is at most one unit longer, and waiting for it could wait for itself.
    pub fn wait_room(&self) -> bool {
        self.sides[0].wait_room()
    }

    pub fn close(&self) -> Result<()> {
        self.sides.iter().try_for_each(Dispenser::close)
    }

    pub fn cancel(&self) {
        self.fail(Error::aborted());
    }

    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub fn run(&self) -> Result<Compared> {
        let work = || {
            if let Err(error) = caught(|| self.work()) {
                self.fail(error);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        self.stop();
        if let Some(error) = lock(&self.error).take() {
            return Err(error);
        }
        let first = self.first.load(Ordering::Relaxed);
        Ok(Compared {
            first_difference: (first != u64::MAX).then_some(first),
            differs: self.differs.as_ref().map(|bits| std::mem::take(&mut *lock(bits))),
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
        })
    }

    fn work(&self) -> Result<()> {
        let how = Filling {
            sources: &self.sources,
            block: 1,
            grain: 1,
            zeros_are_bytes: true,
            origin: 0,
            stopped: &self.stopped,
        };
        let mut chunks = [GuestChunk::new(self.chunk), GuestChunk::new(self.chunk)];
        let mut segments = [Vec::new(), Vec::new()];
        while let Some(unit) = self.take(&mut segments)? {
            for (chunk, segments) in chunks.iter_mut().zip(&segments) {
                chunk.fill(&how, &unit, segments)?;
                let read = segments.iter().filter(|s| s.kind.has_bytes()).map(|s| s.length).sum();
                self.bytes_read.fetch_add(read, Ordering::Relaxed);
            }
            for segment in &segments[0] {
                let range = (segment.start - unit.start) as usize..(segment.end() - unit.start) as usize;
                self.compare(segment.start, &chunks[0].bytes[range.clone()], &chunks[1].bytes[range]);
            }
            self.done.fetch_max(unit.end, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The next unit; none at the end, or where a difference before it ends the comparison.
    fn take(&self, segments: &mut [Vec<Extent>; 2]) -> Result<Option<Unit>> {
        let _both = lock(&self.taking);
        if self.block.is_none() && self.first.load(Ordering::Relaxed) != u64::MAX {
            return Ok(None);
        }
        let [a, b] = segments;
        let (unit, other) = (self.sides[0].next(a)?, self.sides[1].next(b)?);
        if unit != other {
            return Err(Error::internal("the two block maps have other units"));
        }
        Ok(unit)
    }

    fn compare(&self, start: u64, a: &[u8], b: &[u8]) {
        if a == b {
            return;
        }
        let (Some(block), Some(bits)) = (self.block, &self.differs) else {
            let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0);
            self.first.fetch_min(start + at as u64, Ordering::Relaxed);
            return;
        };
        let end = start + a.len() as u64;
        let mut at = start;
        while at < end {
            let stop = end.min(at - at % block + block);
            let range = (at - start) as usize..(stop - start) as usize;
            if a[range.clone()] != b[range] {
                let n = at / block;
                lock(bits)[(n / 8) as usize] |= 1 << (n % 8);
            }
            at = stop;
        }
    }

    fn fail(&self, error: Error) {
        lock(&self.error).get_or_insert(error);
        self.stop();
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.sides.iter().for_each(Dispenser::stop);
        self.ring.close();
    }
}
