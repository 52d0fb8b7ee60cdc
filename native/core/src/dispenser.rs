//! Cuts the block map into units of work: aligned chunks of what the map covers, with the extents that matter in them.
//! Chunks without any are never seen by a worker, so an empty terabyte costs no more than its extents. Where zeros matter
//! by themselves they come in units of many chunks.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

use crate::error::{Error, Result};
use crate::extent::{Extent, Kind};
use crate::sync::{lock, wait};

/// Batches that may wait; the pusher pauses beyond it. A batch is at most 4096 extents (230 KiB).
const QUEUE: usize = 4;
/// Chunks of a unit without bytes: bounds what one turn places.
const LONG: u64 = 64;

/// Which extents the workers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Give {
    /// Those that have bytes.
    Bytes,
    /// Those of which the map says something.
    Known,
    All,
}

/// Bytes [start, end) from the map's start on: an aligned chunk, cut at the end, or many without bytes. Tickets count up
/// by one in virtual order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    pub ticket: u64,
    pub start: u64,
    pub end: u64,
}

struct State {
    queue: VecDeque<VecDeque<Extent>>,
    /// Extents of the unit being gathered; it lives here so that any worker can go on with it.
    part: Vec<Extent>,
    part_start: u64,
    part_end: u64,
    /// How far the map was consumed, and pushed.
    consumed: u64,
    pushed: u64,
    next_ticket: u64,
    closed: bool,
    stopped: bool,
}

pub struct Dispenser {
    state: Mutex<State>,
    pushed: Condvar,
    room: Condvar,
    chunk: u64,
    map_start: u64,
    map_end: u64,
    give: Give,
    /// Whether zeros are bytes like others (`-S 0`).
    zeros_are_bytes: bool,
}

impl Dispenser {
    pub fn new(map_start: u64, map_end: u64, chunk: u64, give: Give, zeros_are_bytes: bool) -> Self {
        let state = State {
            queue: VecDeque::new(),
            part: Vec::new(),
            part_start: 0,
            part_end: 0,
            consumed: 0,
            pushed: map_start,
            next_ticket: 0,
            closed: false,
            stopped: false,
        };
        Self {
            state: Mutex::new(state),
            pushed: Condvar::new(),
            room: Condvar::new(),
            chunk,
            map_start,
            map_end,
            give,
            zeros_are_bytes,
        }
    }

    /// Takes the next extents of the map, which must go on where the last batch ended.
    pub fn push(&self, mut batch: Vec<Extent>) -> Result<()> {
        let mut state = lock(&self.state);
        let mut pushed = state.pushed;
        for extent in &mut batch {
            if extent.start != pushed || extent.length == 0 || extent.length > self.map_end - extent.start {
                return Err(Error::internal(format!(
                    "the block map goes from {} to [{}, +{}) of [{}, {})",
                    pushed, extent.start, extent.length, self.map_start, self.map_end
                )));
            }
            pushed = extent.end();
            extent.start -= self.map_start;
        }
        state.pushed = pushed;
        state.queue.push_back(batch.into());
        drop(state);
        self.pushed.notify_all();
        Ok(())
    }

    /// Blocks until another batch is welcome. False: the job is over, push no more.
    pub fn wait_room(&self) -> bool {
        let mut state = lock(&self.state);
        while state.queue.len() >= QUEUE && !state.stopped {
            state = wait(&self.room, state);
        }
        !state.stopped
    }

    /// The map is complete.
    pub fn close(&self) -> Result<()> {
        let mut state = lock(&self.state);
        if state.pushed != self.map_end {
            return Err(Error::internal(format!("the block map ends at {} of {}", state.pushed, self.map_end)));
        }
        state.closed = true;
        drop(state);
        self.pushed.notify_all();
        Ok(())
    }

    pub fn stop(&self) {
        lock(&self.state).stopped = true;
        self.pushed.notify_all();
        self.room.notify_all();
    }

    /// The next unit and its extents, in order; `None` at the end of the map.
    pub fn next(&self, segments: &mut Vec<Extent>) -> Result<Option<Unit>> {
        segments.clear();
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return Err(Error::aborted());
            }
            let complete = self.gather(&mut state);
            if complete || (state.closed && !state.part.is_empty()) {
                std::mem::swap(&mut state.part, segments);
                let (ticket, start) = (state.next_ticket, state.part_start);
                state.next_ticket += 1;
                return Ok(Some(Unit { ticket, start, end: state.part_end.min(self.map_end - self.map_start) }));
            }
            if state.closed {
                return Ok(None);
            }
            state = wait(&self.pushed, state);
        }
    }

    fn gives(&self, kind: Kind) -> bool {
        match self.give {
            Give::Bytes => kind.has_bytes(),
            Give::Known => kind != Kind::Unallocated,
            Give::All => true,
        }
    }

    /// Moves extents from the queue into the unit being gathered; true when the unit is complete.
    fn gather(&self, state: &mut State) -> bool {
        loop {
            if !state.part.is_empty() && state.consumed >= state.part_end {
                return true;
            }
            let Some(batch) = state.queue.front_mut() else {
                return false;
            };
            let Some(extent) = batch.pop_front() else {
                state.queue.pop_front();
                self.room.notify_all();
                continue;
            };
            if !self.gives(extent.kind) {
                state.consumed = extent.end();
                continue;
            }
            if state.part.is_empty() {
                let start = extent.start - extent.start % self.chunk;
                let long = !extent.kind.has_bytes() && !self.zeros_are_bytes;
                let chunks = if long { ((extent.end() - start) / self.chunk).clamp(1, LONG) } else { 1 };
                state.part_start = start;
                state.part_end = start + chunks * self.chunk;
            } else if extent.start >= state.part_end {
                // An extent without bytes led past the chunk's end.
                batch.push_front(extent);
                return true;
            }
            let take = extent.length.min(state.part_end - extent.start);
            let (head, tail) = extent.split(take);
            if tail.length > 0 {
                batch.push_front(tail);
            }
            state.consumed = head.end();
            state.part.push(head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: u64, length: u64, kind: Kind) -> Extent {
        Extent { start, length, kind, file: 0, offset: start + 7, stored: 0, skip: 0 }
    }

    #[test]
    fn units_are_aligned_chunks_with_bytes() {
        let d = Dispenser::new(0, 10_000, 1024, Give::Bytes, false);
        d.push(vec![extent(0, 100, Kind::Zero), extent(100, 1500, Kind::Data)]).unwrap();
        d.push(vec![extent(1600, 7000, Kind::Unallocated), extent(8600, 1400, Kind::Data)]).unwrap();
        d.close().unwrap();
        let mut segments = Vec::new();
        let mut seen = Vec::new();
        while let Some(unit) = d.next(&mut segments).unwrap() {
            let parts: Vec<_> = segments.iter().map(|s| (s.start, s.length, s.offset)).collect();
            seen.push((unit.ticket, unit.start, unit.end, parts));
        }
        assert_eq!(
            seen,
            [
                (0, 0, 1024, vec![(100, 924, 107)]),
                (1, 1024, 2048, vec![(1024, 576, 1031)]),
                (2, 8192, 9216, vec![(8600, 616, 8607)]),
                (3, 9216, 10_000, vec![(9216, 784, 9223)]),
            ]
        );
    }

    #[test]
    fn zeros_that_matter_come_in_long_units_from_the_maps_start() {
        let d = Dispenser::new(512, 512 + 100 * 1024, 1024, Give::Known, false);
        d.push(vec![extent(512, 100, Kind::Unallocated), extent(612, 80 * 1024, Kind::Zero)]).unwrap();
        d.push(vec![extent(612 + 80 * 1024, 20 * 1024 - 100, Kind::Unallocated)]).unwrap();
        d.close().unwrap();
        let mut segments = Vec::new();
        let mut seen = Vec::new();
        while let Some(unit) = d.next(&mut segments).unwrap() {
            seen.push((unit.start, unit.end, segments.iter().map(|s| (s.start, s.length)).collect::<Vec<_>>()));
        }
        let end = 80 * 1024;
        assert_eq!(
            seen,
            [
                (0, 64 * 1024, vec![(100, 64 * 1024 - 100)]),
                (64 * 1024, end, vec![(64 * 1024, 16 * 1024)]),
                (end, end + 1024, vec![(end, 100)]),
            ]
        );
    }

    #[test]
    fn a_gap_an_overlap_and_a_short_map_are_refused() {
        let d = Dispenser::new(0, 100, 1024, Give::Bytes, false);
        assert!(d.push(vec![extent(1, 10, Kind::Data)]).is_err());
        d.push(vec![extent(0, 10, Kind::Data)]).unwrap();
        assert!(d.push(vec![extent(9, 10, Kind::Data)]).is_err());
        assert!(d.push(vec![extent(10, 91, Kind::Data)]).is_err());
        assert!(d.close().is_err());
    }
}
