//! The threads that write small files, and what they and the reader have to tell.
//!
//! Knows how to wait until all that was handed over is done; what is written is `super::place`'s.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nxs_base::error::{Error, ErrorKind, Result};
use nxs_sys::fsx;

use super::place::{Facts, Made, Place, Writer};

/// Parcels of small files that wait for a helper.
const QUEUE: usize = 6;
/// Files, and bytes of them, after which a parcel is full: handing over each file alone would cost a wake-up each. A file
/// that waits may hold the descriptor of its directory.
const PARCEL_FILES: usize = 16;
const PARCEL_BYTES: usize = 256 << 10;
const HELPERS: usize = 2;
/// Problems that are kept word by word.
const MAX_PROBLEMS: usize = 200;

/// A small file, read whole.
pub(super) struct Job {
    pub(super) place: Place,
    pub(super) facts: Facts,
    pub(super) data: Vec<u8>,
}

/// What came of single entries.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) problems: Vec<String>,
    pub(super) count: u64,
    /// Ends the extraction.
    full: Option<Error>,
    finished_jobs: u64,
}

impl Tally {
    pub(super) fn add(&mut self, path: &[u8], error: Error) {
        self.count += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(format!("{}: {}", fsx::show(path), error.chain()));
        }
        if error.kind() == ErrorKind::Full {
            self.full.get_or_insert(error);
        }
    }

    /// A file (or all but a directory) that was made, with what its metadata met.
    pub(super) fn made(&mut self, path: &[u8], bytes: u64, made: Made) {
        match made {
            Ok(troubles) => {
                self.files += 1;
                self.bytes += bytes;
                troubles.into_iter().for_each(|error| self.add(path, error));
            }
            Err(error) => self.add(path, error),
        }
    }
}

#[derive(Default)]
struct Shared {
    tally: Mutex<Tally>,
    finished: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The helpers. Dropping it waits for them.
pub(super) struct Crew {
    shared: Arc<Shared>,
    jobs: Option<SyncSender<Vec<Job>>>,
    parcel: Vec<Job>,
    parcel_bytes: usize,
    sent_jobs: u64,
    helpers: Vec<JoinHandle<()>>,
}

impl Crew {
    pub(super) fn start(writer: &Arc<Writer>) -> Result<Self> {
        let (jobs, queue) = sync_channel::<Vec<Job>>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        let mut crew = Self {
            shared: Arc::default(),
            jobs: Some(jobs),
            parcel: Vec::new(),
            parcel_bytes: 0,
            sent_jobs: 0,
            helpers: Vec::new(),
        };
        for _ in 0..HELPERS {
            let (queue, writer, shared) = (Arc::clone(&queue), Arc::clone(writer), Arc::clone(&crew.shared));
            let helper = std::thread::Builder::new()
                .name("restore".into())
                .spawn(move || help(&queue, &writer, &shared))
                .map_err(|e| Error::io("cannot start a thread", e))?;
            crew.helpers.push(helper);
        }
        Ok(crew)
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.shared.lock()
    }

    /// Hands a file over, to be written before [`Crew::wait`] returns. Waits while too many wait.
    pub(super) fn send(&mut self, job: Job) -> Result<()> {
        self.parcel_bytes += job.data.len();
        self.parcel.push(job);
        if self.parcel.len() < PARCEL_FILES && self.parcel_bytes < PARCEL_BYTES {
            return Ok(());
        }
        self.send_parcel()?;
        self.check_full()
    }

    fn send_parcel(&mut self) -> Result<()> {
        let parcel = std::mem::take(&mut self.parcel);
        self.parcel_bytes = 0;
        let count = parcel.len() as u64;
        if count > 0 && self.jobs.as_ref().is_none_or(|jobs| jobs.send(parcel).is_err()) {
            return Err(Error::new(ErrorKind::Other, "the writing threads ended early"));
        }
        self.sent_jobs += count;
        Ok(())
    }

    /// Waits until everything that was handed over is written.
    pub(super) fn wait(&mut self) -> Result<()> {
        self.send_parcel()?;
        let mut tally = self.shared.lock();
        while tally.finished_jobs < self.sent_jobs {
            tally = self.shared.finished.wait(tally).unwrap_or_else(PoisonError::into_inner);
        }
        drop(tally);
        self.check_full()
    }

    /// The error that ends the extraction, if there was one.
    pub(super) fn check_full(&self) -> Result<()> {
        match self.shared.lock().full.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Ends the threads, once everything that was handed over is written.
    pub(super) fn join(&mut self) {
        if let Err(error) = self.send_parcel() {
            self.shared.lock().full.get_or_insert(error);
        }
        self.jobs = None;
        for helper in self.helpers.drain(..) {
            if helper.join().is_err() {
                let error = Error::new(ErrorKind::Other, "a writing thread panicked");
                self.shared.lock().full.get_or_insert(error);
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.join();
    }
}

/// Counts the files of a parcel as finished, whatever became of them.
struct Finished<'a> {
    shared: &'a Shared,
    jobs: u64,
}

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.shared.lock().finished_jobs += self.jobs;
        self.shared.finished.notify_all();
    }
}

fn help(queue: &Mutex<Receiver<Vec<Job>>>, writer: &Writer, shared: &Shared) {
    loop {
        let parcel = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(parcel) = parcel else { return };
        let finished = Finished { shared, jobs: parcel.len() as u64 };
        let write = |job: &Job| writer.file(&job.place, &job.facts, false, |out| out(&job.data));
        let all_made: Vec<Made> = parcel.iter().map(write).collect();
        let mut tally = shared.lock();
        for (job, made) in parcel.iter().zip(all_made) {
            tally.made(&job.place.path, job.data.len() as u64, made);
        }
        drop(tally);
        drop(finished);
    }
}
