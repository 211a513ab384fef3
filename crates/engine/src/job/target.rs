//! One target on its way to all storages: order of rotation, probe, passage, links, rotation. What is between the
//! passage and the links is `publish`'s; increments go their own way (`increment`).

use nxs_archive::frames::Codec;
use nxs_archive::index::{IndexStart, IndexWriter};
use nxs_base::calendar::{self, Destination};
use nxs_base::entry::FileTime;
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::event::Event;
use nxs_base::layout;
use nxs_base::layout::discrete::{self, ArchiveName, CompressionSuffix, Suffix};
use nxs_base::ports::source::{DumpReport, Prepared, Source, Target};
use nxs_base::ports::storage::{ObjectInfo, ObjectKey, ObjectKind};
use nxs_base::record::Record;
use nxs_base::report::{DroppedBackup, Problem, TargetReport};
use nxs_base::spec::job::SourceEntry;
use nxs_base::spec::{Compression, JobKind, JobSpec};

use super::floor::{self, Verdict};
use super::increment;
use super::log;
use super::publish::{Birth, Published, backup_id, publish};
use super::run::RunContext;
use super::slots::{bytes_to_free, end_copies, find_slots};
use super::store::Store;
use crate::catalog::{CatalogEntry, GroupId, Origin, PeriodLink};
use crate::incremental::by_log::Base;
use crate::pipeline::run::{Lane, Passage, Passed, pass};
use crate::rotation::order::drop_first;
use crate::rotation::plan::{Action, Policy, RotationItem};

/// A target and all that its dump needs.
#[derive(Clone, Copy)]
pub(super) struct TargetJob<'a> {
    pub(super) ctx: &'a RunContext<'a>,
    pub(super) job: &'a JobSpec,
    pub(super) entry: &'a SourceEntry,
    pub(super) source: &'a dyn Source,
    pub(super) target: &'a Target,
    /// How the source compressed its bytes itself; none where that is ours to do.
    pub(super) done: Option<Suffix>,
}

impl TargetJob<'_> {
    /// What is done to the bytes of the source.
    pub(super) fn compression(&self) -> Compression {
        self.done.map_or(self.entry.compression, |_| Compression::None)
    }

    /// What the name tells of that.
    fn suffix(&self) -> Suffix {
        let compression = CompressionSuffix::from(self.entry.compression);
        self.done.unwrap_or(Suffix { compression, encrypted: false })
    }
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
    let saved = match work.job.kind {
        JobKind::IncFiles => increment::save(work, stores, &started, &mut report, &mut late),
        _ => save(work, stores, &started, &mut report, &mut late),
    };
    if let Err(error) = saved {
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
    let prepared = work.source.begin(work.target, work.ctx.cancel)?;
    let saved = save_prepared(work, prepared, stores, now, report, late);
    let is_kept = saved.is_ok() && report.copies.iter().any(|copy| copy.problem.is_none());
    late.extend(work.source.settle(work.target, is_kept).err());
    saved
}

fn save_prepared(
    work: &TargetJob<'_>,
    prepared: Prepared,
    stores: &mut [Store],
    now: &jiff::Zoned,
    report: &mut TargetReport,
    late: &mut Vec<Error>,
) -> Result<()> {
    match prepared {
        Prepared::AsPlanned => save_as(work, stores, now, report, late),
        Prepared::Named { file_stem, extensions } => {
            let (extension, suffix) = discrete::split_extension(&extensions);
            let target = Target { file_stem, extension: extension.to_owned(), ..work.target.clone() };
            let group = group_of(work);
            stores.iter_mut().for_each(|store| store.rename(&group, &target.file_stem));
            let done = (suffix != Suffix::default()).then_some(suffix);
            save_as(&TargetJob { target: &target, done, ..*work }, stores, now, report, late)
        }
        Prepared::Nothing(dump) => {
            tell(work, &dump);
            report.dump = dump;
            Ok(())
        }
    }
}

fn save_as(
    work: &TargetJob<'_>,
    stores: &mut [Store],
    now: &jiff::Zoned,
    report: &mut TargetReport,
    late: &mut Vec<Error>,
) -> Result<()> {
    let base = log::base(work, stores, now)?;
    let slots = find_slots(stores, report, |number, store, dropped| {
        let destination = calendar::destination(now.date(), store.spec().retention)?;
        let slot = slot(work, store, (number, destination), base.as_ref(), now, dropped);
        Some(slot.map(|slot| (slot.key.clone(), slot)))
    });
    if slots.is_empty() {
        return Ok(());
    }

    let parents = base.as_ref().map_or_else(Vec::new, |base| base.parents.clone());
    let id = backup_id(work, now, parents.first().copied(), None);
    let lanes: Vec<Lane> =
        slots.iter().map(|s| Lane { storage: stores[s.store].storage(), key: s.key.clone() }).collect();
    let tag = work.ctx.tag();
    let codec = Codec::from(work.compression());
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
        base.as_ref().map(|base| base.position),
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
    match &base {
        None => check_floor(work, stores, &slots, &passed)?,
        // How much changed in a day tells nothing of what is there.
        Some(base) => check_begin(base, &passed)?,
    }
    let level = if base.is_none() { Record::FULL } else { Record::INCREMENT };
    let birth = Birth { id, now, level, parents, after: base.map(|base| base.archive) };
    let places: Vec<_> = slots.iter().map(|s| (s.store, s.key.clone())).collect();
    let Published { record, committed, .. } = publish(work, stores, &places, passed, &birth, report)?;
    let slots = slots.into_iter().map(|slot| (slot.store, slot));
    end_copies(stores, slots, committed, report, late, |store, slot, dropped| {
        after_commit(work, store, slot, &record, dropped)
    });
    Ok(())
}

/// Says what a dump has to say of itself.
pub(super) fn tell(work: &TargetJob<'_>, dump: &DumpReport) {
    let (job, events) = (&work.job.name, work.ctx.events);
    dump.notes.iter().for_each(|note| events.emit(&Event::Noted { job, target: &work.target.name, note }));
    dump.info.iter().for_each(|message| events.emit(&Event::Info { job, message }));
    dump.warnings.iter().for_each(|message| events.emit(&Event::Warned { job, message }));
}

/// Holds a dump against the last ones of its target, on whatever storage they lie.
fn check_floor(work: &TargetJob<'_>, stores: &[Store], slots: &[Slot], passed: &Passed) -> Result<()> {
    let Some(floor) = work.job.floor else { return Ok(()) };
    // Where no storage took the bytes, nothing is known of the dump, and the storages tell why.
    if passed.staged.iter().all(Result::is_err) {
        return Ok(());
    }
    let group = group_of(work);
    let history = slots.iter().flat_map(|slot| stores[slot.store].dumps(&group));
    match floor::judge(floor, passed.plain_bytes, history) {
        Verdict::Fine => Ok(()),
        Verdict::Small(text) => {
            let message = format!("`{}`: {text}", work.target.name);
            work.ctx.events.emit(&Event::Warned { job: &work.job.name, message: &message });
            Ok(())
        }
        Verdict::TooSmall(text) => {
            let message = format!("the dump of `{}` is not kept: {text}", work.target.name);
            Err(Error::new(ErrorKind::Corrupt, message)
                .with_hint("If so much went on purpose, set `shrink_error: 0` in the job for one run."))
        }
    }
}

/// An increment that does not begin where its parent ends is none.
fn check_begin(base: &Base, passed: &Passed) -> Result<()> {
    let begins = passed.dump.log.as_ref().map(|log| log.from);
    if begins == Some(base.position) || passed.staged.iter().all(Result::is_err) {
        return Ok(());
    }
    let text =
        format!("the increment does not follow `{}`, which ends at {}", base.archive.name, base.position);
    Err(Error::new(ErrorKind::Corrupt, text))
}

/// Whose the backups of a target are.
pub(super) fn group_id(ctx: &RunContext<'_>, job: &JobSpec, entry: &SourceEntry, target: &Target) -> GroupId {
    GroupId {
        server_name: ctx.server_name.into(),
        job: job.name.clone(),
        source: entry.index,
        root: target.root.clone(),
        part: target.part.clone(),
    }
}

pub(super) fn group_of(work: &TargetJob<'_>) -> GroupId {
    group_id(work.ctx, work.job, work.entry, work.target)
}

/// Finds the name on one storage, and lets go what has to go before the new copy is made.
fn slot(
    work: &TargetJob<'_>,
    store: &mut Store,
    (index, destination): (usize, Destination),
    base: Option<&Base>,
    now: &jiff::Zoned,
    dropped: &mut Vec<DroppedBackup>,
) -> Result<Slot> {
    let group = group_of(work);
    let parents = base.map_or(&[][..], |base| base.parents.as_slice());
    let policy = Policy {
        retention: store.spec().retention,
        now: now.timestamp(),
        upcoming: Some(calendar::periods_of(now.date())),
        allow_last: true,
    };
    let (items, decisions) = store.plan(work.ctx, work.job, &group, &policy, parents);
    let droppable: u64 = decisions
        .iter()
        .filter(|d| d.action == Action::Drop)
        .filter_map(|d| items.iter().find(|i| i.key == d.key))
        .map(|i| i.bytes)
        .fold(0, u64::saturating_add);
    let is_alike = |item: &&RotationItem| item.needs.is_empty() == parents.is_empty();
    let sizes: Vec<u64> = items.iter().filter(is_alike).map(|i| i.bytes).collect();
    if let Some(up_to_bytes) = bytes_to_free(work, store, &sizes, droppable) {
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
    let name = store.free_name(ArchiveName {
        part: work.target.part.clone(),
        period: destination.period,
        stem: work.target.file_stem.clone(),
        at: now.datetime(),
        with_seconds: false,
        extension: work.target.extension.clone(),
        suffix: work.suffix(),
    })?;
    let key = discrete::build(&name)?;
    Ok(Slot { store: index, destination, name, key })
}

/// The place of a key in the words of the configuration.
pub(super) fn path_of(store: &Store, key: &str) -> String {
    format!("{}/{key}", store.spec().backup_dir.trim_end_matches('/'))
}

/// The copy is committed: tells it, makes the links, drops what is over. Returns what went wrong.
fn after_commit(
    work: &TargetJob<'_>,
    store: &mut Store,
    slot: &Slot,
    record: &Record,
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
    store.add(CatalogEntry { name: Some(slot.name.clone()), links, ..new_entry(&slot.key, record) });
    let policy =
        Policy { retention: store.spec().retention, now: record.started, upcoming: None, allow_last: false };
    let (_, decisions) = store.plan(work.ctx, work.job, &group_of(work), &policy, &[]);
    problems.extend(store.apply(work.ctx, work.job, &decisions, dropped).err());
    problems
}

/// What a catalog says of a backup that was just committed, but for its name.
pub(super) fn new_entry(key: &ObjectKey, record: &Record) -> CatalogEntry {
    CatalogEntry {
        key: key.clone(),
        size_bytes: record.stored_bytes,
        mtime: FileTime { sec: record.finished.as_second(), nsec: 0 },
        name: None,
        increment: None,
        origin: Origin::Recorded { record: Box::new(record.clone()), record_key: layout::record_key(key) },
        index: record.index.as_ref().map(|index| ObjectInfo {
            key: layout::index_key(key),
            kind: ObjectKind::File,
            size_bytes: index.stored.bytes,
            mtime: FileTime::default(),
        }),
        links: Vec::new(),
        stand_ins: Vec::new(),
    }
}
