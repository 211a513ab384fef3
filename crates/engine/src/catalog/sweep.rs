//! Clears up after runs that died: partial objects, archives that were published without their record, and drops
//! that were cut short.
//!
//! The sign for the latter two is a dead partial record: a run stages the record before it publishes the archive,
//! and rotation turns the record back into a partial before it deletes the archive. So a dead partial of
//! `X.nxs.json` without an `X.nxs.json` means that `X` is no backup and is nobody's any more.

use jiff::Timestamp;
use nxs_base::layout::{LEASE_DIR, RECORD_SUFFIX, discrete, index_key};
use nxs_base::ports::storage::{ObjectKey, PartTag, Storage};
use nxs_base::record::Record;
use nxs_base::{ErrorKind, Result};

use super::Partial;
use super::adoption::{self, AdoptionList};
use super::listing::Listing;
use super::scan::{is_damage, read_small};
use crate::lease::Leases;

/// How long a partial of another host is left alone, by its modification time.
const FOREIGN_AGE_SECS: i64 = 7 * 24 * 3600;

/// What was removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Partial objects.
    pub partials: Vec<ObjectKey>,
    /// Uncommitted archives, with their indexes and links.
    pub rolled_back: Vec<ObjectKey>,
    /// Leases of readers that are no more.
    pub leases: Vec<ObjectKey>,
}

impl Swept {
    pub fn objects(&self) -> usize {
        self.partials.len() + self.rolled_back.len() + self.leases.len()
    }
}

/// Removes what dead runs left behind, and leases that expired.
///
/// `own` is the running run; its partials are never touched. Partials of other runs of the same host go at once
/// unless a process still writes them, those of other hosts after 7 days. A published archive goes with the dead
/// partial of its record, but never one that has a record, is adopted, or has another size than that record says.
/// Idempotent: cut short at any point, the next sweep goes on.
pub fn sweep(storage: &dyn Storage, own: &PartTag, now: Timestamp) -> Result<Swept> {
    let listing = Listing::read(storage)?;
    let (dead, alive): (Vec<&Partial>, Vec<&Partial>) =
        listing.partials.iter().partition(|p| is_dead(storage, p, own, now));
    let mut swept = Swept::default();
    if listing.files.keys().any(|k| k.dir() == LEASE_DIR) {
        for key in Leases::read(storage, now)?.expired {
            if delete_if_there(storage, &key)? {
                swept.leases.push(key);
            }
        }
    }
    if dead.is_empty() {
        return Ok(swept);
    }
    let adopted = match adoption::read(storage, &listing) {
        Ok(list) => Some(list.unwrap_or_default()),
        Err(problem) if is_damage(&problem) => None,
        Err(error) => return Err(error),
    };
    for partial in dead {
        if let Some(archive) = uncommitted_archive(&listing, partial) {
            if alive.iter().any(|p| p.final_key == partial.final_key) {
                continue;
            }
            // Without the adoption list nobody can tell whether the archive is somebody else's.
            let Some(adopted) = &adopted else { continue };
            if owns_archive(storage, &listing, adopted, partial, &archive)? {
                roll_back(storage, &listing, &archive, &mut swept)?;
            }
        }
        if delete_if_there(storage, &partial.key)? {
            swept.partials.push(partial.key.clone());
        }
    }
    Ok(swept)
}

/// Deletes an object; false if it was gone already.
pub(crate) fn delete_if_there(storage: &dyn Storage, key: &ObjectKey) -> Result<bool> {
    match storage.delete(key) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn is_dead(storage: &dyn Storage, partial: &Partial, own: &PartTag, now: Timestamp) -> bool {
    if partial.tag.run_id == own.run_id {
        return false;
    }
    let is_due =
        partial.tag.host == own.host || now.as_second().saturating_sub(partial.mtime.sec) > FOREIGN_AGE_SECS;
    is_due && !storage.is_part_live(&partial.key)
}

/// The archive whose record the partial was to become, if no such record is there.
fn uncommitted_archive(listing: &Listing, partial: &Partial) -> Option<ObjectKey> {
    let archive = partial.final_key.as_str().strip_suffix(RECORD_SUFFIX)?;
    let archive = ObjectKey::new(archive).ok()?;
    if listing.has_record_in_family(&archive) { None } else { Some(archive) }
}

/// Whether the archive can only have come from the run that left the partial record.
fn owns_archive(
    storage: &dyn Storage,
    listing: &Listing,
    adopted: &AdoptionList,
    partial: &Partial,
    archive: &ObjectKey,
) -> Result<bool> {
    let Some(info) = listing.files.get(archive) else { return Ok(true) };
    if adopted.contains(info) {
        return Ok(false);
    }
    match read_small(storage, &partial.key, Record::MAX_BYTES).and_then(|bytes| Record::parse(&bytes)) {
        Ok(record) => Ok(record.stored_bytes == info.size_bytes),
        // A torn partial: the run died while it staged its record.
        Err(problem) if is_damage(&problem) => Ok(true),
        Err(error) => Err(error),
    }
}

fn roll_back(storage: &dyn Storage, listing: &Listing, archive: &ObjectKey, swept: &mut Swept) -> Result<()> {
    let mut doomed = vec![index_key(archive)];
    for (_, sibling) in discrete::siblings(archive).into_iter().flatten() {
        if !listing.files.contains_key(&sibling) {
            doomed.push(index_key(&sibling));
        }
    }
    doomed.extend(listing.period_links(archive).into_iter().map(|(_, key, _)| key));
    // Stand-ins of an incremental backup.
    doomed.extend(listing.links_to(archive));
    doomed.sort();
    doomed.retain(|key| listing.files.contains_key(key) || listing.links.contains_key(key));
    doomed.dedup();
    if listing.files.contains_key(archive) {
        doomed.push(archive.clone());
    }
    for key in doomed {
        if delete_if_there(storage, &key)? {
            swept.rolled_back.push(key);
        }
    }
    Ok(())
}
