//! What lies on a storage: backups, orphans, damage, leftovers. The storage is the truth; this is one reading of it.
//!
//! [`scan`] lists and reads records, [`adoption`] remembers what was there before the first contact, [`sweep`]
//! clears up after runs that died. Which backups stay is decided in [`crate::rotation`]; names and places come from
//! [`nxs_base::layout`].

pub mod adoption;
mod listing;
pub mod scan;
pub mod sweep;

#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
pub(crate) mod tests;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use nxs_base::Error;
use nxs_base::calendar::{Period, Periods};
use nxs_base::entry::FileTime;
use nxs_base::layout::discrete::{ArchiveName, Suffix};
use nxs_base::layout::incremental;
use nxs_base::ports::storage::{ObjectInfo, ObjectKey, PartTag};
use nxs_base::record::{BackupId, Record};

pub use adoption::ensure_adoption_list;
pub use scan::scan;
pub use sweep::{Swept, sweep};

/// One reading of a `backup_dir`. All lists are in the order of keys.
#[derive(Debug, Default)]
pub struct Catalog {
    pub entries: Vec<CatalogEntry>,
    /// Archives by name, with neither record nor place on the adoption list: shown, never counted.
    pub orphans: Vec<ObjectInfo>,
    /// What looks like a backup and is none, or lost something.
    pub damaged: Vec<Damage>,
    /// Unpublished objects, of living and dead runs.
    pub partials: Vec<Partial>,
    /// Period links whose archive is gone.
    pub dangling: Vec<ObjectKey>,
    /// False before the first contact.
    pub has_adoption_list: bool,
}

/// A backup: an archive with a sound record, or an adopted one.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogEntry {
    /// The archive.
    pub key: ObjectKey,
    /// Bytes of the archive.
    pub size_bytes: u64,
    pub mtime: FileTime,
    /// What its name says; none outside the layout of discrete backups.
    pub name: Option<ArchiveName>,
    /// What its name says; none outside the layout of incremental backups.
    pub increment: Option<incremental::ArchiveName>,
    pub origin: Origin,
    /// Where its index lies, if there is one.
    pub index: Option<ObjectInfo>,
    /// Links to it from other period directories.
    pub links: Vec<PeriodLink>,
    /// Links to an incremental backup from the places of lower levels that it stands for.
    pub stand_ins: Vec<ObjectKey>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    Recorded {
        record: Box<Record>,
        /// Beside the archive, unless a move was cut short.
        record_key: ObjectKey,
    },
    /// Made by v2: known by name, place and adoption list alone.
    Adopted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodLink {
    pub period: Period,
    pub key: ObjectKey,
    /// False if it leads nowhere, though its archive is there (a move was cut short).
    pub leads_to_archive: bool,
}

/// Something on the storage that is not as it should be.
#[derive(Debug)]
pub struct Damage {
    pub key: ObjectKey,
    pub problem: Error,
}

/// An object under its partial name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    pub key: ObjectKey,
    /// The name it was to get.
    pub final_key: ObjectKey,
    pub tag: PartTag,
    pub mtime: FileTime,
    pub size_bytes: u64,
}

/// Whose backups: rotation never crosses this border.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    pub server_name: String,
    pub job: String,
    pub source: usize,
    /// The target, exactly.
    pub root: String,
    /// Directory of its backups: two patterns may lead to one target under two names, and each keeps its own count.
    pub part: String,
}

/// A group that the configuration names, and how its backups are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredGroup {
    pub id: GroupId,
    pub part: String,
    pub stem: String,
}

impl CatalogEntry {
    /// Its record, unless it is adopted.
    pub fn record(&self) -> Option<&Record> {
        match &self.origin {
            Origin::Recorded { record, .. } => Some(record),
            Origin::Adopted => None,
        }
    }

    /// What a restore needs before it, as its record tells, nearest first.
    pub fn parents(&self) -> &[BackupId] {
        self.record().map_or(&[], |record| &record.parents)
    }

    /// The period directory of the archive itself.
    pub fn real_period(&self) -> Option<Period> {
        self.name.as_ref().map(|n| n.period)
    }

    /// The period directories in which the archive or a link to it appears.
    pub fn periods_present(&self) -> Periods {
        self.real_period().into_iter().chain(self.links.iter().map(|l| l.period)).collect()
    }

    /// The periods it counts for: those of its birth, or where it appears if no record tells them.
    pub fn counts_for(&self) -> Periods {
        self.record().map_or_else(|| self.periods_present(), |r| r.periods)
    }

    /// Adopted backups pass for complete: nothing is known against them.
    pub fn is_complete(&self) -> bool {
        self.record().is_none_or(Record::is_complete)
    }

    /// Start of the run; for adopted ones the local time of the name, read in `zone`.
    pub fn started(&self, zone: &TimeZone) -> Timestamp {
        match (self.record(), self.local()) {
            (Some(record), _) => record.started,
            (None, Some(at)) => zone.to_timestamp(at).unwrap_or(Timestamp::MIN),
            (None, None) => Timestamp::MIN,
        }
    }

    /// Local start as record or name tell it.
    pub fn local(&self) -> Option<DateTime> {
        let of_name = || self.name.as_ref().map(|n| n.at).or_else(|| self.increment.as_ref().map(|n| n.at));
        self.record().map(|r| r.local).or_else(of_name)
    }

    /// What the stages after the source left in its name.
    pub fn suffix(&self) -> Suffix {
        let increment = || self.increment.as_ref().map(|n| n.suffix);
        self.name.as_ref().map(|n| n.suffix).or_else(increment).unwrap_or_default()
    }

    /// Part and stem of its name.
    pub fn part_and_stem(&self) -> Option<(&str, &str)> {
        let discrete = self.name.as_ref().map(|n| (n.part.as_str(), n.stem.as_str()));
        discrete.or_else(|| self.increment.as_ref().map(|n| (n.part.as_str(), n.stem.as_str())))
    }

    /// Bytes that dropping it frees.
    pub fn total_bytes(&self) -> u64 {
        self.size_bytes.saturating_add(self.index.as_ref().map_or(0, |i| i.size_bytes))
    }

    /// The group it belongs to: that of its record, else the only one of `configured` that would give it this
    /// name. None for an adopted one that nobody, or more than one, could have made.
    pub fn group(&self, configured: &[ConfiguredGroup]) -> Option<GroupId> {
        if let Some(r) = self.record() {
            return Some(GroupId {
                server_name: r.server_name.clone(),
                job: r.job.clone(),
                source: r.source,
                root: r.root.clone(),
                part: r.part.clone(),
            });
        }
        let (part, stem) = self.part_and_stem()?;
        let mut fitting = configured.iter().filter(|g| g.part == part && g.stem == stem);
        match (fitting.next(), fitting.next()) {
            (Some(group), None) => Some(group.id.clone()),
            _ => None,
        }
    }
}

impl Catalog {
    /// The backups of one group. `configured` lists every group that uses this `backup_dir`, of all jobs.
    pub fn of_group<'a>(&'a self, group: &GroupId, configured: &[ConfiguredGroup]) -> Vec<&'a CatalogEntry> {
        self.entries.iter().filter(|e| e.group(configured).as_ref() == Some(group)).collect()
    }
}
