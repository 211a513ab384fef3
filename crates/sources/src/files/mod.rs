//! Files and directories: target globs, excludes, and an archive of each target.
//!
//! A walk (`walk`) lists the entries in order, reader threads load small files and attributes ahead (`batch`, `queue`),
//! and one writer puts members into the archive (`emit`), streaming big files itself. Memory is bounded: 14 batches of
//! about 1 MiB and one block. Formats are `nxs_archive::tar`'s, names of targets `nxs_base::naming`'s.

mod batch;
mod changes;
mod difference;
mod emit;
mod exclude;
mod glob;
mod increment;
mod open;
mod queue;
mod root_text;
mod walk;

use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nxs_base::entry::{EntryKind, FileTime, Meta};
use nxs_base::naming;
use nxs_base::ports::source::{Cancel, DumpReport, Lane, NoteKind, Sink, Source, Target};
use nxs_base::spec::FilesSource as FilesSpec;
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::fsx;
use nxs_sys::users::Users;

use batch::{Batch, Work};
use emit::Emitter;
use exclude::Excludes;
use glob::Expansion;
use open::{OpenFiles, Root};
use queue::Feed;

/// Threads that open and read small files ahead of the writer: on a cold cache the disk has that much to do at once.
const READER_THREADS: usize = 4;

/// Saves the files of one entry of `sources`.
#[derive(Debug)]
pub struct FilesSource {
    spec: FilesSpec,
    excludes: Arc<Excludes>,
    users: Users,
    /// Roots that a later pattern led to again under the same name, and that pattern.
    repeats: Mutex<Vec<(String, String)>>,
    /// Off in simulations, where months pass within seconds of the file system's clock.
    is_racy_rule_on: bool,
}

impl FilesSource {
    /// Fails with [`ErrorKind::Invalid`] on excludes that cannot be read. Touches no file.
    pub fn new(spec: FilesSpec) -> Result<Self> {
        let excludes = Arc::new(Excludes::new(&spec.excludes)?);
        Ok(Self { spec, excludes, users: Users::new(), repeats: Mutex::default(), is_racy_rule_on: true })
    }

    /// For simulations that know that nothing changes while a run looks: what changed in the last two seconds is not
    /// saved once more by the next increment.
    pub fn without_racy_rule(self) -> Self {
        Self { is_racy_rule_on: false, ..self }
    }

    fn add_targets(&self, pattern: &str, targets: &mut Vec<Result<Target>>) -> Result<()> {
        let absolute = absolute(pattern)?;
        let Expansion { found, refused } = glob::expand(&absolute);
        let shown = fsx::show(pattern.as_bytes());
        if found.is_empty() && refused.is_empty() {
            let text = format!("no file system objects found for target `{shown}`");
            let error = Error::new(ErrorKind::NotFound, text);
            let is_literal = || std::fs::symlink_metadata(fsx::as_path(&absolute)).is_ok();
            targets.push(Err(if glob::has_magic(&absolute) && is_literal() {
                error.with_hint(
                    "This very name exists: write `[*]`, `[?]` and `[[]` for `*`, `?` and `[` in names.",
                )
            } else {
                error
            }));
        }
        // What cannot be looked at may hold more that was asked for.
        targets.extend(refused.into_iter().map(|(place, error)| {
            let text = format!("cannot look for target `{shown}` in `{}`", fsx::show(&place));
            Err(Error::io(text, error))
        }));
        for matched in found {
            let path = clean_path(&matched);
            // v2 leaves such targets out without an archive, too.
            if self.excludes.covers_target(member_path(&path), is_dir(&path)) {
                continue;
            }
            let name = naming::glob_target(&absolute, &matched);
            let target = Target {
                name: name.stem.clone(),
                part: name.part,
                file_stem: name.stem,
                extension: "tar".to_owned(),
                root: root_text::encode(&path),
            };
            // v2 made the same file twice; here it would count twice for the rotation.
            if targets.iter().flatten().any(|known| *known == target) {
                self.repeats().push((target.root, shown.clone()));
            } else {
                targets.push(Ok(target));
            }
        }
        Ok(())
    }
}

impl Source for FilesSource {
    /// Targets that an absolute exclude covers are left out, without an error as long as others are left. One that two patterns lead to under
    /// the same name comes once; its dump has a note.
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        self.repeats().clear();
        let mut targets = Vec::new();
        for pattern in &self.spec.targets {
            self.add_targets(pattern, &mut targets)?;
        }
        if targets.is_empty() && !self.spec.targets.is_empty() {
            let shown = fsx::show(self.spec.targets.join("`, `").as_bytes());
            let text = format!("nothing is left to save: the excludes cover all of target `{shown}`");
            targets.push(Err(Error::new(ErrorKind::NotFound, text)));
        }
        Ok(targets)
    }

    fn probe(&self, target: &Target) -> Result<()> {
        let path = root_text::decode(&target.root);
        match Root::open(&path) {
            Ok(root) => root.probe().map_err(|e| emit::cannot_open(&path, e)),
            Err(error) => dangling_link(&path).map(drop).ok_or_else(|| emit::cannot_open(&path, error)),
        }
    }

    /// Fails only if the root cannot be opened, on errors of the sink, and when cancelled.
    fn dump(&self, target: &Target, sink: &mut dyn Sink, cancel: &Cancel) -> Result<DumpReport> {
        let mut report = self.save(target, sink, cancel, None)?;
        for (root, pattern) in self.repeats().iter().filter(|(root, _)| *root == target.root) {
            let reason = format!("is also what target `{pattern}` leads to; saved once");
            report.note(NoteKind::LeftOut, root.clone(), reason);
        }
        Ok(report)
    }

    /// As [`Self::dump`], against the state of each lane. Archives with different parents come from one walk, and
    /// what several of them save is read once.
    fn dump_since(
        &self,
        target: &Target,
        lanes: &mut [Lane<'_>],
        cancel: &Cancel,
    ) -> Result<Vec<Result<DumpReport>>> {
        self.save_since(target, lanes, cancel)
    }
}

impl FilesSource {
    fn repeats(&self) -> MutexGuard<'_, Vec<(String, String)>> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(
        &self,
        target: &Target,
        sink: &mut dyn Sink,
        cancel: &Cancel,
        racy_since: Option<FileTime>,
    ) -> Result<DumpReport> {
        let path = root_text::decode(&target.root);
        let member = member_path(&path).to_vec();
        if self.excludes.covers_target(&member, is_dir(&path)) {
            let mut report = DumpReport::default();
            report.note(NoteKind::LeftOut, fsx::show(&path), "excluded by the configuration");
            return Ok(report);
        }
        let root = match Root::open(&path) {
            Ok(root) => root,
            Err(error) => {
                let (meta, link) = dangling_link(&path).ok_or_else(|| emit::cannot_open(&path, error))?;
                let archive =
                    Archive { users: &self.users, sinks: vec![sink], cancel, member: &member, racy_since };
                return archive.single(&NoFiles, meta, &link);
            }
        };
        root.probe().map_err(|e| emit::cannot_open(&path, e))?;
        let (meta, is_socket) = root.stat().map_err(|e| emit::cannot_open(&path, e))?;
        let archive = Archive { users: &self.users, sinks: vec![sink], cancel, member: &member, racy_since };
        match meta.kind {
            _ if is_socket => archive.socket(&root),
            EntryKind::Dir => {
                let walk = walk::Walk {
                    root: root.path(),
                    root_ino: meta.ino,
                    member: &member,
                    spec: &self.spec,
                    excludes: &self.excludes,
                };
                archive.tree(&root, |feed| walk.run(feed, cancel))
            }
            _ => archive.single(&root, meta, &[]),
        }
    }
}

/// Tells what the excludes of `spec` leave out: asked with the path of a target, a path below it (both absolute,
/// without the leading `/`), and whether this is a directory. Fails as [`FilesSource::new`].
pub fn excluder(spec: &FilesSpec) -> Result<impl Fn(&[u8], &[u8], bool) -> bool + Send + Sync + 'static> {
    let excludes = Excludes::new(&spec.excludes)?;
    Ok(move |root: &[u8], path: &[u8], is_dir: bool| excludes.is_excluded(root, path, is_dir))
}

/// Archives of one walk, about to be written.
struct Archive<'a> {
    users: &'a Users,
    sinks: Vec<&'a mut dyn Sink>,
    cancel: &'a Cancel,
    /// Member path of the root.
    member: &'a [u8],
    /// See [`Emitter::racy_since`].
    racy_since: Option<FileTime>,
}

impl<'a> Archive<'a> {
    fn begin<O: OpenFiles>(self, opener: &'a O) -> Emitter<'a, O> {
        let emitter = Emitter::new(self.sinks, opener, self.cancel, self.users, self.member.len());
        emitter.racy_since(self.racy_since)
    }

    /// Writes all that `feed` pushes, in its order. One report for each archive.
    fn trees<O: OpenFiles>(
        self,
        opener: &'a O,
        feed: impl FnOnce(Feed<Batch>) -> Result<()> + Send,
    ) -> Result<Vec<Result<DumpReport>>> {
        let root_bytes = self.member.len();
        let mut emitter = self.begin(opener);
        queue::run(
            READER_THREADS,
            feed,
            |batch: &mut Batch| batch.load(opener, root_bytes),
            |batch| emitter.batch(batch),
        )?;
        Ok(emitter.finish())
    }

    /// The same, for a single one.
    fn tree<O: OpenFiles>(
        self,
        opener: &'a O,
        feed: impl FnOnce(Feed<Batch>) -> Result<()> + Send,
    ) -> Result<DumpReport> {
        sole(self.trees(opener, feed)?)
    }

    /// Writes a root that is no directory.
    fn single(self, opener: &'a impl OpenFiles, meta: Meta, link: &[u8]) -> Result<DumpReport> {
        let member = self.member;
        let mut batch = Batch::default();
        batch.push(member, link, meta, Work::of(meta.kind), None);
        batch.load(opener, member.len());
        let mut emitter = self.begin(opener);
        emitter.batch(&mut batch)?;
        sole(emitter.finish())
    }

    fn socket(self, opener: &'a impl OpenFiles) -> Result<DumpReport> {
        let member = self.member;
        let mut batch = Batch::default();
        let work = Work::Lost { kind: NoteKind::Socket, reason: "is a socket".to_owned() };
        batch.push(member, &[], Meta::default(), work, None);
        let mut emitter = self.begin(opener);
        emitter.batch(&mut batch)?;
        sole(emitter.finish())
    }
}

/// The report of the only archive.
fn sole(reports: Vec<Result<DumpReport>>) -> Result<DumpReport> {
    let none = || Err(Error::new(ErrorKind::Other, "no archive was written"));
    reports.into_iter().next().unwrap_or_else(none)
}

/// Stands in for the files of a target that has none.
struct NoFiles;

impl OpenFiles for NoFiles {
    type File = open::OpenFile;

    fn open(&self, _below: &[u8]) -> std::io::Result<Self::File> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn read_link(&self, _below: &[u8]) -> std::io::Result<Vec<u8>> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn xattrs(&self, _below: &[u8]) -> Result<open::Xattrs> {
        Ok(open::Xattrs::new())
    }
}

/// Makes a target glob absolute.
fn absolute(pattern: &str) -> Result<Vec<u8>> {
    if pattern.is_empty() || pattern.starts_with('/') {
        return Ok(pattern.as_bytes().to_vec());
    }
    let here = std::env::current_dir().map_err(|e| Error::io("cannot find the current directory", e))?;
    Ok([here.as_os_str().as_bytes(), b"/", pattern.as_bytes()].concat())
}

/// The path of a match as the archive spells it: no `/` at the end, no `.` and `..` components.
fn clean_path(matched: &[u8]) -> Vec<u8> {
    let mut path = matched;
    while let [rest @ .., b'/'] = path
        && !rest.is_empty()
    {
        path = rest;
    }
    let has_dots = path.split(|b| *b == b'/').any(|c| c == b"." || c == b"..");
    match std::fs::canonicalize(fsx::as_path(path)) {
        // `..` leads out of what a link leads to, which only the file system knows.
        Ok(real) if has_dots => real.as_os_str().as_bytes().to_vec(),
        _ => path.to_vec(),
    }
}

/// The path in the archive: without the leading `/`.
fn member_path(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"/").unwrap_or(path)
}

fn is_dir(path: &[u8]) -> bool {
    std::fs::metadata(fsx::as_path(path)).is_ok_and(|m| m.is_dir())
}

/// A link that leads nowhere is saved as the link that it is.
fn dangling_link(path: &[u8]) -> Option<(Meta, Vec<u8>)> {
    let stat = rustix::fs::lstat(fsx::as_path(path)).ok()?;
    let (meta, _) = nxs_sys::meta::from_stat(&stat);
    if meta.kind != EntryKind::Symlink {
        return None;
    }
    let link = std::fs::read_link(fsx::as_path(path)).ok()?;
    Some((meta, link.as_os_str().as_bytes().to_vec()))
}

#[cfg(test)]
mod tests;
