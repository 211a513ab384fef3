//! Carries out a rotation plan, so that a crash after any step leaves no half backup that looks whole, and the next
//! scan, sweep and plan go on where it ended.
//!
//! A drop first turns the record into a partial of this run (the backup is gone in one step; if the run dies, the
//! sweep finishes the drop), then removes index, links, archive, and the partial last. A move takes the archive,
//! the index and last the record; scans find a record that has not yet followed its archive.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::Timestamp;
use nxs_base::calendar::{Period, Periods};
use nxs_base::layout::{discrete, incremental, index_key, record_key};
use nxs_base::ports::storage::{ObjectKey, ObjectKind, PartTag, Storage};
use nxs_base::record::BackupId;
use nxs_base::{Error, ErrorKind, Result};

use super::plan::{Action, Decision, Reason};
use crate::catalog::sweep::delete_if_there;
use crate::catalog::{Catalog, CatalogEntry, Origin};
use crate::lease::Leases;

/// A backup that went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The archive.
    pub key: ObjectKey,
    pub bytes: u64,
    pub reason: Reason,
}

/// What was done. One backup's problem does not keep the others from their turn.
#[derive(Debug, Default)]
pub struct Applied {
    pub dropped: Vec<Dropped>,
    /// Archives that moved to a lower period: from, to.
    pub moved: Vec<(ObjectKey, ObjectKey)>,
    /// Directories from which something old went, with their period.
    pub cleared: BTreeSet<(Period, String)>,
    /// Archives that somebody reads: neither dropped nor moved, treated again on the next run.
    pub leased: Vec<ObjectKey>,
    /// The archive that a problem concerns; it is treated again on the next run.
    pub problems: Vec<(ObjectKey, Error)>,
}

/// Acts on `decisions` about entries of `catalog`, which was scanned on this storage within this run.
///
/// Decisions about keys that the catalog does not hold do nothing. What an increment needs goes after it, or, if that could
/// not go, not at all. Idempotent; `tag` is the running run, `now` its time, by which the leases of readers count.
pub fn apply(
    storage: &dyn Storage,
    tag: &PartTag,
    now: Timestamp,
    catalog: &Catalog,
    decisions: &[Decision],
) -> Applied {
    let mut applied = Applied::default();
    let at = Place { storage, tag, now };
    let entry_of = |d: &Decision| catalog.entries.iter().find(|e| e.key == d.key);
    let mut all: Vec<_> = decisions.iter().filter_map(|d| Some((d, entry_of(d)?))).collect();
    all.sort_by_key(|(_, entry)| Reverse(entry.parents().len()));
    let mut needed: BTreeSet<BackupId> = BTreeSet::new();
    for (decision, entry) in all {
        if decision.reason == Reason::Leased {
            applied.leased.push(entry.key.clone());
            needed.extend(entry.parents());
            continue;
        }
        let done = match decision.action {
            Action::Drop if entry.record().is_some_and(|r| needed.contains(&r.id)) => continue,
            Action::Drop => {
                let dropped = applied.dropped.len();
                let done = drop_backup(&at, entry, decision.reason, &mut applied);
                if applied.dropped.len() == dropped {
                    needed.extend(entry.parents());
                }
                done
            }
            Action::Keep => settle(&at, entry, decision.keep, &mut applied),
        };
        if let Err(error) = done {
            applied.problems.push((entry.key.clone(), error));
        }
    }
    applied
}

/// Where and when rotation works.
struct Place<'a> {
    storage: &'a dyn Storage,
    tag: &'a PartTag,
    now: Timestamp,
}

impl Place<'_> {
    /// Whether somebody reads the archive at this moment. Fails rather than overlook a reader.
    fn is_leased(&self, archive: &ObjectKey) -> Result<bool> {
        Ok(Leases::read(self.storage, self.now)?.cover(archive))
    }
}

/// Removes the links of one group that lead nowhere, if they still do. Returns them.
pub fn remove_dangling(
    storage: &dyn Storage,
    catalog: &Catalog,
    part: &str,
    stem: &str,
) -> Result<Vec<ObjectKey>> {
    let mut removed = Vec::new();
    for key in &catalog.dangling {
        let discrete = discrete::parse(key).is_some_and(|p| p.name.part == part && p.name.stem == stem);
        let is_ours =
            discrete || incremental::parse(key).is_some_and(|p| p.name.part == part && p.name.stem == stem);
        if is_ours && storage.is_dangling(key)? && delete_if_there(storage, key)? {
            removed.push(key.clone());
        }
    }
    Ok(removed)
}

fn drop_backup(at: &Place<'_>, entry: &CatalogEntry, reason: Reason, applied: &mut Applied) -> Result<()> {
    let storage = at.storage;
    if at.is_leased(&entry.key)? {
        applied.leased.push(entry.key.clone());
        return Ok(());
    }
    let gone = Dropped { key: entry.key.clone(), bytes: entry.total_bytes(), reason };
    let tombstone = match &entry.origin {
        Origin::Adopted => None,
        Origin::Recorded { record_key, .. } => {
            let tombstone = tombstone_key(entry, at.tag)?;
            match follow(storage, record_key, &tombstone) {
                Ok(()) => {}
                // Somebody else dropped it since the scan.
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
                Err(e) => return Err(e),
            }
            // A reader that took its lease since then has seen the record gone, or is seen here.
            let leased = at.is_leased(&entry.key);
            if !matches!(leased, Ok(false)) {
                if let Err(error) = follow(storage, &tombstone, record_key) {
                    // It is withdrawn, and the next sweep takes the rest.
                    applied.dropped.push(gone);
                    return Err(error);
                }
                if leased? {
                    applied.leased.push(entry.key.clone());
                }
                return Ok(());
            }
            Some(tombstone)
        }
    };
    if tombstone.is_some() {
        // Whatever goes wrong from here on: it is no backup any more.
        applied.dropped.push(gone.clone());
    }
    match (&entry.index, &entry.origin) {
        (Some(index), _) => drop(delete_if_there(storage, &index.key)?),
        // It may have been made since the scan.
        (None, Origin::Adopted) => drop(delete_if_there(storage, &index_key(&entry.key))?),
        (None, _) => {}
    }
    for link in &entry.links {
        delete_if_there(storage, &link.key)?;
        applied.cleared.insert((link.period, link.key.dir().to_owned()));
    }
    for link in &entry.stand_ins {
        delete_if_there(storage, link)?;
    }
    delete_if_there(storage, &entry.key)?;
    if let Some(period) = entry.real_period() {
        applied.cleared.insert((period, entry.key.dir().to_owned()));
    }
    match tombstone {
        Some(tombstone) => delete_if_there(storage, &tombstone).map(drop),
        None => {
            applied.dropped.push(gone);
            Ok(())
        }
    }
}

/// The partial name of the record, beside the archive.
fn tombstone_key(entry: &CatalogEntry, tag: &PartTag) -> Result<ObjectKey> {
    let record = record_key(&entry.key);
    let dir = record.dir();
    let slash = if dir.is_empty() { "" } else { "/" };
    ObjectKey::new(format!("{dir}{slash}{}", tag.part_name(record.file_name())))
}

/// Puts a kept backup where it is kept for: moves it if its own period ended, sets links right, removes others.
fn settle(place: &Place<'_>, entry: &CatalogEntry, keep: Periods, applied: &mut Applied) -> Result<()> {
    let storage = place.storage;
    let Some(real) = entry.real_period() else { return Ok(()) };
    if !storage.caps().links {
        return finish_move(storage, entry, &entry.key);
    }
    let home = match keep.highest() {
        Some(highest) if !keep.contains(real) => highest,
        _ => real,
    };
    let siblings = discrete::siblings(&entry.key)
        .ok_or_else(|| Error::new(ErrorKind::Invalid, format!("`{}` names no archive", entry.key)))?;
    let key_in = |period: Period| &siblings[period as usize].1;
    let at = key_in(home);
    if home != real {
        if place.is_leased(&entry.key)? {
            applied.leased.push(entry.key.clone());
            return Ok(());
        }
        follow(storage, &entry.key, at)?;
        applied.moved.push((entry.key.clone(), at.clone()));
        applied.cleared.insert((real, entry.key.dir().to_owned()));
    }
    finish_move(storage, entry, at)?;
    for period in Period::ALL.into_iter().filter(|p| *p != home) {
        let link = entry.links.iter().find(|l| l.period == period);
        if keep.contains(period) {
            let is_right = home == real && link.is_some_and(|l| l.leads_to_archive);
            let is_wanted = link.is_some() || (entry.record().is_some() && period < home);
            if is_wanted && !is_right {
                ensure_link(storage, key_in(period), at)?;
            }
        } else if let Some(link) = link {
            delete_if_there(storage, &link.key)?;
            applied.cleared.insert((period, link.key.dir().to_owned()));
        }
    }
    Ok(())
}

/// Lets index and record follow the archive to `at`, the record last.
fn finish_move(storage: &dyn Storage, entry: &CatalogEntry, at: &ObjectKey) -> Result<()> {
    if let Some(index) = &entry.index {
        follow(storage, &index.key, &index_key(at))?;
    }
    if let Origin::Recorded { record_key: from, .. } = &entry.origin {
        follow(storage, from, &record_key(at))?;
    }
    Ok(())
}

/// Moves an object; one that is there already has been moved before.
fn follow(storage: &dyn Storage, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
    if from == to {
        return Ok(());
    }
    let Err(error) = storage.rename(from, to) else { return Ok(()) };
    let is_gone = storage.stat(from).is_err_and(|e| e.kind() == ErrorKind::NotFound);
    if is_gone && storage.stat(to).is_ok_and(|info| info.kind == ObjectKind::File) {
        return Ok(());
    }
    Err(error)
}

/// Links `key` to `target`; a file that somebody put there stays.
fn ensure_link(storage: &dyn Storage, key: &ObjectKey, target: &ObjectKey) -> Result<()> {
    match storage.link(key, target) {
        Err(e) if e.kind() == ErrorKind::Exists => Ok(()),
        other => other,
    }
}
