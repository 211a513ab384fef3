//! Increments of physical copies of databases: each holds what changed in the log of its server since another one. What is
//! whose parent, which points are whole, and what a run makes. Pure: it knows catalogs, not storages.
//!
//! They lie where full copies lie; the directories of periods, the counts and the names are theirs. What rotation has
//! to keep for their sake is [`crate::rotation`]'s.

use std::collections::BTreeMap;

use jiff::civil::Date;
use nxs_base::ports::source::LogState;
use nxs_base::record::{BackupId, LogSpan, ParentArchive, Record};

use crate::catalog::CatalogEntry;

/// Longer chains are not made, whatever the configuration says: a restore goes through all of it.
pub const MAX_PARTS: usize = 500;

/// The copies of one storage that have a place in a log, by their ids.
#[derive(Debug, Default)]
pub struct Copies<'a>(BTreeMap<BackupId, &'a CatalogEntry>);

impl<'a> Copies<'a> {
    /// Of these entries, whatever else is among them.
    pub fn new(entries: impl IntoIterator<Item = &'a CatalogEntry>) -> Self {
        let of = |entry: &'a CatalogEntry| {
            let record = entry.record().filter(|record| record.log.is_some())?;
            Some((record.id, entry))
        };
        Self(entries.into_iter().filter_map(of).collect())
    }

    /// A copy and what it needs, nearest first, up to the full one. Fails with the name of the archive that is missing, or
    /// is not the one that the copy was made after.
    pub fn ancestry<'e>(&self, entry: &'e CatalogEntry) -> Result<Vec<&'e CatalogEntry>, String>
    where
        'a: 'e,
    {
        let mut found = vec![entry];
        let mut next = entry;
        while let Some((record, log, parent)) = needs(next) {
            let before = record.parents.first().and_then(|id| self.0.get(id)).copied();
            let fits = |before: &CatalogEntry| {
                before.record().is_some_and(|r| {
                    r.archive.blake3 == parent.blake3 && r.log.as_ref().is_some_and(|l| l.to == log.from)
                })
            };
            let Some(before) = before.filter(|before| fits(before) && found.len() < MAX_PARTS) else {
                return Err(parent.name.clone());
            };
            found.push(before);
            next = before;
        }
        Ok(found)
    }

    /// The newest of them, if it is not whole, with the name of what it lacks.
    pub fn broken_end(&self) -> Option<(&'a CatalogEntry, String)> {
        let newest = self.0.values().copied().max_by_key(|entry| started(entry))?;
        self.ancestry(newest).err().map(|lacks| (newest, lacks))
    }
}

/// Record, place in the log and parent of an increment.
fn needs(entry: &CatalogEntry) -> Option<(&Record, &LogSpan, &ParentArchive)> {
    let record = entry.record()?;
    let log = record.log.as_ref()?;
    Some((record, log, log.parent.as_ref()?))
}

fn started(entry: &CatalogEntry) -> Option<jiff::Timestamp> {
    entry.record().map(|record| record.started)
}

/// What an increment is made after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Itself and its parents, nearest first.
    pub parents: Vec<BackupId>,
    /// What changed since here is saved.
    pub position: u64,
    pub archive: ParentArchive,
}

/// What a run makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// For this reason.
    Full(String),
    After(Base),
}

/// What decides about it.
#[derive(Debug)]
pub struct Rule<'r> {
    pub today: Date,
    /// A full copy is due when the last one is so many days old.
    pub full_every: u32,
    /// Whether the copy of today goes into a directory of weeks or months on one of the storages.
    pub is_kept_longer: bool,
    /// None where the source knows of none.
    pub log: Option<&'r LogState>,
}

/// Decides for all storages of a run at once, so that the source is read once: `storages` are the copies of the group on
/// each. An increment follows the newest point that is whole on all of them and that the log goes on from.
pub fn next(storages: &[Copies<'_>], rule: &Rule<'_>) -> Next {
    let full = |reason: &str| Next::Full(reason.to_owned());
    let Some(log) = rule.log else { return full("nothing is known of where the log of the server is") };
    if rule.is_kept_longer {
        return full("it is kept for weeks or months");
    }
    let Some((first, others)) = storages.split_first() else { return full("there is no storage") };
    let is_whole = |copies: &Copies<'_>, id: BackupId| {
        copies.0.get(&id).is_some_and(|entry| entry.is_complete() && copies.ancestry(entry).is_ok())
    };
    let points = first
        .0
        .iter()
        .filter(|(id, _)| is_whole(first, **id) && others.iter().all(|copies| is_whole(copies, **id)));
    let points =
        points.filter_map(|(_, entry)| Some((*entry, entry.record()?, entry.record()?.log.as_ref()?)));
    let points: Vec<_> = points.collect();
    let Some((_, _, newest)) = points.iter().max_by_key(|(_, record, _)| record.started) else {
        return full(match others {
            [] => "there is none before it that is whole",
            _ => "there is none before it that is whole on every storage",
        });
    };
    let goes_on = |span: &LogSpan| match span.origin.broken_by(&log.origin) {
        Some(reason) => Err(reason),
        None if log.at.is_some_and(|at| at < span.to) => Err("the log of the server is behind the last copy"),
        None => Ok(()),
    };
    let fitting = points.iter().filter(|(_, _, span)| goes_on(span).is_ok());
    let Some((entry, record, span)) = fitting.max_by_key(|(_, record, span)| (span.to, record.started))
    else {
        return full(goes_on(newest).err().unwrap_or_default());
    };
    let chain = first.ancestry(entry).unwrap_or_default();
    let Some(begun) = chain.last().and_then(|entry| entry.record()).map(|record| record.local.date()) else {
        return full("there is none before it");
    };
    let age = (rule.today - begun).get_days();
    if age < 0 {
        return Next::Full(format!("the last full copy is of {begun}, after today"));
    }
    if i64::from(age) >= i64::from(rule.full_every) {
        return Next::Full(format!("the last one is {age} {} old", if age == 1 { "day" } else { "days" }));
    }
    if chain.len() >= MAX_PARTS {
        return Next::Full(format!("{} copies follow each other since the last one", chain.len()));
    }
    Next::After(Base {
        parents: chain.iter().filter_map(|entry| entry.record()).map(|record| record.id).collect(),
        position: span.to,
        archive: ParentArchive {
            name: entry.key.file_name().to_owned(),
            blake3: record.archive.blake3.clone(),
        },
    })
}

#[cfg(test)]
mod tests;
