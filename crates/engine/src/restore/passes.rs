//! Brings one copy back: the whole archive as a stream, or single members by the index; and removes what the backup
//! does not have (`--delete`).
//!
//! Which copy, and what its failure means, is decided in `super::run`.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};

use nxs_archive::frames::FrameRecord;
use nxs_archive::index::{IndexReader, ReadAt};
use nxs_archive::tar::{EntryHeader, TarReader, safe_path};
use nxs_base::entry::{EntryKind, IndexEntry};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_sys::fsx;
use nxs_sys::safe::Root;

use super::extract::{self, Excluded, Extractor, Options};
use super::fetch::{self, Members};
use super::rebuilt;
use super::run::{Request, Restored};
use super::select::Copy;
use super::selection::{Selection, ancestors, choose, topmost_dirs};
use crate::job::RunContext;

/// One copy on its way back.
pub(super) struct Passage<'a> {
    pub(super) ctx: &'a RunContext<'a>,
    pub(super) request: &'a Request,
    pub(super) globs: &'a Selection,
    pub(super) copy: &'a Copy,
    /// Files that are there are replaced: in place, or left by an attempt that failed.
    pub(super) replace: bool,
    /// Members that cannot be read are told and left out.
    pub(super) salvage: bool,
    /// Set if it was the index that could not be used.
    pub(super) index_failed: Cell<bool>,
}

/// The target that an archive was made of.
pub(super) struct Target {
    /// Without leading `/`.
    pub(super) path: Vec<u8>,
    pub(super) is_dir: bool,
}

impl Target {
    /// The directory that holds all of it.
    fn base(&self) -> &[u8] {
        if self.is_dir { &self.path } else { parent_of(&self.path) }
    }
}

impl Passage<'_> {
    /// By the index where there is one.
    pub(super) fn run(&self, restored: &mut Restored) -> Result<()> {
        if self.copy.parents.as_ref().is_none_or(|parents| !parents.is_empty()) {
            return self.chain(restored);
        }
        if self.globs.is_everything() && !self.request.dry_run && !self.salvage {
            let index = self.of_index(fetch::load_index(self.copy))?;
            // Another program's archive is read as it comes.
            let Some(index) = index.filter(|index| !index.header().is_foreign) else {
                return self.stream(restored);
            };
            let frames = self.of_index(index.all_frames())?;
            let path = target_path(&index);
            drop(index);
            return self.members(Some(frames), Some(path), restored);
        }
        match self.of_index(fetch::open_index(self.copy))? {
            Some(index) if index.header().is_foreign && index.header().frames == 0 => self.stream(restored),
            Some(index) => self.by_index(&index, restored),
            None => self.stream(restored),
        }
    }

    /// Without the index, which is missing or damaged; the archive is compared with its record.
    pub(super) fn stream(&self, restored: &mut Restored) -> Result<()> {
        if self.copy.parents.as_ref().is_none_or(|parents| !parents.is_empty()) {
            let levels = rebuilt::levels(self.copy, self.ctx.cancel, true)?;
            return self.levels(&levels, restored);
        }
        if self.request.delete {
            let text = format!("--delete: the index of `{}` is missing or damaged", self.copy.entry.key);
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let target = self.copy.entry.record().map(|record| unescaped(record.root.as_bytes()));
        self.members(None, target, restored)
    }

    pub(super) fn of_index<T>(&self, read: Result<T>) -> Result<T> {
        if read.is_err() {
            self.index_failed.set(true);
        }
        read
    }

    fn options(&self, target: &Target) -> Options {
        let request = self.request;
        Options {
            replace: self.replace,
            strip: (request.in_place || request.strip).then(|| target.base().to_vec()),
            single: (request.in_place && !target.is_dir).then(|| target.path.clone()),
            keep_parents: request.in_place,
            is_unique: false,
            delete: request.delete.then(|| self.excluded(target)),
        }
    }

    /// What the configuration leaves out of this target.
    fn excluded(&self, target: &Target) -> Excluded {
        let source = self.copy.entry.record().map_or(0, |record| record.source);
        let root = target.path.clone();
        match self.request.excludes.clone() {
            Some(excludes) => Excluded::new(move |path, is_dir| (excludes.0)(source, &root, path, is_dir)),
            None => Excluded::default(),
        }
    }

    pub(super) fn extractor(&self, target: &Target, is_unique: bool) -> Result<Extractor<'_>> {
        let options = Options { is_unique, ..self.options(target) };
        if self.request.in_place {
            return Extractor::open_at(self.place(target.base(), true)?, options, self.ctx.cancel);
        }
        Extractor::open(&self.request.to, options, self.ctx.cancel)
    }

    /// The directory on this host that the backup's `base` goes back to.
    fn place(&self, base: &[u8], create: bool) -> Result<Root> {
        let to = &self.request.to;
        if to.as_os_str() == "/" {
            // The way to the target is the host's own; below it nothing is followed.
            return Root::open_trusted(&to.join(fsx::as_path(base)), create);
        }
        Root::open(to)?.below(base, create)
    }

    /// All members as they come, or those of them that are asked for.
    fn members(
        &self,
        frames: Option<Vec<FrameRecord>>,
        target: Option<Vec<u8>>,
        restored: &mut Restored,
    ) -> Result<()> {
        let is_unique = frames.is_some();
        let (plain, check) = fetch::open_checked(self.copy, frames, self.ctx.workers)?;
        let mut tar = TarReader::new(plain);
        let mut pass = StreamPass { passage: self, extractor: None, is_unique, odd: Vec::new(), target };
        let mut parents: HashMap<Vec<u8>, EntryHeader> = HashMap::new();
        // Chosen links whose first name is not chosen, by first name.
        let mut orphans: BTreeMap<Vec<u8>, Vec<EntryHeader>> = BTreeMap::new();
        let mut chosen: BTreeSet<Vec<u8>> = BTreeSet::new();
        let everything = self.globs.is_everything();
        while let Some(header) = tar.next()? {
            self.ctx.cancel.check()?;
            let safe = match safe_path(&header.path) {
                Ok(safe) => safe,
                Err(error) => {
                    if !extract::is_root_itself(&header.path) || header.meta.kind != EntryKind::Dir {
                        pass.odd.push((header.path, error));
                    }
                    continue;
                }
            };
            let root = pass.target.get_or_insert_with(|| safe.clone()).clone();
            if !everything && !self.globs.is_match(&safe, &root) {
                if header.meta.kind == EntryKind::Dir && !self.request.dry_run {
                    pass.open(&root, safe != root || header.meta.kind == EntryKind::Dir)?;
                    parents.insert(safe, header);
                }
                continue;
            }
            if self.request.dry_run {
                restored.listed.push(fsx::show(&safe));
                continue;
            }
            let is_dir = safe != root || header.meta.kind == EntryKind::Dir;
            let extractor = pass.open(&root, is_dir)?;
            if !everything {
                make_parents(&safe, &mut parents, extractor)?;
                if header.meta.kind == EntryKind::HardLink {
                    let first = safe_path(&header.link).unwrap_or_default();
                    if !first.is_empty() && !chosen.contains(&first) {
                        orphans.entry(first).or_default().push(header);
                        continue;
                    }
                } else if header.meta.kind == EntryKind::File {
                    chosen.insert(safe);
                }
            }
            let path = header.path.clone();
            extractor.entry(header, &path, &mut tar)?;
        }
        drain(tar)?;
        check.finish()?;
        if !orphans.is_empty() {
            self.first_names(orphans, &mut pass)?;
        }
        pass.finish(restored)
    }

    /// Reads the archive once more, for the files of which only further names are wanted: the first of these takes
    /// the bytes, the others link to it.
    fn first_names(
        &self,
        mut orphans: BTreeMap<Vec<u8>, Vec<EntryHeader>>,
        pass: &mut StreamPass<'_, '_>,
    ) -> Result<()> {
        let Some(extractor) = &mut pass.extractor else { return Ok(()) };
        let (plain, _) = fetch::open_checked(self.copy, None, self.ctx.workers)?;
        let mut tar = TarReader::new(plain);
        while let Some(header) = tar.next()? {
            let names = safe_path(&header.path).ok().and_then(|path| orphans.remove(&path));
            let Some(names) = names else { continue };
            let stand_in = names[0].path.clone();
            extractor.entry(header, &stand_in, &mut tar)?;
            for name in names.into_iter().skip(1) {
                let path = name.path.clone();
                let link = EntryHeader { link: stand_in.clone(), ..name };
                extractor.entry(link, &path, &mut tar)?;
            }
            if orphans.is_empty() {
                return Ok(());
            }
        }
        for name in orphans.into_values().flatten() {
            let text = format!("its first name `{}` is not in the archive", fsx::show(&name.link));
            extractor.problem(&name.path, Error::new(ErrorKind::NotFound, text));
        }
        Ok(())
    }

    fn by_index(&self, index: &IndexReader<fetch::RangedObject>, restored: &mut Restored) -> Result<()> {
        let path = target_path(index);
        let found = self.of_index(index.find(&path))?.filter(IndexEntry::is_member);
        let target = Target { is_dir: found.is_none_or(|e| e.meta.kind == EntryKind::Dir), path };
        let chosen = self.of_index(choose(index, self.globs, &target.path))?;
        if self.request.dry_run {
            restored.listed = chosen.iter().map(|e| fsx::show(&e.path)).collect();
            restored.read_bytes = Some(index.source().read_bytes());
            return self.rehearse_prune(&target, &chosen, restored, || {
                let index = fetch::load_index(self.copy)?;
                Ok(index.map(|index| {
                    move |scope: &[u8]| index.entries_under(scope).map(|e| e.map(|e| e.path)).collect()
                }))
            });
        }
        let members = Members::new(self.copy, index);
        let mut extractor = self.extractor(&target, true)?;
        for ancestor in self.of_index(ancestors(index, &chosen))? {
            extractor.dir(&ancestor.path, &ancestor.meta)?;
        }
        let paths: BTreeSet<&[u8]> = chosen.iter().map(|e| e.path.as_slice()).collect();
        let mut stand_ins: HashMap<&[u8], &[u8]> = HashMap::new();
        for entry in &chosen {
            let mut source = entry.clone();
            let mut link = None;
            if entry.meta.kind == EntryKind::HardLink && !paths.contains(entry.link.as_slice()) {
                // Its first name is not asked for: the first of its other names takes the bytes, the rest link to it.
                match stand_ins.get(entry.link.as_slice()) {
                    Some(stand_in) => link = Some(stand_in.to_vec()),
                    None => {
                        source = self.first_name(index, entry)?;
                        stand_ins.insert(&entry.link, &entry.path);
                    }
                }
            }
            match self.take(&members, &source, entry, link, &mut extractor) {
                Err(error) if self.salvage && error.kind() == ErrorKind::Corrupt => {
                    // The index knows enough of a directory to make it, without its attributes.
                    if entry.meta.kind == EntryKind::Dir {
                        extractor.dir(&entry.path, &entry.meta)?;
                    }
                    extractor.problem(&entry.path, error);
                }
                other => other?,
            }
        }
        if self.request.delete {
            for scope in self.scopes(&target, &chosen) {
                self.prune(&mut extractor, &scope)?;
            }
        }
        restored.extracted = extractor.finish()?;
        restored.read_bytes = Some(members.read_bytes() + index.source().read_bytes());
        Ok(())
    }

    fn first_name(&self, index: &IndexReader<fetch::RangedObject>, entry: &IndexEntry) -> Result<IndexEntry> {
        let found = index.find(&entry.link).and_then(|found| {
            found.ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, format!("`{}` links to nothing", fsx::show(&entry.path)))
            })
        });
        self.of_index(found)
    }

    /// Reads one member at its place and puts it at the path of `entry`; `link` replaces what it links to.
    fn take(
        &self,
        members: &Members<'_, fetch::RangedObject>,
        source: &IndexEntry,
        entry: &IndexEntry,
        link: Option<Vec<u8>>,
        extractor: &mut Extractor<'_>,
    ) -> Result<()> {
        let mut tar = TarReader::new(self.of_index(members.open(source))?);
        let header = tar.next().and_then(|header| {
            header.filter(|h| h.path == source.path && h.meta.kind == source.meta.kind).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, format!("the index misplaces `{}`", fsx::show(&source.path)))
            })
        });
        // In frames that are sound only a wrong place can be.
        let header = if members.has_bad_frame() { header? } else { self.of_index(header)? };
        let header = EntryHeader { link: link.unwrap_or_else(|| header.link.clone()), ..header };
        extractor.entry(header, &entry.path, &mut tar)
    }

    /// Directories of which the backup knows all that is to be below them.
    pub(super) fn scopes(&self, target: &Target, chosen: &[IndexEntry]) -> Vec<Vec<u8>> {
        if !self.globs.is_everything() {
            return topmost_dirs(chosen);
        }
        if target.is_dir { vec![target.path.clone()] } else { Vec::new() }
    }

    fn prune(&self, extractor: &mut Extractor<'_>, scope: &[u8]) -> Result<()> {
        let Some(index) = fetch::load_index(self.copy)? else { return Ok(()) };
        extractor.prune(scope, index.entries_under(scope).map(|entry| entry.map(|e| e.path)))
    }

    /// What `--delete` would remove. `open` gives what tells the names below a directory, none where nobody knows.
    pub(super) fn rehearse_prune<N: Fn(&[u8]) -> Vec<Result<Vec<u8>>>>(
        &self,
        target: &Target,
        chosen: &[IndexEntry],
        restored: &mut Restored,
        open: impl FnOnce() -> Result<Option<N>>,
    ) -> Result<()> {
        if !self.request.delete {
            return Ok(());
        }
        let root = match self.place(target.base(), false) {
            Ok(root) => root,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(names) = open()? else { return Ok(()) };
        let rehearsal = extract::Rehearsal::new(root, &self.options(target))?;
        for scope in self.scopes(target, chosen) {
            let known = names(&scope).into_iter();
            rehearsal.prune(&scope, known, self.ctx.cancel, &mut restored.extracted.pruned)?;
        }
        Ok(())
    }
}

/// A pass over the members in the order of the archive.
struct StreamPass<'p, 'a> {
    passage: &'p Passage<'a>,
    extractor: Option<Extractor<'p>>,
    is_unique: bool,
    /// Members whose names cannot be used.
    odd: Vec<(Vec<u8>, Error)>,
    /// Known from the index, else the path of the first member.
    target: Option<Vec<u8>>,
}

impl<'p> StreamPass<'p, '_> {
    /// The extractor, opened when the first member of use comes. `is_dir`: what the target is.
    fn open(&mut self, target: &[u8], is_dir: bool) -> Result<&mut Extractor<'p>> {
        if self.extractor.is_none() {
            let target = Target { path: target.to_vec(), is_dir };
            self.extractor = Some(self.passage.extractor(&target, self.is_unique)?);
        }
        self.extractor.as_mut().ok_or_else(|| Error::new(ErrorKind::Other, "no extraction was begun"))
    }

    fn finish(self, restored: &mut Restored) -> Result<()> {
        let Self { passage, extractor, odd, target, .. } = self;
        let Some(mut extractor) = extractor else {
            restored.extracted.problem_count += odd.len() as u64;
            restored.extracted.problems.extend(odd.into_iter().take(200).map(|(_, e)| e.chain()));
            return Ok(());
        };
        odd.into_iter().for_each(|(path, error)| extractor.problem(&path, error));
        if passage.request.delete
            && let Some(target) = target
        {
            passage.prune(&mut extractor, &target)?;
        }
        restored.extracted = extractor.finish()?;
        Ok(())
    }
}

/// Makes the directories above a chosen member that came before it and were not chosen.
fn make_parents(
    path: &[u8],
    parents: &mut HashMap<Vec<u8>, EntryHeader>,
    extractor: &mut Extractor<'_>,
) -> Result<()> {
    let mut found = Vec::new();
    let mut above = parent_of(path);
    while !above.is_empty() {
        found.extend(parents.remove(above));
        above = parent_of(above);
    }
    found.into_iter().rev().try_for_each(|header| extractor.parent(header))
}

/// Reads what follows the end mark, so that damage and truncation behind it show.
fn drain(tar: TarReader<impl Read>) -> Result<()> {
    io::copy(&mut tar.into_inner(), &mut io::sink())
        .map(|_| ())
        .map_err(|e| Error::from_io("cannot read the end of the archive", e))
}

fn parent_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(b"".as_slice(), |i| &path[..i])
}

/// The target's path as the archive spells it, its percent-escapes undone.
pub(super) fn target_path<R: ReadAt>(index: &IndexReader<R>) -> Vec<u8> {
    unescaped(&index.header().root)
}

fn unescaped(root: &[u8]) -> Vec<u8> {
    let path = match std::str::from_utf8(root) {
        Ok(text) => nxs_base::naming::unescape_component(text),
        Err(_) => root.to_vec(),
    };
    path.strip_prefix(b"/").map(<[u8]>::to_vec).unwrap_or(path)
}
