//! What a job is made of.

use std::sync::Arc;

use crate::digest;
use crate::layout::Layout;
use crate::ring::Ring;
use crate::sink::Sink;
use crate::source::Source;

pub struct Config {
    pub sources: Vec<Source>,
    pub ring: Arc<Ring>,
    /// The part of the virtual disk that the map covers, in bytes of the disk. The output, and with it every block number,
    /// begins at `map_start`.
    pub map_start: u64,
    pub map_end: u64,
    pub layout: Layout,
    pub sink: Sink,
    /// Whether a writer takes the allocation log.
    pub logging: bool,
    /// Whether to note which blocks are stored.
    pub scan: bool,
    /// Whether to work out the disk's fingerprint.
    pub fingerprint: bool,
    pub digest: Option<digest::Method>,
    pub threads: usize,
    /// Power of two. Raised to the largest block that is coded as a whole, on either side.
    pub chunk: u64,
    /// Power of two; 0: zeros are stored.
    pub granularity: u64,
    pub jitter_micros: u64,
}
