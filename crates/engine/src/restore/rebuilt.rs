//! Restoring where indexes are missing: they are made anew from the archives, in memory. And reading the archives of
//! version 2, whose members stand in any order and which mostly can be read from their beginning alone: what is wanted of
//! such an archive is gathered first, then taken in one pass.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};

use nxs_archive::index::IndexReader;
use nxs_archive::tar::{EntryHeader, TarReader};
use nxs_base::entry::IndexEntry;
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::ports::source::Cancel;
use nxs_sys::fsx;

use super::chain::Level;
use super::extract::Extractor;
use super::fetch;
use super::select::Copy;
use crate::incremental::rebuild::rebuild;

/// Whether archives of version 2 are among those that the copy needs.
pub(super) fn is_foreign(copy: &Copy) -> bool {
    copy.entry.record().is_none() || copy.parents.iter().flatten().any(|parent| parent.record().is_none())
}

/// The indexes of all archives that a backup needs, its own first. Made anew where there is none for an archive of
/// version 2; with `all`, wherever one cannot be used.
pub(super) fn levels(copy: &Copy, cancel: &Cancel, all: bool) -> Result<Vec<Level<Vec<u8>>>> {
    let parents = copy.parents.as_ref().ok_or_else(|| {
        let text = format!("a parent of `{}` is missing on {}", copy.entry.key, copy.storage_name);
        Error::new(ErrorKind::NotFound, text).with_hint(
            "Without it nobody can tell what was there; `nxs-backup ls` shows which points are whole.",
        )
    })?;
    let mut levels: Vec<Level<Vec<u8>>> = Vec::new();
    // The full first: what an increment removed only its parents can tell.
    let entries = parents.iter().rev().chain([&copy.entry]);
    for entry in entries {
        let copy = Copy { entry: entry.clone(), parents: Some(Vec::new()), ..copy.clone() };
        let known: Vec<&IndexReader<Vec<u8>>> = levels.iter().rev().map(|level| &level.index).collect();
        let index = index(&copy, &known, cancel, all)?;
        levels.push(Level { copy, index });
    }
    levels.reverse();
    Ok(levels)
}

/// The index of one archive, made anew with the indexes of its parents (the nearest first) where there is none for an
/// archive of version 2; with `all`, wherever it cannot be used.
pub(super) fn index(
    copy: &Copy,
    parents: &[&IndexReader<Vec<u8>>],
    cancel: &Cancel,
    all: bool,
) -> Result<IndexReader<Vec<u8>>> {
    let may_rebuild = all || copy.entry.record().is_none();
    match fetch::load_index(copy) {
        Ok(Some(index)) => Ok(index),
        Ok(None) if may_rebuild => rebuild(copy, parents, None, cancel)?.open(),
        Err(error) if may_rebuild && is_damage(&error) => rebuild(copy, parents, None, cancel)?.open(),
        Ok(None) => Err(Error::new(ErrorKind::NotFound, format!("`{}` has no index", copy.entry.key))),
        Err(error) => Err(error),
    }
}

/// The indexes of a backup and its parents, its own first; made anew wherever one cannot be used.
pub(crate) fn indexes(copy: &Copy, cancel: &Cancel) -> Result<Vec<IndexReader<Vec<u8>>>> {
    Ok(levels(copy, cancel, true)?.into_iter().map(|level| level.index).collect())
}

/// Whether an error says something about the index, not about the way to it.
pub(crate) fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported)
}

/// What is wanted of an archive that is read in its own order.
#[derive(Default)]
pub(super) struct Gathered(HashMap<u64, Wanted>);

struct Wanted {
    path: Vec<u8>,
    /// Instead of what the member links to.
    link: Option<Vec<u8>>,
}

impl Gathered {
    /// Wants the member of `entry` at `path`.
    pub(super) fn add(&mut self, entry: &IndexEntry, path: &[u8], link: Option<Vec<u8>>) {
        self.0.insert(entry.offset, Wanted { path: path.to_vec(), link });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the archive once, and extracts what was gathered.
    pub(super) fn extract(mut self, copy: &Copy, extractor: &mut Extractor<'_>) -> Result<()> {
        let plain = fetch::open_plain(copy, None, 1)?;
        let mut tar = TarReader::new(BufReader::with_capacity(128 << 10, plain));
        while let Some(header) = tar.next()? {
            let Some(wanted) = self.0.remove(&header.offset) else { continue };
            let header = EntryHeader { link: wanted.link.unwrap_or_else(|| header.link.clone()), ..header };
            extractor.entry(header, &wanted.path, &mut tar)?;
        }
        if let Some(left) = self.0.into_values().next() {
            let text = format!("the index misplaces `{}`", fsx::show(&left.path));
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        // Damage behind the last member shows here.
        drain(tar.into_inner())
    }
}

fn drain(mut rest: impl Read) -> Result<()> {
    let end = io::copy(&mut rest, &mut io::sink());
    end.map(drop).map_err(|e| Error::from_io("cannot read the end of the archive", e))
}
