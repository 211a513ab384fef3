//! The incremental backups of one group on one storage: which is whose parent, as records tell it, or as v2's rules do
//! for archives that have none.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;
use nxs_base::layout::incremental::{ArchiveName, Decade, Place};
use nxs_base::ports::storage::ObjectKey;
use nxs_base::record::BackupId;

use super::level::{Level, Link};
use crate::catalog::{Catalog, CatalogEntry, ConfiguredGroup, GroupId};

/// All incremental backups of a group, oldest first.
#[derive(Debug, Default)]
pub struct Chain<'a> {
    links: Vec<Link>,
    entries: BTreeMap<BackupId, &'a CatalogEntry>,
    /// Where v2 could not link it stored the same archive once more.
    copies: BTreeMap<BackupId, Vec<ObjectKey>>,
}

impl<'a> Chain<'a> {
    /// Reads the chain of a group out of a catalog. `configured` lists every group that uses the `backup_dir`.
    pub fn of_group(catalog: &'a Catalog, group: &GroupId, configured: &[ConfiguredGroup]) -> Self {
        Self::new(catalog.of_group(group, configured))
    }

    /// The chain of the given entries; those that are no incremental backups are left out.
    pub fn new(entries: impl IntoIterator<Item = &'a CatalogEntry>) -> Self {
        let mut chain = Self::default();
        let mut adopted = Vec::new();
        for entry in entries {
            let Some(name) = &entry.increment else { continue };
            match entry.record() {
                Some(record) => {
                    let Some(level) = Level::from_name(&record.level) else { continue };
                    let parent = record.parents.first().copied();
                    chain.add(
                        Link { id: record.id, parent, level, place: name.place, at: record.local },
                        entry,
                    );
                }
                None => adopted.push((name, entry)),
            }
        }
        // Fulls first, so that every parent is known before its children.
        adopted.sort_by_key(|(name, _)| (rank(name.place), name.at));
        for (name, entry) in adopted {
            chain.adopt(name, entry);
        }
        chain.links.sort_by_key(|link| (link.at, link.level, link.id));
        chain
    }

    fn add(&mut self, link: Link, entry: &'a CatalogEntry) {
        if self.entries.insert(link.id, entry).is_none() {
            self.links.push(link);
        }
    }

    fn adopt(&mut self, name: &ArchiveName, entry: &'a CatalogEntry) {
        let id = adopted_id(name, entry.size_bytes);
        if self.entries.contains_key(&id) {
            self.copies.entry(id).or_default().push(entry.key.clone());
            return;
        }
        let (level, parent) = match name.place {
            Place::Year { .. } => (Level::Year, None),
            Place::Month { .. } => {
                (Level::Month, self.newest(Level::Year, Place::Year { year: name.place.year() }, name.at))
            }
            Place::Decade { year, month, decade } => {
                let of_month =
                    self.newest(Level::Month, Place::Month { year, month }, name.at).or_else(|| {
                        self.newest(Level::Year, Place::Year { year }, name.at)
                            .filter(|id| self.is_in(*id, year, month))
                    });
                if decade != Decade::First && name.at.day() == decade.first_day() {
                    (Level::Decade, of_month)
                } else {
                    // v2's days went on from the month only where the decade began with it.
                    let begun = of_month.filter(|id| {
                        decade == Decade::First
                            || self.link(*id).is_some_and(|l| Decade::of(l.at.date()) == decade)
                    });
                    (Level::Day, self.newest(Level::Decade, name.place, name.at).or(begun))
                }
            }
        };
        self.add(Link { id, parent, level, place: name.place, at: name.at }, entry);
    }

    fn is_in(&self, id: BackupId, year: i16, month: i8) -> bool {
        self.link(id).is_some_and(|l| (l.at.year(), l.at.month()) == (year, month))
    }

    fn newest(&self, level: Level, place: Place, until: DateTime) -> Option<BackupId> {
        let fitting = self.links.iter().filter(|l| l.level == level && l.place == place && l.at < until);
        fitting.max_by_key(|l| l.at).map(|l| l.id)
    }

    /// Oldest first.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    pub fn link(&self, id: BackupId) -> Option<&Link> {
        self.links.iter().find(|l| l.id == id)
    }

    pub fn entry(&self, id: BackupId) -> Option<&'a CatalogEntry> {
        self.entries.get(&id).copied()
    }

    /// Further copies of an archive of v2 in lower places.
    pub fn copies(&self, id: BackupId) -> &[ObjectKey] {
        self.copies.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The backup and its parents, nearest first, up to the full; none if one of them is not here.
    pub fn ancestry(&self, id: BackupId) -> Option<Vec<&'a CatalogEntry>> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut next = Some(id);
        while let Some(id) = next {
            if !seen.insert(id) {
                return None;
            }
            found.push(self.entry(id)?);
            let link = self.link(id)?;
            next = link.parent;
            if next.is_none() && link.level != Level::Year {
                return None;
            }
        }
        Some(found)
    }

    /// Ids of the backup's parents, nearest first, as its record will tell them.
    pub fn lineage(&self, parent: Option<BackupId>) -> Vec<BackupId> {
        let mut found = Vec::new();
        let mut next = parent;
        while let Some(id) = next.filter(|id| !found.contains(id)) {
            found.push(id);
            next = self.link(id).and_then(|l| l.parent);
        }
        found
    }

    /// The id of one of its entries, or of that of which this is a further copy.
    pub fn id_of(&self, key: &ObjectKey) -> Option<BackupId> {
        let own = self.entries.iter().find(|(_, e)| e.key == *key).map(|(id, _)| *id);
        own.or_else(|| self.copies.iter().find(|(_, keys)| keys.contains(key)).map(|(id, _)| *id))
    }

    /// Where v2's state file of a backup lies, if that is still the one of this backup: every further archive of the
    /// same level there took its place.
    pub fn state_key(&self, id: BackupId) -> Option<ObjectKey> {
        let (link, entry) = (self.link(id)?, self.entry(id)?);
        let is_newest = !self.links.iter().any(|l| {
            (l.level, l.place) == (link.level, link.place)
                && l.at > link.at
                && self.entry(l.id).is_some_and(|e| e.record().is_none())
        });
        let is_v2s = entry.record().is_none() && link.level != Level::Day;
        if !is_v2s || !is_newest {
            return None;
        }
        ObjectKey::new(format!("{}/{}", entry.key.dir(), link.place.state_file())).ok()
    }
}

fn rank(place: Place) -> u8 {
    match place {
        Place::Year { .. } => 0,
        Place::Month { .. } => 1,
        Place::Decade { .. } => 2,
    }
}

/// The id of a backup: that of its record, or [`adopted_id`]; none for what is neither.
pub fn id_of_entry(entry: &CatalogEntry) -> Option<BackupId> {
    let adopted = || entry.increment.as_ref().map(|name| adopted_id(name, entry.size_bytes));
    entry.record().map(|record| record.id).or_else(adopted)
}

/// An id for an archive of v2: the same wherever it lies, as long as it is the same file.
pub fn adopted_id(name: &ArchiveName, size_bytes: u64) -> BackupId {
    let mut hasher = blake3::Hasher::new();
    for part in ["v2", &name.part, &name.file_name()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(&size_bytes.to_le_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    BackupId(u128::from_be_bytes(short))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Origin;
    use nxs_base::entry::FileTime;
    use nxs_base::layout::incremental;

    fn adopted(key: &str, size_bytes: u64) -> CatalogEntry {
        let key = ObjectKey::new(key).unwrap();
        CatalogEntry {
            increment: incremental::parse(&key).map(|p| p.name),
            key,
            size_bytes,
            mtime: FileTime::default(),
            name: None,
            origin: Origin::Adopted,
            index: None,
            links: Vec::new(),
            stand_ins: Vec::new(),
        }
    }

    #[test]
    fn archives_of_v2_find_their_parents_by_place_and_date() {
        // The golden example of v2 where it links, and a storage where it stored copies.
        for copies in [false, true] {
            let mut keys = vec![
                ("data/2018/year/data_2018-07-28_03-00.tar", 10),
                ("data/2018/month_07/daily/day_21/data_2018-07-29_03-00.tar", 11),
                ("data/2018/month_08/monthly/data_2018-08-01_03-00.tar", 12),
                ("data/2018/month_08/daily/day_01/data_2018-08-02_03-00.tar", 13),
                ("data/2018/month_08/daily/day_11/data_2018-08-11_03-00.tar", 14),
                ("data/2018/month_08/daily/day_11/data_2018-08-12_03-00.tar", 15),
            ];
            if copies {
                keys.push(("data/2018/month_07/monthly/data_2018-07-28_03-00.tar", 10));
                keys.push(("data/2018/month_07/daily/day_21/data_2018-07-28_03-00.tar", 10));
            }
            let entries: Vec<CatalogEntry> = keys.iter().map(|(k, s)| adopted(k, *s)).collect();
            let chain = Chain::new(&entries);
            let shown: Vec<String> = chain
                .links()
                .iter()
                .map(|l| {
                    let parents = chain.ancestry(l.id).unwrap();
                    let sizes: Vec<String> = parents.iter().map(|e| e.size_bytes.to_string()).collect();
                    format!("{} {}", l.level.name(), sizes.join("<"))
                })
                .collect();
            assert_eq!(
                shown,
                ["year 10", "day 11<10", "month 12<10", "day 13<12<10", "decade 14<12<10", "day 15<14<12<10"]
            );
            assert_eq!(chain.copies(chain.links()[0].id).len(), if copies { 2 } else { 0 });
        }
    }

    #[test]
    fn a_chain_with_a_hole_has_no_ancestry() {
        let entries = [
            adopted("data/2018/month_08/monthly/data_2018-08-01_03-00.tar", 12),
            adopted("data/2018/month_08/daily/day_01/data_2018-08-02_03-00.tar", 13),
        ];
        let chain = Chain::new(&entries);
        assert!(chain.links().iter().all(|l| chain.ancestry(l.id).is_none()));
    }
}
