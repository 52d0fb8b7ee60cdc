//! Reads that JavaScript serves: sources without a descriptor (memory, later pipes, HTTP, NBD). A worker posts a request
//! and sleeps; JavaScript takes it, and answers with bytes. At most one request a worker is under way, so memory stays
//! bounded by threads × chunk.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex};

use crate::error::{Error, ErrorKind, Result};
use crate::sync::{lock, wait};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: u32,
    pub file: u32,
    pub offset: u64,
    pub length: u32,
}

#[derive(Default)]
struct State {
    next_id: u32,
    asked: VecDeque<Request>,
    answers: HashMap<u32, std::result::Result<Vec<u8>, String>>,
    closed: bool,
}

#[derive(Default)]
pub struct Ring {
    state: Mutex<State>,
    asked: Condvar,
    answered: Condvar,
}

impl Ring {
    /// Called by a worker.
    pub fn read(&self, buf: &mut [u8], file: u32, offset: u64) -> Result<()> {
        let mut state = lock(&self.state);
        let id = state.next_id;
        state.next_id = id.wrapping_add(1);
        let length = u32::try_from(buf.len()).map_err(|_| Error::internal("a read of 4 GiB or more"))?;
        state.asked.push_back(Request { id, file, offset, length });
        self.asked.notify_one();
        loop {
            if let Some(answer) = state.answers.remove(&id) {
                let bytes = answer.map_err(|why| Error::new(ErrorKind::Read, why).in_file(file, offset))?;
                if bytes.len() != buf.len() {
                    return Err(Error::internal(format!("a source gave {} bytes for {}", bytes.len(), buf.len())));
                }
                buf.copy_from_slice(&bytes);
                return Ok(());
            }
            if state.closed {
                return Err(Error::aborted());
            }
            state = wait(&self.answered, state);
        }
    }

    /// The next read to serve; none when the job is over. Blocks.
    pub fn next(&self) -> Option<Request> {
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return None;
            }
            if let Some(request) = state.asked.pop_front() {
                return Some(request);
            }
            state = wait(&self.asked, state);
        }
    }

    pub fn answer(&self, id: u32, bytes: std::result::Result<Vec<u8>, String>) {
        lock(&self.state).answers.insert(id, bytes);
        self.answered.notify_all();
    }

    pub fn close(&self) {
        lock(&self.state).closed = true;
        self.asked.notify_all();
        self.answered.notify_all();
    }
}
