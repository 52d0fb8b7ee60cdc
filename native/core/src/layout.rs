//! What a writer tells the engine. src/map/layout.ts is the same in TypeScript and says what every member means.

use crate::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Guest byte n is stored at `data_start + n`.
    Flat,
    Blocks,
}

#[derive(Clone, Debug)]
pub struct Layout {
    pub packing: Packing,
    pub data_start: u64,
    pub block_size: u64,
    pub data_align: u64,
    pub data_phase: u64,
    pub prefix_bytes: u64,
    pub prefix_fill: u8,
    pub tables: Option<TableGroup>,
    pub side: Option<SideTable>,
    pub codec: Option<TargetCodec>,
    pub explicit_zeros: bool,
    pub store_all: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct TableGroup {
    pub blocks: u64,
    pub bytes: u64,
    pub align: u64,
    pub marker: u64,
    pub place: TablePlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TablePlace {
    Before,
    After,
}

#[derive(Clone, Copy, Debug)]
pub struct SideTable {
    pub every: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct TargetCodec {
    pub codec: Codec,
    pub level: u32,
    pub window_bits: u8,
    pub packing: u64,
    pub framing: Framing,
    /// Store a block that does not shrink plain; otherwise compressed all the same.
    pub incompressible_plain: bool,
    pub max_share: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// RFC 1951.
    Deflate,
    /// RFC 1950.
    Zlib,
    /// RFC 8878; `window_bits` says nothing.
    Zstd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    /// VMDK: u64 LE sector of the block, u32 LE length, before the stream.
    GrainMarker,
}

impl Framing {
    pub fn bytes(self) -> usize {
        match self {
            Self::None => 0,
            Self::GrainMarker => 12,
        }
    }
}

impl Layout {
    /// A layout that stores guest byte n at n: raw files, and reads into memory.
    pub fn flat(data_start: u64) -> Self {
        Self {
            packing: Packing::Flat,
            data_start,
            block_size: 4096,
            data_align: 1,
            data_phase: 0,
            prefix_bytes: 0,
            prefix_fill: 0,
            tables: None,
            side: None,
            codec: None,
            explicit_zeros: false,
            store_all: false,
        }
    }

    /// Refuses what the pipeline does not implement, so that a writer's mistake is an error and not a bad image.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::internal(format!("layout: {what}")));
        if !self.block_size.is_power_of_two() || self.block_size < 512 {
            return wrong("block_size must be a power of two of at least 512");
        }
        if !self.data_align.is_power_of_two() || self.data_phase >= self.data_align {
            return wrong("data_align must be a power of two above data_phase");
        }
        if let Some(t) = &self.tables
            && (t.blocks == 0 || t.bytes == 0 || !t.align.is_power_of_two())
        {
            return wrong("a table group needs blocks, bytes and an alignment");
        }
        if let Some(s) = &self.side
            && (s.every == 0 || s.bytes == 0 || s.bytes >= s.every)
        {
            return wrong("a side table must be smaller than the range it covers");
        }
        if self.explicit_zeros && self.packing == Packing::Flat {
            return wrong("a flat layout cannot tell zeros from nothing");
        }
        if self.store_all && self.codec.is_some() {
            return wrong("a layout that stores all blocks does not compress");
        }
        if let Some(c) = &self.codec {
            if !c.packing.is_power_of_two() || c.packing > 4096 {
                return wrong("packing must be a power of two of at most 4096");
            }
            if c.max_share > 0 && (self.data_align != self.block_size || c.packing != 1) {
                return wrong("blobs share clusters only where a cluster is the block and packing is 1");
            }
            if c.max_share > 0 && (!c.incompressible_plain || c.framing != Framing::None) {
                return wrong("a blob that shares clusters must be smaller than its block");
            }
            let levels = if c.codec == Codec::Zstd { 1..=22 } else { 1..=9 };
            if !levels.contains(&c.level) {
                return wrong("the codec has no such level");
            }
            if self.prefix_bytes > 0 {
                return wrong("a layout that compresses has no prefixes");
            }
            if self.block_size > 4 << 20 {
                return wrong("compressed blocks are at most 4 MiB");
            }
        }
        Ok(())
    }

    /// Whether blocks without data matter too.
    pub fn notes_zeros(&self) -> bool {
        self.packing == Packing::Blocks && (self.explicit_zeros || self.store_all)
    }

    /// From one plain block to the next in a row of them.
    pub fn stride(&self) -> u64 {
        self.prefix_bytes + self.block_size
    }
}
