//! The files source through its port: what GNU tar makes of its archives, what the report and the index say.

mod damage;
mod increments;
mod live;
mod memory;
mod mounts;
mod names;
mod odd;
mod once;
mod random;
mod restore;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nxs_base::entry::{EntryState, IndexEntry};
use nxs_base::ports::source::{Artefact, Cancel, DumpReport, NoteKind, Sink, Source, Target};
use nxs_base::{Error, ErrorKind, Result};
use nxs_testkit::rng::Rng;
use nxs_testkit::snapshot::Snapshot;
use rustix::fs::{CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};

use super::{FilesSource, FilesSpec};

/// Keeps all that a dump yields.
#[derive(Default)]
struct Collected {
    begun: u32,
    bytes: Vec<u8>,
    cuts: Vec<u64>,
    index: Vec<IndexEntry>,
    /// Names that the index tells of what could not be read.
    missing: Vec<String>,
    /// Refuses bytes beyond this many.
    room: Option<usize>,
    /// Called after each write with all bytes so far, and after each entry with its path: things happen at an exact
    /// place of the archive, without waiting.
    hook: Option<Hook>,
}

type Hook = Box<dyn FnMut(Moment<'_>)>;

/// Where a dump is.
enum Moment<'a> {
    Wrote(usize),
    Saved(&'a [u8]),
}

impl Collected {
    fn hooked(hook: impl FnMut(Moment<'_>) + 'static) -> Self {
        Self { hook: Some(Box::new(hook)), ..Self::default() }
    }

    /// Calls `act` once, after the entry whose path ends with `name`.
    fn after(name: &'static str, act: impl FnOnce() + 'static) -> Self {
        let mut act = Some(act);
        Self::hooked(move |moment| {
            if let Moment::Saved(path) = moment
                && path.ends_with(name.as_bytes())
                && let Some(act) = act.take()
            {
                act();
            }
        })
    }

    /// Calls `act` once, when the archive has at least so many bytes.
    fn at_byte(count: usize, act: impl FnOnce() + 'static) -> Self {
        let mut act = Some(act);
        Self::hooked(move |moment| {
            if let Moment::Wrote(bytes) = moment
                && bytes >= count
                && let Some(act) = act.take()
            {
                act();
            }
        })
    }
}

impl Sink for Collected {
    fn begin(&mut self, artefact: Artefact) -> Result<()> {
        assert!(artefact.has_index);
        self.begun += 1;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.room.is_some_and(|room| self.bytes.len() + bytes.len() > room) {
            return Err(Error::new(ErrorKind::Full, "no room"));
        }
        self.bytes.extend_from_slice(bytes);
        if let Some(hook) = &mut self.hook {
            hook(Moment::Wrote(self.bytes.len()));
        }
        Ok(())
    }

    fn cut_here(&mut self) -> Result<()> {
        self.cuts.push(self.bytes.len() as u64);
        Ok(())
    }

    fn entry(&mut self, entry: &IndexEntry) -> Result<()> {
        if let Some(hook) = &mut self.hook {
            hook(Moment::Saved(&entry.path));
        }
        if entry.state == EntryState::Missing {
            self.missing.push(String::from_utf8_lossy(&entry.path).into_owned());
        } else {
            self.index.push(entry.clone());
        }
        Ok(())
    }
}

impl Collected {
    fn paths(&self) -> Vec<String> {
        self.index.iter().map(|e| String::from_utf8_lossy(&e.path).into_owned()).collect()
    }
}

fn spec(targets: &[&str], excludes: &[&str]) -> FilesSpec {
    FilesSpec {
        targets: targets.iter().map(|t| (*t).to_owned()).collect(),
        excludes: excludes.iter().map(|e| (*e).to_owned()).collect(),
        one_file_system: false,
        exclude_caches: false,
        exclude_if_present: vec![],
    }
}

fn source(targets: &[&str], excludes: &[&str]) -> FilesSource {
    FilesSource::new(spec(targets, excludes)).unwrap()
}

/// Targets that were found, all of them.
fn targets(source: &FilesSource) -> Vec<Target> {
    source.targets().unwrap().into_iter().map(|t| t.unwrap()).collect()
}

fn dump(source: &FilesSource, target: &Target) -> (Collected, DumpReport) {
    dump_into(source, target, Collected::default())
}

fn dump_into(source: &FilesSource, target: &Target, mut sink: Collected) -> (Collected, DumpReport) {
    let report = source.dump(target, &mut sink, &Cancel::new()).unwrap();
    (sink, report)
}

/// Dumps the only target of `path`.
fn dump_path(path: &Path, excludes: &[&str]) -> (Collected, DumpReport) {
    let source = source(&[path.to_str().unwrap()], excludes);
    dump(&source, &targets(&source)[0])
}

/// Where a member is after extraction into `into`.
fn extracted(into: &Path, original: &Path) -> PathBuf {
    into.join(original.strip_prefix("/").unwrap())
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn notes(report: &DumpReport, root: &Path) -> Vec<(NoteKind, String)> {
    let prefix = format!("{}/", root.display());
    report
        .notes
        .iter()
        .map(|n| (n.kind, n.path.strip_prefix(&prefix).unwrap_or(&n.path).to_owned()))
        .collect()
}

/// Unpacks with GNU tar as an administrator would; it must have nothing to say.
fn untar(archive: &[u8]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("archive.tar");
    let into = place.path().join("out");
    fs::write(&file, archive).unwrap();
    fs::create_dir(&into).unwrap();
    let output = Command::new("tar")
        .args([
            "--xattrs",
            "--xattrs-include=*",
            "--acls",
            "--numeric-owner",
            "--warning=no-timestamp",
            "-xpf",
        ])
        .arg(&file)
        .arg("-C")
        .arg(&into)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && text.is_empty(), "{text}");
    place
}

/// Where GNU tar put what was at `original`.
fn unpacked(place: &tempfile::TempDir, original: &Path) -> PathBuf {
    extracted(&place.path().join("out"), original)
}

fn set_mtime(path: &Path, sec: i64, nsec: u32) {
    let time = Timespec { tv_sec: sec, tv_nsec: nsec.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Rng::new(seed).fill(&mut bytes);
    bytes
}

/// An empty directory, by its path without links.
fn fresh() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().join("t");
    fs::create_dir(&root).unwrap();
    (dir, root)
}
