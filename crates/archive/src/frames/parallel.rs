//! Reads frames by their table: one thread fetches stored bytes in order, several decode and check them.
//!
//! What to read is decided by the caller: the whole table, or the frames of a range.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nxs_base::{Error, ErrorKind, Result};

use super::codec::Decoder;
use super::{Codec, FrameRecord};

/// More threads are not started: they would decompress faster than files are written, and every one holds buffers.
const MAX_WORKERS: usize = 8;

type Answer = Result<Vec<u8>>;

/// Buffers to be filled again, of whatever length and content: new ones of some MiB cost more than decompressing does
/// to be made, as the kernel clears their pages.
#[derive(Clone, Default)]
struct Spares(Arc<Mutex<Vec<Vec<u8>>>>);

impl Spares {
    fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give(&self, buffer: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

struct Job {
    record: FrameRecord,
    stored: Vec<u8>,
    reply: SyncSender<Answer>,
}

/// Yields the plain bytes of consecutive frames in order, every frame checked against its hash before its first byte
/// is yielded.
///
/// At most `workers + 2` frames are in memory, and no more than eight workers at work. Errors carry an [`Error`]:
/// [`ErrorKind::Corrupt`] naming the frame, or what the source said. Dropping it early ends the threads, after the read
/// that is under way at the source.
pub struct ParallelReader {
    answers: Option<Receiver<Receiver<Answer>>>,
    current: Vec<u8>,
    position: usize,
    spares: Spares,
    frames_left: usize,
    has_failed: bool,
    threads: Vec<JoinHandle<()>>,
}

impl ParallelReader {
    /// `source` stands at the first stored byte of `frames[0]`; bytes behind the last frame are not read.
    ///
    /// Fails with [`ErrorKind::Corrupt`] when the frames are not consecutive or too large.
    pub fn new<R: Read + Send + 'static>(
        codec: Codec,
        frames: Vec<FrameRecord>,
        workers: usize,
        source: R,
    ) -> Result<Self> {
        check_table(&frames)?;
        let workers = workers.clamp(1, MAX_WORKERS);
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let (order, answers) = sync_channel(workers);
        let mut this = Self {
            answers: Some(answers),
            current: Vec::new(),
            position: 0,
            spares: Spares::default(),
            frames_left: frames.len(),
            has_failed: false,
            threads: Vec::with_capacity(workers + 1),
        };
        for _ in 0..workers {
            let decoder = Decoder::new(codec)?;
            let (queue, spares) = (Arc::clone(&queue), this.spares.clone());
            this.start("decompress", move || decode_all(decoder, &queue, &spares))?;
        }
        let spares = this.spares.clone();
        this.start("fetch", move || fetch_all(source, frames, &jobs, &order, &spares))?;
        Ok(this)
    }

    fn start(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map_err(|e| Error::io("cannot start a decompression thread", e))?;
        self.threads.push(thread);
        Ok(())
    }

    fn next_frame(&mut self) -> Result<Option<Vec<u8>>> {
        if self.frames_left == 0 {
            return Ok(None);
        }
        let answer =
            self.answers.as_ref().and_then(|answers| answers.recv().ok()).ok_or_else(thread_ended)?;
        let plain = answer.recv().map_err(|_| thread_ended())??;
        self.frames_left -= 1;
        Ok(Some(plain))
    }
}

impl Read for ParallelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.has_failed {
            return Err(Error::new(
                ErrorKind::Invalid,
                "cannot read on: an earlier read ended with an error",
            )
            .into_io());
        }
        while self.position == self.current.len() {
            if buffer.is_empty() {
                return Ok(0);
            }
            match self.next_frame() {
                Ok(Some(plain)) => {
                    self.spares.give(std::mem::replace(&mut self.current, plain));
                    self.position = 0;
                }
                Ok(None) => return Ok(0),
                Err(e) => {
                    self.has_failed = true;
                    return Err(e.into_io());
                }
            }
        }
        let rest = &self.current[self.position..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        Ok(count)
    }
}

impl Drop for ParallelReader {
    fn drop(&mut self) {
        self.answers = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                // A panic was reported through the closed channel, to whoever still read.
                continue;
            }
        }
    }
}

fn thread_ended() -> Error {
    Error::new(ErrorKind::Other, "cannot decompress: a thread ended early")
}

fn check_table(frames: &[FrameRecord]) -> Result<()> {
    for frame in frames {
        frame.check_bounds()?;
    }
    for pair in frames.windows(2) {
        if pair[0].stored_end() != pair[1].stored_offset || pair[0].plain_end() != pair[1].plain_offset {
            return Err(pair[1].corrupt("it does not begin where the frame before it ends"));
        }
    }
    Ok(())
}

/// Reads the stored bytes of every frame and queues them; ends at the first error, or when nobody reads any more.
fn fetch_all(
    mut source: impl Read,
    frames: Vec<FrameRecord>,
    jobs: &Sender<Job>,
    order: &SyncSender<Receiver<Answer>>,
    spares: &Spares,
) {
    for record in frames {
        let (reply, answer) = sync_channel(1);
        if order.send(answer).is_err() {
            return;
        }
        let mut stored = spares.take();
        stored.resize(record.stored_bytes as usize, 0);
        if let Err(e) = source.read_exact(&mut stored) {
            let error = if e.kind() == io::ErrorKind::UnexpectedEof {
                record.corrupt("the stored bytes end inside it")
            } else {
                Error::from_io(format!("cannot read the frame at stored byte {}", record.stored_offset), e)
            };
            // Nobody is left to be told when the reader is gone.
            drop(reply.send(Err(error)));
            return;
        }
        if jobs.send(Job { record, stored, reply }).is_err() {
            return;
        }
    }
}

/// The body of a worker: ends when the fetching thread is gone.
fn decode_all(mut decoder: Decoder, queue: &Mutex<Receiver<Job>>, spares: &Spares) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { record, mut stored, reply }) = next else { return };
        let mut plain = spares.take();
        let answer = decoder.decode(&record, &mut stored, &mut plain).map(|()| plain);
        spares.give(stored);
        if reply.send(answer).is_err() {
            // The reader is gone; the fetching thread sees it too, and closes the queue.
            continue;
        }
    }
}
