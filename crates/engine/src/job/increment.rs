//! One target of incremental backups on its way to all storages: the chain of each storage, the level that is due
//! there, one walk for all, as many archives as there are different parents.
//!
//! A storage whose chain cannot be gone on with (a record or an index is damaged or missing) takes the nearest valid
//! parent, and a warning says so; an increment against a guess is never made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nxs_archive::frames::Codec;
use nxs_archive::index::{IndexReader, IndexStart, IndexWriter};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::event::Event;
use nxs_base::layout::discrete::{CompressionSuffix, Suffix};
use nxs_base::layout::incremental::{self, ArchiveName, Place};
use nxs_base::ports::source::{self, Baseline};
use nxs_base::ports::storage::ObjectKey;
use nxs_base::record::{BackupId, Record};
use nxs_base::report::{DroppedBackup, TargetReport};
use nxs_base::spec::Rotation;

use super::publish::{Birth, Published, backup_id, publish};
use super::slots::{bytes_to_free, end_copies, find_slots};
use super::store::Store;
use super::target::{TargetJob, group_of, new_entry, path_of};
use super::v2;
use crate::catalog::CatalogEntry;
use crate::incremental::chain::Chain;
use crate::incremental::level::{Level, Link, Step, next_step};
use crate::incremental::retention;
use crate::incremental::state::State;
use crate::pipeline::run::{Lane, Passage, pass_each};
use crate::restore::fetch;
use crate::restore::select::Copy;
use crate::rotation::plan::{Action, Decision, Reason};

type Index = Arc<IndexReader<Vec<u8>>>;

/// Indexes of parents.
#[derive(Default)]
struct Indexes {
    /// Whole in memory (compressed), from whichever storage had one first: the copies of a backup are the same. Not so
    /// those of version 2, which made an archive for each storage: they are told apart by its place in the list.
    loaded: BTreeMap<(Option<usize>, BackupId), Index>,
    /// Those that a storage does not have, by its place in the list.
    lost: BTreeSet<(usize, BackupId)>,
}

impl Indexes {
    fn of(&self, store: usize, id: BackupId) -> Option<&Index> {
        self.loaded.get(&(None, id)).or_else(|| self.loaded.get(&(Some(store), id)))
    }
}

/// What one storage gets.
struct Slot {
    store: usize,
    step: Step,
    name: ArchiveName,
    key: ObjectKey,
    /// The parent and its parents.
    parents: Vec<BackupId>,
    /// The storage, if archives of version 2 are among them: then no other storage has the same parents.
    alone: Option<usize>,
}

pub(super) fn save(
    work: &TargetJob<'_>,
    stores: &mut [Store],
    now: &jiff::Zoned,
    report: &mut TargetReport,
    late: &mut Vec<Error>,
) -> Result<()> {
    work.source.probe(work.target)?;
    let mut indexes = Indexes::default();
    let slots = find_slots(stores, report, |number, store, dropped| {
        let slot = slot(work, store, number, now, &mut indexes, dropped);
        Some(slot.map(|slot| (slot.key.clone(), slot)))
    });
    // Storages with the same parent share an archive.
    let mut groups: Vec<Vec<Slot>> = Vec::new();
    for slot in slots {
        let kind = |s: &Slot| (s.step.parent, s.step.level, s.alone);
        let shares = |g: &&mut Vec<Slot>| kind(&g[0]) == kind(&slot);
        match groups.iter_mut().find(shares) {
            Some(group) => group.push(slot),
            None => groups.push(vec![slot]),
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    pass_groups(work, stores, groups, &indexes, now, report, late)
}

/// Dumps all groups with one walk, then commits each.
fn pass_groups(
    work: &TargetJob<'_>,
    stores: &mut [Store],
    groups: Vec<Vec<Slot>>,
    indexes: &Indexes,
    now: &jiff::Zoned,
    report: &mut TargetReport,
    late: &mut Vec<Error>,
) -> Result<()> {
    let tag = work.ctx.tag();
    let codec = Codec::from(work.entry.compression);
    let progress = |plain_bytes| {
        work.ctx.events.emit(&Event::Progress { target: &work.target.name, plain_bytes });
    };
    let lanes: Vec<Vec<Lane>> = groups
        .iter()
        .map(|group| {
            group.iter().map(|s| Lane { storage: stores[s.store].storage(), key: s.key.clone() }).collect()
        })
        .collect();
    let mut passages = Vec::new();
    let mut ids = Vec::new();
    for (group, lanes) in groups.iter().zip(&lanes) {
        let storage = group[0].alone.map(|store| stores[store].spec().name.as_str());
        let id = backup_id(work, now, group[0].step.parent, storage);
        let start =
            IndexStart { archive_id: id.0.to_be_bytes(), codec, root: work.target.root.clone().into_bytes() };
        let passage = Passage {
            lanes,
            tag: &tag,
            codec,
            workers: work.ctx.workers,
            cancel: work.ctx.cancel,
            progress: &progress,
        };
        passages.push((passage, IndexWriter::new(start)?));
        ids.push(id);
    }
    let mut dump = |sinks: &mut [&mut dyn source::Sink]| {
        let mut lanes: Vec<source::Lane<'_>> = groups
            .iter()
            .zip(sinks.iter_mut())
            .map(|(group, sink)| {
                Ok(source::Lane { baseline: baseline(&group[0], indexes)?, sink: &mut **sink })
            })
            .collect::<Result<_>>()?;
        work.source.dump_since(work.target, &mut lanes, work.ctx.cancel)
    };
    let passed = pass_each(passages, &mut dump)?;
    let mut failed = None;
    let mut needed = BTreeSet::new();
    for ((group, id), passed) in groups.into_iter().zip(ids).zip(passed) {
        let birth = Birth {
            id,
            now,
            level: group[0].step.level.name(),
            parents: group[0].parents.clone(),
            after: None,
        };
        let places: Vec<_> = group.iter().map(|s| (s.store, s.key.clone())).collect();
        let published = passed.and_then(|passed| publish(work, stores, &places, passed, &birth, report));
        match published {
            Ok(published) => {
                needed.extend(&group[0].parents);
                needed.extend((group[0].step.level != Level::Day).then_some(id));
                finish_group(work, stores, group, published, report, late);
            }
            Err(error) => failed = Some(error),
        }
    }
    // What a storage needs that got no copy today is not known.
    let enabled = work.job.storages.iter().filter(|s| s.enable).count();
    let has_all = report.copies.iter().filter(|c| c.problem.is_none()).count() == enabled && failed.is_none();
    let pruned =
        work.ctx.cache.map(|cache| cache.prune(&group_of(work), now.date(), has_all.then_some(&needed)));
    complain(work, pruned);
    failed.map_or(Ok(()), Err)
}

fn finish_group(
    work: &TargetJob<'_>,
    stores: &mut [Store],
    group: Vec<Slot>,
    published: Published,
    report: &mut TargetReport,
    late: &mut Vec<Error>,
) {
    let Published { record, index, committed } = published;
    let (level, place) = (group[0].step.level, group[0].step.place);
    if level != Level::Day
        && committed.iter().any(Result::is_ok)
        && let Some(index) = index
    {
        keep_index(work, place, &record, &index.into_vec());
    }
    let slots = group.into_iter().map(|slot| (slot.store, slot));
    end_copies(stores, slots, committed, report, late, |store, slot, dropped| {
        after_commit(work, store, slot, &record, dropped)
    });
}

/// Keeps what the next runs compare with.
fn keep_index(work: &TargetJob<'_>, place: Place, record: &Record, index: &[u8]) {
    complain(work, work.ctx.cache.map(|cache| cache.keep(&group_of(work), place, record, index)));
}

/// A cache that cannot be written costs time, and no backup.
fn complain(work: &TargetJob<'_>, done: Option<Result<()>>) {
    if let (Some(Err(error)), Some(cache)) = (done, work.ctx.cache)
        && let Some(message) = cache.complaint(&error)
    {
        work.ctx.events.emit(&Event::Warned { job: &work.job.name, message: &message });
    }
}

/// The state that the parents make together; none for a full. Fails if the index of one of them was not loaded: a
/// difference to less than all of them would be one to a guess.
fn baseline<'i>(slot: &Slot, indexes: &'i Indexes) -> Result<Option<Baseline<'i>>> {
    if slot.parents.is_empty() {
        return Ok(None);
    }
    let entries_of = |id: &BackupId| match indexes.of(slot.store, *id) {
        Some(index) => Ok(index.entries()),
        None => Err(Error::new(
            ErrorKind::Other,
            format!("cannot make `{}`: the index of its parent {id} is not loaded", slot.key),
        )),
    };
    let streams: Vec<_> = slot.parents.iter().map(entries_of).collect::<Result<_>>()?;
    Ok(Some(Box::new(State::new(streams).map(|sited| sited.map(|s| s.entry)))))
}

/// Decides what one storage gets.
fn slot(
    work: &TargetJob<'_>,
    store: &mut Store,
    number: usize,
    now: &jiff::Zoned,
    indexes: &mut Indexes,
    dropped: &mut Vec<DroppedBackup>,
) -> Result<Slot> {
    let group = group_of(work);
    let storage = store.storage();
    let name = store.spec().name.clone();
    let chain = store.chain(&group);
    let mut failed = None;
    let mut is_usable = |link: &Link| {
        let Some(parents) = chain.ancestry(link.id) else {
            let message = format!(
                "{name}: a parent of the backup of {} is missing; it cannot be gone on with",
                link.at
            );
            work.ctx.events.emit(&Event::Warned { job: &work.job.name, message: &message });
            return false;
        };
        // The full first: without it nobody can tell what an increment of version 2 removed.
        parents.iter().rev().all(|entry| {
            let copy = Copy {
                storage: Arc::clone(&storage),
                storage_name: name.clone(),
                entry: (*entry).clone(),
                parents: Some(Vec::new()),
                lacks: None,
            };
            failed.is_none()
                && has_index(work, &chain, number, &copy, indexes).unwrap_or_else(|error| {
                    failed = Some(error);
                    false
                })
        })
    };
    let step = next_step(now.date(), chain.links(), &mut is_usable);
    if let Some(error) = failed {
        return Err(error);
    }
    warn_of_lost(work, store, &chain, &step);
    let parents = chain.lineage(step.parent);
    let is_v2s = |id: &BackupId| chain.entry(*id).is_some_and(|entry| entry.record().is_none());
    let alone = parents.iter().any(is_v2s).then_some(number);
    make_room(work, store, now, &step, dropped)?;
    let name = store.free_increment_name(ArchiveName {
        part: work.target.part.clone(),
        place: step.place,
        stem: work.target.file_stem.clone(),
        at: now.datetime(),
        with_seconds: false,
        suffix: Suffix { compression: CompressionSuffix::from(work.entry.compression), encrypted: false },
    })?;
    let key = incremental::build(&name)?;
    Ok(Slot { store: number, step, name, key, parents, alone })
}

/// Loads the index of a parent, once in a run, from the cache if it is there; what is wrong with it is said once. Fails where trying again may help:
/// no other parent is taken for a fault that passes.
fn has_index(
    work: &TargetJob<'_>,
    chain: &Chain<'_>,
    store: usize,
    copy: &Copy,
    indexes: &mut Indexes,
) -> Result<bool> {
    let Some(id) = chain.id_of(&copy.entry.key) else { return Ok(false) };
    if indexes.lost.contains(&(store, id)) {
        return Ok(false);
    }
    let expected = copy.entry.record().and_then(|r| r.index.as_ref()).map(|i| i.stored.bytes);
    let is_there = copy.entry.index.as_ref().is_some_and(|i| expected.is_none_or(|e| e == i.size_bytes));
    let is_v2s = copy.entry.record().is_none();
    let slot = (is_v2s.then_some(store), id);
    if (is_there || is_v2s) && indexes.loaded.contains_key(&slot) {
        return Ok(true);
    }
    let place = chain.link(id).map(|link| link.place);
    if is_there
        && let (Some(cache), Some(place), Some(record)) = (work.ctx.cache, place, copy.entry.record())
        && let Some(index) = cache.read(&group_of(work), place, record)
    {
        indexes.loaded.insert(slot, Arc::new(index));
        return Ok(true);
    }
    let loaded = match fetch::load_index(copy) {
        Ok(None) if is_v2s => rebuild_v2(work, chain, store, copy, id, indexes).map(Some),
        Err(error) if is_v2s && error.kind() == ErrorKind::Corrupt => {
            rebuild_v2(work, chain, store, copy, id, indexes).map(Some)
        }
        other => other,
    };
    let why = match loaded {
        Ok(Some(index)) => {
            if let (Some(place), Some(record)) = (place, copy.entry.record())
                && !index.header().is_rebuilt
            {
                keep_index(work, place, record, index.source());
            }
            indexes.loaded.insert(slot, Arc::new(index));
            return Ok(true);
        }
        Ok(None) => "it has no index; `nxs-backup index rebuild` makes one".to_owned(),
        Err(error) if error.kind().is_transient() || error.kind() == ErrorKind::Cancelled => {
            return Err(error);
        }
        Err(error) => error.chain(),
    };
    warn_of_parent(work, copy, &why);
    indexes.lost.insert((store, id));
    Ok(false)
}

/// Makes the index of an archive of version 2, whose parents have theirs.
fn rebuild_v2(
    work: &TargetJob<'_>,
    chain: &Chain<'_>,
    store: usize,
    copy: &Copy,
    id: BackupId,
    indexes: &Indexes,
) -> Result<IndexReader<Vec<u8>>> {
    let parents = chain.lineage(chain.link(id).and_then(|link| link.parent));
    let parents: Vec<_> = parents.into_iter().filter_map(|id| indexes.of(store, id).cloned()).collect();
    v2::rebuild_parent(work, chain, copy, id, &parents)
}

/// Says why a higher level than the calendar's is made: nothing turns into a full in silence.
fn warn_of_lost(work: &TargetJob<'_>, store: &Store, chain: &Chain<'_>, step: &Step) {
    if step.level == Level::Day {
        return;
    }
    let name = &store.spec().name;
    let warn = |message: String| {
        work.ctx.events.emit(&Event::Warned { job: &work.job.name, message: &message });
    };
    for orphan in store.orphans_in(&work.target.part, step.place) {
        warn(format!("{name}: `{orphan}` has no record: no increment can be made against it"));
    }
    let is_below = |link: &&Link| match step.place {
        Place::Year { year } => link.place.year() == year,
        Place::Month { year, month } => link.place.year() == year && link.place.month() == Some(month),
        Place::Decade { .. } => link.place == step.place,
    };
    let lost = chain.links().iter().filter(is_below).filter(|l| chain.ancestry(l.id).is_none()).count();
    if lost > 0 {
        let (level, dir) = (step.level.name(), step.place.dir());
        warn(format!("{name}: {lost} backups of `{dir}` and below lost a parent; a new {level} is made"));
    }
}

fn warn_of_parent(work: &TargetJob<'_>, copy: &Copy, why: &str) {
    let message = format!(
        "{}: `{}` cannot be the parent of an increment: {why}; the nearest valid one is taken",
        copy.storage_name, copy.entry.key
    );
    work.ctx.events.emit(&Event::Warned { job: &work.job.name, message: &message });
}

/// Lets old months go first where `rotation` says so, or where there is no room, as far as that needs; never what the
/// new backup needs.
fn make_room(
    work: &TargetJob<'_>,
    store: &mut Store,
    now: &jiff::Zoned,
    step: &Step,
    dropped: &mut Vec<DroppedBackup>,
) -> Result<()> {
    if work.job.rotation == Rotation::After {
        return Ok(());
    }
    let group = group_of(work);
    let chain = store.chain(&group);
    let needed = chain.lineage(step.parent);
    let old: Vec<BackupId> = retention::to_drop(now.date(), chain.links(), work.job.months_to_store)
        .into_iter()
        .filter(|id| !needed.contains(id))
        .collect();
    // The last chain goes only once a new one is complete.
    if old.len() == chain.links().len() {
        return Ok(());
    }
    let bytes_of = |id: &BackupId| chain.entry(*id).map_or(0, CatalogEntry::total_bytes);
    let droppable = old.iter().map(bytes_of).fold(0, u64::saturating_add);
    let of_level = |l: &&Link| l.level == step.level;
    let sizes: Vec<u64> = chain.links().iter().rev().filter(of_level).map(|l| bytes_of(&l.id)).collect();
    let Some(up_to_bytes) = bytes_to_free(work, store, &sizes, droppable) else { return Ok(()) };
    let mut freed = 0_u64;
    let mut decisions = drops(&chain, &old);
    decisions.retain(|decision| {
        let is_needed = freed < up_to_bytes;
        freed = freed.saturating_add(chain.id_of(&decision.key).map_or(0, |id| bytes_of(&id)));
        is_needed
    });
    store.drop_increments(work.ctx, work.job, &group, &decisions, dropped)
}

fn drops(chain: &Chain<'_>, old: &[BackupId]) -> Vec<Decision> {
    // Children before their parents.
    let entries = old.iter().rev().filter_map(|id| chain.entry(*id));
    let drop = |entry: &CatalogEntry| Decision {
        key: entry.key.clone(),
        action: Action::Drop,
        keep: nxs_base::calendar::Periods::NONE,
        reason: Reason::OutOfWindow,
    };
    entries.map(drop).collect()
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
    work.ctx.events.emit(&Event::IncrementMade {
        job: &work.job.name,
        is_full: slot.step.level == Level::Year,
        file: &file,
        storage: &store.spec().name,
    });
    let mut stand_ins = Vec::new();
    if storage.caps().links {
        for place in &slot.step.links {
            let linked = incremental::build(&slot.name.at_place(*place))
                .and_then(|key| storage.link(&key, &slot.key).map(|()| key));
            match linked {
                Ok(key) => stand_ins.push(key),
                Err(error) => problems.push(error),
            }
        }
    }
    store.add(CatalogEntry { increment: Some(slot.name.clone()), stand_ins, ..new_entry(&slot.key, record) });
    let group = group_of(work);
    let chain = store.chain(&group);
    let old = retention::to_drop(record.local.date(), chain.links(), work.job.months_to_store);
    let decisions = drops(&chain, &old);
    problems.extend(store.drop_increments(work.ctx, work.job, &group, &decisions, dropped).err());
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use nxs_archive::index::{IndexStart, IndexWriter};

    fn index() -> Index {
        let start = IndexStart { archive_id: [0; 16], codec: Codec::None, root: b"/".to_vec() };
        let bytes = IndexWriter::new(start).unwrap().finish(&[], Default::default()).unwrap().into_vec();
        Arc::new(IndexReader::open(bytes).unwrap())
    }

    #[test]
    fn an_increment_is_made_against_all_of_its_parents_or_not_at_all() {
        let name = ArchiveName {
            part: "x".into(),
            place: Place::Year { year: 2026 },
            stem: "x".into(),
            at: jiff::civil::date(2026, 3, 12).at(3, 0, 0, 0),
            with_seconds: false,
            suffix: Suffix { compression: CompressionSuffix::None, encrypted: false },
        };
        let [decade, year] = [BackupId(2), BackupId(1)];
        let slot = |parents| Slot {
            store: 0,
            step: Step { level: Level::Day, place: name.place, links: Vec::new(), parent: Some(decade) },
            key: incremental::build(&name).unwrap(),
            name: name.clone(),
            parents,
            alone: None,
        };
        let mut indexes = Indexes::default();
        assert!(baseline(&slot(Vec::new()), &indexes).unwrap().is_none(), "a full has no parent");
        indexes.loaded.insert((None, decade), index());
        let Err(error) = baseline(&slot(vec![decade, year]), &indexes) else { panic!("the year is missing") };
        assert!(error.chain().contains(&year.to_string()), "{error}");
        // What another storage has of version 2 is another archive.
        indexes.loaded.insert((Some(1), year), index());
        assert!(baseline(&slot(vec![decade, year]), &indexes).is_err());
        indexes.loaded.insert((Some(0), year), index());
        assert_eq!(baseline(&slot(vec![decade, year]), &indexes).unwrap().unwrap().count(), 0);
    }
}
