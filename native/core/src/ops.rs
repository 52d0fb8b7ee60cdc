//! What a unit writes where.

/// Where an operation's bytes are, in the worker that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The chunk as the guest sees it.
    Chunk(usize),
    /// The encoded blocks.
    Encoded(usize),
    /// A constant.
    Fill(u8),
    /// A table that the writer will supply.
    Writer,
}

impl From {
    fn plus(self, n: usize) -> Self {
        match self {
            Self::Chunk(at) => Self::Chunk(at + n),
            Self::Encoded(at) => Self::Encoded(at + n),
            same => same,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub offset: u64,
    pub length: u64,
    pub from: From,
}

/// The writes of one unit, neighbours merged. Ascending by offset where the layout only appends.
#[derive(Default)]
pub struct Ops {
    pub list: Vec<Op>,
}

impl Ops {
    pub fn push(&mut self, offset: u64, length: u64, from: From) {
        if let Some(last) = self.list.last_mut()
            && last.offset + last.length == offset
            && last.from.plus(last.length as usize) == from
            && from != From::Writer
        {
            last.length += length;
            return;
        }
        self.list.push(Op { offset, length, from });
    }

    pub fn reserve(&mut self, offset: u64, length: u64) {
        self.push(offset, length, From::Writer);
    }
}
