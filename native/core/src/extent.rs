//! Extents of the block map, as TypeScript pushes them (src/map/extents.ts has the same numbers and meanings).

use crate::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Unallocated,
    Zero,
    Data,
    Compressed,
}

impl Kind {
    pub fn from_number(n: u8) -> Result<Self> {
        match n {
            0 => Ok(Self::Unallocated),
            1 => Ok(Self::Zero),
            2 => Ok(Self::Data),
            3 => Ok(Self::Compressed),
            _ => Err(Error::internal(format!("extent kind {n}"))),
        }
    }

    /// Whether there are bytes to move.
    pub fn has_bytes(self) -> bool {
        matches!(self, Self::Data | Self::Compressed)
    }
}

/// A run of the virtual disk with one kind and one place. Bytes.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub start: u64,
    pub length: u64,
    pub kind: Kind,
    pub file: u32,
    pub offset: u64,
    /// Compressed: at most so many stored bytes.
    pub stored: u64,
    /// Compressed: bytes of the decoded unit before `start`.
    pub skip: u64,
}

impl Extent {
    pub fn end(&self) -> u64 {
        self.start + self.length
    }

    /// The first `length` bytes, and what is left.
    pub fn split(&self, length: u64) -> (Self, Self) {
        let head = Self { length, ..*self };
        let mut tail = Self { start: self.start + length, length: self.length - length, ..*self };
        match self.kind {
            Kind::Data => tail.offset += length,
            Kind::Compressed => tail.skip += length,
            Kind::Unallocated | Kind::Zero => {}
        }
        (head, tail)
    }
}
