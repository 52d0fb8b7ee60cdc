//! One worker: takes units, fills them, finds zeros, compresses, places in turn, writes.

use crate::codec::{Decoder, Encoder};
use crate::dispenser::Unit;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, Kind};
use crate::job::Shared;
use crate::layout::{Layout, Packing};
use crate::sequencer::State;
use crate::sink::{From, Ops};
use crate::zero;

pub struct Worker<'a> {
    job: &'a Shared,
    decoder: Decoder,
    encoder: Option<Encoder>,
    segments: Vec<Extent>,
    /// The chunk as the guest sees it; bytes outside `regions` are stale.
    chunk: Vec<u8>,
    /// Parts of the chunk that hold bytes, widened to whole granules (or blocks, to be compressed) with zeros.
    regions: Vec<(u64, u64)>,
    /// Guest ranges that are not zero.
    runs: Vec<(u64, u64)>,
    /// Stored bytes of one compressed unit, and one decoded unit that is only partly wanted.
    stored: Vec<u8>,
    unit: Vec<u8>,
    encoded: Vec<u8>,
    blocks: Vec<Block>,
    ops: Ops,
}

/// A block to store, in a layout that compresses.
struct Block {
    number: u64,
    /// Stored length in `encoded` at `at`; none: plain, from the chunk.
    stored: Option<u32>,
    at: usize,
}

impl<'a> Worker<'a> {
    pub fn new(job: &'a Shared) -> Result<Self> {
        Ok(Self {
            job,
            decoder: Decoder::default(),
            encoder: job.layout.codec.map(Encoder::new).transpose()?,
            segments: Vec::new(),
            chunk: vec![0; job.chunk as usize],
            regions: Vec::new(),
            runs: Vec::new(),
            stored: Vec::new(),
            unit: Vec::new(),
            encoded: Vec::new(),
            blocks: Vec::new(),
            ops: Ops::default(),
        })
    }

    pub fn run(&mut self) -> Result<()> {
        let mut segments = std::mem::take(&mut self.segments);
        while let Some(unit) = self.job.dispenser.next(&mut segments)? {
            self.fill(&unit, &segments)?;
            self.find_runs(&unit);
            if self.encoder.is_some() {
                self.encode(&unit)?;
            }
            self.job.jitter(unit.ticket);
            self.place_and_write(&unit)?;
        }
        Ok(())
    }

    /// Brings the unit's bytes into the chunk.
    fn fill(&mut self, unit: &Unit, segments: &[Extent]) -> Result<()> {
        let grain = match &self.encoder {
            Some(_) => self.job.layout.block_size,
            None => self.job.granularity.max(1),
        };
        // A block to be compressed goes on with zeros behind the end of the disk; plain bytes end there.
        let limit = if self.encoder.is_some() { unit.start + self.job.chunk } else { unit.end };
        // A read may begin inside a granule.
        let floor = unit.start.max(self.job.map_start);
        self.regions.clear();
        let mut filled = unit.start;
        for segment in segments {
            let start = (segment.start - segment.start % grain).max(floor);
            let end = segment.end().next_multiple_of(grain).min(limit);
            match self.regions.last_mut() {
                Some(last) if start <= last.1 => {
                    zero_range(&mut self.chunk, unit.start, filled, segment.start);
                    last.1 = end;
                }
                last => {
                    if let Some(last) = last {
                        zero_range(&mut self.chunk, unit.start, filled, last.1);
                    }
                    zero_range(&mut self.chunk, unit.start, start, segment.start);
                    self.regions.push((start, end));
                }
            }
            self.read_segment(unit, segment)?;
            filled = segment.end();
        }
        if let Some(&(_, end)) = self.regions.last() {
            zero_range(&mut self.chunk, unit.start, filled, end);
        }
        Ok(())
    }

    fn read_segment(&mut self, unit: &Unit, segment: &Extent) -> Result<()> {
        let at = (segment.start - unit.start) as usize;
        let length = segment.length as usize;
        match segment.kind {
            Kind::Unallocated | Kind::Zero => self.chunk[at..at + length].fill(0),
            Kind::Data => {
                let source = self.job.source(segment.file)?;
                source.read_exact(&mut self.chunk[at..at + length], segment.file, segment.offset)?;
            }
            Kind::Compressed => self.decode_segment(at, segment)?,
        }
        Ok(())
    }

    fn decode_segment(&mut self, at: usize, segment: &Extent) -> Result<()> {
        let source = self.job.source(segment.file)?;
        let codec = source.codec.ok_or_else(|| Error::internal("a compressed extent in a file without a codec"))?;
        let in_file = |e: Error| if e.offset.is_none() { e.in_file(segment.file, segment.offset) } else { e };
        let (length, skip, unit) = (segment.length as usize, segment.skip as usize, codec.unit as usize);
        if segment.skip + segment.length > codec.unit || segment.stored > 4 * codec.unit + 4096 {
            return Err(Error::internal("a compressed extent larger than its unit"));
        }
        // `stored` is a bound: the file may end before it, and the stream may too.
        let there = segment.stored.min(source.size.saturating_sub(segment.offset));
        self.stored.resize(there.max(1) as usize, 0);
        source.read_exact(&mut self.stored, segment.file, segment.offset)?;
        let start = segment.start - segment.skip;
        // Straight into the chunk where it fits: what it overwrites behind the segment is filled after it.
        let direct = skip == 0 && at + unit <= self.chunk.len();
        let out = if direct {
            &mut self.chunk[at..at + unit]
        } else {
            self.unit.resize(unit, 0);
            &mut self.unit[..]
        };
        match self.decoder.decode(&codec, start, &self.stored, out) {
            Ok(n) if n >= skip + length => {}
            // What does not decode and was cut short by the end of the file is missing, not damaged.
            Ok(_) | Err(_) if there < segment.stored => return Err(cut_off(segment, source.size)),
            Ok(n) => return Err(in_file(short(n, skip + length))),
            Err(e) => return Err(in_file(e)),
        }
        if !direct {
            self.chunk[at..at + length].copy_from_slice(&self.unit[skip..skip + length]);
        }
        Ok(())
    }

    fn find_runs(&mut self, unit: &Unit) {
        self.runs.clear();
        for &(start, end) in &self.regions {
            let bytes = &self.chunk[(start - unit.start) as usize..(end - unit.start) as usize];
            zero::data_runs(bytes, start, self.job.granularity, &mut self.runs);
        }
        let bytes: u64 = self.runs.iter().map(|(start, end)| end.min(&unit.end) - start.min(&unit.end)).sum();
        self.job.count_data(bytes);
    }

    /// Compresses every block that has a run, back to back.
    fn encode(&mut self, unit: &Unit) -> Result<()> {
        let Some(encoder) = &mut self.encoder else {
            return Ok(());
        };
        let size = self.job.layout.block_size;
        let packing = self.job.layout.codec.map_or(1, |c| c.packing) as usize;
        self.encoded.clear();
        self.blocks.clear();
        for &(start, end) in &self.runs {
            let first = self.blocks.last().map_or(0, |b| b.number + 1).max(start / size);
            for number in first..end.div_ceil(size) {
                if self.job.stopped() {
                    return Err(Error::aborted());
                }
                let from = (number * size - unit.start) as usize;
                let at = self.encoded.len();
                let stored =
                    encoder.encode(number * size, &self.chunk[from..from + size as usize], &mut self.encoded)?;
                self.encoded.resize(self.encoded.len().next_multiple_of(packing), 0);
                self.blocks.push(Block { number, stored, at });
            }
        }
        Ok(())
    }

    fn place_and_write(&mut self, unit: &Unit) -> Result<()> {
        self.ops.list.clear();
        let mut turn = self.job.sequencer.wait_turn(unit.ticket)?;
        self.job.mark_stored(&self.runs);
        if self.encoder.is_some() {
            let size = self.job.layout.block_size;
            for block in &self.blocks {
                let (offset, length, from) = match block.stored {
                    Some(n) => {
                        (turn.compressed_block(block.number, n, &mut self.ops)?, u64::from(n), From::Encoded(block.at))
                    }
                    None => {
                        let offset = turn.plain_block(block.number, &mut self.ops)?.0;
                        (offset, size, From::Chunk((block.number * size - unit.start) as usize))
                    }
                };
                // The padding belongs to the write, so that neighbours merge and a stream has no gap.
                let packing = self.job.layout.codec.map_or(1, |c| c.packing);
                self.ops.push(offset, length.next_multiple_of(packing), from);
            }
        } else {
            for &run in &self.runs {
                place_run(&self.job.layout, &mut turn, &mut self.ops, unit, run)?;
            }
        }
        self.job.advance(unit.end);
        let write = |w: &Self| w.job.sink.write(&w.ops, &w.chunk, &w.encoded, || w.job.sequencer.flush());
        if self.job.sink.in_turn() {
            drop(turn);
            write(self)?;
            self.job.sequencer.pass(self.job.sequencer.lock());
            Ok(())
        } else {
            self.job.sequencer.pass(turn);
            write(self)
        }
    }
}

fn short(got: usize, wanted: usize) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the compressed data decodes to {got} bytes of {wanted}"))
}

fn cut_off(segment: &Extent, size: u64) -> Error {
    let what = format!("the compressed data at offset {} is cut off: the file ends at {size}", segment.offset);
    Error::new(ErrorKind::Truncated, what).in_file(segment.file, segment.offset)
}

/// Places the blocks of a plain run and says what to write.
fn place_run(layout: &Layout, turn: &mut State, ops: &mut Ops, unit: &Unit, (start, end): (u64, u64)) -> Result<()> {
    let chunk = |at: u64| From::Chunk((at - unit.start) as usize);
    if layout.packing == Packing::Flat {
        ops.push(layout.data_start + start, end - start, chunk(start));
        return Ok(());
    }
    let mut at = start;
    while at < end {
        let block = at / layout.block_size;
        let block_start = block * layout.block_size;
        let length = end.min(block_start + layout.block_size) - at;
        let (offset, new) = turn.plain_block(block, ops)?;
        if new && layout.prefix_bytes > 0 {
            ops.push(offset - layout.prefix_bytes, layout.prefix_bytes, From::Fill(layout.prefix_fill));
        }
        ops.push(offset + (at - block_start), length, chunk(at));
        at += length;
    }
    Ok(())
}

/// Zeroes guest bytes [from, to) of a chunk that begins at `base`; nothing where `to` is not beyond `from`.
fn zero_range(chunk: &mut [u8], base: u64, from: u64, to: u64) {
    if to > from {
        chunk[(from - base) as usize..(to - base) as usize].fill(0);
    }
}
