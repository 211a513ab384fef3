//! Cuts a plain stream into frames and compresses them on several threads, keeping the order.
//!
//! Memory: at most `workers + 2` frames are under way, besides the one being filled, and never more than fit
//! [`BUFFER_BYTES`]; buffers are used again. What the codec needs per thread comes on top.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nxs_base::{Error, ErrorKind, Result};

use super::codec::Encoder;
use super::{Codec, FrameRecord, FrameTotals, plain_hash};

/// Room for the plain and the stored bytes of all frames under way, however many workers there are: sixteen frames of
/// 2 MiB, eight of 4 MiB.
const BUFFER_BYTES: usize = 64 << 20;

/// A frame on its way to a worker.
struct Job {
    plain: Vec<u8>,
    /// An old buffer to write into.
    stored: Vec<u8>,
    reply: SyncSender<Result<Done>>,
}

/// A frame on its way back; `spare` is the buffer that held the plain bytes.
struct Done {
    stored: Vec<u8>,
    spare: Vec<u8>,
    plain_bytes: u32,
    hash: [u8; 16],
}

/// Writes plain bytes as a sequence of frames.
///
/// `out` is called on the caller's thread, inside `write`, `cut_here` and `finish`, with the stored bytes in order, a
/// frame at a time. It may keep the buffer and leave another one, whose content does not matter. After an error every
/// further call fails. Dropping without `finish` ends the threads; what was handed to `out` by then is a torn stream.
pub struct FrameWriter<F> {
    out: F,
    frame_bytes: usize,
    filling: Vec<u8>,
    pending: VecDeque<Receiver<Result<Done>>>,
    max_pending: usize,
    spare_plain: Vec<Vec<u8>>,
    spare_stored: Vec<Vec<u8>>,
    records: Vec<FrameRecord>,
    totals: FrameTotals,
    submitted_bytes: u64,
    writes_empty_frame: bool,
    is_broken: bool,
    /// Declared last: the channel closes before the threads are joined.
    pool: Pool,
}

struct Pool {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                // A panic in a worker was reported through its closed reply channel.
                continue;
            }
        }
    }
}

impl<F: FnMut(&mut Vec<u8>) -> Result<()>> FrameWriter<F> {
    /// `workers` is the number of compressing threads, at least one; more than there can be frames under way are not
    /// started. Fails on a level that the codec does not have and when no thread can be started.
    pub fn new(codec: Codec, workers: usize, out: F) -> Result<Self> {
        let frame_bytes = codec.frame_bytes();
        let max_pending = (workers.max(1) + 2).min(BUFFER_BYTES / (2 * frame_bytes) - 1);
        let workers = workers.clamp(1, max_pending);
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let mut pool = Pool { jobs: Some(jobs), threads: Vec::with_capacity(workers) };
        for _ in 0..workers {
            let encoder = Encoder::new(codec)?;
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new()
                .name("compress".to_owned())
                .spawn(move || encode_all(encoder, &queue))
                .map_err(|e| Error::io("cannot start a compression thread", e))?;
            pool.threads.push(thread);
        }
        Ok(Self {
            out,
            frame_bytes,
            filling: Vec::new(),
            pending: VecDeque::with_capacity(max_pending),
            max_pending,
            spare_plain: Vec::new(),
            spare_stored: Vec::new(),
            records: Vec::new(),
            totals: FrameTotals::default(),
            submitted_bytes: 0,
            writes_empty_frame: codec != Codec::None,
            is_broken: false,
            pool,
        })
    }

    /// Appends plain bytes. Waits while too many frames are under way.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.guard(|this| {
            while !bytes.is_empty() {
                if this.filling.capacity() < this.frame_bytes {
                    this.filling.reserve_exact(this.frame_bytes - this.filling.len());
                }
                let room = this.frame_bytes - this.filling.len();
                let (now, later) = bytes.split_at(room.min(bytes.len()));
                this.filling.extend_from_slice(now);
                bytes = later;
                if this.filling.len() == this.frame_bytes {
                    this.submit()?;
                }
            }
            Ok(())
        })
    }

    /// Ends the frame here if at least 15 sixteenths of it are filled (a file of 128 KiB then never needs a second
    /// frame); else does nothing.
    pub fn cut_here(&mut self) -> Result<()> {
        self.guard(
            |this| if this.filling.len() >= this.frame_bytes / 16 * 15 { this.submit() } else { Ok(()) },
        )
    }

    /// Plain bytes written so far: the plain offset of the next byte.
    pub fn plain_bytes(&self) -> u64 {
        self.submitted_bytes + self.filling.len() as u64
    }

    /// Writes what is left and returns the frame table, `out` and the sums.
    ///
    /// An empty input yields one empty member or frame (with codec `None`: nothing), so that the stock tools open
    /// it.
    pub fn finish(mut self) -> Result<(Vec<FrameRecord>, F, FrameTotals)> {
        self.guard(|this| {
            let is_empty = this.records.is_empty() && this.pending.is_empty();
            if !this.filling.is_empty() || (is_empty && this.writes_empty_frame) {
                this.submit()?;
            }
            while !this.pending.is_empty() {
                this.collect_one()?;
            }
            Ok(())
        })?;
        let Self { out, records, totals, pool, .. } = self;
        drop(pool);
        Ok((records, out, totals))
    }

    fn guard(&mut self, step: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if self.is_broken {
            return Err(Error::new(
                ErrorKind::Invalid,
                "cannot write frames any more: an earlier write ended with an error",
            ));
        }
        let outcome = step(self);
        self.is_broken = outcome.is_err();
        outcome
    }

    fn submit(&mut self) -> Result<()> {
        while self.pending.len() >= self.max_pending {
            self.collect_one()?;
        }
        let next = self.spare_plain.pop().unwrap_or_default();
        let plain = std::mem::replace(&mut self.filling, next);
        self.submitted_bytes += plain.len() as u64;
        let stored = self.spare_stored.pop().unwrap_or_default();
        let (reply, answer) = sync_channel(1);
        let jobs = self.pool.jobs.as_ref().ok_or_else(thread_ended)?;
        jobs.send(Job { plain, stored, reply }).map_err(|_| thread_ended())?;
        self.pending.push_back(answer);
        self.collect_ready()
    }

    /// Hands on, in order, what is compressed already; does not wait.
    fn collect_ready(&mut self) -> Result<()> {
        while let Some(answer) = self.pending.front() {
            match answer.try_recv() {
                Ok(done) => {
                    self.pending.pop_front();
                    self.hand_on(done?)?;
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(thread_ended()),
            }
        }
        Ok(())
    }

    fn collect_one(&mut self) -> Result<()> {
        let Some(answer) = self.pending.pop_front() else { return Ok(()) };
        let done = answer.recv().map_err(|_| thread_ended())??;
        self.hand_on(done)
    }

    fn hand_on(&mut self, mut done: Done) -> Result<()> {
        let stored_bytes = u32::try_from(done.stored.len())
            .map_err(|_| Error::new(ErrorKind::Other, "cannot store a frame of more than 4 GiB"))?;
        (self.out)(&mut done.stored)?;
        self.records.push(FrameRecord {
            stored_offset: self.totals.stored_bytes,
            stored_bytes,
            plain_offset: self.totals.plain_bytes,
            plain_bytes: done.plain_bytes,
            hash: done.hash,
        });
        self.totals.stored_bytes += u64::from(stored_bytes);
        self.totals.plain_bytes += u64::from(done.plain_bytes);
        self.totals.frames += 1;
        let mut spare = done.spare;
        spare.clear();
        self.spare_plain.push(spare);
        self.spare_stored.push(done.stored);
        Ok(())
    }
}

fn thread_ended() -> Error {
    Error::new(ErrorKind::Other, "cannot compress: a compression thread ended early")
}

/// The body of a worker: ends when the writer is gone.
fn encode_all(mut encoder: Encoder, queue: &Mutex<Receiver<Job>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { mut plain, mut stored, reply }) = next else { return };
        let hash = plain_hash(&plain);
        let plain_bytes = plain.len() as u32;
        let done = encoder.encode(&mut plain, &mut stored).map(|()| Done {
            stored,
            spare: plain,
            plain_bytes,
            hash,
        });
        // A writer that is gone wants no answer; the queue then ends as well.
        if reply.send(done).is_err() {
            continue;
        }
    }
}
