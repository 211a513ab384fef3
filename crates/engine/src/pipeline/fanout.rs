//! The only bridge between the one who makes bytes and the storages that take them: bounded, reference-counted
//! blocks, one lane for each storage.
//!
//! A lane that falls behind lags in memory, in one pool for all lanes; only when the pool is full does the maker
//! wait. A lane whose storage failed is cut off; the others go on.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use nxs_base::error::{Error, ErrorKind, Result};

/// Bytes that all lanes together may hold back.
pub const POOL_BYTES: usize = 32 << 20;

/// Buffers kept to be filled again.
const SPARES: usize = 3;

struct Lane {
    queue: VecDeque<Arc<Vec<u8>>>,
    cut_off: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Complete,
    Torn,
}

struct State {
    lanes: Vec<Lane>,
    held_bytes: usize,
    spares: Vec<Vec<u8>>,
    end: End,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    pool_bytes: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn release(state: &mut State, block: Arc<Vec<u8>>) {
    let bytes = block.len();
    if let Some(buffer) = Arc::into_inner(block) {
        state.held_bytes -= bytes;
        if state.spares.len() < SPARES {
            state.spares.push(buffer);
        }
    }
}

/// The maker's side. Dropping it without [`FanOut::finish`] tears all lanes: their readers fail.
pub struct FanOut {
    shared: Arc<Shared>,
}

/// A storage's side: reads the stream. Dropping it cuts the lane off.
pub struct LaneReader {
    shared: Arc<Shared>,
    lane: usize,
    block: Option<Arc<Vec<u8>>>,
    pos: usize,
}

/// Opens a fan-out to `lanes` storages that together may hold back `pool_bytes`.
pub fn open(lanes: usize, pool_bytes: usize) -> (FanOut, Vec<LaneReader>) {
    let state = State {
        lanes: (0..lanes).map(|_| Lane { queue: VecDeque::new(), cut_off: false }).collect(),
        held_bytes: 0,
        spares: Vec::new(),
        end: End::Open,
    };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), pool_bytes });
    let readers = (0..lanes)
        .map(|lane| LaneReader { shared: Arc::clone(&shared), lane, block: None, pos: 0 })
        .collect();
    (FanOut { shared }, readers)
}

impl FanOut {
    /// Hands a block to every live lane; waits while the pool is full. Fails when no lane is left.
    pub fn push(&self, block: Vec<u8>) -> Result<()> {
        if block.is_empty() {
            return Ok(());
        }
        let bytes = block.len();
        let mut state = self.shared.lock();
        loop {
            if state.lanes.iter().all(|l| l.cut_off) {
                return Err(Error::new(ErrorKind::Other, "no storage takes the backup any more"));
            }
            if state.held_bytes == 0 || state.held_bytes + bytes <= self.shared.pool_bytes {
                break;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.held_bytes += bytes;
        let block = Arc::new(block);
        for lane in state.lanes.iter_mut().filter(|l| !l.cut_off) {
            lane.queue.push_back(Arc::clone(&block));
        }
        release(&mut state, block);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// A buffer that all lanes are done with, else a new one; its content does not matter.
    pub fn spare(&self) -> Vec<u8> {
        self.shared.lock().spares.pop().unwrap_or_default()
    }

    /// Says that the stream is whole: readers come to a clean end.
    pub fn finish(self) {
        self.shared.lock().end = End::Complete;
    }
}

impl Drop for FanOut {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.end == End::Open {
            state.end = End::Torn;
        }
        self.shared.changed.notify_all();
    }
}

impl Read for LaneReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(block) = &self.block {
                let n = buf.len().min(block.len() - self.pos);
                buf[..n].copy_from_slice(&block[self.pos..self.pos + n]);
                self.pos += n;
                if self.pos == block.len()
                    && let Some(block) = self.block.take()
                {
                    release(&mut self.shared.lock(), block);
                    self.shared.changed.notify_all();
                }
                return Ok(n);
            }
            let mut state = self.shared.lock();
            loop {
                if state.end == End::Torn {
                    return Err(Error::new(ErrorKind::Cancelled, "the source ended before its end").into_io());
                }
                if let Some(block) = state.lanes[self.lane].queue.pop_front() {
                    self.block = Some(block);
                    self.pos = 0;
                    break;
                }
                if state.end == End::Complete {
                    return Ok(0);
                }
                state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Drop for LaneReader {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(block) = self.block.take() {
            release(&mut state, block);
        }
        let queue = std::mem::take(&mut state.lanes[self.lane].queue);
        for block in queue {
            release(&mut state, block);
        }
        state.lanes[self.lane].cut_off = true;
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mut reader: LaneReader) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).map(|_| all)
    }

    #[test]
    fn every_lane_gets_every_byte_in_order() {
        let (fan, lanes) = open(3, 1000);
        let threads: Vec<_> = lanes.into_iter().map(|l| std::thread::spawn(|| drain(l))).collect();
        let mut sent = Vec::new();
        for i in 0..200u8 {
            let block = vec![i; 37];
            sent.extend_from_slice(&block);
            fan.push(block).unwrap();
        }
        fan.finish();
        for t in threads {
            assert_eq!(t.join().unwrap().unwrap(), sent);
        }
    }

    #[test]
    fn a_torn_stream_never_ends_cleanly() {
        let (fan, mut lanes) = open(1, 1000);
        fan.push(vec![1; 10]).unwrap();
        drop(fan);
        assert!(drain(lanes.remove(0)).is_err());
    }

    #[test]
    fn a_dead_lane_does_not_hold_up_the_others() {
        let (fan, mut lanes) = open(2, 100);
        let alive = lanes.remove(1);
        drop(lanes);
        let t = std::thread::spawn(|| drain(alive));
        for _ in 0..50 {
            fan.push(vec![7; 60]).unwrap();
        }
        fan.finish();
        assert_eq!(t.join().unwrap().unwrap().len(), 3000);
    }

    #[test]
    fn the_maker_fails_when_no_lane_is_left() {
        let (fan, lanes) = open(2, 100);
        fan.push(vec![0; 90]).unwrap();
        let t = std::thread::spawn(move || fan.push(vec![0; 90]).is_err());
        drop(lanes);
        assert!(t.join().unwrap());
    }

    #[test]
    fn a_block_larger_than_the_pool_passes() {
        let (fan, mut lanes) = open(1, 10);
        let t = std::thread::spawn({
            let lane = lanes.remove(0);
            || drain(lane)
        });
        fan.push(vec![1; 500]).unwrap();
        fan.push(vec![2; 500]).unwrap();
        fan.finish();
        assert_eq!(t.join().unwrap().unwrap().len(), 1000);
    }
}
