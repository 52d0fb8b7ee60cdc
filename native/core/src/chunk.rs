//! One chunk of the virtual disk as the guest sees it: filled from its extents, and searched for zeros.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::Decoder;
use crate::digest::{self, Hash};
use crate::dispenser::Unit;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, Kind};
use crate::fingerprint::{self, Sum};
use crate::source::Source;
use crate::zero;

/// How chunks are filled, the same for all of a job's.
pub struct Filling<'a> {
    pub sources: &'a [Source],
    /// What is filled may end behind the end of the disk, at a multiple of this: a block to be compressed is whole. Else 1.
    pub block: u64,
    /// Regions are widened to multiples of this.
    pub grain: u64,
    /// Whether zeros are bytes like others (`-S 0`).
    pub zeros_are_bytes: bool,
    /// Where the map begins on the disk; all other offsets count from there.
    pub origin: u64,
    pub stopped: &'a AtomicBool,
}

impl Filling<'_> {
    fn source(&self, file: u32) -> Result<&Source> {
        self.sources.get(file as usize).ok_or_else(|| Error::internal(format!("data file {file} does not exist")))
    }
}

/// A worker's buffers for it, used again for every unit.
pub struct GuestChunk {
    /// Bytes outside `regions` are stale.
    pub bytes: Vec<u8>,
    /// Parts that hold bytes, widened with zeros to whole granules, and to blocks that are taken as a whole.
    regions: Vec<(u64, u64)>,
    /// Parts of the regions that are not zero.
    pub runs: Vec<(u64, u64)>,
    /// Blocks without data of which the layout wants to know. Block numbers, [first, end).
    pub zero_blocks: Vec<(u64, u64)>,
    decoder: Decoder,
    /// Stored bytes of one compressed unit, and one decoded unit that is only partly wanted.
    stored: Vec<u8>,
    unit: Vec<u8>,
    /// What `unit` holds: file, offset, guest start, bytes. A unit may be wanted in many small parts.
    in_unit: Option<(u32, u64, u64, usize)>,
}

impl GuestChunk {
    pub fn new(size: u64) -> Self {
        Self {
            bytes: vec![0; size as usize],
            regions: Vec::new(),
            runs: Vec::new(),
            zero_blocks: Vec::new(),
            decoder: Decoder::default(),
            stored: Vec::new(),
            unit: Vec::new(),
            in_unit: None,
        }
    }

    /// Brings the unit's bytes into the chunk.
    pub fn fill(&mut self, how: &Filling<'_>, unit: &Unit, segments: &[Extent]) -> Result<()> {
        let grain = how.grain;
        // Plain bytes end at the end of the disk.
        let limit = unit.end.next_multiple_of(how.block);
        self.regions.clear();
        let mut filled = unit.start;
        for segment in segments {
            if how.stopped.load(Ordering::Acquire) {
                return Err(Error::aborted());
            }
            if !segment.kind.has_bytes() && !how.zeros_are_bytes {
                continue;
            }
            let start = segment.start - segment.start % grain;
            let end = segment.end().next_multiple_of(grain).min(limit);
            match self.regions.last_mut() {
                Some(last) if start <= last.1 => {
                    zero_range(&mut self.bytes, unit.start, filled, segment.start);
                    last.1 = end;
                }
                last => {
                    if let Some(last) = last {
                        zero_range(&mut self.bytes, unit.start, filled, last.1);
                    }
                    zero_range(&mut self.bytes, unit.start, start, segment.start);
                    self.regions.push((start, end));
                }
            }
            self.read_segment(how, unit, segment)?;
            filled = segment.end();
        }
        if let Some(&(_, end)) = self.regions.last() {
            zero_range(&mut self.bytes, unit.start, filled, end);
        }
        Ok(())
    }

    fn read_segment(&mut self, how: &Filling<'_>, unit: &Unit, segment: &Extent) -> Result<()> {
        let at = (segment.start - unit.start) as usize;
        let length = segment.length as usize;
        match segment.kind {
            Kind::Unallocated | Kind::Zero => self.bytes[at..at + length].fill(0),
            Kind::Data => {
                let source = how.source(segment.file)?;
                source.read_exact(&mut self.bytes[at..at + length], segment.file, segment.offset)?;
            }
            Kind::Compressed => self.decode_segment(how, at, segment)?,
        }
        Ok(())
    }

    fn decode_segment(&mut self, how: &Filling<'_>, at: usize, segment: &Extent) -> Result<()> {
        let source = how.source(segment.file)?;
        let codec = source.codec.ok_or_else(|| Error::internal("a compressed extent in a file without a codec"))?;
        let in_file = |e: Error| if e.offset.is_none() { e.in_file(segment.file, segment.offset) } else { e };
        let (length, skip, unit) = (segment.length as usize, segment.skip as usize, codec.unit as usize);
        if segment.skip + segment.length > codec.unit || segment.stored > 4 * codec.unit + 4096 {
            return Err(Error::internal("a compressed extent larger than its unit"));
        }
        let Some(start) = (how.origin + segment.start).checked_sub(segment.skip) else {
            return Err(Error::internal("a compressed unit begins before the disk"));
        };
        if let Some((file, offset, unit_start, n)) = self.in_unit
            && (file, offset, unit_start) == (segment.file, segment.offset, start)
            && n >= skip + length
        {
            self.bytes[at..at + length].copy_from_slice(&self.unit[skip..skip + length]);
            return Ok(());
        }
        // `stored` is a bound: the file may end before it, and the stream may too.
        let there = segment.stored.min(source.size.saturating_sub(segment.offset));
        self.stored.resize(there.max(1) as usize, 0);
        source.read_exact(&mut self.stored, segment.file, segment.offset)?;
        // Straight into the chunk where it fits: what it overwrites behind the segment is filled after it.
        let direct = skip == 0 && at + unit <= self.bytes.len();
        let out = if direct {
            &mut self.bytes[at..at + unit]
        } else {
            self.in_unit = None;
            self.unit.resize(unit, 0);
            &mut self.unit[..]
        };
        let n = match self.decoder.decode(&codec, start, &self.stored, out) {
            Ok(n) if n >= skip + length => n,
            // What does not decode and was cut short by the end of the file is missing, not damaged.
            Ok(_) | Err(_) if there < segment.stored => return Err(cut_off(segment, source.size)),
            Ok(n) => return Err(in_file(short(n, skip + length))),
            Err(e) => return Err(in_file(e)),
        };
        if !direct {
            self.in_unit = Some((segment.file, segment.offset, start, n));
            self.bytes[at..at + length].copy_from_slice(&self.unit[skip..skip + length]);
        }
        Ok(())
    }

    /// What the unit's bytes contribute to the fingerprint.
    pub fn fingerprint(&self, unit: &Unit, origin: u64) -> Sum {
        let mut sum = Sum::default();
        for (start, bytes) in self.bytes_of(unit) {
            let first = (origin + start) / fingerprint::BLOCK as u64;
            for (block, index) in bytes.chunks(fingerprint::BLOCK).zip(first..) {
                fingerprint::add(&mut sum, index, block);
            }
        }
        sum
    }

    /// The hashes of the unit's blocks of `block` bytes that are not zeros, with the bytes [start, end) that they are of.
    pub fn block_hashes(&self, unit: &Unit, block: u64, hashes: &mut Vec<(u64, u64, Hash)>) {
        hashes.clear();
        for (start, bytes) in self.bytes_of(unit) {
            for (part, at) in bytes.chunks(block as usize).zip((start..).step_by(block as usize)) {
                hashes.extend(digest::block_hash(part).map(|hash| (at, at + part.len() as u64, hash)));
            }
        }
    }

    /// The unit's regions and their bytes.
    pub fn bytes_of(&self, unit: &Unit) -> impl Iterator<Item = (u64, &[u8])> {
        self.regions.iter().map(move |&(start, end)| {
            (start, &self.bytes[(start - unit.start) as usize..(end.min(unit.end) - unit.start) as usize])
        })
    }

    /// Finds the blocks of the segments that no run touches.
    pub fn find_zero_blocks(&mut self, segments: &[Extent], size: u64) {
        self.zero_blocks.clear();
        let mut runs = self.runs.iter().map(|run| (run.0 / size, run.1.div_ceil(size))).peekable();
        let mut at = 0;
        for segment in segments {
            at = at.max(segment.start / size);
            let end = segment.end().div_ceil(size);
            while at < end {
                while runs.next_if(|run| run.1 <= at).is_some() {}
                let (from, to) = runs.peek().map_or((end, end), |run| (run.0.min(end), run.1));
                if at < from {
                    zero::push_run(at, from, &mut self.zero_blocks);
                }
                at = at.max(from).max(to.min(end));
            }
        }
    }

    /// Finds what is not zero (granularity 0: all that came), and returns how many guest bytes that is.
    pub fn find_runs(&mut self, unit: &Unit, segments: &[Extent], granularity: u64) -> u64 {
        self.runs.clear();
        if granularity == 0 {
            segments.iter().for_each(|s| zero::push_run(s.start, s.end(), &mut self.runs));
        } else {
            for &(start, end) in &self.regions {
                let bytes = &self.bytes[(start - unit.start) as usize..(end - unit.start) as usize];
                zero::data_runs(bytes, start, granularity, &mut self.runs);
            }
        }
        self.runs.iter().map(|(start, end)| end.min(&unit.end) - start.min(&unit.end)).sum()
    }
}

fn short(got: usize, wanted: usize) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the compressed data decodes to {got} bytes of {wanted}"))
}

fn cut_off(segment: &Extent, size: u64) -> Error {
    let what = format!("the compressed data at offset {} is cut off: the file ends at {size}", segment.offset);
    Error::new(ErrorKind::Truncated, what).in_file(segment.file, segment.offset)
}

/// Zeroes guest bytes [from, to) of a chunk that begins at `base`; nothing where `to` is not beyond `from`.
fn zero_range(chunk: &mut [u8], base: u64, from: u64, to: u64) {
    if to > from {
        chunk[(from - base) as usize..(to - base) as usize].fill(0);
    }
}
