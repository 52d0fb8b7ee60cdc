//! What the workers of a job share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::config::Config;
use crate::dispenser::Dispenser;
use crate::error::{Error, Result};
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
    sources: Vec<Source>,
    pub map_start: u64,
    pub map_end: u64,
    jitter_micros: u64,
    /// One bit a block, of a scan.
    pub stored: Option<Mutex<Vec<u8>>>,
    stopped: AtomicBool,
    /// Guest offset up to which the map was placed, and guest bytes that were not zero.
    pub done: AtomicU64,
    pub data_bytes: AtomicU64,
    error: Mutex<Option<Error>>,
}

const LARGEST_CHUNK: u64 = 16 << 20;

impl Shared {
    pub fn new(config: Config) -> Result<Self> {
        config.layout.check()?;
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
        let chunk = coded.fold(config.chunk, u64::max);
        if !chunk.is_power_of_two() || chunk > LARGEST_CHUNK {
            return Err(Error::internal(format!("a chunk of {chunk} bytes")));
        }
        let blocks = config.map_end.div_ceil(config.layout.block_size);
        let stored = config.scan.then(|| Mutex::new(vec![0; blocks.div_ceil(8) as usize]));
        Ok(Self {
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
