//! One worker: takes units, fills them, finds zeros, compresses, places in turn, writes.

use crate::chunk::GuestChunk;
use crate::codec::Encoder;
use crate::digest::{Hash, Method, Outer, Part};
use crate::dispenser::Unit;
use crate::error::{Error, Result};
use crate::layout::{Layout, Packing};
use crate::ops::{From, Ops};
use crate::sequencer::State;
use crate::shared::Shared;
use crate::sync::lock;

pub struct Worker<'a> {
    job: &'a Shared,
    chunk: GuestChunk,
    encoder: Option<Encoder>,
    /// Blocks in their stored form, back to back.
    encoded: Vec<u8>,
    blocks: Vec<Block>,
    ops: Ops,
    /// Of the unit's blocks for the digest: [start, end), hash.
    hashes: Vec<(u64, u64, Hash)>,
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
            chunk: GuestChunk::new(job.chunk),
            encoder: job.layout.codec.map(Encoder::new).transpose()?,
            encoded: Vec::new(),
            blocks: Vec::new(),
            ops: Ops::default(),
            hashes: Vec::new(),
        })
    }

    pub fn run(&mut self) -> Result<()> {
        let how = self.job.filling();
        let mut segments = Vec::new();
        while let Some(unit) = self.job.dispenser.next(&mut segments)? {
            self.chunk.fill(&how, &unit, &segments)?;
            self.job.count_data(self.chunk.find_runs(&unit, &segments, self.job.granularity));
            if self.job.layout.notes_zeros() {
                self.chunk.find_zero_blocks(&segments, self.job.layout.block_size);
            }
            if self.job.fingerprint.is_some() {
                self.job.add_fingerprint(self.chunk.fingerprint(&unit, self.job.origin));
            }
            if let Some((Method::Blocks(block), _)) = self.job.digest {
                self.chunk.block_hashes(&unit, block, &mut self.hashes);
            }
            if self.encoder.is_some() {
                self.encode(&unit)?;
            }
            self.job.jitter(unit.ticket);
            self.place_and_write(&unit)?;
        }
        Ok(())
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
        for &(start, end) in &self.chunk.runs {
            let first = self.blocks.last().map_or(0, |b| b.number + 1).max(start / size);
            for number in first..end.div_ceil(size) {
                if self.job.stopped() {
                    return Err(Error::aborted());
                }
                let from = (number * size - unit.start) as usize;
                let at = self.encoded.len();
                let stored =
                    encoder.encode(number * size, &self.chunk.bytes[from..from + size as usize], &mut self.encoded)?;
                self.encoded.resize(self.encoded.len().next_multiple_of(packing), 0);
                self.blocks.push(Block { number, stored, at });
            }
        }
        Ok(())
    }

    fn place_and_write(&mut self, unit: &Unit) -> Result<()> {
        self.ops.list.clear();
        let mut turn = self.job.sequencer.wait_turn(unit.ticket)?;
        self.job.mark_stored(&self.chunk.runs, &self.chunk.zero_blocks);
        let size = self.job.layout.block_size;
        let mut zeros = self.chunk.zero_blocks.as_slice();
        if self.encoder.is_some() {
            for block in &self.blocks {
                place_zeros(&self.job.layout, &mut turn, &mut self.ops, &mut zeros, block.number)?;
                let (offset, length, from) = match block.stored {
                    Some(n) => {
                        // The padding belongs to the write, so that neighbours merge and a stream has no gap.
                        let length = u64::from(n).next_multiple_of(self.job.layout.codec.map_or(1, |c| c.packing));
                        (turn.compressed_block(block.number, n, &mut self.ops)?, length, From::Encoded(block.at))
                    }
                    None => {
                        let offset = turn.plain_block(block.number, &mut self.ops)?.0;
                        (offset, size, From::Chunk((block.number * size - unit.start) as usize))
                    }
                };
                self.ops.push(offset, length, from);
            }
        } else {
            for &run in &self.chunk.runs {
                place_zeros(&self.job.layout, &mut turn, &mut self.ops, &mut zeros, run.0 / size)?;
                place_run(&self.job.layout, &mut turn, &mut self.ops, unit, run)?;
            }
        }
        place_zeros(&self.job.layout, &mut turn, &mut self.ops, &mut zeros, u64::MAX)?;
        self.job.advance(unit.end);
        if let Some((method, outer)) = &self.job.digest {
            // The turn lasts, for what follows in the digest; but others may look at the state.
            drop(turn);
            self.add_to_digest(*method, &mut lock(outer), unit);
            turn = self.job.sequencer.lock();
        }
        let write = |w: &Self| w.job.sink.write(&w.ops, &w.chunk.bytes, &w.encoded, || w.job.sequencer.flush());
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

impl Worker<'_> {
    fn add_to_digest(&self, method: Method, outer: &mut Outer, unit: &Unit) {
        match method {
            Method::Blocks(_) => {
                for &(start, end, hash) in &self.hashes {
                    outer.add(start, &Part::Block { hash, end });
                }
            }
            Method::Plain => {
                for (start, bytes) in self.chunk.bytes_of(unit) {
                    outer.add(start, &Part::Bytes(bytes));
                }
            }
        }
    }
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
        let offset = place_block(layout, turn, ops, block)?;
        ops.push(offset + (at - block_start), length, chunk(at));
        at += length;
    }
    Ok(())
}

fn place_block(layout: &Layout, turn: &mut State, ops: &mut Ops, block: u64) -> Result<u64> {
    let (offset, new) = turn.plain_block(block, ops)?;
    if new && layout.prefix_bytes > 0 {
        ops.push(offset - layout.prefix_bytes, layout.prefix_bytes, From::Fill(layout.prefix_fill));
    }
    Ok(offset)
}

/// Takes from `zeros` the blocks before `before`, and notes them, or gives them places that stay holes.
fn place_zeros(layout: &Layout, turn: &mut State, ops: &mut Ops, zeros: &mut &[(u64, u64)], before: u64) -> Result<()> {
    while let Some((&(first, end), rest)) = zeros.split_first()
        && first < before
    {
        *zeros = rest;
        if layout.explicit_zeros && !layout.store_all {
            turn.zero_blocks(first, end, ops)?;
        } else {
            for block in first..end {
                place_block(layout, turn, ops, block)?;
            }
        }
    }
    Ok(())
}
