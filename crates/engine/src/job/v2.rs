//! Going on with the trees of version 2: the state of a parent that has no index, and what goes from a place with its last
//! archive.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::sync::Arc;

use nxs_archive::index::{IndexBytes, IndexReader};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::event::Event;
use nxs_base::layout::incremental::{self, Decade, Place};
use nxs_base::layout::index_key;
use nxs_base::ports::storage::{ObjectKey, PartTag, Storage};
use nxs_base::record::BackupId;

use super::target::TargetJob;
use crate::catalog::sweep::delete_if_there;
use crate::catalog::{Catalog, CatalogEntry};
use crate::incremental::chain::Chain;
use crate::incremental::rebuild::{Times, rebuild};
use crate::restore::select::Copy;

/// The index of an archive of version 2, made from the archive and its state file, and left beside it for the next time.
/// `parents`: the indexes of its parents, the nearest first.
///
/// Fails if the archive is damaged or cut, and if the state file knows of more than the archives have: then nobody can
/// tell what was saved.
pub(super) fn rebuild_parent(
    work: &TargetJob<'_>,
    chain: &Chain<'_>,
    copy: &Copy,
    id: BackupId,
    parents: &[Arc<IndexReader<Vec<u8>>>],
) -> Result<IndexReader<Vec<u8>>> {
    let warn = |message: String| {
        work.ctx.events.emit(&Event::Warned { job: &work.job.name, message: &message });
    };
    let times = match chain.state_key(id).map(|key| (read_times(copy, &key), key)) {
        None => None,
        Some((Ok(times), _)) => Some(times),
        Some((Err(error), _)) if error.kind() == ErrorKind::NotFound => None,
        Some((Err(error), key)) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
            warn(format!(
                "{}: version 2's state file `{key}` is damaged ({}); its archives alone tell what was saved",
                copy.storage_name,
                error.chain()
            ));
            None
        }
        Some((Err(error), _)) => return Err(error),
    };
    let parents: Vec<&IndexReader<Vec<u8>>> = parents.iter().map(AsRef::as_ref).collect();
    let rebuilt = rebuild(copy, &parents, times.as_ref(), work.ctx.cancel)?;
    let message = format!(
        "{}: made an index of `{}`, which version 2 left without one",
        copy.storage_name, copy.entry.key
    );
    work.ctx.events.emit(&Event::Info { job: &work.job.name, message: &message });
    // It would be made again by every run; nothing else is lost if it cannot be kept.
    if let Err(error) = put_index(copy.storage.as_ref(), &work.ctx.tag(), &copy.entry, &rebuilt.index) {
        warn(format!("{}: cannot keep it: {}", copy.storage_name, error.chain()));
    }
    rebuilt.open()
}

fn read_times(copy: &Copy, key: &ObjectKey) -> Result<Times> {
    Times::read(BufReader::new(copy.storage.get(key, None)?))
}

/// Puts an index beside its archive, in place of one that is there.
pub(crate) fn put_index(
    storage: &dyn Storage,
    tag: &PartTag,
    entry: &CatalogEntry,
    index: &IndexBytes,
) -> Result<()> {
    let key = index_key(&entry.key);
    let pending = storage.stage(&key, tag, &mut index.reader())?;
    if pending.size_bytes() != index.total_bytes() {
        let text = format!("cannot store `{key}`: {} bytes arrived", pending.size_bytes());
        return Err(Error::new(ErrorKind::Corrupt, text));
    }
    delete_if_there(storage, &key)?;
    pending.commit()
}

/// Links to kept archives of version 2, and copies of them, in months from which the last other archive went.
/// `catalog` is what is there now.
pub(super) fn left_alone(chain: &Chain<'_>, catalog: &Catalog, gone: &[ObjectKey]) -> LeftAlone {
    let month_of = |key: &ObjectKey| {
        let name = incremental::parse(key)?.name;
        Some((name.part, name.place.year(), name.place.month()?))
    };
    let months: BTreeSet<_> = gone.iter().filter_map(month_of).collect();
    let copies: BTreeSet<&ObjectKey> = chain.links().iter().flat_map(|l| chain.copies(l.id)).collect();
    let real = catalog.entries.iter().map(|e| &e.key).filter(|key| !copies.contains(key));
    let used: BTreeSet<_> = real.filter_map(month_of).collect();
    let is_alone = |key: &&ObjectKey| {
        month_of(key).is_some_and(|month| months.contains(&month) && !used.contains(&month))
    };
    let v2s = chain.links().iter().filter_map(|l| chain.entry(l.id)).filter(|e| e.record().is_none());
    LeftAlone {
        copies: copies.iter().copied().filter(is_alone).cloned().collect(),
        links: v2s.flat_map(|e| &e.stand_ins).filter(is_alone).cloned().collect(),
    }
}

/// What stays behind in a month.
pub(super) struct LeftAlone {
    pub(super) copies: Vec<ObjectKey>,
    pub(super) links: Vec<ObjectKey>,
}

/// Of the places from which archives went, clears those that no archive is left in of version 2's state file.
/// `catalog` is what is there now.
pub(super) fn clear_places(storage: &dyn Storage, catalog: &Catalog, gone: &[ObjectKey]) -> Result<()> {
    let mut places = BTreeSet::new();
    for name in gone.iter().filter_map(incremental::parse).map(|parsed| parsed.name) {
        if let Place::Month { year, month } = name.place {
            // On the first of a month version 2 leaves the state in the first decade, and no archive.
            places.insert((name.part.clone(), Place::Decade { year, month, decade: Decade::First }));
        }
        places.insert((name.part, name.place));
    }
    for (part, place) in places {
        let slash = if part.is_empty() { "" } else { "/" };
        let dir = format!("{part}{slash}{}", place.dir());
        let of_entries = catalog.entries.iter().flat_map(|e| e.stand_ins.iter().chain([&e.key]));
        let others = catalog.orphans.iter().map(|o| &o.key);
        let damaged = catalog.damaged.iter().map(|d| &d.key);
        let is_used =
            of_entries.chain(others).chain(damaged).chain(&catalog.dangling).any(|k| k.dir() == dir);
        if !is_used {
            delete_if_there(storage, &ObjectKey::new(format!("{dir}/{}", place.state_file()))?)?;
        }
    }
    Ok(())
}
