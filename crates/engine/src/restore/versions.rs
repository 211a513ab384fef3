//! Every version of a file over all restore points of a job: when it first stood so, and which archive has the bytes.
//!
//! Each index is read once, and only entries that fit the pattern are held. A point of a chain is its own entries over
//! those of its parents; two points differ at most in what their own, unshared archives tell, so that the cost follows
//! change. Indexes that chains of version 2 lack, or that no copy has sound, are made of the archives in memory. Browsing
//! one point is [`super::browse`]'s.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use jiff::Timestamp;
use nxs_archive::index::{IndexReader, ReadAt};
use nxs_base::entry::{EntryKind, EntryState, IndexEntry, Meta, path_order};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::ports::source::Cancel;
use nxs_base::ports::storage::Storage;
use nxs_base::record::Record;
use nxs_base::report::Problem;
use nxs_base::spec::{JobSpec, StorageSpec};
use nxs_sys::fsx;

use super::fetch;
use super::passes::target_path;
use super::rebuilt::{self, is_damage};
use super::select::{self, Candidate, Copy, Wanted};
use super::selection::Selection;
use crate::catalog::CatalogEntry;
use crate::job::RunContext;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// New, or another one than before.
    Changed,
    /// The first point that has it no more.
    Removed,
}

/// One version of one file.
#[derive(Debug, Clone)]
pub struct Version {
    pub source: Option<usize>,
    pub target: String,
    pub root: String,
    /// In the archive, without a leading `/`.
    pub path: Vec<u8>,
    pub change: Change,
    /// The first restore point that has this version.
    pub started: Timestamp,
    /// As it is in this version; of a removed file nothing is known.
    pub meta: Option<Meta>,
    /// Bytes of the file; none for a further name of a file that was not saved under its first one, and for all that
    /// is no file.
    pub size_bytes: Option<u64>,
    /// Target of a symbolic link, or the first name of a hard link; else empty.
    pub link: Vec<u8>,
    /// The archive of that point.
    pub key: String,
    /// The storages that have it.
    pub storages: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Versions {
    /// By target and path, oldest first.
    pub versions: Vec<Version>,
    /// Restore points that were looked at.
    pub points: usize,
    /// Archives of version 2 that are no increments and have no index, which were not looked into.
    pub without_index: usize,
    /// Storages and points that could not be read at all.
    pub unread: usize,
    /// What failed on the way; another copy may have helped.
    pub problems: Vec<Problem>,
    /// Bytes of indexes that were read.
    pub read_bytes: u64,
}

/// Finds all versions of the files that `pattern` means: a glob over names where it has no `/`, else as `--path` of
/// a restore has it. Fails with [`ErrorKind::Invalid`] for what is no pattern, and when cancelled.
pub fn find(
    ctx: &RunContext<'_>,
    job: &JobSpec,
    storages: &[(StorageSpec, Arc<dyn Storage>)],
    pattern: &str,
    wanted: &Wanted<'_>,
) -> Result<Versions> {
    let pattern = Pattern::new(pattern)?;
    let (shelves, problems) = select::shelves(storages);
    let zone = ctx.clock.now().time_zone().clone();
    let mut candidates = select::candidates(job, ctx.server_name, &shelves, wanted, &zone);
    candidates.retain(|candidate| !candidate.is_dump);
    candidates.reverse();
    let mut by_target: BTreeMap<_, Vec<&Candidate>> = BTreeMap::new();
    for candidate in &candidates {
        let target = (candidate.source, &candidate.root, &candidate.target);
        by_target.entry(target).or_default().push(candidate);
    }
    let mut found = Versions {
        unread: problems.len(),
        problems: problems.iter().map(Problem::from).collect(),
        ..Versions::default()
    };
    for points in by_target.into_values() {
        let mut history = History {
            pattern: &pattern,
            cancel: ctx.cancel,
            held: HashMap::new(),
            made: HashMap::new(),
            before: Vec::new(),
            is_leaf: false,
        };
        for point in points {
            ctx.cancel.check()?;
            let is_bare =
                |e: &CatalogEntry| e.index.is_none() && e.record().is_none() && e.increment.is_none();
            if point.copies.iter().all(|copy| is_bare(&copy.entry)) {
                found.without_index += 1;
                continue;
            }
            history.point(point, &mut found)?;
        }
    }
    found.versions.sort_by(|a, b| {
        (&a.target, &a.root)
            .cmp(&(&b.target, &b.root))
            .then_with(|| path_order(&a.path, &b.path))
            .then_with(|| a.started.cmp(&b.started))
    });
    Ok(found)
}

/// Which files are meant.
enum Pattern {
    Name(GlobMatcher),
    Path { selection: Selection, prefix: Vec<u8> },
}

impl Pattern {
    fn new(text: &str) -> Result<Self> {
        if !text.contains('/') {
            let glob = GlobBuilder::new(text).literal_separator(true).build().map_err(|e| {
                Error::new(ErrorKind::Invalid, format!("`{text}` is not a pattern: {}", e.kind()))
            })?;
            return Ok(Self::Name(glob.compile_matcher()));
        }
        let selection = Selection::new(&[text.to_owned()])?;
        let parts = text.trim_start_matches("./").trim_matches('/').split('/');
        let literal = parts.take_while(|part| !part.contains(['*', '?', '[', ']', '{', '}', '\\']));
        let prefix = literal.collect::<Vec<_>>().join("/").into_bytes();
        Ok(Self::Path { selection, prefix })
    }

    fn is_match(&self, path: &[u8], root: &[u8]) -> bool {
        match self {
            Self::Name(glob) => {
                let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
                glob.is_match(Path::new(fsx::as_path(name)))
            }
            Self::Path { selection, .. } => selection.is_match(path, root),
        }
    }

    /// All that can fit lies below these; the empty path is everything.
    fn scopes(&self, root: &[u8]) -> Vec<Vec<u8>> {
        match self {
            Self::Path { prefix, .. } if !prefix.is_empty() => {
                vec![prefix.clone(), [root, b"/", prefix].concat()]
            }
            _ => vec![Vec::new()],
        }
    }
}

/// A file as one archive knows it; none where it says that it is gone, or is a directory.
type Known = Option<Rc<Kept>>;

struct Kept {
    meta: Meta,
    /// That of the first name, for a further one.
    kind: EntryKind,
    size_bytes: Option<u64>,
    link: Vec<u8>,
}

impl Kept {
    /// Whether it is the same version. A further name of a file may become its first one, and the other way round.
    fn is_same(&self, other: &Self) -> bool {
        let (a, b) = (&self.meta, &other.meta);
        let is_known = self.kind != EntryKind::HardLink && other.kind != EntryKind::HardLink;
        (a.mtime, a.ctime, a.ino) == (b.mtime, b.ctime, b.ino)
            && (self.kind == other.kind || !is_known)
            && (self.size_bytes == other.size_bytes
                || self.size_bytes.is_none()
                || other.size_bytes.is_none())
            && (a.kind != EntryKind::Symlink || b.kind != EntryKind::Symlink || self.link == other.link)
    }
}

/// What one archive says of the files that are meant.
type Told = Rc<BTreeMap<Vec<u8>, Known>>;

/// The restore points of one target, oldest first.
struct History<'a> {
    pattern: &'a Pattern,
    cancel: &'a Cancel,
    /// By archive, on whatever storage.
    held: HashMap<String, Told>,
    /// The indexes of parents that are needed whole, by archive.
    made: HashMap<String, Rc<IndexReader<Vec<u8>>>>,
    /// The archives of the point before, its own first.
    before: Vec<(String, Told)>,
    /// Whether nothing that comes can need the archive of the point before.
    is_leaf: bool,
}

impl History<'_> {
    /// Takes the next point in, from the first copy of which all indexes can be read.
    fn point(&mut self, point: &Candidate, found: &mut Versions) -> Result<()> {
        let mut failed = Vec::new();
        let mut has_damage = false;
        let copies = point.copies.iter();
        for (copy, anew) in copies.clone().map(|copy| (copy, false)).chain(copies.map(|copy| (copy, true))) {
            if anew && !(has_damage && copy.parents.is_some()) {
                continue;
            }
            match self.chain(copy, anew, &mut found.read_bytes) {
                Ok(chain) => {
                    found.points += 1;
                    found.problems.extend(failed.iter().map(Problem::from));
                    self.compare(point, copy, chain, found);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    has_damage |= is_damage(&error);
                    let text = format!("cannot look into `{}` on {}", copy.entry.key, copy.storage_name);
                    failed.push(Error::new(error.kind(), text).with_source(error));
                }
            }
        }
        found.unread += 1;
        found.problems.extend(failed.iter().map(Problem::from));
        Ok(())
    }

    /// What the archives of a copy's chain say, its own first. With `anew`, from indexes that are made again where they
    /// cannot be used.
    fn chain(&mut self, copy: &Copy, anew: bool, read_bytes: &mut u64) -> Result<Vec<(String, Told)>> {
        if copy.parents.is_none() {
            return Err(Error::new(ErrorKind::NotFound, "one of its parents is missing there"));
        }
        let mut chain = Vec::new();
        for copy in copy.with_parents() {
            let name = name_of(&copy.entry);
            let told = match self.held.get(&name) {
                Some(told) => Rc::clone(told),
                None => {
                    let told = Rc::new(self.told(&copy, anew, read_bytes)?);
                    self.held.insert(name.clone(), Rc::clone(&told));
                    told
                }
            };
            chain.push((name, told));
        }
        Ok(chain)
    }

    fn told(&mut self, copy: &Copy, anew: bool, read_bytes: &mut u64) -> Result<BTreeMap<Vec<u8>, Known>> {
        let is_bare = copy.entry.record().is_none() && copy.entry.index.is_none();
        if anew || is_bare {
            let index = self.whole(copy, anew, read_bytes)?;
            return self.read(&index);
        }
        let index = fetch::open_index(copy)?
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("`{}` has no index", copy.entry.key)))?;
        let told = self.read(&index);
        *read_bytes += index.source().read_bytes();
        told
    }

    /// An index in memory, made of the archive if need be; those of its parents are kept for its siblings.
    fn whole(&mut self, copy: &Copy, anew: bool, read_bytes: &mut u64) -> Result<IndexReader<Vec<u8>>> {
        let mut parents: Vec<Rc<IndexReader<Vec<u8>>>> = Vec::new();
        for parent in copy.with_parents().iter().skip(1).rev() {
            let name = name_of(&parent.entry);
            let index = match self.made.get(&name) {
                Some(index) => Rc::clone(index),
                None => {
                    let index = Rc::new(self.index(parent, &parents, anew, read_bytes)?);
                    self.made.insert(name, Rc::clone(&index));
                    index
                }
            };
            parents.insert(0, index);
        }
        self.index(copy, &parents, anew, read_bytes)
    }

    fn index(
        &self,
        copy: &Copy,
        parents: &[Rc<IndexReader<Vec<u8>>>],
        anew: bool,
        read_bytes: &mut u64,
    ) -> Result<IndexReader<Vec<u8>>> {
        let parents: Vec<&IndexReader<Vec<u8>>> = parents.iter().map(Rc::as_ref).collect();
        *read_bytes += copy.entry.index.as_ref().map_or(copy.entry.size_bytes, |index| index.size_bytes);
        rebuilt::index(copy, &parents, self.cancel, anew)
    }

    /// The entries of an index that are meant.
    fn read<R: ReadAt>(&self, index: &IndexReader<R>) -> Result<BTreeMap<Vec<u8>, Known>> {
        let root = target_path(index);
        let mut told = BTreeMap::new();
        for scope in self.pattern.scopes(&root) {
            for entry in index.entries_under(&scope) {
                let entry = entry?;
                if entry.state == EntryState::Missing {
                    continue;
                }
                if self.pattern.is_match(&entry.path, &root) {
                    let known = kept(index, &entry)?;
                    told.insert(entry.path, known);
                }
            }
        }
        Ok(told)
    }

    /// Tells what differs from the point before.
    fn compare(&mut self, point: &Candidate, copy: &Copy, chain: Vec<(String, Told)>, found: &mut Versions) {
        let is_shared = |name: &String, other: &[(String, Told)]| other.iter().any(|(n, _)| n == name);
        let apart = chain.iter().filter(|(name, _)| !is_shared(name, &self.before));
        let gone = self.before.iter().filter(|(name, _)| !is_shared(name, &chain));
        let paths: BTreeSet<&Vec<u8>> = apart.chain(gone).flat_map(|(_, told)| told.keys()).collect();
        for path in paths {
            let (was, is) = (state(&self.before, path), state(&chain, path));
            let change = match (was, is) {
                (Some(was), Some(is)) if was.is_same(is) => continue,
                (_, Some(_)) => Change::Changed,
                (Some(_), None) => Change::Removed,
                (None, None) => continue,
            };
            found.versions.push(Version {
                source: point.source,
                target: point.target.clone(),
                root: point.root.clone(),
                path: path.clone(),
                change,
                started: point.started,
                meta: is.map(|k| k.meta),
                size_bytes: is.and_then(|k| k.size_bytes),
                link: is.map(|k| k.link.clone()).unwrap_or_default(),
                key: copy.entry.key.to_string(),
                storages: point.copies.iter().map(|c| c.storage_name.clone()).collect(),
            });
        }
        if let Some((last, _)) = self.before.first().filter(|_| self.is_leaf) {
            self.held.remove(last);
        }
        // No backup is a difference to these.
        self.is_leaf = copy.entry.record().is_some_and(|r| r.level == Record::FULL || r.level == "day");
        self.before = chain;
    }
}

fn state<'c>(chain: &'c [(String, Told)], path: &Vec<u8>) -> Option<&'c Kept> {
    chain.iter().find_map(|(_, told)| told.get(path))?.as_deref()
}

fn kept<R: ReadAt>(index: &IndexReader<R>, entry: &IndexEntry) -> Result<Known> {
    if entry.state == EntryState::Removed || entry.meta.kind == EntryKind::Dir {
        return Ok(None);
    }
    let first = match entry.meta.kind {
        EntryKind::HardLink => index.find(&entry.link)?,
        _ => None,
    };
    let of = first.as_ref().unwrap_or(entry);
    let size_bytes = (of.meta.kind == EntryKind::File).then_some(of.meta.size_bytes);
    let (kind, link) = (of.meta.kind, entry.link.clone());
    Ok(Some(Rc::new(Kept { meta: entry.meta, kind, size_bytes, link })))
}

/// The same for all copies of an archive, and for no other one of the target.
fn name_of(entry: &CatalogEntry) -> String {
    entry.record().map_or_else(|| entry.key.file_name().to_owned(), |record| record.id.to_string())
}
