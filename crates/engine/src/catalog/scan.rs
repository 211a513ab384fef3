//! Reads a storage into a [`Catalog`]: one listing, then every record.

use std::collections::BTreeSet;
use std::io::Read;

use nxs_archive::index::{IndexReader, ReadAt};
use nxs_base::layout::{Role, discrete, incremental, index_key, record_key, role_of};
use nxs_base::ports::storage::{ObjectInfo, ObjectKey, Storage};
use nxs_base::record::Record;
use nxs_base::{Error, ErrorKind, Result};

use super::adoption::{self, AdoptionList};
use super::listing::Listing;
use super::{Catalog, CatalogEntry, Damage, Origin, PeriodLink};

/// Reads what lies on the storage.
///
/// Lists once, reads every record and the adoption list. A damaged or missing record is reported in the catalog;
/// what could not be listed or read for other reasons (denied, timeout) is an error, so that nothing is ever
/// decided on half a catalog.
pub fn scan(storage: &dyn Storage) -> Result<Catalog> {
    let listing = Listing::read(storage)?;
    let mut catalog = Catalog::default();
    let adopted = match adoption::read(storage, &listing) {
        Ok(list) => {
            catalog.has_adoption_list = list.is_some();
            // Before the first contact a reader sees what that would adopt.
            list.unwrap_or_else(|| adoption::at_first_contact(&listing))
        }
        Err(problem) if is_damage(&problem) => {
            catalog.has_adoption_list = true;
            catalog.damaged.push(Damage { key: adoption::list_key(), problem });
            AdoptionList::default()
        }
        Err(error) => return Err(error),
    };
    let mut claimed = BTreeSet::new();
    for (key, info) in &listing.files {
        if role_of(key.file_name()).0 == Role::Archive {
            add_archive(storage, &listing, &adopted, info, &mut catalog, &mut claimed)?;
        }
    }
    for key in listing.files.keys().filter(|k| !claimed.contains(*k)) {
        if role_of(key.file_name()).0 == Role::Record {
            let problem =
                Error::new(ErrorKind::NotFound, format!("the archive of the record `{key}` is gone"));
            catalog.damaged.push(Damage { key: key.clone(), problem });
        }
    }
    for key in links_to_nowhere(&listing) {
        if storage.is_dangling(&key)? {
            catalog.dangling.push(key);
        }
    }
    catalog.partials = listing.partials;
    Ok(catalog)
}

/// Sorts one file that is neither record nor index into the catalog; `claimed` gets the companions it has.
fn add_archive(
    storage: &dyn Storage,
    listing: &Listing,
    adopted: &AdoptionList,
    info: &ObjectInfo,
    catalog: &mut Catalog,
    claimed: &mut BTreeSet<ObjectKey>,
) -> Result<()> {
    let discrete = discrete::parse(&info.key).map(|p| p.name);
    let increment = incremental::parse(&info.key).map(|p| p.name);
    let index = listing.companion(&info.key, index_key).cloned();
    let origin = match listing.companion(&info.key, record_key) {
        Some(at) => {
            claimed.insert(at.key.clone());
            match read_record(storage, at, info) {
                Ok(record) => Origin::Recorded { record: Box::new(record), record_key: at.key.clone() },
                Err(problem) if is_damage(&problem) => {
                    catalog.damaged.push(Damage { key: at.key.clone(), problem });
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        None if discrete.is_none() && increment.is_none() => return Ok(()),
        None => {
            let is_adoptable = increment.is_some() || discrete.as_ref().is_some_and(|n| n.is_adoptable());
            if !is_adoptable || !adopted.contains(info) {
                catalog.orphans.push(info.clone());
                return Ok(());
            }
            Origin::Adopted
        }
    };
    if let Origin::Recorded { record, .. } = &origin {
        let expected = record.index.as_ref().map(|i| i.stored.bytes);
        let is_whole = expected == index.as_ref().map(|i| i.size_bytes)
            || index.as_ref().is_some_and(|index| is_rebuilt(storage, index));
        if expected.is_some() && !is_whole {
            let key = index_key(&info.key);
            let problem = Error::new(ErrorKind::Corrupt, format!("the index `{key}` is missing or was cut"))
                .with_hint(
                    "The archive is not affected: `nxs-backup index rebuild JOB` makes the index again.",
                );
            catalog.damaged.push(Damage { key, problem });
        }
    }
    // The month of an incremental tree looks like a monthly backup of a part that ends with year and month.
    let is_increment = match &origin {
        Origin::Recorded { record, .. } => !record.is_discrete(),
        Origin::Adopted => increment.is_some(),
    };
    let (name, increment) = if is_increment { (None, increment) } else { (discrete, None) };
    let links = if is_increment { Vec::new() } else { listing.period_links(&info.key) }.into_iter();
    let stand_ins = if is_increment { listing.links_to(&info.key) } else { Vec::new() };
    catalog.entries.push(CatalogEntry {
        key: info.key.clone(),
        size_bytes: info.size_bytes,
        mtime: info.mtime,
        name,
        increment,
        origin,
        index,
        stand_ins,
        links: links
            .map(|(period, key, leads_to_archive)| PeriodLink { period, key, leads_to_archive })
            .collect(),
    });
    Ok(())
}

/// Whether it is an index that says of itself that it is not the one of the record.
fn is_rebuilt(storage: &dyn Storage, index: &ObjectInfo) -> bool {
    IndexReader::open(Ranged { storage, object: index }).is_ok_and(|index| index.header().is_rebuilt)
}

/// An object read by ranges.
struct Ranged<'a> {
    storage: &'a dyn Storage,
    object: &'a ObjectInfo,
}

impl ReadAt for Ranged<'_> {
    fn len(&self) -> u64 {
        self.object.size_bytes
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let key = &self.object.key;
        let reader = self.storage.get(key, Some(offset..offset.saturating_add(length as u64)))?;
        let mut bytes = Vec::new();
        let read = reader.take(length as u64).read_to_end(&mut bytes);
        read.map_err(|e| Error::from_io(format!("cannot read `{key}`"), e))?;
        Ok(bytes)
    }
}

/// Whether an error says something about the object, not about the way to it.
pub(super) fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::NotFound)
}

fn read_record(storage: &dyn Storage, at: &ObjectInfo, archive: &ObjectInfo) -> Result<Record> {
    let record = Record::parse(&read_small(storage, &at.key, Record::MAX_BYTES)?)?;
    if record.stored_bytes != archive.size_bytes {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "`{}` has {} bytes, its record says {}",
                archive.key, archive.size_bytes, record.stored_bytes
            ),
        ));
    }
    Ok(record)
}

/// Reads a whole object of at most `max` bytes.
pub(crate) fn read_small(storage: &dyn Storage, key: &ObjectKey, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    storage
        .get(key, None)?
        .take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::from_io(format!("cannot read `{key}` on {}", storage.label()), e))?;
    if bytes.len() as u64 > max {
        return Err(Error::new(ErrorKind::Corrupt, format!("`{key}` is larger than {max} bytes")));
    }
    Ok(bytes)
}

/// Links in period directories, named like archives, that lead to nothing here and have no archive of that name.
fn links_to_nowhere(listing: &Listing) -> Vec<ObjectKey> {
    let leads_nowhere =
        |target: &Option<ObjectKey>| target.as_ref().is_none_or(|t| !listing.files.contains_key(t));
    listing
        .links
        .iter()
        .filter(|(_, target)| leads_nowhere(target))
        .filter(|(key, _)| {
            let alone = |p: discrete::Parsed| {
                let all = discrete::siblings(key);
                p.role == Role::Archive
                    && all.is_some_and(|all| !all.iter().any(|(_, s)| listing.files.contains_key(s)))
            };
            incremental::parse(key).is_some_and(|p| p.role == Role::Archive)
                || discrete::parse(key).is_some_and(alone)
        })
        .map(|(key, _)| key.clone())
        .collect()
}
