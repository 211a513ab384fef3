//! Browsing a restore point: what lies in a directory of it, read from the blocks of the indexes that are needed; of
//! a chain the merge of all its levels. An archive without an index (made by version 2) is read through instead.
//!
//! Which backup is meant is [`super::select`]'s, versions of a file over time are [`super::versions`]'s. Nothing is
//! written anywhere, and no lease is held: what goes meanwhile is read from the next copy.

use std::cmp::Ordering;
use std::io::BufReader;
use std::sync::Arc;

use jiff::Timestamp;
use nxs_archive::tar::{TarReader, safe_path};
use nxs_base::entry::{EntryKind, IndexEntry, path_order};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::ports::storage::Storage;
use nxs_base::report::Problem;
use nxs_base::spec::{JobSpec, StorageSpec};

use super::chain::{self, Level};
use super::fetch::{self, RangedObject};
use super::passes::target_path;
use super::select::{self, Candidate, Copy, Wanted};
use super::selection::below;
use crate::incremental::state::State;
use crate::job::RunContext;

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    pub wanted: Wanted<'a>,
    /// Paths in the archive (a leading `/` does not matter) or below the target; none = the target itself.
    pub paths: &'a [Vec<u8>],
    /// All that is below a directory, not just what is in it.
    pub recursive: bool,
}

/// The restore point that lines belong to.
#[derive(Debug, Clone)]
pub struct Point {
    pub source: Option<usize>,
    pub target: String,
    pub root: String,
    pub started: Timestamp,
    /// False if it was made with gaps.
    pub complete: bool,
    /// The copy that is read.
    pub storage: String,
    pub key: String,
}

/// One step of a listing, in this order: a point, a path that was asked for, its entries.
pub enum Told<'a> {
    Point(&'a Point),
    /// A directory of which the entries follow, or a file, which follows itself. Without a leading `/`.
    Path(&'a [u8]),
    Entry {
        entry: &'a IndexEntry,
        /// The path below the directory; of a file that was asked for, the whole.
        name: &'a [u8],
        /// The archive that has its bytes.
        key: &'a str,
    },
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Listing {
    pub points: usize,
    /// Copies and storages that could not be read, and what failed.
    pub problems: Vec<Problem>,
    /// At least one point could not be listed from any copy.
    pub failed: bool,
    /// Paths that no point has.
    pub missing: Vec<Vec<u8>>,
    /// Bytes of indexes and archives that were read; of archives without an index nothing is counted.
    pub read_bytes: u64,
}

/// Lists the newest point of every target that fits. Fails if nothing fits, `out` fails, or the run is cancelled.
pub fn list(
    ctx: &RunContext<'_>,
    job: &JobSpec,
    storages: &[(StorageSpec, Arc<dyn Storage>)],
    request: &Request<'_>,
    out: &mut dyn FnMut(Told<'_>) -> Result<()>,
) -> Result<Listing> {
    let (shelves, problems) = select::shelves(storages);
    let zone = ctx.clock.now().time_zone().clone();
    let candidates = select::candidates(job, ctx.server_name, &shelves, &request.wanted, &zone);
    let chosen = select::newest(candidates, job, &request.wanted)?;
    let mut listing =
        Listing { problems: problems.iter().map(Problem::from).collect(), ..Listing::default() };
    let target = [Vec::new()];
    let paths = if request.paths.is_empty() { &target[..] } else { request.paths };
    let mut found = vec![false; paths.len()];
    for candidate in &chosen {
        let mut pass = Pass { ctx, paths, recursive: request.recursive, out, progress: Progress::default() };
        match pass.candidate(candidate, &mut found, &mut listing) {
            Ok(()) => listing.points += 1,
            Err(Failure::Out(error)) => return Err(error),
            Err(Failure::Read(error)) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(Failure::Read(error)) => {
                listing.failed = true;
                listing.problems.push(Problem::from(&error));
            }
        }
    }
    let missing = paths.iter().zip(found).filter(|(_, found)| !found);
    listing.missing = missing.map(|(path, _)| path.clone()).filter(|p| !p.is_empty()).collect();
    Ok(listing)
}

/// Who is at fault.
enum Failure {
    Read(Error),
    Out(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Read(error)
    }
}

/// How far the listing of a point has come, so that the next copy goes on from there.
#[derive(Default)]
struct Progress {
    has_point: bool,
    /// Paths that are done.
    paths: usize,
    /// Whether the path after those was told.
    has_path: bool,
    /// The last entry of it.
    last: Option<Vec<u8>>,
}

struct Pass<'a> {
    ctx: &'a RunContext<'a>,
    paths: &'a [Vec<u8>],
    recursive: bool,
    out: &'a mut dyn FnMut(Told<'_>) -> Result<()>,
    progress: Progress,
}

impl Pass<'_> {
    /// From the first copy that can be read; another one goes on where it failed.
    fn candidate(
        &mut self,
        candidate: &Candidate,
        found: &mut [bool],
        listing: &mut Listing,
    ) -> Result<(), Failure> {
        let mut last: Option<Error> = None;
        for copy in &candidate.copies {
            listing.problems.extend(last.take().as_ref().map(Problem::from));
            match self.copy(candidate, copy, found, &mut listing.read_bytes) {
                Err(Failure::Read(error)) if error.kind() != ErrorKind::Cancelled => {
                    let text = format!("cannot read `{}` on {}", copy.entry.key, copy.storage_name);
                    last = Some(Error::new(error.kind(), text).with_source(error));
                }
                other => return other,
            }
        }
        let nothing = || Error::new(ErrorKind::NotFound, "there is no copy to read");
        Err(Failure::Read(last.unwrap_or_else(nothing)))
    }

    fn copy(
        &mut self,
        candidate: &Candidate,
        copy: &Copy,
        found: &mut [bool],
        read_bytes: &mut u64,
    ) -> Result<(), Failure> {
        let content = Content::open(self.ctx, copy)?;
        let listed = self.content(candidate, copy, &content, found);
        *read_bytes += content.read_bytes();
        listed
    }

    fn content(
        &mut self,
        candidate: &Candidate,
        copy: &Copy,
        content: &Content,
        found: &mut [bool],
    ) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.progress.has_point, true) {
            let point = Point {
                source: candidate.source,
                target: candidate.target.clone(),
                root: candidate.root.clone(),
                started: candidate.started,
                complete: candidate.complete,
                storage: copy.storage_name.clone(),
                key: copy.entry.key.to_string(),
            };
            (self.out)(Told::Point(&point)).map_err(Failure::Out)?;
        }
        let asked = self.paths.iter().zip(found).enumerate();
        for (number, (asked, found)) in asked.skip(self.progress.paths) {
            if let Some((path, entry)) = content.resolve(asked)? {
                *found = true;
                if !std::mem::replace(&mut self.progress.has_path, true) {
                    (self.out)(Told::Path(&path)).map_err(Failure::Out)?;
                }
                self.path(content, &path, entry)?;
            }
            self.progress = Progress { has_point: true, paths: number + 1, ..Progress::default() };
        }
        Ok(())
    }

    /// The entries of a directory, or the file itself.
    fn path(
        &mut self,
        content: &Content,
        path: &[u8],
        entry: Option<(IndexEntry, &str)>,
    ) -> Result<(), Failure> {
        if let Some((entry, key)) = entry.filter(|(e, _)| e.meta.kind != EntryKind::Dir) {
            return self.tell(&entry, path, key);
        }
        match content {
            Content::Listed { entries, key, .. } => {
                for entry in entries {
                    let Some(name) = below(&entry.path, path) else { continue };
                    if self.recursive || !name.contains(&b'/') {
                        self.tell(entry, name, key)?;
                    }
                }
            }
            Content::Indexed { levels, keys, .. } => {
                let mut state = State::new(levels.iter().map(|l| l.index.entries_under(path)));
                if !self.recursive {
                    state.skip_to(path)?;
                }
                while let Some(sited) = state.next() {
                    let sited = sited?;
                    let Some(name) = below(&sited.entry.path, path) else { continue };
                    let deeper = name.iter().position(|b| *b == b'/').filter(|_| !self.recursive);
                    if deeper.is_none() {
                        self.tell(&sited.entry, name, &keys[sited.level])?;
                    }
                    let end = match deeper {
                        Some(at) => sited.entry.path.len() - name.len() + at,
                        None if self.recursive || sited.entry.meta.kind != EntryKind::Dir => continue,
                        None => sited.entry.path.len(),
                    };
                    // The first path that can follow all that is below.
                    state.skip_to(&[&sited.entry.path[..end], &[0]].concat())?;
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, entry: &IndexEntry, name: &[u8], key: &str) -> Result<(), Failure> {
        self.ctx.cancel.check()?;
        let is_told = self.progress.last.as_ref().is_some_and(|last| {
            // A copy of the same backup gives the same entries.
            path_order(&entry.path, last) != Ordering::Greater
        });
        if is_told {
            return Ok(());
        }
        self.progress.last = Some(entry.path.clone());
        (self.out)(Told::Entry { entry, name, key }).map_err(Failure::Out)
    }
}

/// What a copy holds.
enum Content {
    /// The newest level first, with the keys of the archives.
    Indexed { levels: Vec<Level<RangedObject>>, keys: Vec<String>, root: Vec<u8> },
    /// In path order.
    Listed { entries: Vec<IndexEntry>, key: String, root: Vec<u8> },
}

impl Content {
    fn open(ctx: &RunContext<'_>, copy: &Copy) -> Result<Self> {
        let is_single = copy.parents.as_ref().is_some_and(Vec::is_empty);
        if is_single && copy.entry.index.is_none() {
            return Self::through(ctx, copy);
        }
        let levels = chain::open_levels(copy, fetch::open_index)?;
        let keys = levels.iter().map(|l| l.copy.entry.key.to_string()).collect();
        let root = target_path(&levels[0].index);
        Ok(Self::Indexed { levels, keys, root })
    }

    /// Reads the headers of a whole archive.
    fn through(ctx: &RunContext<'_>, copy: &Copy) -> Result<Self> {
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
        Ok(Self::Listed { entries, key: copy.entry.key.to_string(), root: root.unwrap_or_default() })
    }

    fn read_bytes(&self) -> u64 {
        match self {
            Self::Indexed { levels, .. } => levels.iter().map(|l| l.index.source().read_bytes()).sum(),
            Self::Listed { .. } => 0,
        }
    }

    fn find(&self, path: &[u8]) -> Result<Option<(IndexEntry, &str)>> {
        match self {
            Self::Indexed { levels, keys, .. } => {
                let found = chain::find(levels, path)?;
                Ok(found.map(|sited| (sited.entry, keys[sited.level].as_str())))
            }
            Self::Listed { entries, key, .. } => {
                let at = entries.binary_search_by(|e| path_order(&e.path, path));
                Ok(at.ok().and_then(|at| entries.get(at)).map(|e| (e.clone(), key.as_str())))
            }
        }
    }

    /// The path that is meant, and its entry where it has one; none if there is no such path. What leads to the
    /// target means the target.
    #[expect(clippy::type_complexity, reason = "a path with its entry and the archive of that")]
    fn resolve(&self, asked: &[u8]) -> Result<Option<(Vec<u8>, Option<(IndexEntry, &str)>)>> {
        let root = match self {
            Self::Indexed { root, .. } | Self::Listed { root, .. } => root,
        };
        let parts = asked.split(|b| *b == b'/').filter(|c| !matches!(*c, b"" | b"."));
        let path = parts.collect::<Vec<_>>().join(&b'/');
        if path.is_empty() || path == *root || below(root, &path).is_some() {
            return Ok(Some((root.clone(), self.find(root)?)));
        }
        for path in [path.clone(), [root.as_slice(), b"/", &path].concat()] {
            if let Some(found) = self.find(&path)? {
                return Ok(Some((path, Some(found))));
            }
        }
        Ok(None)
    }
}
