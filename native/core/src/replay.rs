//! Placement alone, over the bits that a scan left: what a copy would report, before any data moves. It lets a writer
//! make the tables that a stream needs ahead of their data.

use crate::error::Result;
use crate::layout::Layout;
use crate::log::Log;
use crate::placement::{Placer, Stored};

pub struct Replay {
    placer: Placer,
    stored: Vec<u8>,
    /// Next byte of `stored` to look at.
    at: usize,
    host_end: Option<u64>,
}

impl Replay {
    pub fn new(layout: &Layout, stored: Vec<u8>) -> Self {
        Self { placer: Placer::new(layout), stored, at: 0, host_end: None }
    }

    /// At least `entries` more entries (if there are so many), or none at the end.
    pub fn next(&mut self, entries: usize) -> Result<Option<Log>> {
        let mut log = Log::default();
        while log.len() < entries && self.at < self.stored.len() {
            let byte = self.stored[self.at];
            for bit in (0..8).filter(|bit| byte >> bit & 1 == 1) {
                self.placer.place(self.at as u64 * 8 + bit, Stored::Plain, &mut log)?;
            }
            self.at += 1;
        }
        if self.at == self.stored.len() && self.host_end.is_none() {
            self.host_end = Some(self.placer.finish(&mut log)?);
        }
        Ok((!log.is_empty()).then_some(log))
    }

    /// The end of everything placed, once [`Self::next`] gave nothing more.
    pub fn host_end(&self) -> Option<u64> {
        self.host_end
    }
}
