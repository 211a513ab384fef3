//! Brings a restore point of an incremental chain back in one step: the indexes of all levels are merged into the
//! state at that point, and each member is taken from the one archive that has it. Nothing is put over anything else.
//!
//! All archives are read in the order of their members, side by side: one that gives most of its bytes as a stream,
//! decompressed by several threads, the others by single frames. Where paths are named, of the indexes too only the
//! blocks that tell of them are read; else each index is read whole and compared with its record.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufReader, Read};

use nxs_archive::frames::FrameRecord;
use nxs_archive::index::{IndexReader, ReadAt};
use nxs_archive::tar::{EntryHeader, TarReader};
use nxs_base::entry::{EntryKind, EntryState, IndexEntry, path_order};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_sys::fsx;

use super::extract::Extractor;
use super::fetch::{self, Members, RangedObject};
use super::passes::{Passage, Target, target_path};
use super::rebuilt::{self, Gathered};
use super::run::Restored;
use super::select::Copy;
use super::selection::Selection;
use crate::incremental::state::{Sited, State};

/// One archive of the chain, opened.
pub(super) struct Level<R> {
    pub(super) copy: Copy,
    pub(super) index: IndexReader<R>,
}

/// An index that knows how much of it was read.
pub(super) trait Counted: ReadAt {
    fn read_bytes(&self) -> u64;
}

impl Counted for Vec<u8> {
    fn read_bytes(&self) -> u64 {
        self.len() as u64
    }
}

impl Counted for RangedObject {
    fn read_bytes(&self) -> u64 {
        Self::read_bytes(self)
    }
}

/// Opens the indexes of all archives that a backup needs, its own first.
pub(super) fn open_levels<R>(
    copy: &Copy,
    open: impl Fn(&Copy) -> Result<Option<IndexReader<R>>>,
) -> Result<Vec<Level<R>>> {
    let parents = copy.parents.as_ref().ok_or_else(|| {
        copy.broken().with_hint(
            "Without it nobody can tell what was there; `nxs-backup ls` shows which points are whole.",
        )
    })?;
    let parents =
        parents.iter().map(|entry| Copy { entry: entry.clone(), parents: Some(Vec::new()), ..copy.clone() });
    std::iter::once(copy.clone())
        .chain(parents)
        .map(|copy| {
            let index = open(&copy)?.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("`{}` has no index", copy.entry.key))
            })?;
            Ok(Level { copy, index })
        })
        .collect()
}

impl Passage<'_> {
    /// From the archives of all levels.
    pub(super) fn chain(&self, restored: &mut Restored) -> Result<()> {
        if rebuilt::is_foreign(self.copy) {
            let levels = self.of_index_of_chain(rebuilt::levels(self.copy, self.ctx.cancel, false))?;
            return self.levels(&levels, restored);
        }
        // To delete, every name must be known.
        if self.globs.has_literals() && !self.request.delete {
            let levels = self.of_index_of_chain(open_levels(self.copy, fetch::open_index))?;
            return self.levels(&levels, restored);
        }
        let levels = self.of_index_of_chain(open_levels(self.copy, fetch::load_index))?;
        self.levels(&levels, restored)
    }

    /// Where a parent is missing, its index is not what failed.
    fn of_index_of_chain<T>(&self, opened: Result<T>) -> Result<T> {
        if self.copy.parents.is_none() { opened } else { self.of_index(opened) }
    }

    pub(super) fn levels<R: Counted>(&self, levels: &[Level<R>], restored: &mut Restored) -> Result<()> {
        let index_bytes = || levels.iter().map(|l| l.index.source().read_bytes()).sum::<u64>();
        let path = target_path(&levels[0].index);
        let found = self.of_index(find(levels, &path))?;
        let target = Target { is_dir: found.is_none_or(|s| s.entry.meta.kind == EntryKind::Dir), path };
        let chosen = self.of_index(choose(levels, self.globs, &target.path))?;
        if self.request.dry_run {
            restored.listed = chosen.iter().map(|s| fsx::show(&s.entry.path)).collect();
            restored.read_bytes = Some(index_bytes());
            let known: Vec<IndexEntry> = chosen.iter().map(|s| s.entry.clone()).collect();
            return self.rehearse_prune(&target, &known, restored, || {
                Ok(Some(|scope: &[u8]| {
                    let below = State::new(levels.iter().map(|l| l.index.entries_under(scope)));
                    below.map(|sited| sited.map(|s| s.entry.path)).collect()
                }))
            });
        }
        let mut extractor = self.extractor(&target, true)?;
        for ancestor in self.of_index(ancestors(levels, &chosen))? {
            extractor.dir(&ancestor.path, &ancestor.meta)?;
        }
        let mut sources = Vec::new();
        for (number, level) in levels.iter().enumerate() {
            let needed = chosen.iter().filter(|s| s.level == number).map(|s| s.entry.stored_bytes).sum();
            sources.push(self.of_index(Source::open(self, level, needed))?);
        }
        self.extract(levels, &chosen, &mut sources, &mut extractor)?;
        for (source, level) in sources.iter_mut().zip(levels) {
            match source.finish(&level.copy, &mut extractor) {
                Err(error) if self.salvage && error.kind() == ErrorKind::Corrupt => {
                    extractor.problem(level.copy.entry.key.as_str().as_bytes(), error);
                }
                other => other?,
            }
        }
        if self.request.delete {
            let known: Vec<IndexEntry> = chosen.iter().map(|s| s.entry.clone()).collect();
            for scope in self.scopes(&target, &known) {
                let below = State::new(levels.iter().map(|l| l.index.entries_under(&scope)));
                extractor.prune(&scope, below.map(|sited| sited.map(|s| s.entry.path)))?;
            }
        }
        restored.extracted = extractor.finish()?;
        restored.read_bytes = Some(index_bytes() + sources.iter().map(|s| s.read_bytes()).sum::<u64>());
        Ok(())
    }

    fn extract<R: ReadAt>(
        &self,
        levels: &[Level<R>],
        chosen: &[Sited],
        sources: &mut [Source<'_, R>],
        extractor: &mut Extractor<'_>,
    ) -> Result<()> {
        let paths: BTreeSet<(usize, &[u8])> = match self.globs.is_everything() {
            // Then every link has its first name, save where that one is left out by now.
            true => BTreeSet::new(),
            false => chosen.iter().map(|s| (s.level, s.entry.path.as_slice())).collect(),
        };
        let mut stand_ins: HashMap<(usize, &[u8]), &[u8]> = HashMap::new();
        for Sited { entry, level } in chosen {
            self.ctx.cancel.check()?;
            let mut link = None;
            let mut first = None;
            if entry.meta.kind == EntryKind::HardLink && !self.has_first(levels, &paths, *level, entry)? {
                // Its first name is not there: the first of its other names takes the bytes, the rest link to it.
                let group = (*level, entry.link.as_slice());
                match stand_ins.get(&group) {
                    Some(stand_in) => link = Some(stand_in.to_vec()),
                    None => {
                        stand_ins.insert(group, &entry.path);
                        let found = self.of_index(levels[*level].index.find(&entry.link))?;
                        first = Some(found.ok_or_else(|| {
                            let text = format!("`{}` links to nothing", fsx::show(&entry.path));
                            Error::new(ErrorKind::Corrupt, text)
                        })?);
                    }
                }
            }
            let taken = match &first {
                Some(first) => sources[*level].take_alone(first, &entry.path, None, extractor),
                None => sources[*level].take(entry, link, extractor),
            };
            match taken {
                Err(error) if self.salvage && error.kind() == ErrorKind::Corrupt => {
                    if entry.meta.kind == EntryKind::Dir {
                        extractor.dir(&entry.path, &entry.meta)?;
                    }
                    extractor.problem(&entry.path, error);
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Whether the first name of a link is restored too, from the same archive.
    fn has_first<R: ReadAt>(
        &self,
        levels: &[Level<R>],
        paths: &BTreeSet<(usize, &[u8])>,
        level: usize,
        entry: &IndexEntry,
    ) -> Result<bool> {
        if !self.globs.is_everything() {
            return Ok(paths.contains(&(level, entry.link.as_slice())));
        }
        // A newer level that knows the first name has removed or replaced it.
        for newer in &levels[..level] {
            if self.of_index(newer.index.find(&entry.link))?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Reads the members of one archive, in its order.
struct Source<'l, R> {
    members: Members<'l, R>,
    /// Of an archive whose members stand in another order: wanted, and taken at the end.
    gathered: Option<Gathered>,
    stream: Option<TarReader<BufReader<Box<dyn Read>>>>,
    stream_bytes: u64,
}

impl<'l, R: ReadAt> Source<'l, R> {
    fn open(passage: &Passage<'_>, level: &'l Level<R>, needed_bytes: u64) -> Result<Self> {
        let plain_bytes = level.index.header().plain_bytes;
        let mut stream = None;
        let mut stream_bytes = 0;
        let is_most = needed_bytes > plain_bytes / 2 && !passage.salvage;
        let header = level.index.header();
        if header.is_foreign && (is_most || header.frames == 0) {
            let gathered = Some(Gathered::default());
            return Ok(Self {
                members: Members::new(&level.copy, &level.index),
                gathered,
                stream,
                stream_bytes,
            });
        }
        let gathered = None;
        if passage.globs.has_literals() && !is_most {
            // Few members: the lines of the frame table that they need.
            let members = Members::new(&level.copy, &level.index);
            return Ok(Self { members, gathered, stream, stream_bytes });
        }
        let frames: Vec<FrameRecord> = level.index.all_frames()?;
        if is_most {
            let plain = fetch::open_plain(&level.copy, Some(frames.clone()), passage.ctx.workers)?;
            stream = Some(TarReader::new(BufReader::with_capacity(128 << 10, plain)));
            stream_bytes = level.copy.entry.size_bytes;
        }
        let members = Members::with_table(&level.copy, &level.index, frames);
        Ok(Self { members, gathered, stream, stream_bytes })
    }

    /// Takes what was gathered.
    fn finish(&mut self, copy: &Copy, extractor: &mut Extractor<'_>) -> Result<()> {
        match self.gathered.take().filter(|gathered| !gathered.is_empty()) {
            Some(gathered) => {
                self.stream_bytes = copy.entry.size_bytes;
                gathered.extract(copy, extractor)
            }
            None => Ok(()),
        }
    }

    fn read_bytes(&self) -> u64 {
        self.stream_bytes + self.members.read_bytes()
    }

    /// Puts the member of `entry` at its path; entries come in the order of the archive.
    fn take(
        &mut self,
        entry: &IndexEntry,
        link: Option<Vec<u8>>,
        extractor: &mut Extractor<'_>,
    ) -> Result<()> {
        if let Some(gathered) = &mut self.gathered {
            gathered.add(entry, &entry.path, link);
            return Ok(());
        }
        let Some(tar) = &mut self.stream else { return self.take_alone(entry, &entry.path, link, extractor) };
        loop {
            let header = tar.next()?.ok_or_else(|| misplaced(entry))?;
            if header.offset < entry.offset {
                tar.skip_data()?;
                continue;
            }
            check(&header, entry)?;
            let header = EntryHeader { link: link.unwrap_or_else(|| header.link.clone()), ..header };
            return extractor.entry(header, &entry.path, tar);
        }
    }

    /// Puts a member, found by its place, at `path`.
    fn take_alone(
        &mut self,
        entry: &IndexEntry,
        path: &[u8],
        link: Option<Vec<u8>>,
        extractor: &mut Extractor<'_>,
    ) -> Result<()> {
        if let Some(gathered) = &mut self.gathered {
            gathered.add(entry, path, link);
            return Ok(());
        }
        let mut tar = TarReader::new(self.members.open(entry)?);
        let header = tar.next()?.ok_or_else(|| misplaced(entry))?;
        check(&header, entry)?;
        let header = EntryHeader { link: link.unwrap_or_else(|| header.link.clone()), ..header };
        extractor.entry(header, path, &mut tar)
    }
}

fn check(header: &EntryHeader, entry: &IndexEntry) -> Result<()> {
    let is_it = header.path == entry.path && header.meta.kind == entry.meta.kind;
    if is_it { Ok(()) } else { Err(misplaced(entry)) }
}

fn misplaced(entry: &IndexEntry) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the index misplaces `{}`", fsx::show(&entry.path)))
}

/// The entry of a path in the state.
pub(super) fn find<R: ReadAt>(levels: &[Level<R>], path: &[u8]) -> Result<Option<Sited>> {
    for (level, opened) in levels.iter().enumerate() {
        match opened.index.find(path)? {
            None => {}
            Some(entry) if entry.state == EntryState::Missing => {}
            Some(entry) => return Ok(entry.is_member().then_some(Sited { entry, level })),
        }
    }
    Ok(None)
}

/// The wanted entries of the state, in path order.
fn choose<R: ReadAt>(levels: &[Level<R>], globs: &Selection, root: &[u8]) -> Result<Vec<Sited>> {
    let mut chosen = Vec::new();
    if let Some(literals) = globs.literals(root) {
        for literal in literals {
            for sited in State::new(levels.iter().map(|l| l.index.entries_under(&literal))) {
                chosen.push(sited?);
            }
        }
        chosen.sort_by(|a, b| path_order(&a.entry.path, &b.entry.path));
        chosen.dedup_by(|a, b| a.entry.path == b.entry.path);
    } else {
        for sited in State::new(levels.iter().map(|l| l.index.entries())) {
            let sited = sited?;
            if globs.is_match(&sited.entry.path, root) {
                chosen.push(sited);
            }
        }
    }
    Ok(chosen)
}

/// Directories above the chosen entries that are not chosen themselves, the highest first.
fn ancestors<R: ReadAt>(levels: &[Level<R>], chosen: &[Sited]) -> Result<Vec<IndexEntry>> {
    let have: BTreeSet<&[u8]> = chosen.iter().map(|s| s.entry.path.as_slice()).collect();
    let mut wanted: BTreeSet<&[u8]> = BTreeSet::new();
    for sited in chosen {
        let mut path = sited.entry.path.as_slice();
        while let Some(i) = path.iter().rposition(|b| *b == b'/') {
            path = &path[..i];
            if have.contains(path) || !wanted.insert(path) {
                break;
            }
        }
    }
    let mut found = Vec::new();
    for path in wanted {
        if let Some(sited) = find(levels, path)?.filter(|s| s.entry.meta.kind == EntryKind::Dir) {
            found.push(sited.entry);
        }
    }
    Ok(found)
}
