//! Copies of indexes below `state_dir`: those of the parents that the next increment compares with, so that it need not
//! read them from a storage.
//!
//! A cache and no more: a copy counts only if it has the size and the hash that the record of its backup tells and says
//! itself which backup it is of; whatever else lies there is as good as nothing. What the increments of a run need is
//! decided in `job::increment`; `<state_dir>/indexes/<place>.<group>.<id>.nxs.idx` is one copy, plain, of mode 0600.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::civil::Date;
use nxs_archive::index::IndexReader;
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::layout::INDEX_SUFFIX;
use nxs_base::layout::incremental::{Decade, Place};
use nxs_base::record::{BackupId, Record};
use nxs_sys::fsx;

use crate::catalog::GroupId;
use crate::restore::fetch::MAX_INDEX_BYTES;

/// Hex digits of a group in a name.
const GROUP_DIGITS: usize = 16;

/// The copies of one `state_dir`, for one run.
#[derive(Debug)]
pub struct IndexCache {
    dir: PathBuf,
    has_complained: AtomicBool,
}

impl IndexCache {
    /// Touches nothing; directories are made when the first copy is kept.
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("indexes"), has_complained: AtomicBool::new(false) }
    }

    /// The copy of the index of a backup; none if there is no sound one.
    pub(crate) fn read(
        &self,
        group: &GroupId,
        place: Place,
        record: &Record,
    ) -> Option<IndexReader<Vec<u8>>> {
        let expected = &record.index.as_ref()?.stored;
        let path = self.dir.join(name(group, place, record.id));
        // Asked before it is opened: opening a pipe would wait.
        let meta = fsx::lstat(&path).ok()?;
        if !meta.is_file() || meta.len() != expected.bytes || expected.bytes > MAX_INDEX_BYTES {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(expected.bytes).ok()?);
        fsx::open(&path).ok()?.take(expected.bytes).read_to_end(&mut bytes).ok()?;
        if blake3::hash(&bytes).to_hex().as_str() != expected.blake3 {
            return None;
        }
        let index = IndexReader::open(bytes).ok()?;
        (index.header().archive_id == record.id.0.to_be_bytes()).then_some(index)
    }

    /// Keeps a copy, atomically, in place of one that is there. One that is not what the record says is not kept.
    pub(crate) fn keep(&self, group: &GroupId, place: Place, record: &Record, index: &[u8]) -> Result<()> {
        if record.index.as_ref().is_none_or(|i| i.stored.bytes != index.len() as u64) {
            return Ok(());
        }
        fsx::create_dir_all(&self.dir, 0o700)?;
        fsx::atomic_write(&self.dir.join(name(group, place, record.id)), index, 0o600)
    }

    /// Removes what can be no parent any more: copies of any group whose place is over by `today`, and of this group
    /// all but `needed`, where that is known; and what dead runs left of this group.
    pub(crate) fn prune(
        &self,
        group: &GroupId,
        today: Date,
        needed: Option<&BTreeSet<BackupId>>,
    ) -> Result<()> {
        let names = match fsx::list_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            names => names?,
        };
        let ours = digest(group);
        for name in names {
            let Ok(text) = std::str::from_utf8(&name) else { continue };
            let temporary = text.strip_prefix('.').filter(|t| t.ends_with(".tmp"));
            let is_over = match (parse(text), temporary.and_then(|t| parse(t.rsplitn(3, '.').nth(2)?))) {
                (Some(copy), _) => {
                    let is_left = copy.group == ours && needed.is_some_and(|ids| !ids.contains(&copy.id));
                    is_left || !is_in(today, copy.place)
                }
                (None, Some(left)) => left.group == ours,
                (None, None) => false,
            };
            if is_over {
                match fsx::remove_file(&self.dir.join(fsx::as_path(&name))) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// What to say of an error of the cache: only of the first one of a run.
    pub(crate) fn complaint(&self, error: &Error) -> Option<String> {
        let is_first = !self.has_complained.swap(true, Ordering::Relaxed);
        is_first.then(|| {
            let dir = fsx::show_path(&self.dir);
            format!(
                "cannot keep copies of indexes in `{dir}`: {}; increments read them from a storage",
                error.chain()
            )
        })
    }
}

/// What the name of a copy says.
struct Named<'n> {
    place: Place,
    group: &'n str,
    id: BackupId,
}

fn name(group: &GroupId, place: Place, id: BackupId) -> String {
    let place = match place {
        Place::Year { year } => format!("{year:04}"),
        Place::Month { year, month } => format!("{year:04}-{month:02}"),
        Place::Decade { year, month, decade } => format!("{year:04}-{month:02}-{:02}", decade.first_day()),
    };
    format!("{place}.{}.{id}{INDEX_SUFFIX}", digest(group))
}

fn parse(name: &str) -> Option<Named<'_>> {
    let (place, rest) = name.strip_suffix(INDEX_SUFFIX)?.split_once('.')?;
    let (group, id) = rest.split_once('.')?;
    if group.len() != GROUP_DIGITS || !group.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut parts = place.split('-');
    let year = parts.next()?.parse().ok()?;
    let place = match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => Place::Year { year },
        (Some(month), None, _) => Place::Month { year, month: month.parse().ok()? },
        (Some(month), Some(day), None) => {
            let (month, day) = (month.parse().ok()?, day.parse().ok()?);
            Place::Decade { year, month, decade: Decade::of(Date::new(year, month, day).ok()?) }
        }
        _ => return None,
    };
    Some(Named { place, group, id: BackupId::parse(id)? })
}

/// Whether a parent in this place can be gone on with on this day.
fn is_in(today: Date, place: Place) -> bool {
    [Place::year_of(today), Place::month_of(today), Place::decade_of(today)].contains(&place)
}

fn digest(group: &GroupId) -> String {
    let GroupId { server_name, job, source, root, part } = group;
    let mut hasher = blake3::Hasher::new();
    for text in [server_name, job, root, part] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(&(*source as u64).to_le_bytes());
    hasher.finalize().to_hex()[..GROUP_DIGITS].to_owned()
}

#[cfg(test)]
mod tests;
