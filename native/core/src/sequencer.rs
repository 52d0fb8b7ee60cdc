//! The ticket: workers finish in any order, but place in virtual order. Holds the placer and the allocation log.

use std::sync::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::log::{Log, SIDE, TABLE};
use crate::ops::Ops;
use crate::placement::{Placer, Stored};
use crate::sync::{lock, wait};

/// Log entries at which the writer is woken, and at which placing waits for it.
const WAKE: usize = 4096;
const FULL: usize = 65536;

pub struct Sequencer {
    state: Mutex<State>,
    turn: Condvar,
    logged: Condvar,
    drained: Condvar,
}

pub struct State {
    /// The ticket whose turn it is.
    next: u64,
    placer: Placer,
    log: Log,
    /// Whether a writer takes the log; otherwise it is dropped.
    logging: bool,
    /// The block that was placed last: later units of a block larger than a chunk write inside it.
    current: Option<(u64, u64)>,
    /// The last block that had no data so far: a later unit of it may have some (`explicit_zeros`).
    zero: Option<u64>,
    layout: Layout,
    /// A sequential sink waits for a table: the writer gets what there is.
    flush: bool,
    finished: bool,
    stopped: bool,
}

impl Sequencer {
    pub fn new(layout: &Layout, logging: bool) -> Self {
        let state = State {
            next: 0,
            placer: Placer::new(layout),
            log: Log::default(),
            logging,
            current: None,
            zero: None,
            layout: layout.clone(),
            flush: false,
            finished: false,
            stopped: false,
        };
        Self { state: Mutex::new(state), turn: Condvar::new(), logged: Condvar::new(), drained: Condvar::new() }
    }

    /// Blocks until it is `ticket`'s turn, and the log has room. The turn lasts until [`Self::pass`].
    pub fn wait_turn(&self, ticket: u64) -> Result<MutexGuard<'_, State>> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return Err(Error::aborted());
            }
            if state.next != ticket {
                state = wait(&self.turn, state);
            } else if state.logging && state.log.len() >= FULL {
                self.logged.notify_all();
                state = wait(&self.drained, state);
            } else {
                return Ok(state);
            }
        }
    }

    pub fn pass(&self, mut state: MutexGuard<'_, State>) {
        state.next += 1;
        if !state.logging {
            state.log = Log::default();
        }
        let wake = state.log.len() >= WAKE;
        drop(state);
        self.turn.notify_all();
        if wake {
            self.logged.notify_all();
        }
    }

    /// Takes the lock again after writing within one's turn.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// After the last unit: places what is due at the end. Returns the end of everything placed.
    pub fn finish(&self, ops: &mut Ops) -> Result<u64> {
        let mut state = lock(&self.state);
        state.settle_zero(None, ops)?;
        state.placing(ops, |placer, log| placer.finish(log))
    }

    /// No more entries will come.
    pub fn close(&self) {
        lock(&self.state).finished = true;
        self.logged.notify_all();
    }

    pub fn stop(&self) {
        lock(&self.state).stopped = true;
        self.turn.notify_all();
        self.logged.notify_all();
        self.drained.notify_all();
    }

    /// Wakes the writer for what there is.
    pub fn flush(&self) {
        lock(&self.state).flush = true;
        self.logged.notify_all();
    }

    /// The next entries, in order of placement; `None` when the job is over. Blocks.
    pub fn next_entries(&self) -> Option<Log> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return None;
            }
            let due = state.finished || state.flush || state.log.len() >= WAKE;
            if due && !state.log.is_empty() {
                state.flush = false;
                let log = std::mem::take(&mut state.log);
                drop(state);
                self.drained.notify_all();
                return Some(log);
            }
            if state.finished {
                return None;
            }
            state = wait(&self.logged, state);
        }
    }
}

impl State {
    /// The host offset of a plain block: placed now, or by an earlier unit. The flag says which.
    pub fn plain_block(&mut self, block: u64, ops: &mut Ops) -> Result<(u64, bool)> {
        if let Some((current, offset)) = self.current
            && current == block
        {
            return Ok((offset, false));
        }
        self.settle_zero(Some(block), ops)?;
        let offset = self.placing(ops, |placer, log| placer.place(block, Stored::Plain, log))?;
        self.current = Some((block, offset));
        Ok((offset, true))
    }

    pub fn compressed_block(&mut self, block: u64, length: u32, ops: &mut Ops) -> Result<u64> {
        self.settle_zero(Some(block), ops)?;
        self.placing(ops, |placer, log| placer.place(block, Stored::Compressed(length), log))
    }

    /// Blocks [first, end) have no data in this unit.
    pub fn zero_blocks(&mut self, first: u64, end: u64, ops: &mut Ops) -> Result<()> {
        let placed = self.current.is_some_and(|(block, _)| block == first);
        let first = first + u64::from(placed);
        self.settle_zero(Some(first), ops)?;
        if first < end {
            self.placing(ops, |placer, log| placer.zeros(first, end - 1, log))?;
            self.zero = Some(end - 1);
        }
        Ok(())
    }

    /// Notes the block that was left open, unless it is the one that comes next.
    fn settle_zero(&mut self, next: Option<u64>, ops: &mut Ops) -> Result<()> {
        match self.zero.take() {
            Some(block) if next != Some(block) => self.placing(ops, |placer, log| placer.zeros(block, block + 1, log)),
            _ => Ok(()),
        }
    }

    /// Runs the placer, and reserves in `ops` the places of the tables that it gave out.
    fn placing<T>(&mut self, ops: &mut Ops, place: impl FnOnce(&mut Placer, &mut Log) -> Result<T>) -> Result<T> {
        let before = self.log.len();
        let result = place(&mut self.placer, &mut self.log)?;
        for i in before..self.log.len() {
            let offset = self.log.offset[i] as u64;
            match (self.log.kind[i], self.layout.tables, self.layout.side) {
                (TABLE, Some(t), _) => ops.reserve(offset - t.marker, t.marker + t.bytes),
                (SIDE, _, Some(s)) => ops.reserve(offset, s.bytes),
                _ => {}
            }
        }
        Ok(result)
    }
}
