//! `index rebuild`: writes the indexes of a job's backups again where they are missing or damaged, from the archives.
//!
//! A record is never changed. The same archive gives the same index, byte for byte, and the record's digest says so; where
//! it cannot be the same (see [`crate::incremental::rebuild`]), the index is marked as made anew, and only its id and its
//! sizes can be held against the record. Archives of version 2 get an index too.

use std::sync::Arc;

use jiff::Timestamp;
use nxs_archive::index::IndexReader;
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::ports::storage::Storage;
use nxs_base::report::Problem;
use nxs_base::spec::{JobSpec, StorageSpec};

use crate::incremental::rebuild::{Times, rebuild};
use crate::job::{RunContext, put_index};
use crate::restore::fetch;
use crate::restore::leased;
use crate::restore::rebuilt::{self, is_damage};
use crate::restore::select::{self, Copy, Shelf, Wanted};

/// Which backups.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub target: Option<String>,
    /// Name of the only storage.
    pub storage: Option<String>,
    /// Only the newest backup of each target that started at or before this, and what it needs; none = all backups.
    pub at: Option<Timestamp>,
}

/// What became of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was there, and sound.
    Sound,
    /// Written again, as the record has it.
    Rebuilt,
    /// Written again, but it is not the one that the record tells of.
    NotAsRecorded,
    /// Written for an archive of version 2.
    Foreign,
    Failed(Problem),
}

#[derive(Debug, Clone)]
pub struct Reindexed {
    pub storage: String,
    /// The archive.
    pub key: String,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Default)]
pub struct ReindexReport {
    pub indexes: Vec<Reindexed>,
    /// Storages that could not be read.
    pub problems: Vec<Problem>,
}

/// Goes through the backups of one job, the oldest first. `each` hears of every index. Fails only when cancelled.
pub fn run(
    ctx: &RunContext<'_>,
    job: &JobSpec,
    storages: &[(StorageSpec, Arc<dyn Storage>)],
    request: &Request,
    each: &mut dyn FnMut(&Reindexed),
) -> Result<ReindexReport> {
    let (shelves, problems) = select::shelves(storages);
    let mut report =
        ReindexReport { indexes: Vec::new(), problems: problems.iter().map(Problem::from).collect() };
    let zone = ctx.clock.now().time_zone().clone();
    let wanted = Wanted {
        target: request.target.as_deref(),
        at: request.at,
        from: request.storage.as_deref(),
        ..Wanted::default()
    };
    let mut chosen = select::candidates(job, ctx.server_name, &shelves, &wanted, &zone);
    chosen.retain(|candidate| !candidate.is_dump);
    if request.at.is_some() {
        chosen = select::newest(chosen, job, &wanted).unwrap_or_default();
    }
    chosen.reverse();
    leased(ctx, job, &chosen, || -> Result<()> {
        let mut copies: Vec<Copy> = Vec::new();
        for copy in chosen.iter().flat_map(|candidate| &candidate.copies) {
            // Each after what it needs, and once.
            for wanted in copy.with_parents().into_iter().rev() {
                let is_known =
                    |c: &Copy| (&c.storage_name, &c.entry.key) == (&wanted.storage_name, &wanted.entry.key);
                if has_index(&wanted) && !copies.iter().any(is_known) {
                    copies.push(wanted);
                }
            }
        }
        for copy in &copies {
            ctx.cancel.check()?;
            let shelf = shelves.iter().find(|s| s.spec.name == copy.storage_name);
            let outcome = match reindex(ctx, shelf, copy) {
                Ok(outcome) => outcome,
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    let text = format!(
                        "cannot make the index of `{}` on {} again",
                        copy.entry.key, copy.storage_name
                    );
                    Outcome::Failed(Problem::from(&Error::new(error.kind(), text).with_source(error)))
                }
            };
            let key = copy.entry.key.to_string();
            let done = Reindexed { storage: copy.storage_name.clone(), key, outcome };
            each(&done);
            report.indexes.push(done);
        }
        Ok(())
    })?;
    Ok(report)
}

/// Whether a backup has an index, or may have one.
fn has_index(copy: &Copy) -> bool {
    match copy.entry.record() {
        Some(record) => record.index.is_some(),
        None => copy.entry.increment.is_some(),
    }
}

fn reindex(ctx: &RunContext<'_>, shelf: Option<&Shelf>, copy: &Copy) -> Result<Outcome> {
    match fetch::load_index(copy).and_then(|index| index.map(|index| check(&index)).transpose()) {
        Ok(Some(())) => return Ok(Outcome::Sound),
        Ok(None) => {}
        Err(error) if is_damage(&error) => {}
        Err(error) => return Err(error),
    }
    let parents = match copy.parents.as_deref() {
        None => {
            return Err(Error::new(ErrorKind::NotFound, "one of its parents is missing")
                .with_hint("What an increment removed only its parents can tell."));
        }
        Some([]) => Vec::new(),
        Some([nearest, others @ ..]) => {
            let parent = Copy { entry: nearest.clone(), parents: Some(others.to_vec()), ..copy.clone() };
            rebuilt::indexes(&parent, ctx.cancel)?
        }
    };
    let parents: Vec<&IndexReader<Vec<u8>>> = parents.iter().collect();
    let times = shelf.map(|shelf| times_of(shelf, copy)).transpose()?.flatten();
    let rebuilt = rebuild(copy, &parents, times.as_ref(), ctx.cancel)?;
    put_index(copy.storage.as_ref(), &ctx.tag(), &copy.entry, &rebuilt.index)?;
    Ok(match (copy.entry.record(), rebuilt.is_as_recorded) {
        (None, _) => Outcome::Foreign,
        (Some(_), true) => Outcome::Rebuilt,
        (Some(_), false) => Outcome::NotAsRecorded,
    })
}

/// Reads all of an index: its digest proves it only where a record has one.
fn check(index: &IndexReader<Vec<u8>>) -> Result<()> {
    index.entries().try_for_each(|entry| entry.map(drop))?;
    index.all_frames().map(drop)
}

/// The times of version 2's state file, if it has one that can be read.
fn times_of(shelf: &Shelf, copy: &Copy) -> Result<Option<Times>> {
    let Some(key) = select::chains(&shelf.catalog).state_key(&copy.entry) else { return Ok(None) };
    match copy.storage.get(&key, None).and_then(Times::read) {
        Ok(times) => Ok(Some(times)),
        Err(error) if is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
