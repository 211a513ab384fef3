//! `verify`: proves that the copies of a job can be restored, without restoring them.
//!
//! A copy is sound when its record can be read, archive and index have the sizes and digests of the record, every
//! frame decodes to what the index says, and the archive's members are those of the index, at their places. With a
//! sample only some frames are read, the first and the last among them. An increment is as good as what it needs: its
//! parents are verified before it, once, and told with it. Where only an index is damaged the archive is proved without.
//! What is not to be trusted is data in the report; nothing is changed on any storage.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use nxs_archive::frames::{FrameReader, FrameRecord, ParallelReader, decode_frame};
use nxs_archive::index::IndexReader;
use nxs_archive::tar::TarReader;
use nxs_base::entry::IndexEntry;
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::layout::index_key;
use nxs_base::ports::storage::{ObjectKey, Storage};
use nxs_base::report::Problem;
use nxs_base::spec::{JobSpec, StorageSpec};
use nxs_base::tail::Tail;
use nxs_sys::fsx;

use crate::incremental::rebuild;
use crate::job::RunContext;
use crate::pipeline::digest::Digest;
use crate::restore::fetch::{self, RangedObject};
use crate::restore::leased;
use crate::restore::rebuilt::is_damage;
use crate::restore::select::{self, Candidate, Copy, Shelf, Wanted};

const PART: &str = "What changed last is there, but not the rest.";

/// What to verify.
#[derive(Debug, Clone)]
pub struct Request {
    pub target: Option<String>,
    /// Only the newest backup of each target that started at or before this; none = all backups.
    pub at: Option<Timestamp>,
    /// Share of the frames to read, 1 to 100.
    pub sample_percent: u8,
}

/// One copy that was looked at.
#[derive(Debug, Clone)]
pub struct Verified {
    pub storage: String,
    pub key: String,
    pub target: String,
    pub started: Timestamp,
    /// False for backups without a record, of which only the stream itself could be checked.
    pub is_recorded: bool,
    /// False if the backup has gaps: intact, but made without some files.
    pub is_complete: bool,
    /// Stored bytes that were read.
    pub read_bytes: u64,
    pub finding: Finding,
}

/// How a copy was found.
#[derive(Debug, Clone)]
pub enum Finding {
    Sound,
    /// The archive is sound; the index can be made of it again. Restores are slower without.
    IndexDamaged(Problem),
    Damaged(Problem),
    /// Sound itself, perhaps; a parent that it needs is missing or damaged.
    BrokenChain(Problem),
}

impl Finding {
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Sound => None,
            Self::IndexDamaged(problem) | Self::Damaged(problem) | Self::BrokenChain(problem) => {
                Some(problem)
            }
        }
    }

    /// Whether all of the backup can be brought back from this copy.
    pub fn is_restorable(&self) -> bool {
        matches!(self, Self::Sound | Self::IndexDamaged(_))
    }
}

#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    pub copies: Vec<Verified>,
    /// Damage outside the copies: records without archives, links that lead nowhere. With the storage's name.
    pub damage: Vec<(String, Problem)>,
    /// Archives without a record, which belong to nobody and were not looked at. With the storage's name.
    pub orphans: Vec<(String, String)>,
    /// Storages that could not be read.
    pub problems: Vec<Problem>,
}

impl VerifyReport {
    pub fn sound(&self) -> usize {
        self.copies.iter().filter(|c| c.finding.problem().is_none()).count()
    }

    pub fn damaged(&self) -> usize {
        self.copies.len() - self.sound() + self.damage.len()
    }
}

/// Verifies the copies of one job. `each` hears of every copy when it is done. Fails only when cancelled.
pub fn run(
    ctx: &RunContext<'_>,
    job: &JobSpec,
    storages: &[(StorageSpec, Arc<dyn Storage>)],
    request: &Request,
    each: &mut dyn FnMut(&Verified),
) -> Result<VerifyReport> {
    let (shelves, problems) = select::shelves(storages);
    let mut report =
        VerifyReport { problems: problems.iter().map(Problem::from).collect(), ..Default::default() };
    let zone = ctx.clock.now().time_zone().clone();
    let wanted = Wanted { target: request.target.as_deref(), at: request.at, ..Default::default() };
    let mut chosen = select::candidates(job, ctx.server_name, &shelves, &wanted, &zone);
    if request.at.is_some() {
        chosen = select::newest(chosen, job, &wanted).unwrap_or_default();
    }
    let mut told = BTreeSet::new();
    // By storage and archive: whether it can be restored.
    let mut known: HashMap<(String, ObjectKey), bool> = HashMap::new();
    let place = |copy: &Copy| (copy.storage_name.clone(), copy.entry.key.clone());
    leased(ctx, job, &chosen, || -> Result<()> {
        for (candidate, copy) in chosen.iter().flat_map(|c| c.copies.iter().map(move |copy| (c, copy))) {
            // What it needs before it.
            for copy in copy.with_parents().into_iter().rev() {
                if known.contains_key(&place(&copy)) {
                    continue;
                }
                ctx.cancel.check()?;
                let mut read_bytes = 0;
                let parents = copy.parents.iter().flatten();
                let broken = parents.rev().find(|parent| {
                    known.get(&(copy.storage_name.clone(), parent.key.clone())) == Some(&false)
                });
                let finding = check(ctx, job, candidate, &copy, request.sample_percent, &mut read_bytes)?;
                let finding = match (finding, broken) {
                    (Finding::Sound | Finding::IndexDamaged(_), Some(parent)) => {
                        Finding::BrokenChain(Problem::from(&needs(&copy, &parent.key)))
                    }
                    (finding, _) => finding,
                };
                if finding.problem().is_some() {
                    told.insert((copy.storage_name.clone(), index_key(&copy.entry.key)));
                }
                known.insert(place(&copy), finding.is_restorable());
                let verified = Verified {
                    storage: copy.storage_name.clone(),
                    key: copy.entry.key.to_string(),
                    target: candidate.target.clone(),
                    started: copy.entry.started(&zone),
                    is_recorded: copy.entry.record().is_some(),
                    is_complete: copy.entry.is_complete(),
                    read_bytes,
                    finding,
                };
                each(&verified);
                report.copies.push(verified);
            }
        }
        Ok(())
    })?;
    if request.target.is_none() && request.at.is_none() {
        for shelf in &shelves {
            outside(shelf, &told, &mut report.damage);
            let orphans = shelf.catalog.orphans.iter();
            report.orphans.extend(orphans.map(|o| (shelf.spec.name.clone(), o.key.to_string())));
        }
    }
    Ok(report)
}

fn needs(copy: &Copy, parent: &ObjectKey) -> Error {
    let text = format!("`{}` needs `{parent}`, which cannot be restored", copy.entry.key);
    Error::new(ErrorKind::Corrupt, text).with_hint(PART)
}

/// What a catalog holds against a storage, beside its backups.
fn outside(shelf: &Shelf, told: &BTreeSet<(String, ObjectKey)>, damage: &mut Vec<(String, Problem)>) {
    let name = &shelf.spec.name;
    for found in &shelf.catalog.damaged {
        if !told.contains(&(name.clone(), found.key.clone())) {
            let mut problem = Problem::from(&found.problem);
            if !problem.message.contains(found.key.as_str()) {
                problem.message = format!("`{}`: {}", found.key, problem.message);
            }
            damage.push((name.clone(), problem));
        }
    }
    for key in &shelf.catalog.dangling {
        let error = Error::new(ErrorKind::NotFound, format!("the link `{key}` leads to no backup"));
        damage.push((name.clone(), Problem::from(&error)));
    }
}

/// Looks at one copy by itself. Fails only when cancelled.
fn check(
    ctx: &RunContext<'_>,
    job: &JobSpec,
    candidate: &Candidate,
    copy: &Copy,
    sample_percent: u8,
    read_bytes: &mut u64,
) -> Result<Finding> {
    let finding = |error: Error, finding: fn(Problem) -> Finding| match error.kind() {
        ErrorKind::Cancelled => Err(error),
        _ => Ok(finding(Problem::from(&error))),
    };
    if copy.parents.is_none() {
        return finding(copy.broken().with_hint(PART), Finding::BrokenChain);
    }
    let index = match index_of(candidate, copy, read_bytes) {
        Ok(index) => index,
        Err(why) if is_damage(&why) => {
            if let Err(error) = whole(ctx, copy, None, read_bytes) {
                return finding(error, Finding::Damaged);
            }
            let text = format!("the index of `{}` cannot be used, its archive is sound", copy.entry.key);
            let hint = format!("Make it again: `nxs-backup index rebuild {}`.", job.name);
            return finding(
                Error::new(why.kind(), text).with_source(why).with_hint(hint),
                Finding::IndexDamaged,
            );
        }
        Err(error) => return finding(error, Finding::Damaged),
    };
    let checked = match &index {
        Some(index) if index.header().is_foreign => {
            *read_bytes += copy.entry.size_bytes;
            rebuild::compare(copy, index, ctx.cancel)
        }
        Some(index) if sample_percent < 100 => sample(ctx, copy, index, sample_percent, read_bytes),
        _ => whole(ctx, copy, index.as_ref(), read_bytes),
    };
    match checked {
        Ok(()) => Ok(Finding::Sound),
        Err(error) => finding(error, Finding::Damaged),
    }
}

/// The index, held against the record; none for a backup that has none.
fn index_of(
    candidate: &Candidate,
    copy: &Copy,
    read_bytes: &mut u64,
) -> Result<Option<IndexReader<Vec<u8>>>> {
    if copy.entry.index.is_none() && copy.entry.record().is_some_and(|record| record.index.is_some()) {
        return Err(Error::new(ErrorKind::NotFound, "it is missing or was cut"));
    }
    let index = fetch::load_index(copy)?;
    if let Some(index) = &index {
        *read_bytes += copy.entry.index.as_ref().map_or(0, |i| i.size_bytes);
        same_backup(candidate, copy, index)?;
    }
    Ok(index)
}

/// An index that describes another archive, or another state of this one, is damage.
fn same_backup(candidate: &Candidate, copy: &Copy, index: &IndexReader<Vec<u8>>) -> Result<()> {
    let header = index.header();
    let Some(record) = copy.entry.record() else { return Ok(()) };
    let fits = header.archive_id == record.id.0.to_be_bytes()
        && header.plain_bytes == record.plain_bytes
        && header.stored_bytes == record.compressed_bytes;
    if fits {
        return Ok(());
    }
    let message =
        format!("the index of `{}` ({}) belongs to another archive", copy.entry.key, candidate.target);
    Err(Error::new(ErrorKind::Corrupt, message))
}

/// A reader that digests what passes.
struct Tee<R> {
    inner: R,
    digest: Arc<Mutex<Digest>>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.digest.lock().unwrap_or_else(PoisonError::into_inner).update(&buf[..n]);
        Ok(n)
    }
}

/// Reads the archive once: digests of the stored bytes, every frame, every member.
fn whole(
    ctx: &RunContext<'_>,
    copy: &Copy,
    index: Option<&IndexReader<Vec<u8>>>,
    read_bytes: &mut u64,
) -> Result<()> {
    let is_tar = copy.entry.name.as_ref().is_none_or(|n| n.extension == "tar");
    let digest = Arc::new(Mutex::new(Digest::default()));
    let stored = Tee { inner: copy.storage.get(&copy.entry.key, None)?, digest: Arc::clone(&digest) };
    let codec = fetch::codec_of(copy);
    let plain: Box<dyn Read> = match index {
        Some(index) => Box::new(ParallelReader::new(codec, frames_of(copy, index)?, ctx.workers, stored)?),
        None => Box::new(FrameReader::new(codec, stored)?),
    };
    let mut plain = io::BufReader::with_capacity(256 << 10, plain);
    let passed = if is_tar { members(ctx, &mut plain, index) } else { Ok(()) };
    let passed = passed.and_then(|()| drain(ctx, &mut plain)).and_then(|tail| ends_well(copy, &tail));
    drop(plain);
    let digests = std::mem::take(&mut *digest.lock().unwrap_or_else(PoisonError::into_inner)).finish();
    *read_bytes += digests.bytes;
    passed.map_err(|e| {
        Error::new(e.kind(), format!("`{}` on {} is damaged", copy.entry.key, copy.storage_name))
            .with_source(e)
    })?;
    let Some(record) = copy.entry.record() else { return Ok(()) };
    if digests.sha256 != record.archive.sha256 || digests.blake3 != record.archive.blake3 {
        let message = format!("`{}` on {} is not what its record says", copy.entry.key, copy.storage_name);
        return Err(
            Error::new(ErrorKind::Corrupt, message).with_hint("Its SHA-256 differs from the record's.")
        );
    }
    Ok(())
}

/// The frame table, if it covers the stored archive exactly.
fn frames_of(copy: &Copy, index: &IndexReader<Vec<u8>>) -> Result<Vec<FrameRecord>> {
    let frames = index.all_frames()?;
    let end = frames.last().map_or(0, FrameRecord::stored_end);
    if end != copy.entry.size_bytes || frames.first().is_some_and(|f| f.stored_offset != 0) {
        let message =
            format!("`{}` has {} bytes, its index knows {end}", copy.entry.key, copy.entry.size_bytes);
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    Ok(frames)
}

/// Walks the members, and the index beside them.
fn members(ctx: &RunContext<'_>, plain: &mut dyn Read, index: Option<&IndexReader<Vec<u8>>>) -> Result<()> {
    let mut tar = TarReader::new(plain);
    // What was removed since the parent's state, or could not be read, stands in the index alone.
    let is_member = |e: &Result<IndexEntry>| e.as_ref().map_or(true, IndexEntry::is_member);
    let mut entries = index.map(|index| index.entries().filter(is_member));
    while let Some(header) = tar.next()? {
        ctx.cancel.check()?;
        tar.skip_data()?;
        let Some(entries) = &mut entries else { continue };
        let differs = || {
            let message = format!("the index misplaces `{}`", fsx::show(&header.path));
            Error::new(ErrorKind::Corrupt, message)
        };
        let entry = entries.next().ok_or_else(differs)??;
        let same = entry.path == header.path
            && entry.meta.kind == header.meta.kind
            && entry.meta.size_bytes == header.meta.size_bytes
            && entry.offset == header.offset
            && entry.stored_bytes == header.stored_bytes();
        if !same {
            return Err(differs());
        }
    }
    match entries.and_then(|mut e| e.next()).transpose()? {
        None => Ok(()),
        Some(entry) => {
            let message = format!("the archive lacks `{}`, which its index has", fsx::show(&entry.path));
            Err(Error::new(ErrorKind::Corrupt, message))
        }
    }
}

/// Reads to the end; the last bytes, among which an end marker stands, come back.
fn drain(ctx: &RunContext<'_>, plain: &mut dyn Read) -> Result<Tail> {
    let mut buffer = vec![0; 256 << 10];
    let mut tail = Tail::default();
    loop {
        ctx.cancel.check()?;
        match plain.read(&mut buffer) {
            Ok(0) => return Ok(tail),
            Ok(n) => {
                tail.push(&buffer[..n]);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::from_io("cannot read the archive", e)),
        }
    }
}

/// A dump that says where it ends has to.
fn ends_well(copy: &Copy, tail: &Tail) -> Result<()> {
    let Some(marker) = copy.entry.record().and_then(|record| record.end_marker.as_deref()) else {
        return Ok(());
    };
    if tail.holds(marker) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, format!("the dump does not end with `{marker}`")))
}

/// Reads some frames: the first, the last, and a share of the others that differs from backup to backup and from
/// day to day, so that in time all are seen.
fn sample(
    ctx: &RunContext<'_>,
    copy: &Copy,
    index: &IndexReader<Vec<u8>>,
    percent: u8,
    read_bytes: &mut u64,
) -> Result<()> {
    let frames = frames_of(copy, index)?;
    let codec = fetch::codec_of(copy);
    let object = RangedObject::new(Arc::clone(&copy.storage), copy.entry.key.clone(), copy.entry.size_bytes);
    let day = ctx.clock.now().date().to_string();
    let last = frames.len().saturating_sub(1);
    for (number, frame) in frames.iter().enumerate() {
        if number != 0 && number != last && !is_drawn(copy.entry.key.as_str(), &day, number, percent) {
            continue;
        }
        ctx.cancel.check()?;
        let length = frame.stored_bytes as usize;
        let damaged = |e: Error| {
            Error::new(e.kind(), format!("`{}` on {} is damaged", copy.entry.key, copy.storage_name))
                .with_source(e)
        };
        let stored =
            nxs_archive::index::ReadAt::read_at(&object, frame.stored_offset, length).map_err(damaged)?;
        decode_frame(codec, frame, stored).map_err(damaged)?;
    }
    *read_bytes += object.read_bytes();
    Ok(())
}

fn is_drawn(key: &str, day: &str, number: usize, percent: u8) -> bool {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(day.as_bytes());
    hasher.update(&number.to_le_bytes());
    let mut draw = [0; 4];
    draw.copy_from_slice(&hasher.finalize().as_bytes()[..4]);
    u32::from_le_bytes(draw) % 100 < u32::from(percent)
}
