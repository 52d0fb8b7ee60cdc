//! Placement: which host offset a block gets. A pure function of the layout and the sequence of stored blocks, called
//! strictly in virtual order; it never sees data, so the output does not depend on threads or chunk size.

use crate::error::{Error, Result};
use crate::layout::{Layout, TablePlace};
use crate::log::{COMPRESSED, Log, SIDE, TABLE};

/// Offsets cross to JavaScript as doubles.
const MAX_OFFSET: u64 = 1 << 53;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    Plain,
    /// This many bytes, framing included.
    Compressed(u32),
}

pub struct Placer {
    layout: Layout,
    /// Everything from here on is free.
    frontier: u64,
    /// Where the next blob may begin inside the open blob cluster, and that cluster's end.
    blob: u64,
    blob_end: u64,
    /// Blobs that touch the open blob cluster.
    shared_by: u32,
    /// The first side table that has no place yet.
    next_side: u64,
    group: Option<u64>,
}

impl Placer {
    pub fn new(layout: &Layout) -> Self {
        Self {
            layout: layout.clone(),
            frontier: layout.data_start,
            blob: 0,
            blob_end: 0,
            shared_by: 0,
            next_side: 0,
            group: None,
        }
    }

    /// The host offset of `block`'s bytes (after a prefix, before a framing). Blocks come in ascending order, once each.
    pub fn place(&mut self, block: u64, stored: Stored, log: &mut Log) -> Result<u64> {
        self.begin_group(block, log)?;
        match stored {
            Stored::Plain => {
                let prefix = self.layout.prefix_bytes;
                let (align, phase) = (self.layout.data_align, self.layout.data_phase);
                self.sides(log)?;
                // The phase is that of the data: the prefix lies in the gap before it.
                let offset = align_to_phase(self.frontier + prefix, align, phase);
                self.advance(offset + self.layout.block_size)?;
                log.push_plain(block, offset, self.layout.stride());
                Ok(offset)
            }
            Stored::Compressed(length) => {
                let offset = self.place_blob(u64::from(length), log)?;
                log.push(COMPRESSED, block, offset, length);
                Ok(offset)
            }
        }
    }

    /// Notes blocks [first, end) as zeros: they take no place, but their tables do.
    pub fn zeros(&mut self, first: u64, end: u64, log: &mut Log) -> Result<()> {
        let mut at = first;
        while at < end {
            self.begin_group(at, log)?;
            let stop = self.layout.tables.map_or(end, |t| end.min(at - at % t.blocks + t.blocks));
            log.push_zeros(at, stop - at);
            at = stop;
        }
        Ok(())
    }

    /// Places what is due after the last block. Returns the end of everything placed.
    pub fn finish(&mut self, log: &mut Log) -> Result<u64> {
        self.end_group(log)?;
        // A disk without data has met no allocation, yet its front tables need their side tables.
        while self.layout.side.is_some_and(|s| self.frontier > self.next_side * s.every) {
            self.sides(log)?;
        }
        Ok(self.frontier)
    }

    fn place_blob(&mut self, length: u64, log: &mut Log) -> Result<u64> {
        let Some(codec) = self.layout.codec else {
            return Err(Error::internal("a compressed block in a plain layout"));
        };
        if codec.max_share == 0 {
            self.sides(log)?;
            let offset = align_to_phase(self.frontier, codec.packing, 0);
            self.advance(offset + length.next_multiple_of(codec.packing))?;
            return Ok(offset);
        }
        let room = self.blob_end - self.blob;
        let sharable = room > 0 && self.shared_by < codec.max_share;
        if sharable && length <= room {
            self.shared_by += 1;
            self.blob += length;
            return Ok(self.blob - length);
        }
        // A blob may straddle only into the cluster at the frontier: it must be the next one in the file.
        self.sides(log)?;
        let start = if sharable && self.blob_end == self.frontier { self.blob } else { self.frontier };
        self.advance(self.frontier + self.layout.block_size)?;
        self.blob = start + length;
        self.blob_end = self.frontier;
        self.shared_by = 1;
        Ok(start)
    }

    fn begin_group(&mut self, block: u64, log: &mut Log) -> Result<()> {
        let Some(tables) = self.layout.tables else {
            return Ok(());
        };
        let group = block / tables.blocks;
        if self.group != Some(group) {
            self.end_group(log)?;
            self.group = Some(group);
            if tables.place == TablePlace::Before {
                self.table(group, log)?;
            }
        }
        Ok(())
    }

    fn end_group(&mut self, log: &mut Log) -> Result<()> {
        match (self.layout.tables, self.group) {
            (Some(tables), Some(group)) if tables.place == TablePlace::After => {
                self.group = None;
                self.table(group, log)
            }
            _ => Ok(()),
        }
    }

    fn table(&mut self, group: u64, log: &mut Log) -> Result<()> {
        let Some(tables) = self.layout.tables else {
            return Ok(());
        };
        self.sides(log)?;
        let offset = align_to_phase(self.frontier + tables.marker, tables.align, 0);
        self.advance(offset + tables.bytes)?;
        log.push(TABLE, group, offset, 0);
        Ok(())
    }

    /// Gives a place to every side table whose range the frontier has entered.
    fn sides(&mut self, log: &mut Log) -> Result<()> {
        let Some(side) = self.layout.side else {
            return Ok(());
        };
        while self.frontier >= self.next_side * side.every {
            let offset = self.frontier;
            self.advance(offset + side.bytes)?;
            log.push(SIDE, self.next_side, offset, 0);
            self.next_side += 1;
        }
        Ok(())
    }

    fn advance(&mut self, frontier: u64) -> Result<()> {
        if frontier >= MAX_OFFSET {
            return Err(Error::internal("the output would pass 2^53 bytes"));
        }
        self.frontier = frontier;
        Ok(())
    }
}

/// The least offset of at least `from` that is `phase` modulo `align`.
fn align_to_phase(from: u64, align: u64, phase: u64) -> u64 {
    let over = (from + align - phase) % align;
    if over == 0 { from } else { from + (align - over) }
}
