//! Puts members of an archive into a directory, never anywhere else.
//!
//! Every directory on the way is opened beneath the target without following links, every name is made anew and
//! exclusively. Small files are written by several threads (`crew`), single entries made by `place`; directories get
//! their metadata last, deepest first. What single entries suffer is collected, the rest goes on; a full disk ends
//! it. Of members with the same name the later one wins. Which members come is decided by the caller.

mod crew;
mod dirs;
mod place;
mod prune;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use nxs_archive::tar::read::{EntryHeader, TarReader, safe_path};
use nxs_base::entry::{EntryKind, Meta, path_order};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::ports::source::Cancel;
use nxs_sys::safe::{self, Root};
use nxs_sys::{fsx, host, users::Users};

use crew::{Crew, Job};
use dirs::Trail;
use place::{Facts, Made, Place, Writer};
use prune::Guard;

pub use prune::{Excluded, Pruned};

/// Files up to this size are read whole and written by the helpers.
const SMALL_BYTES: u64 = 512 << 10;

/// How to extract.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Existing files are replaced (by rename), existing directories kept.
    pub replace: bool,
    /// Leading bytes of every path to leave out (`var/www/site1`); entries and hard links outside are refused.
    pub strip: Option<Vec<u8>>,
    /// The only path that may come.
    pub single: Option<Vec<u8>>,
    /// Directories above what is restored keep their metadata where they are there already.
    pub keep_parents: bool,
    /// No path comes twice: an index has said so. Spares the memory to notice.
    pub is_unique: bool,
    /// Remove what is not in the backup, but for what this names: see [`Extractor::prune`]. With `replace`, also
    /// whole directories that stand where the backup has something else.
    pub delete: Option<Excluded>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Everything that was made but directories.
    pub files: u64,
    pub dirs: u64,
    /// Bytes of file data.
    pub bytes: u64,
    /// The first problems, with escaped paths.
    pub problems: Vec<String>,
    pub problem_count: u64,
    /// What was not to be had for all entries alike, said once.
    pub notes: Vec<String>,
    /// What was removed.
    pub pruned: Pruned,
}

/// An extraction under way.
pub struct Extractor<'a> {
    root: Root,
    options: Options,
    cancel: &'a Cancel,
    writer: Arc<Writer>,
    crew: Crew,
    /// Hashes of the paths that came; none where an index promises that each comes once.
    seen: Option<HashSet<u64>>,
    hasher: RandomState,
    /// To the directory that the last entry lay in.
    trail: Trail,
    dirs: Vec<(Vec<u8>, Facts)>,
    /// Further names: path, first name, and whether something of this extraction is replaced.
    links: Vec<(Vec<u8>, Vec<u8>, bool)>,
    made_dirs: u64,
    pruned: Pruned,
    buffer: Vec<u8>,
}

impl<'a> Extractor<'a> {
    /// `to` is made if it is missing; links in it are followed, they are the user's choice.
    pub fn open(to: &Path, options: Options, cancel: &'a Cancel) -> Result<Self> {
        fsx::create_dir_all(to, 0o755)?;
        Self::open_at(Root::open(to)?, options, cancel)
    }

    /// Extracts into a directory that is open already.
    pub fn open_at(root: Root, options: Options, cancel: &'a Cancel) -> Result<Self> {
        let guard = match &options.delete {
            Some(excluded) => Some(Arc::new(guard(&root, &options, excluded, false)?)),
            None => None,
        };
        let writer = Arc::new(Writer {
            replace: options.replace,
            is_fresh: !options.replace && safe::passes_nothing_on(root.dir(b"", false)?),
            guard,
            as_root: host::is_root(),
            own_ids: host::own_ids(),
            users: Users::new(),
        });
        Ok(Self {
            root,
            crew: Crew::start(&writer)?,
            writer,
            seen: (!options.is_unique).then(HashSet::new),
            hasher: RandomState::new(),
            options,
            cancel,
            trail: Trail::default(),
            dirs: Vec::new(),
            links: Vec::new(),
            made_dirs: 0,
            pruned: Pruned::default(),
            buffer: vec![0; 256 << 10],
        })
    }

    /// Extracts one member whose data `tar` gives next, under `path` (that of the archive unless the caller renames).
    /// `Err` ends the whole extraction; an entry's own problem is collected.
    pub fn entry<R: Read>(&mut self, header: EntryHeader, path: &[u8], tar: &mut TarReader<R>) -> Result<()> {
        self.cancel.check()?;
        let at = match self.local_path(path) {
            Ok(at) => at,
            Err(_) if is_root_itself(path) && header.meta.kind == EntryKind::Dir => return tar.skip_data(),
            Err(error) => {
                self.problem(path, error);
                return tar.skip_data();
            }
        };
        let again = match &mut self.seen {
            Some(seen) => !seen.insert(self.hasher.hash_one(&at)),
            None => false,
        };
        if again {
            self.settle()?;
            self.trail.clear();
        }
        if header.meta.kind == EntryKind::File {
            return self.file(header, &at, again, tar);
        }
        tar.skip_data()?;
        self.other(header, &at, again)
    }

    /// Makes a directory whose member is not read, with the metadata that the index knows.
    pub fn dir(&mut self, path: &[u8], meta: &Meta) -> Result<()> {
        self.parent(EntryHeader { path: path.to_vec(), meta: *meta, ..EntryHeader::default() })
    }

    /// Makes a directory above what is restored. What lies above the part that is stripped is left alone.
    pub fn parent(&mut self, header: EntryHeader) -> Result<()> {
        let Ok(at) = self.local_path(&header.path) else { return Ok(()) };
        if self.options.keep_parents && self.root.dir(&at, false).is_ok() {
            return Ok(());
        }
        self.other(header, &at, false)
    }

    fn local_path(&self, path: &[u8]) -> Result<Vec<u8>> {
        let safe = safe_path(path)?;
        let outside =
            || Error::new(ErrorKind::Invalid, format!("`{}` lies outside the target", fsx::show(&safe)));
        if self.options.single.as_ref().is_some_and(|single| *single != safe) {
            return Err(outside());
        }
        let Some(strip) = &self.options.strip else { return Ok(safe) };
        match safe.strip_prefix(strip.as_slice()) {
            Some([]) => Ok(Vec::new()),
            Some([b'/', rest @ ..]) => Ok(rest.to_vec()),
            _ if strip.is_empty() => Ok(safe),
            _ => Err(outside()),
        }
    }

    fn file<R: Read>(
        &mut self,
        header: EntryHeader,
        at: &[u8],
        again: bool,
        tar: &mut TarReader<R>,
    ) -> Result<()> {
        let place = match self.place(at, true) {
            Ok(place) => place,
            Err(error) => {
                self.collect(at, 0, Err(error))?;
                return tar.skip_data();
            }
        };
        let data_bytes = header.data_bytes;
        let facts = Facts::from(header);
        if data_bytes <= SMALL_BYTES && !again {
            let mut data = vec![0; usize::try_from(data_bytes).unwrap_or(0)];
            fill(tar, &mut data)?;
            return self.crew.send(Job { place, facts, data });
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut left = data_bytes;
        let written = self.writer.file(&place, &facts, again, |out| {
            while left > 0 {
                self.cancel.check()?;
                let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                fill(tar, &mut buffer[..want])?;
                left -= want as u64;
                out(&buffer[..want])?;
            }
            Ok(())
        });
        self.buffer = buffer;
        let ended = matches!(&written, Err(e) if ends_all(e));
        self.collect(at, data_bytes, written)?;
        if ended { Ok(()) } else { tar.skip_data() }
    }

    fn other(&mut self, header: EntryHeader, at: &[u8], again: bool) -> Result<()> {
        if header.meta.kind == EntryKind::Dir {
            self.trail.leave(|open| open == at || is_below(open, at));
            if !at.is_empty() {
                let made = self.place(at, true).and_then(|place| self.writer.dir(&place, again));
                if let Err(error) = made {
                    return self.collect(at, 0, Err(error));
                }
            }
            self.made_dirs += 1;
            self.dirs.push((at.to_vec(), Facts::from(header)));
            return Ok(());
        }
        if header.meta.kind == EntryKind::HardLink {
            match self.local_path(&header.link) {
                Ok(to) => self.links.push((at.to_vec(), to, again)),
                Err(error) => self.problem(at, error),
            }
            return Ok(());
        }
        let made = self.place(at, true);
        let made = made.and_then(|place| self.writer.special(&place, &Facts::from(header), again));
        self.collect(at, 0, made)
    }

    /// The open directory and the name in it; with `create` missing directories are made.
    fn place(&mut self, at: &[u8], create: bool) -> Result<Place> {
        let (dir, name) = match at.iter().rposition(|b| *b == b'/') {
            Some(i) => (&at[..i], &at[i + 1..]),
            None => (&at[..0], at),
        };
        if name.is_empty() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "something else stands for the restored directory itself",
            ));
        }
        let (name, path) = (name.to_vec(), at.to_vec());
        Ok(Place { dir: self.trail.opened(&self.root, &self.writer, dir, create)?, name, path })
    }

    /// Notes what an entry suffered that the caller found out.
    pub fn problem(&self, path: &[u8], error: Error) {
        self.crew.tally().add(path, error);
    }

    /// Keeps an entry's problem; a stream that broke, a full disk and a cancel are the whole extraction's.
    fn collect(&mut self, path: &[u8], bytes: u64, made: Made) -> Result<()> {
        match made {
            Err(e) if ends_all(&e) => Err(e),
            made => {
                self.crew.tally().made(path, bytes, made);
                self.crew.check_full()
            }
        }
    }

    /// Waits for the helpers and makes the hard links.
    fn settle(&mut self) -> Result<()> {
        self.crew.wait()?;
        for (at, to, again) in std::mem::take(&mut self.links) {
            self.cancel.check()?;
            let made = self.link(&at, &to, again);
            self.collect(&at, 0, made)?;
        }
        Ok(())
    }

    fn link(&mut self, at: &[u8], to: &[u8], again: bool) -> Made {
        let old = self.place(to, false)?;
        let new = self.place(at, true)?;
        self.writer.link(&old, &new, again)
    }

    /// Removes what stands below the directory `scope` (a path of the archive) and is not in `known` (all paths of
    /// the backup there, in order). Call it after the last entry. Does nothing if an entry could not be restored.
    pub fn prune(&mut self, scope: &[u8], known: impl Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
        self.settle()?;
        let Some(guard) = self.writer.guard.clone() else { return Ok(()) };
        if self.crew.tally().count > 0 {
            let text = "nothing was removed, since not all of the backup could be restored";
            self.problem(scope, Error::new(ErrorKind::Other, text));
            return Ok(());
        }
        let scope = self.local_path(scope)?;
        let mut pruned = std::mem::take(&mut self.pruned);
        let known = known.filter_map(|path| path.map(|p| self.local_path(&p).ok()).transpose());
        guard.prune(&scope, known, self.cancel, &mut pruned)?;
        for (path, problem) in pruned.problems.drain(..) {
            self.problem(&path, Error::new(ErrorKind::Other, problem));
        }
        self.pruned = pruned;
        Ok(())
    }

    /// Waits for the helpers, makes hard links, then gives directories their metadata.
    pub fn finish(mut self) -> Result<Extracted> {
        self.settle()?;
        self.crew.join();
        self.crew.check_full()?;
        self.trail.clear();
        let mut dirs = std::mem::take(&mut self.dirs);
        dirs.sort_by(|a, b| path_order(&a.0, &b.0));
        // Of several members for one directory the last one counts.
        dirs.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                std::mem::swap(later, kept);
            }
            is_same
        });
        let crew = &self.crew;
        dirs::finish(&self.root, &self.writer, &dirs, |at, error| crew.tally().add(at, error));
        let mut tally = self.crew.tally();
        let mut done = Extracted {
            files: tally.files,
            dirs: self.made_dirs,
            bytes: tally.bytes,
            problems: std::mem::take(&mut tally.problems),
            problem_count: tally.count,
            notes: Vec::new(),
            pruned: std::mem::take(&mut self.pruned),
        };
        if !self.writer.as_root && done.files + done.dirs > 0 {
            done.notes.push(NOT_ROOT.to_owned());
        }
        Ok(done)
    }
}

const NOT_ROOT: &str =
    "not run as root: owners, set-id bits and attributes that only root may set were left out";

/// Tells what [`Extractor::prune`] would remove, and changes nothing.
pub struct Rehearsal {
    guard: Guard,
    strip: Vec<u8>,
}

impl Rehearsal {
    pub fn new(root: Root, options: &Options) -> Result<Self> {
        let excluded = options.delete.clone().unwrap_or_default();
        Ok(Self {
            guard: guard(&root, options, &excluded, true)?,
            strip: options.strip.clone().unwrap_or_default(),
        })
    }

    /// As [`Extractor::prune`].
    pub fn prune(
        &self,
        scope: &[u8],
        known: impl Iterator<Item = Result<Vec<u8>>>,
        cancel: &Cancel,
        pruned: &mut Pruned,
    ) -> Result<()> {
        let local = |path: &[u8]| match path.strip_prefix(self.strip.as_slice())? {
            [] => Some(Vec::new()),
            [b'/', rest @ ..] => Some(rest.to_vec()),
            rest => self.strip.is_empty().then(|| rest.to_vec()),
        };
        let Some(scope) = local(scope) else { return Ok(()) };
        let known = known.filter_map(|path| path.map(|p| local(&p)).transpose());
        self.guard.prune(&scope, known, cancel, pruned)
    }
}

fn guard(root: &Root, options: &Options, excluded: &Excluded, rehearse: bool) -> Result<Guard> {
    Ok(Guard {
        root: root.below(b"", false)?,
        prefix: options.strip.clone().unwrap_or_default(),
        excluded: excluded.clone(),
        rehearse,
    })
}

/// Whether `path` is below `dir`; the empty path is the root of all.
fn is_below(path: &[u8], dir: &[u8]) -> bool {
    match path.strip_prefix(dir) {
        Some(rest) => dir.is_empty() && !rest.is_empty() || rest.first() == Some(&b'/'),
        None => false,
    }
}

/// Whether a name means the directory that the archive was made of (`.`, `./`, `/`).
pub(super) fn is_root_itself(path: &[u8]) -> bool {
    path.split(|b| *b == b'/').all(|c| c.is_empty() || c == b".")
}

fn ends_all(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Full | ErrorKind::Cancelled | ErrorKind::Corrupt)
}

fn fill<R: Read>(tar: &mut TarReader<R>, mut buf: &mut [u8]) -> Result<()> {
    while !buf.is_empty() {
        let n = tar.read_data(buf)?;
        if n == 0 {
            return Err(Error::new(ErrorKind::Corrupt, "a member ends before its size"));
        }
        buf = &mut buf[n..];
    }
    Ok(())
}
