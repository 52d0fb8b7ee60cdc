//! The allocation log: what was placed, in order of placement, for the writer (src/map/layout.ts: `Allocation`).

pub const PLAIN: u8 = 0;
pub const COMPRESSED: u8 = 1;
pub const TABLE: u8 = 2;
pub const SIDE: u8 = 3;
pub const ZERO: u8 = 4;

/// Columns of equal length. Offsets are doubles because JavaScript takes them so; the engine keeps them below 2^53.
#[derive(Default, Debug, Clone, PartialEq)]
pub struct Log {
    pub kind: Vec<u8>,
    pub index: Vec<f64>,
    pub blocks: Vec<f64>,
    pub offset: Vec<f64>,
    pub stored: Vec<u32>,
}

impl Log {
    pub fn len(&self) -> usize {
        self.kind.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kind.is_empty()
    }

    pub fn push(&mut self, kind: u8, index: u64, offset: u64, stored: u32) {
        self.kind.push(kind);
        self.index.push(index as f64);
        self.blocks.push(1.0);
        self.offset.push(offset as f64);
        self.stored.push(stored);
    }

    /// A plain block; continues the entry before where block and offset do (`stride` from one to the next).
    pub fn push_plain(&mut self, block: u64, offset: u64, stride: u64) {
        if let Some(last) = self.kind.len().checked_sub(1)
            && self.kind[last] == PLAIN
        {
            let n = self.blocks[last];
            if self.index[last] + n == block as f64 && self.offset[last] + n * stride as f64 == offset as f64 {
                self.blocks[last] = n + 1.0;
                return;
            }
        }
        self.push(PLAIN, block, offset, 0);
    }

    /// `count` blocks of zeros, which have no place; continues the entry before.
    pub fn push_zeros(&mut self, block: u64, count: u64) {
        if let Some(last) = self.kind.len().checked_sub(1)
            && self.kind[last] == ZERO
            && self.index[last] + self.blocks[last] == block as f64
        {
            self.blocks[last] += count as f64;
            return;
        }
        self.push(ZERO, block, 0, 0);
        if let Some(blocks) = self.blocks.last_mut() {
            *blocks = count as f64;
        }
    }
}
