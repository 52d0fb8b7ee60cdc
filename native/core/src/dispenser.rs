//! Cuts the block map into units of work: aligned chunks of the virtual disk, with the extents that have bytes in them.
//! Chunks without bytes are never seen by a worker, so an empty terabyte costs no more than its extents.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::sync::{lock, wait};

/// Batches that may wait; the pusher pauses beyond it. A batch is at most 4096 extents (230 KiB).
const QUEUE: usize = 4;

/// Guest bytes [start, end): an aligned chunk, cut at the end of the disk. Tickets count up by one in virtual order.
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
    /// Give out zeros too (`-S 0`).
    zeros: bool,
}

impl Dispenser {
    pub fn new(map_start: u64, map_end: u64, chunk: u64, zeros: bool) -> Self {
        let state = State {
            queue: VecDeque::new(),
            part: Vec::new(),
            part_end: 0,
            consumed: map_start,
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
            zeros,
        }
    }

    /// Takes the next extents of the map, which must go on where the last batch ended.
    pub fn push(&self, batch: Vec<Extent>) -> Result<()> {
        let mut state = lock(&self.state);
        let mut pushed = state.pushed;
        for extent in &batch {
            if extent.start != pushed || extent.length == 0 || extent.length > self.map_end - extent.start {
                return Err(Error::internal(format!(
                    "the block map goes from {} to [{}, +{}) of [{}, {})",
                    pushed, extent.start, extent.length, self.map_start, self.map_end
                )));
            }
            pushed = extent.end();
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
                let end = state.part_end;
                let ticket = state.next_ticket;
                state.next_ticket += 1;
                return Ok(Some(Unit { ticket, start: end - self.chunk, end: end.min(self.map_end) }));
            }
            if state.closed {
                return Ok(None);
            }
            state = wait(&self.pushed, state);
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
            if !extent.kind.has_bytes() && !self.zeros {
                state.consumed = extent.end();
                continue;
            }
            if state.part.is_empty() {
                state.part_end = extent.start - extent.start % self.chunk + self.chunk;
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
    use crate::extent::Kind;

    fn extent(start: u64, length: u64, kind: Kind) -> Extent {
        Extent { start, length, kind, file: 0, offset: start + 7, stored: 0, skip: 0 }
    }

    #[test]
    fn units_are_aligned_chunks_with_bytes() {
        let d = Dispenser::new(0, 10_000, 1024, false);
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
    fn a_gap_an_overlap_and_a_short_map_are_refused() {
        let d = Dispenser::new(0, 100, 1024, false);
        assert!(d.push(vec![extent(1, 10, Kind::Data)]).is_err());
        d.push(vec![extent(0, 10, Kind::Data)]).unwrap();
        assert!(d.push(vec![extent(9, 10, Kind::Data)]).is_err());
        assert!(d.push(vec![extent(10, 91, Kind::Data)]).is_err());
        assert!(d.close().is_err());
    }
}
