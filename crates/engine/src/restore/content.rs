//! What a restore point holds, for listings: the merged indexes of its archives, read by blocks; the same made anew in
//! memory where archives have none; or the headers of one archive that is read through.
//!
//! Which point is meant and who hears of it is [`super::browse`]'s.

use std::cmp::Ordering;
use std::io::BufReader;

use nxs_archive::index::{Entries, IndexReader, ReadAt};
use nxs_archive::tar::{TarReader, safe_path};
use nxs_base::Result;
use nxs_base::entry::{EntryKind, IndexEntry, path_order};

use super::chain::{self, Counted, Level};
use super::fetch;
use super::passes::target_path;
use super::rebuilt;
use super::select::Copy;
use super::selection::below;
use crate::catalog::CatalogEntry;
use crate::incremental::state::State;
use crate::job::RunContext;

/// One entry of a point.
pub(super) struct Found<'a> {
    pub(super) entry: IndexEntry,
    /// Bytes of the file; none for a further name of what cannot be found.
    pub(super) size_bytes: Option<u64>,
    /// The archive that has its bytes.
    pub(super) key: &'a str,
}

/// Hears of an entry: found, and its path below the directory.
pub(super) type Each<'a, E> = dyn FnMut(&Found<'_>, &[u8]) -> std::result::Result<(), E> + 'a;

/// What a copy holds.
pub(super) enum Content {
    Ranged(Indexed<fetch::RangedObject>),
    Held(Indexed<Vec<u8>>),
    Listed(Listed),
}

/// The newest level first, with the keys of the archives.
pub(super) struct Indexed<R> {
    levels: Vec<Level<R>>,
    keys: Vec<String>,
    root: Vec<u8>,
}

/// In path order.
pub(super) struct Listed {
    entries: Vec<IndexEntry>,
    key: String,
    root: Vec<u8>,
}

impl Content {
    /// Opens what the copy and its parents hold. With `anew`, indexes that cannot be used are made of the archives
    /// again; those that archives of version 2 lack always are.
    pub(super) fn open(ctx: &RunContext<'_>, copy: &Copy, anew: bool) -> Result<Self> {
        let is_single = copy.parents.as_ref().is_some_and(Vec::is_empty);
        if is_single && (anew || copy.entry.index.is_none()) {
            return Listed::read(ctx, copy).map(Self::Listed);
        }
        let is_bare = |entry: &CatalogEntry| entry.record().is_none() && entry.index.is_none();
        if anew || is_bare(&copy.entry) || copy.parents.iter().flatten().any(is_bare) {
            return rebuilt::levels(copy, ctx.cancel, anew).map(|levels| Self::Held(Indexed::new(levels)));
        }
        chain::open_levels(copy, fetch::open_index).map(|levels| Self::Ranged(Indexed::new(levels)))
    }

    /// Bytes of indexes that were read; of archives that were read through nothing is counted.
    pub(super) fn read_bytes(&self) -> u64 {
        match self {
            Self::Ranged(content) => content.read_bytes(),
            Self::Held(content) => content.read_bytes(),
            Self::Listed(_) => 0,
        }
    }

    pub(super) fn root(&self) -> &[u8] {
        match self {
            Self::Ranged(Indexed { root, .. })
            | Self::Held(Indexed { root, .. })
            | Self::Listed(Listed { root, .. }) => root,
        }
    }

    pub(super) fn find(&self, path: &[u8]) -> Result<Option<Found<'_>>> {
        match self {
            Self::Ranged(content) => content.find(path),
            Self::Held(content) => content.find(path),
            Self::Listed(content) => Ok(content.find(path)),
        }
    }

    /// Hands over what is in the directory at `path`, in path order; with `recursive` all that is below it.
    pub(super) fn walk<E: From<nxs_base::Error>>(
        &self,
        path: &[u8],
        recursive: bool,
        each: &mut Each<'_, E>,
    ) -> std::result::Result<(), E> {
        match self {
            Self::Ranged(content) => content.walk(path, recursive, each),
            Self::Held(content) => content.walk(path, recursive, each),
            Self::Listed(content) => content.walk(path, recursive, each),
        }
    }
}

impl<R: Counted> Indexed<R> {
    fn new(levels: Vec<Level<R>>) -> Self {
        let keys = levels.iter().map(|l| l.copy.entry.key.to_string()).collect();
        let root = target_path(&levels[0].index);
        Self { levels, keys, root }
    }

    fn read_bytes(&self) -> u64 {
        self.levels.iter().map(|l| l.index.source().read_bytes()).sum()
    }

    fn find(&self, path: &[u8]) -> Result<Option<Found<'_>>> {
        let Some(sited) = chain::find(&self.levels, path)? else { return Ok(None) };
        let index = &self.levels[sited.level].index;
        let size_bytes = size_of(&sited.entry, || index.find(&sited.entry.link))?;
        Ok(Some(Found { entry: sited.entry, size_bytes, key: &self.keys[sited.level] }))
    }

    fn walk<E: From<nxs_base::Error>>(
        &self,
        path: &[u8],
        recursive: bool,
        each: &mut Each<'_, E>,
    ) -> std::result::Result<(), E> {
        let mut state = State::new(self.levels.iter().map(|l| l.index.entries_under(path)));
        let mut first_names: Vec<_> = self.levels.iter().map(|l| FirstNames::new(&l.index)).collect();
        if !recursive {
            state.skip_to(path)?;
        }
        while let Some(sited) = state.next() {
            let sited = sited?;
            let Some(name) = below(&sited.entry.path, path) else { continue };
            let name_bytes = name.len();
            let deeper = name.iter().position(|b| *b == b'/').filter(|_| !recursive);
            let end = match deeper {
                Some(at) => Some(sited.entry.path.len() - name_bytes + at),
                None if recursive || sited.entry.meta.kind != EntryKind::Dir => None,
                None => Some(sited.entry.path.len()),
            };
            // The first path that can follow all that is below.
            let next = end.map(|end| [&sited.entry.path[..end], &[0]].concat());
            if deeper.is_none() {
                let first = || first_names[sited.level].find(&sited.entry.link);
                let size_bytes = size_of(&sited.entry, first)?;
                let found = Found { entry: sited.entry, size_bytes, key: &self.keys[sited.level] };
                let name = &found.entry.path[found.entry.path.len() - name_bytes..];
                each(&found, name)?;
            }
            if let Some(next) = next {
                state.skip_to(&next)?;
            }
        }
        Ok(())
    }
}

/// Bytes of a file; of a further name of one, those that its first name in the same archive tells.
fn size_of(
    entry: &IndexEntry,
    first_name: impl FnOnce() -> Result<Option<IndexEntry>>,
) -> Result<Option<u64>> {
    if entry.meta.kind != EntryKind::HardLink {
        return Ok(Some(entry.meta.size_bytes));
    }
    Ok(first_name()?.map(|first| first.meta.size_bytes))
}

/// Finds the first names of links: these mostly come in the order of their links, so that a block is read once.
struct FirstNames<'a, R> {
    index: &'a IndexReader<R>,
    entries: Entries<'a, R>,
    last: Option<IndexEntry>,
}

impl<'a, R: ReadAt> FirstNames<'a, R> {
    fn new(index: &'a IndexReader<R>) -> Self {
        Self { index, entries: index.entries(), last: None }
    }

    fn find(&mut self, path: &[u8]) -> Result<Option<IndexEntry>> {
        let order = self.last.as_ref().map(|last| path_order(&last.path, path));
        if order.is_none_or(Ordering::is_gt) {
            self.entries = self.index.entries();
        }
        if order != Some(Ordering::Equal) {
            self.entries.skip_to(path);
            self.last = None;
            for entry in self.entries.by_ref() {
                let entry = entry?;
                let is_there = path_order(&entry.path, path) != Ordering::Less;
                if is_there {
                    self.last = Some(entry);
                    break;
                }
            }
        }
        Ok(self.last.clone().filter(|last| last.path == path))
    }
}

impl Listed {
    /// Reads the headers of a whole archive.
    fn read(ctx: &RunContext<'_>, copy: &Copy) -> Result<Self> {
        let plain = fetch::open_plain(copy, None, ctx.workers)?;
        let mut tar = TarReader::new(BufReader::with_capacity(128 << 10, plain));
        let mut entries = Vec::new();
        let mut root = None;
        while let Some(header) = tar.next()? {
            ctx.cancel.check()?;
            let Ok(path) = safe_path(&header.path) else { continue };
            root.get_or_insert_with(|| path.clone());
            let (meta, state, link) = (header.meta, header.state, header.link);
            entries.push(IndexEntry { path, meta, state, link, ..IndexEntry::default() });
        }
        // Of a name that comes twice, the later one is restored.
        entries.reverse();
        entries.sort_by(|a, b| path_order(&a.path, &b.path));
        entries.dedup_by(|later, first| later.path == first.path);
        Ok(Self { entries, key: copy.entry.key.to_string(), root: root.unwrap_or_default() })
    }

    fn entry(&self, path: &[u8]) -> Option<&IndexEntry> {
        let at = self.entries.binary_search_by(|e| path_order(&e.path, path));
        at.ok().and_then(|at| self.entries.get(at))
    }

    fn found(&self, entry: &IndexEntry) -> Found<'_> {
        let size_bytes = match entry.meta.kind {
            EntryKind::HardLink => {
                let first = safe_path(&entry.link).ok();
                first.and_then(|first| self.entry(&first)).map(|first| first.meta.size_bytes)
            }
            _ => Some(entry.meta.size_bytes),
        };
        Found { entry: entry.clone(), size_bytes, key: &self.key }
    }

    fn find(&self, path: &[u8]) -> Option<Found<'_>> {
        self.entry(path).map(|entry| self.found(entry))
    }

    fn walk<E>(&self, path: &[u8], recursive: bool, each: &mut Each<'_, E>) -> std::result::Result<(), E> {
        for entry in &self.entries {
            let Some(name) = below(&entry.path, path) else { continue };
            if recursive || !name.contains(&b'/') {
                each(&self.found(entry), name)?;
            }
        }
        Ok(())
    }
}
