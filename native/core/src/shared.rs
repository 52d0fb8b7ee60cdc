//! What the workers of a job share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::chunk::Filling;
use crate::config::Config;
use crate::digest;
use crate::dispenser::{Dispenser, Give};
use crate::error::{Error, Result};
use crate::fingerprint::{self, Sum};
use crate::layout::{Layout, TablePlace};
use crate::ring::Ring;
use crate::sequencer::Sequencer;
use crate::sink::Sink;
use crate::source::Source;
use crate::sync::lock;

pub struct Shared {
    pub layout: Layout,
    pub sink: Sink,
    pub dispenser: Dispenser,
    pub sequencer: Sequencer,
    pub ring: Arc<Ring>,
    pub chunk: u64,
    pub granularity: u64,
    /// What is filled is whole multiples of this.
    grain: u64,
    sources: Vec<Source>,
    /// Where the map begins on the disk, and the bytes that it covers: all other offsets count from there.
    pub origin: u64,
    pub size: u64,
    jitter_micros: u64,
    /// One bit a block, of a scan.
    pub stored: Option<Mutex<Vec<u8>>>,
    pub fingerprint: Option<Mutex<Sum>>,
    pub digest: Option<(digest::Method, Mutex<digest::Outer>)>,
    stopped: AtomicBool,
    /// Guest offset up to which the map was placed, and guest bytes that were not zero.
    pub done: AtomicU64,
    pub data_bytes: AtomicU64,
    error: Mutex<Option<Error>>,
}

pub const LARGEST_CHUNK: u64 = 16 << 20;

impl Shared {
    pub fn new(config: Config) -> Result<Self> {
        config.layout.check()?;
        config.digest.map_or(Ok(()), digest::check)?;
        let g = config.granularity;
        if !config.chunk.is_power_of_two() || (g != 0 && (!g.is_power_of_two() || g < 512 || g > config.chunk)) {
            return Err(Error::internal("chunk and zero granularity must be powers of two, the chunk the larger"));
        }
        if config.map_start > config.map_end {
            return Err(Error::internal(format!("a map of [{}, {})", config.map_start, config.map_end)));
        }
        let before =
            config.layout.side.is_some() || config.layout.tables.is_some_and(|t| t.place == TablePlace::Before);
        if config.logging && config.sink.in_turn() && before {
            return Err(Error::internal("a stream cannot wait for tables that precede what they map"));
        }
        let coded = config.sources.iter().filter_map(|s| s.codec).map(|c| c.unit);
        let coded = coded.chain(config.layout.codec.map(|_| config.layout.block_size));
        let hashed = config.digest.and_then(|method| match method {
            digest::Method::Blocks(block) => Some(block),
            digest::Method::Plain => None,
        });
        let whole = config.fingerprint.then_some(fingerprint::BLOCK as u64).into_iter().chain(hashed);
        let grain = whole.clone().chain(config.layout.codec.map(|_| config.layout.block_size)).fold(g.max(1), u64::max);
        let whole = coded.chain(whole);
        let chunk = whole.fold(config.chunk, u64::max);
        if !chunk.is_power_of_two() || chunk > LARGEST_CHUNK {
            return Err(Error::internal(format!("a chunk of {chunk} bytes")));
        }
        if config.fingerprint && !config.map_start.is_multiple_of(fingerprint::BLOCK as u64) {
            return Err(Error::internal(format!("a fingerprint of a part that begins at {}", config.map_start)));
        }
        let give = match &config.layout {
            l if l.explicit_zeros => Give::Known,
            l if l.store_all && l.notes_zeros() => Give::All,
            _ if g == 0 => Give::All,
            _ => Give::Bytes,
        };
        let size = config.map_end - config.map_start;
        let blocks = size.div_ceil(config.layout.block_size);
        let (explicit_zeros, block_size) = (config.layout.explicit_zeros, config.layout.block_size);
        let stored = config.scan.then(|| Mutex::new(vec![0; blocks.div_ceil(8) as usize]));
        Ok(Self {
            dispenser: Dispenser::new(config.map_start, config.map_end, chunk, give, g == 0),
            sequencer: Sequencer::new(&config.layout, config.logging),
            ring: config.ring,
            layout: config.layout,
            sink: config.sink,
            chunk,
            // A longer piece would store blocks that the layer below has.
            granularity: if explicit_zeros { g.min(block_size) } else { g },
            sources: config.sources,
            origin: config.map_start,
            size,
            jitter_micros: config.jitter_micros,
            stored,
            fingerprint: config.fingerprint.then(Mutex::default),
            digest: config.digest.map(|method| (method, Mutex::new(digest::Outer::new(method, size)))),
            grain,
            stopped: AtomicBool::new(false),
            done: AtomicU64::new(0),
            data_bytes: AtomicU64::new(0),
            error: Mutex::new(None),
        })
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

    pub fn filling(&self) -> Filling<'_> {
        Filling {
            sources: &self.sources,
            block: if self.layout.codec.is_some() { self.layout.block_size } else { 1 },
            grain: self.grain,
            zeros_are_bytes: self.granularity == 0,
            origin: self.origin,
            stopped: &self.stopped,
        }
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

    /// Notes the blocks that are stored: those that have data, or all that came.
    pub fn mark_stored(&self, runs: &[(u64, u64)], zero_blocks: &[(u64, u64)]) {
        let Some(bits) = &self.stored else {
            return;
        };
        let size = self.layout.block_size;
        let zeros = if self.layout.store_all { zero_blocks } else { &[] };
        let mut bits = lock(bits);
        for (first, end) in runs.iter().map(|r| (r.0 / size, r.1.div_ceil(size))).chain(zeros.iter().copied()) {
            for block in first..end {
                bits[(block / 8) as usize] |= 1 << (block % 8);
            }
        }
    }

    pub fn add_fingerprint(&self, part: Sum) {
        if let Some(sum) = &self.fingerprint {
            fingerprint::merge(&mut lock(sum), part);
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
