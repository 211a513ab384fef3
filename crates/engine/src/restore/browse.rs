//! Browsing a restore point: what lies in a directory of it, read from the first copy that can be read.
//!
//! How a copy is read is [`super::content`]'s, which backup is meant [`super::select`]'s, versions of a file over time
//! are [`super::versions`]'s. Nothing is written anywhere, and no lease is held: what goes meanwhile is read from the next
//! copy. Only where no copy can be read by its indexes are these made anew.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::Timestamp;
use nxs_base::entry::{EntryKind, IndexEntry, path_order};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::ports::storage::Storage;
use nxs_base::report::Problem;
use nxs_base::spec::{JobSpec, StorageSpec};

use super::content::{Content, Found};
use super::rebuilt::is_damage;
use super::select::{self, Candidate, Copy, Wanted};
use super::selection::below;
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
        /// Bytes of the file, also under a further name of it; none where that is not known.
        size_bytes: Option<u64>,
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
        let told = candidate.check_tree().map_err(Failure::Read);
        match told.and_then(|()| pass.candidate(candidate, &mut found, &mut listing)) {
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
        let mut has_damage = false;
        let copies = candidate.copies.iter();
        for (copy, anew) in copies.clone().map(|copy| (copy, false)).chain(copies.map(|copy| (copy, true))) {
            if anew && !(has_damage && copy.parents.is_some()) {
                continue;
            }
            listing.problems.extend(last.as_ref().map(Problem::from));
            match self.copy(candidate, copy, anew, found, &mut listing.read_bytes) {
                Err(Failure::Read(error)) if error.kind() != ErrorKind::Cancelled => {
                    has_damage |= is_damage(&error);
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
        anew: bool,
        found: &mut [bool],
        read_bytes: &mut u64,
    ) -> Result<(), Failure> {
        let content = Content::open(self.ctx, copy, anew)?;
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
            if let Some((path, entry)) = resolve(content, asked)? {
                *found = true;
                if !std::mem::replace(&mut self.progress.has_path, true) {
                    (self.out)(Told::Path(&path)).map_err(Failure::Out)?;
                }
                match entry.filter(|found| found.entry.meta.kind != EntryKind::Dir) {
                    Some(file) => self.tell(&file, &path)?,
                    None => {
                        let recursive = self.recursive;
                        content.walk(&path, recursive, &mut |found, name| self.tell(found, name))?;
                    }
                }
            }
            self.progress = Progress { has_point: true, paths: number + 1, ..Progress::default() };
        }
        Ok(())
    }

    fn tell(&mut self, found: &Found<'_>, name: &[u8]) -> Result<(), Failure> {
        self.ctx.cancel.check()?;
        let Found { entry, size_bytes, key } = found;
        let is_told = self.progress.last.as_ref().is_some_and(|last| {
            // A copy of the same backup gives the same entries.
            path_order(&entry.path, last) != Ordering::Greater
        });
        if is_told {
            return Ok(());
        }
        self.progress.last = Some(entry.path.clone());
        (self.out)(Told::Entry { entry, name, size_bytes: *size_bytes, key }).map_err(Failure::Out)
    }
}

/// The path that is meant, and its entry where it has one; none if there is no such path. What leads to the target
/// means the target.
fn resolve<'c>(content: &'c Content, asked: &[u8]) -> Result<Option<(Vec<u8>, Option<Found<'c>>)>> {
    let root = content.root();
    let parts = asked.split(|b| *b == b'/').filter(|c| !matches!(*c, b"" | b"."));
    let path = parts.collect::<Vec<_>>().join(&b'/');
    if path.is_empty() || path == *root || below(root, &path).is_some() {
        return Ok(Some((root.to_vec(), content.find(root)?)));
    }
    for path in [path.clone(), [root, b"/", &path].concat()] {
        if let Some(found) = content.find(&path)? {
            return Ok(Some((path, Some(found))));
        }
    }
    Ok(None)
}
