//! One artefact through the pipeline: takes plain bytes as a [`Sink`], compresses, digests, fans out, and brings
//! the storages' staged (complete, unpublished) objects back together with what was seen on the way.

use std::io::Read;
use std::sync::Arc;
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

struct PipeSink<'a> {
    frames: FrameWriter<Out<'a>>,
    index: Option<IndexWriter>,
    plain_bytes: u64,
    reported_bytes: u64,
    begun: bool,
    cancel: &'a Cancel,
    progress: &'a dyn Fn(u64),
}

type Out<'a> = Box<dyn FnMut(&mut Vec<u8>) -> Result<()> + 'a>;

impl Sink for PipeSink<'_> {
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

/// Dumps `target` of `source` through the pipeline into staged objects, reading the source once.
/// `Err` means that the source (or every storage) failed and nothing is left staged; a single storage's failure
/// is in [`Passed::staged`]. `index` is an empty index to fill; dropped when the artefact has none.
pub fn pass(
    source: &dyn Source,
    target: &Target,
    index: IndexWriter,
    passage: Passage<'_>,
) -> Result<Passed> {
    let (fan, readers) = fanout::open(passage.lanes.len(), POOL_BYTES);
    thread::scope(|scope| {
        let threads: Vec<_> = passage
            .lanes
            .iter()
            .zip(readers)
            .map(|(lane, reader)| {
                let tag = passage.tag;
                scope.spawn(move || stage_lane(lane, tag, reader))
            })
            .collect();

        let made = make(source, target, fan, index, &passage);
        let staged: Vec<Result<Box<dyn Pending>>> = threads
            .into_iter()
            .map(|t| {
                t.join()
                    .unwrap_or_else(|_| Err(Error::new(ErrorKind::Other, "the storage's thread panicked")))
            })
            .collect();
        match made {
            Ok(made) => Ok(Passed { staged, ..made }),
            Err(error) => {
                // When no storage took the bytes, the storages know why.
                if error.kind() != ErrorKind::Cancelled
                    && staged.iter().all(Result::is_err)
                    && staged.iter().any(|s| s.as_ref().is_err_and(|e| e.kind() != ErrorKind::Cancelled))
                {
                    return Ok(Passed {
                        plain_bytes: 0,
                        archive: Digest::default().finish(),
                        frames: Vec::new(),
                        totals: FrameTotals::default(),
                        index: None,
                        dump: DumpReport::default(),
                        staged,
                    });
                }
                Err(error)
            }
        }
    })
}

fn stage_lane(lane: &Lane, tag: &PartTag, mut reader: LaneReader) -> Result<Box<dyn Pending>> {
    lane.storage.stage(&lane.key, tag, &mut reader as &mut dyn Read)
}

fn make(
    source: &dyn Source,
    target: &Target,
    fan: FanOut,
    index: IndexWriter,
    passage: &Passage<'_>,
) -> Result<Passed> {
    let mut digest = Digest::default();
    let out: Out<'_> = Box::new(|stored: &mut Vec<u8>| {
        digest.update(stored);
        fan.push(std::mem::replace(stored, fan.spare()))
    });
    let frames = FrameWriter::new(passage.codec, passage.workers, out)?;
    let (frames, index, plain_bytes, dump) = {
        let mut sink = PipeSink {
            frames,
            index: Some(index),
            plain_bytes: 0,
            reported_bytes: 0,
            begun: false,
            cancel: passage.cancel,
            progress: passage.progress,
        };
        let dump = source.dump(target, &mut sink, passage.cancel)?;
        (sink.frames, sink.index, sink.plain_bytes, dump)
    };
    let (frames, out, totals) = frames.finish()?;
    drop(out);
    passage.cancel.check()?;
    fan.finish();
    Ok(Passed { plain_bytes, archive: digest.finish(), frames, totals, index, dump, staged: Vec::new() })
}
