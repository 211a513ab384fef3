//! The adoption list: which archives without a record were there at the first contact with a `backup_dir`.
//!
//! What is on it is listed, rotated and restored by name and place; an archive without a record that appears later
//! is an orphan. The list is an object at the root, `.nxs-adopted.json`, written once.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use nxs_base::layout::{ADOPTION_LIST, Role, discrete, incremental, record_key, role_of};
use nxs_base::ports::storage::{ObjectInfo, ObjectKey, PartTag, Storage};
use nxs_base::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::listing::Listing;
use super::scan::read_small;

const FORMAT: u32 = 1;
/// Some 500,000 archives.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// How far a modification time may be off: listings of some FTP servers tell only the day, or drift with the
/// summer time.
const MTIME_SLACK_SECS: u64 = 25 * 3600;

#[derive(Serialize, Deserialize)]
struct ListWire {
    format: u32,
    objects: Vec<ObjectWire>,
}

#[derive(Serialize, Deserialize)]
struct ObjectWire {
    key: String,
    size: u64,
    mtime_sec: i64,
}

#[derive(Deserialize)]
struct VersionWire {
    format: u32,
}

/// The list as read: sizes and times by part and file name, for rotation may move an archive to another period.
#[derive(Debug, Default)]
pub(super) struct AdoptionList(BTreeMap<(String, String), Vec<(u64, i64)>>);

impl AdoptionList {
    /// Whether this very file was there at the first contact.
    pub(super) fn contains(&self, info: &ObjectInfo) -> bool {
        family(&info.key).and_then(|f| self.0.get(&f)).is_some_and(|known| {
            known.iter().any(|(size, mtime)| {
                *size == info.size_bytes && mtime.abs_diff(info.mtime.sec) <= MTIME_SLACK_SECS
            })
        })
    }
}

/// Writes the adoption list if there is none: the first contact.
///
/// Adopts every archive without a record that has a name as v2 gives them and is not about to be committed. If
/// records are there already (the list was lost), only archives older than the oldest of them are adopted. Returns
/// the number of adopted archives if it wrote the list, none if there was one. Idempotent; fails with
/// [`ErrorKind::Corrupt`] or [`ErrorKind::Unsupported`] on a list that cannot be read, which stays as it is.
pub fn ensure_adoption_list(storage: &dyn Storage, tag: &PartTag) -> Result<Option<usize>> {
    let listing = Listing::read(storage)?;
    if read(storage, &listing)?.is_some() {
        return Ok(None);
    }
    let objects: Vec<ObjectWire> = v2_backups(&listing)
        .map(|info| ObjectWire {
            key: info.key.to_string(),
            size: info.size_bytes,
            mtime_sec: info.mtime.sec,
        })
        .collect();
    let count = objects.len();
    let mut bytes = serde_json::to_vec(&ListWire { format: FORMAT, objects })
        .expect("strings and numbers always serialise");
    bytes.push(b'\n');
    storage.put_replace(&list_key(), tag, &bytes)?;
    Ok(Some(count))
}

/// What the list would hold if the first contact were now.
pub(super) fn at_first_contact(listing: &Listing) -> AdoptionList {
    let mut list = AdoptionList::default();
    for info in v2_backups(listing) {
        if let Some(family) = family(&info.key) {
            list.0.entry(family).or_default().push((info.size_bytes, info.mtime.sec));
        }
    }
    list
}

fn v2_backups(listing: &Listing) -> impl Iterator<Item = &ObjectInfo> {
    let oldest = oldest_recorded(listing);
    listing.files.values().filter(move |info| is_v2_backup(listing, info, oldest))
}

pub(super) fn list_key() -> ObjectKey {
    ObjectKey::new(ADOPTION_LIST).expect("a constant that is a valid key")
}

/// Reads the list, if the listing has one.
pub(super) fn read(storage: &dyn Storage, listing: &Listing) -> Result<Option<AdoptionList>> {
    let key = list_key();
    if !listing.files.contains_key(&key) {
        return Ok(None);
    }
    let bytes = read_small(storage, &key, MAX_BYTES)?;
    let damaged = |e: serde_json::Error| {
        Error::new(ErrorKind::Corrupt, format!("the adoption list `{key}` cannot be read"))
            .with_source(e)
            .with_hint("Backups made by v2 are not rotated until it is put right or removed.")
    };
    let VersionWire { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if format != FORMAT {
        let message = format!("the adoption list `{key}` has format {format}, this program knows {FORMAT}");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let wire: ListWire = serde_json::from_slice(&bytes).map_err(damaged)?;
    let mut list = AdoptionList::default();
    for object in wire.objects {
        if let Some(family) = ObjectKey::new(object.key).ok().as_ref().and_then(family) {
            list.0.entry(family).or_default().push((object.size, object.mtime_sec));
        }
    }
    Ok(Some(list))
}

/// What stays the same when rotation moves an archive: part and file name.
fn family(key: &ObjectKey) -> Option<(String, String)> {
    if incremental::parse(key).is_some() {
        return Some((key.dir().to_owned(), key.file_name().to_owned()));
    }
    discrete::parse(key).map(|p| (p.name.part, key.file_name().to_owned()))
}

fn is_v2_backup(listing: &Listing, info: &ObjectInfo, oldest_recorded: Option<DateTime>) -> bool {
    let (role, at) = match (incremental::parse(&info.key), discrete::parse(&info.key)) {
        (Some(parsed), _) => (parsed.role, parsed.name.at),
        (None, Some(parsed)) if parsed.name.is_adoptable() => (parsed.role, parsed.name.at),
        _ => return false,
    };
    let record = record_key(&info.key);
    role == Role::Archive
        && !listing.has_record_in_family(&info.key)
        && !listing.partials.iter().any(|p| p.final_key == record)
        && oldest_recorded.is_none_or(|oldest| at < oldest)
}

fn oldest_recorded(listing: &Listing) -> Option<DateTime> {
    let records = listing.files.keys().filter(|k| role_of(k.file_name()).0 == Role::Record);
    let at = |key| match incremental::parse(key) {
        Some(parsed) => Some(parsed.name.at),
        None => discrete::parse(key).map(|p| p.name.at),
    };
    records.filter_map(at).min()
}
