//! One artefact through the pipeline: takes plain bytes as a [`Sink`], compresses, digests, fans out, and brings
//! the storages' staged (complete, unpublished) objects back together with what was seen on the way.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nxs_archive::frames::{Codec, FrameRecord, FrameTotals, FrameWriter};
use nxs_archive::index::IndexWriter;
use nxs_base::entry::IndexEntry;
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::ports::source::{Artefact, Cancel, DumpReport, Sink, Source, Target};
use nxs_base::ports::storage::{ObjectKey, PartTag, Pending, Storage};

use super::digest::{Digest, Digests};
use super::fanout::{self, FanOut, LaneReader, POOL_BYTES};

/// Plain bytes between two progress reports.
const PROGRESS_STEP: u64 = 4 << 20;

/// Where a copy goes.
pub struct Lane {
    pub storage: Arc<dyn Storage>,
    pub key: ObjectKey,
}

/// What came out of the pipeline for one artefact.
pub struct Passed {
    pub plain_bytes: u64,
    pub archive: Digests,
    pub frames: Vec<FrameRecord>,
    pub totals: FrameTotals,
    /// Index under construction, where the artefact has one.
    pub index: Option<IndexWriter>,
    pub dump: DumpReport,
    /// One per lane, in order.
    pub staged: Vec<Result<Box<dyn Pending>>>,
}

/// One artefact on its way: frames, digest and fan-out behind a [`Sink`].
struct Pipe<'a> {
    frames: FrameWriter<Out>,
    digest: Arc<Mutex<Digest>>,
    fan: Arc<FanOut>,
    index: Option<IndexWriter>,
    plain_bytes: u64,
    reported_bytes: u64,
    begun: bool,
    cancel: &'a Cancel,
    progress: &'a dyn Fn(u64),
}

type Out = Box<dyn FnMut(&mut Vec<u8>) -> Result<()>>;

impl<'a> Pipe<'a> {
    fn open(fan: FanOut, index: IndexWriter, passage: &Passage<'a>) -> Result<Self> {
        let digest = Arc::new(Mutex::new(Digest::default()));
        let fan = Arc::new(fan);
        let (to_digest, to_fan) = (Arc::clone(&digest), Arc::clone(&fan));
        let out: Out = Box::new(move |stored: &mut Vec<u8>| {
            to_digest.lock().unwrap_or_else(PoisonError::into_inner).update(stored);
            to_fan.push(std::mem::replace(stored, to_fan.spare()))
        });
        Ok(Self {
            frames: FrameWriter::new(passage.codec, passage.workers, out)?,
            digest,
            fan,
            index: Some(index),
            plain_bytes: 0,
            reported_bytes: 0,
            begun: false,
            cancel: passage.cancel,
            progress: passage.progress,
        })
    }

    /// Ends the stream; the storages come to a clean end. Dropped without this, they fail.
    fn finish(self, dump: DumpReport) -> Result<Passed> {
        let (frames, out, totals) = self.frames.finish()?;
        drop(out);
        self.cancel.check()?;
        let fan = Arc::into_inner(self.fan)
            .ok_or_else(|| Error::new(ErrorKind::Other, "the stream is still in use at its end"))?;
        fan.finish();
        let digest = std::mem::take(&mut *self.digest.lock().unwrap_or_else(PoisonError::into_inner));
        let (plain_bytes, archive) = (self.plain_bytes, digest.finish());
        Ok(Passed { plain_bytes, archive, frames, totals, index: self.index, dump, staged: Vec::new() })
    }
}

impl Sink for Pipe<'_> {
    fn begin(&mut self, artefact: Artefact) -> Result<()> {
        if self.begun {
            return Err(Error::new(ErrorKind::Unsupported, "a second artefact of one target"));
        }
        self.begun = true;
        if !artefact.has_index {
            self.index = None;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.plain_bytes += bytes.len() as u64;
        if self.plain_bytes - self.reported_bytes >= PROGRESS_STEP {
            self.reported_bytes = self.plain_bytes;
            self.cancel.check()?;
            (self.progress)(self.plain_bytes);
        }
        self.frames.write(bytes)
    }

    fn cut_here(&mut self) -> Result<()> {
        self.frames.cut_here()
    }

    fn entry(&mut self, entry: &IndexEntry) -> Result<()> {
        self.index.as_mut().map_or(Ok(()), |index| index.push(entry))
    }
}

/// Settings of one passage.
pub struct Passage<'a> {
    pub lanes: &'a [Lane],
    pub tag: &'a PartTag,
    pub codec: Codec,
    pub workers: usize,
    pub cancel: &'a Cancel,
    /// Gets the plain bytes so far.
    pub progress: &'a dyn Fn(u64),
}

/// Dumps `target` of `source` through the pipeline into staged objects, reading the source once; with `after`, what
/// changed since that position in its log.
/// `Err` means that the source (or every storage) failed and nothing is left staged; a single storage's failure
/// is in [`Passed::staged`]. `index` is an empty index to fill; dropped when the artefact has none.
pub fn pass(
    source: &dyn Source,
    target: &Target,
    after: Option<u64>,
    index: IndexWriter,
    passage: Passage<'_>,
) -> Result<Passed> {
    let cancel = passage.cancel;
    let mut dump = |sinks: &mut [&mut dyn Sink]| {
        let dumped = sinks.iter_mut().map(|sink| match after {
            None => source.dump(target, &mut **sink, cancel),
            Some(position) => source.dump_after(target, position, &mut **sink, cancel),
        });
        Ok(dumped.collect())
    };
    let passed = pass_each(vec![(passage, index)], &mut dump)?;
    passed.into_iter().next().unwrap_or_else(|| Err(Error::new(ErrorKind::Other, "nothing was dumped")))
}

/// Fills the sinks, one per passage; one answer for each. `Err` ends all.
pub type Dump<'a> = &'a mut dyn FnMut(&mut [&mut dyn Sink]) -> Result<Vec<Result<DumpReport>>>;

/// As [`pass`], with several artefacts from one look at the source.
pub fn pass_each(passages: Vec<(Passage<'_>, IndexWriter)>, dump: Dump<'_>) -> Result<Vec<Result<Passed>>> {
    let pool_bytes = POOL_BYTES / passages.len().max(1);
    thread::scope(|scope| {
        let mut pipes = Vec::new();
        let mut staging = Vec::new();
        for (passage, index) in passages {
            let (fan, readers) = fanout::open(passage.lanes.len(), pool_bytes);
            let (lanes, tag) = (passage.lanes, passage.tag);
            let threads = lanes.iter().zip(readers);
            let threads = threads.map(|(lane, reader)| scope.spawn(move || stage_lane(lane, tag, reader)));
            staging.push(threads.collect::<Vec<_>>());
            pipes.push(Pipe::open(fan, index, &passage)?);
        }
        let mut sinks: Vec<&mut dyn Sink> = pipes.iter_mut().map(|pipe| pipe as &mut dyn Sink).collect();
        let dumped = dump(&mut sinks);
        let made: Vec<Result<Passed>> = match dumped {
            Ok(reports) => {
                pipes.into_iter().zip(reports).map(|(pipe, report)| pipe.finish(report?)).collect()
            }
            Err(error) => {
                // Dropping the pipes ends the storages' threads.
                let others = pipes.iter().skip(1).map(|_| Err(Error::new(error.kind(), error.chain())));
                let others: Vec<_> = others.collect();
                drop(pipes);
                std::iter::once(Err(error)).chain(others).collect()
            }
        };
        let joined = staging.into_iter().map(|threads| {
            let joined = threads.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(Error::new(ErrorKind::Other, "the storage's thread panicked")))
            });
            joined.collect::<Vec<_>>()
        });
        Ok(made.into_iter().zip(joined).map(|(made, staged)| settle(made, staged)).collect())
    })
}

/// Puts together what became of the stream and of its copies.
fn settle(made: Result<Passed>, staged: Vec<Result<Box<dyn Pending>>>) -> Result<Passed> {
    match made {
        Ok(made) => Ok(Passed { staged, ..made }),
        // When no storage took the bytes, the storages know why.
        Err(error)
            if error.kind() != ErrorKind::Cancelled
                && staged.iter().all(Result::is_err)
                && staged.iter().any(|s| s.as_ref().is_err_and(|e| e.kind() != ErrorKind::Cancelled)) =>
        {
            Ok(Passed {
                plain_bytes: 0,
                archive: Digest::default().finish(),
                frames: Vec::new(),
                totals: FrameTotals::default(),
                index: None,
                dump: DumpReport::default(),
                staged,
            })
        }
        Err(error) => Err(error),
    }
}

fn stage_lane(lane: &Lane, tag: &PartTag, mut reader: LaneReader) -> Result<Box<dyn Pending>> {
    lane.storage.stage(&lane.key, tag, &mut reader as &mut dyn Read)
}
