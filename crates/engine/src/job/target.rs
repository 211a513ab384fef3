//! One target on its way to all storages: order of rotation, probe, passage, commit, links, rotation.
//!
//! The commit point of a copy is its record: archive, index and record are staged (complete and durable under
//! partial names) before the first of them is published, and the record is published last.

use nxs_archive::frames::Codec;
use nxs_archive::index::{IndexStart, IndexWriter};
use nxs_base::calendar::{self, Destination};
use nxs_base::entry::FileTime;
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::event::Event;
use nxs_base::layout;
use nxs_base::layout::discrete::{self, ArchiveName, CompressionSuffix, Suffix};
use nxs_base::ports::source::{DumpReport, Source, Target};
use nxs_base::ports::storage::{ObjectInfo, ObjectKey, ObjectKind, PartTag, Pending, Storage};
use nxs_base::record::{BackupId, Completeness, IndexDigest, Record, StoredDigest};
use nxs_base::report::{CopyOutcome, DroppedBackup, Problem, TargetReport};
use nxs_base::spec::JobSpec;
use nxs_base::spec::job::SourceEntry;

use super::run::RunContext;
use super::store::Store;
use crate::catalog::{CatalogEntry, GroupId, Origin, PeriodLink, sweep};
use crate::pipeline::digest::{Digest, Digests};
use crate::pipeline::run::{Lane, Passage, Passed, pass};
use crate::rotation::order::{Order, decide_order, drop_first};
use crate::rotation::plan::{Action, Policy};

/// A target and all that its dump needs.
pub(super) struct TargetJob<'a> {
    pub(super) ctx: &'a RunContext<'a>,
    pub(super) job: &'a JobSpec,
    pub(super) entry: &'a SourceEntry,
    pub(super) source: &'a dyn Source,
    pub(super) target: &'a Target,
}

/// A storage that takes this target today.
struct Slot {
    /// Place in the list of stores.
    store: usize,
    destination: Destination,
    name: ArchiveName,
    key: ObjectKey,
}

/// Saves one target. Everything that went wrong with it is in the report; beside it stands what went wrong after a
/// copy was committed, which makes that copy no less complete.
pub(super) fn run_target(work: &TargetJob<'_>, stores: &mut [Store]) -> (TargetReport, Vec<Error>) {
    let ctx = work.ctx;
    let started = ctx.clock.now();
    ctx.events.emit(&Event::TargetStarted { job: &work.job.name, target: &work.target.name });
    let mut report = TargetReport {
        source: work.entry.index,
        target: work.target.name.clone(),
        root: work.target.root.clone(),
        problem: None,
        dump: DumpReport::default(),
        plain_bytes: 0,
        stored_bytes: 0,
        started: started.timestamp(),
        finished: started.timestamp(),
        copies: Vec::new(),
    };
    let mut late = Vec::new();
    if let Err(error) = save(work, stores, &started, &mut report, &mut late) {
        let problem = Problem::from(&error);
        ctx.events.emit(&Event::Failed { job: &work.job.name, problem: &problem });
        report.problem = Some(problem);
    }
    for copy in &report.copies {
        if let Some(problem) = &copy.problem {
            ctx.events.emit(&Event::Failed { job: &work.job.name, problem });
        }
    }
    report.finished = ctx.clock.now().timestamp();
    (report, late)
}

fn save(
    work: &TargetJob<'_>,
    stores: &mut [Store],
    now: &jiff::Zoned,
    report: &mut TargetReport,
    late: &mut Vec<Error>,
) -> Result<()> {
    work.source.probe(work.target)?;
    let mut slots = Vec::new();
    for (index, store) in stores.iter_mut().enumerate() {
        let Some(destination) = calendar::destination(now.date(), store.spec().retention) else { continue };
        let mut dropped = Vec::new();
        let (key, problem) = match slot(work, store, index, destination, now, &mut dropped) {
            Ok(slot) => {
                let key = slot.key.as_str().to_owned();
                slots.push(slot);
                (key, None)
            }
            Err(error) => (String::new(), Some(Problem::from(&error))),
        };
        report.copies.push(CopyOutcome { storage: store.spec().name.clone(), key, problem, dropped });
    }
    if slots.is_empty() {
        return Ok(());
    }

    let id = backup_id(work, now);
    let lanes: Vec<Lane> =
        slots.iter().map(|s| Lane { storage: stores[s.store].storage(), key: s.key.clone() }).collect();
    let tag = work.ctx.tag();
    let codec = Codec::from(work.entry.compression);
    let index = IndexWriter::new(IndexStart {
        archive_id: id.0.to_be_bytes(),
        codec,
        root: work.target.root.clone().into_bytes(),
    })?;
    let progress = |plain_bytes| {
        work.ctx.events.emit(&Event::Progress { target: &work.target.name, plain_bytes });
    };
    let passed = pass(
        work.source,
        work.target,
        index,
        Passage {
            lanes: &lanes,
            tag: &tag,
            codec,
            workers: work.ctx.workers,
            cancel: work.ctx.cancel,
            progress: &progress,
        },
    )?;
    finish(work, stores, slots, passed, Birth { id, now }, report, late)
}

/// Name and moment of a backup.
struct Birth<'a> {
    id: BackupId,
    now: &'a jiff::Zoned,
}

/// Builds index and record once, then brings every staged copy to its commit.
fn finish(
    work: &TargetJob<'_>,
    stores: &mut [Store],
    slots: Vec<Slot>,
    passed: Passed,
    birth: Birth<'_>,
    report: &mut TargetReport,
    late: &mut Vec<Error>,
) -> Result<()> {
    let Passed { plain_bytes, archive, frames, totals, index, dump, staged } = passed;
    report.dump = dump;
    report.plain_bytes = plain_bytes;
    report.stored_bytes = archive.bytes;
    for note in &report.dump.notes {
        work.ctx.events.emit(&Event::Noted { job: &work.job.name, target: &work.target.name, note });
    }
    let index = match index {
        Some(index) => Some(index.finish(&frames, totals)?),
        None => None,
    };
    let index_digest = index.as_ref().map(|index| {
        let mut digest = Digest::default();
        for chunk in index.chunks() {
            digest.update(chunk);
        }
        IndexDigest { stored: stored_digest(digest.finish()), plain_bytes: index.plain_bytes() }
    });
    let record = record(work, &birth, &archive, plain_bytes, index_digest, &report.dump);
    let line = record.to_line();
    let made = slots.first().map(|s| path_of(&stores[s.store], s.key.as_str())).unwrap_or_default();
    work.ctx.events.emit(&Event::ArtefactMade { job: &work.job.name, path: &made });
    for (slot, staged) in slots.into_iter().zip(staged) {
        let store = &mut stores[slot.store];
        let made = staged.and_then(|pending| {
            verify_size(&slot.key, pending.size_bytes(), archive.bytes)?;
            let tag = work.ctx.tag();
            let mut parts: Vec<Box<dyn Pending>> = vec![pending];
            if let Some(index) = &index {
                let key = layout::index_key(&slot.key);
                parts.push(store.storage().stage(&key, &tag, &mut index.reader())?);
            }
            let record_key = layout::record_key(&slot.key);
            parts.push(store.storage().stage(&record_key, &tag, &mut line.as_bytes())?);
            work.ctx.cancel.check()?;
            commit(store.storage().as_ref(), &tag, &slot.key, parts)
        });
        let Some(copy) = report.copies.iter_mut().find(|c| c.storage == store.spec().name) else { continue };
        match made {
            Ok(()) => {
                late.extend(after_commit(work, store, &slot, &record, archive.bytes, &mut copy.dropped))
            }
            Err(error) => copy.problem = Some(Problem::from(&error)),
        }
    }
    Ok(())
}

/// Publishes archive, index and record, in this order. If one of them fails, what was published goes again: no archive
/// stays without its record.
fn commit(
    storage: &dyn Storage,
    tag: &PartTag,
    archive: &ObjectKey,
    parts: Vec<Box<dyn Pending>>,
) -> Result<()> {
    let size_bytes = parts.first().map_or(0, |p| p.size_bytes());
    let mut parts = parts.into_iter();
    let mut published = 0;
    let mut failed = None;
    for part in parts.by_ref() {
        match part.commit() {
            Ok(()) => published += 1,
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let Some(mut error) = failed else { return Ok(()) };
    // A commit that failed may have taken effect; but what was there before is somebody else's.
    let is_foreign = error.kind() == ErrorKind::Exists;
    let is_ours = || storage.stat(archive).is_ok_and(|info| info.size_bytes == size_bytes);
    if published == 0 && (is_foreign || !is_ours()) {
        return Err(error);
    }
    if let Err(left) = take_back(storage, tag, archive, published < 2 || !is_foreign) {
        let hint = format!("`{archive}` is no backup, and not all of it could be removed: {}", left.chain());
        error = error.with_hint(hint);
        // The partial of the record outlives the archive: the next sweep goes on.
        std::mem::forget(parts);
    }
    Err(error)
}

/// Removes an archive that was published without its record; the partial of the record goes last, so that a death in
/// between is swept.
fn take_back(storage: &dyn Storage, tag: &PartTag, archive: &ObjectKey, with_record: bool) -> Result<()> {
    let record = layout::record_key(archive);
    let tombstone = ObjectKey::new(format!("{}/{}", record.dir(), tag.part_name(record.file_name())))?;
    let mut is_withdrawn = false;
    if with_record {
        match storage.rename(&record, &tombstone) {
            Ok(()) => is_withdrawn = true,
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    for key in [layout::index_key(archive), archive.clone()] {
        sweep::delete_if_there(storage, &key)?;
    }
    if is_withdrawn {
        sweep::delete_if_there(storage, &tombstone)?;
    }
    Ok(())
}

fn verify_size(key: &ObjectKey, is: u64, should: u64) -> Result<()> {
    if is == should {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        format!("cannot store `{key}`: {is} bytes arrived, {should} were sent"),
    ))
}

fn stored_digest(digests: Digests) -> StoredDigest {
    StoredDigest { blake3: digests.blake3, sha256: digests.sha256, bytes: digests.bytes }
}

fn record(
    work: &TargetJob<'_>,
    birth: &Birth<'_>,
    archive: &Digests,
    plain_bytes: u64,
    index: Option<IndexDigest>,
    dump: &DumpReport,
) -> Record {
    let now = birth.now;
    Record {
        id: birth.id,
        program: format!("nxs-backup {}", env!("CARGO_PKG_VERSION")),
        server_name: work.ctx.server_name.into(),
        host: work.ctx.host.into(),
        job: work.job.name.clone(),
        source: work.entry.index,
        target: work.target.name.clone(),
        part: work.target.part.clone(),
        root: work.target.root.clone(),
        kind: work.job.kind.name().into(),
        level: "full".into(),
        parents: Vec::new(),
        started: now.timestamp(),
        finished: work.ctx.clock.now().timestamp(),
        local: now.datetime(),
        plain_bytes,
        compressed_bytes: archive.bytes,
        stored_bytes: archive.bytes,
        archive: stored_digest(archive.clone()),
        index,
        compression: compression_text(work.entry.compression),
        recipients: Vec::new(),
        tools: Vec::new(),
        completeness: if dump.gaps() == 0 { Completeness::Complete } else { Completeness::Gaps },
        counts: dump.counts.iter().map(|(kind, n)| (kind.name().to_owned(), *n)).collect(),
        periods: calendar::periods_of(now.date()),
        files: dump.files,
        dirs: dump.dirs,
    }
}

fn compression_text(compression: nxs_base::spec::Compression) -> String {
    use nxs_base::spec::Compression as C;
    match compression {
        C::None => "none".into(),
        C::Gzip(level) => format!("gzip-{level}"),
        C::Zstd(level) => format!("zstd-{level}"),
    }
}

/// An id that no other backup has: from the run, the job, the target and the moment.
fn backup_id(work: &TargetJob<'_>, now: &jiff::Zoned) -> BackupId {
    let mut hasher = blake3::Hasher::new();
    for part in [work.ctx.run_id, work.ctx.host, &work.job.name, &work.target.root] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(&work.entry.index.to_le_bytes());
    hasher.update(&now.timestamp().as_nanosecond().to_le_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    BackupId(u128::from_be_bytes(short))
}

/// Whose the backups of a target are.
pub(super) fn group_id(ctx: &RunContext<'_>, job: &JobSpec, entry: &SourceEntry, target: &Target) -> GroupId {
    GroupId {
        server_name: ctx.server_name.into(),
        job: job.name.clone(),
        source: entry.index,
        root: target.root.clone(),
    }
}

fn group_of(work: &TargetJob<'_>) -> GroupId {
    group_id(work.ctx, work.job, work.entry, work.target)
}

/// Finds the name on one storage, and lets go what has to go before the new copy is made.
fn slot(
    work: &TargetJob<'_>,
    store: &mut Store,
    index: usize,
    destination: Destination,
    now: &jiff::Zoned,
    dropped: &mut Vec<DroppedBackup>,
) -> Result<Slot> {
    let group = group_of(work);
    let policy = Policy {
        retention: store.spec().retention,
        now: now.timestamp(),
        upcoming: Some(calendar::periods_of(now.date())),
        allow_last: true,
    };
    let (items, decisions) = store.plan(work.ctx, work.job, &group, &policy);
    let droppable: u64 = decisions
        .iter()
        .filter(|d| d.action == Action::Drop)
        .filter_map(|d| items.iter().find(|i| i.key == d.key))
        .map(|i| i.bytes)
        .fold(0, u64::saturating_add);
    let sizes: Vec<u64> = items.iter().map(|i| i.bytes).collect();
    let free = store.free_bytes(work.ctx, work.job);
    match decide_order(work.job.rotation, free, &sizes, droppable) {
        Order::NewFirst { room_is_short: false } => {}
        Order::NewFirst { room_is_short: true } => {
            let message = format!(
                "{}: there is hardly room for a new backup of `{}`, and dropping all that may go would not make it; \
                 nothing is dropped before the new one is complete",
                store.spec().name,
                work.target.name
            );
            work.ctx.events.emit(&Event::Warned { job: &work.job.name, message: &message });
        }
        Order::DropFirst { up_to_bytes } => {
            let drops = drop_first(&decisions, &items, up_to_bytes);
            let complete_left =
                items.iter().filter(|i| i.complete).any(|i| !drops.iter().any(|d| d.key == i.key));
            if !drops.is_empty() && !complete_left && items.iter().any(|i| i.complete) {
                let message = format!(
                    "{}: the last complete copy of `{}` goes first, there is no room for two; no complete copy exists \
                     until this run ends",
                    store.spec().name,
                    work.target.name
                );
                work.ctx.events.emit(&Event::Warned { job: &work.job.name, message: &message });
            }
            store.apply(work.ctx, work.job, &drops, dropped)?;
        }
    }
    let name = store.free_name(ArchiveName {
        part: work.target.part.clone(),
        period: destination.period,
        stem: work.target.file_stem.clone(),
        at: now.datetime(),
        with_seconds: false,
        extension: work.target.extension.clone(),
        suffix: Suffix { compression: CompressionSuffix::from(work.entry.compression), encrypted: false },
    })?;
    let key = discrete::build(&name)?;
    Ok(Slot { store: index, destination, name, key })
}

/// The place of a key in the words of the configuration.
fn path_of(store: &Store, key: &str) -> String {
    format!("{}/{key}", store.spec().backup_dir.trim_end_matches('/'))
}

/// The copy is committed: tells it, makes the links, drops what is over. Returns what went wrong.
fn after_commit(
    work: &TargetJob<'_>,
    store: &mut Store,
    slot: &Slot,
    record: &Record,
    bytes: u64,
    dropped: &mut Vec<DroppedBackup>,
) -> Vec<Error> {
    let mut problems = Vec::new();
    let storage = store.storage();
    let file = path_of(store, slot.key.as_str());
    work.ctx.events.emit(&Event::CopyMade {
        job: &work.job.name,
        period: slot.destination.period.name(),
        file: &file,
        dir: &path_of(store, slot.key.dir()),
        storage: &store.spec().name,
    });
    let mut links = Vec::new();
    if storage.caps().links {
        for period in slot.destination.links.iter() {
            let made = discrete::build(&slot.name.in_period(period))
                .and_then(|key| storage.link(&key, &slot.key).map(|()| key));
            let key = match made {
                Ok(key) => key,
                Err(error) => {
                    problems.push(error);
                    continue;
                }
            };
            work.ctx.events.emit(&Event::CopyMade {
                job: &work.job.name,
                period: period.name(),
                file: &file,
                dir: &path_of(store, key.dir()),
                storage: &store.spec().name,
            });
            links.push(PeriodLink { period, key, leads_to_archive: true });
        }
    }
    store.add(CatalogEntry {
        key: slot.key.clone(),
        size_bytes: bytes,
        mtime: FileTime { sec: record.finished.as_second(), nsec: 0 },
        name: Some(slot.name.clone()),
        increment: None,
        origin: Origin::Recorded {
            record: Box::new(record.clone()),
            record_key: layout::record_key(&slot.key),
        },
        index: record.index.as_ref().map(|index| ObjectInfo {
            key: layout::index_key(&slot.key),
            kind: ObjectKind::File,
            size_bytes: index.stored.bytes,
            mtime: FileTime::default(),
        }),
        links,
        stand_ins: Vec::new(),
    });
    let policy =
        Policy { retention: store.spec().retention, now: record.started, upcoming: None, allow_last: false };
    let (_, decisions) = store.plan(work.ctx, work.job, &group_of(work), &policy);
    problems.extend(store.apply(work.ctx, work.job, &decisions, dropped).err());
    problems
}
