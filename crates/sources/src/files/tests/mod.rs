//! The files source through its port: what GNU tar makes of its archives, what the report and the index say.

mod damage;
mod names;
mod restore;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nxs_base::entry::IndexEntry;
use nxs_base::ports::source::{Artefact, Cancel, DumpReport, NoteKind, Sink, Source, Target};
use nxs_base::{Error, ErrorKind, Result};

use super::{FilesSource, FilesSpec};

/// Keeps all that a dump yields.
#[derive(Default)]
struct Collected {
    begun: u32,
    bytes: Vec<u8>,
    cuts: Vec<u64>,
    index: Vec<IndexEntry>,
    /// Refuses bytes beyond this many.
    room: Option<usize>,
    /// Cancels once an entry of this name came.
    cancel_at: Option<(&'static str, Cancel)>,
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
        Ok(())
    }

    fn cut_here(&mut self) -> Result<()> {
        self.cuts.push(self.bytes.len() as u64);
        Ok(())
    }

    fn entry(&mut self, entry: &IndexEntry) -> Result<()> {
        if let Some((name, cancel)) = &self.cancel_at
            && entry.path.ends_with(name.as_bytes())
        {
            cancel.cancel();
        }
        self.index.push(entry.clone());
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
    let mut sink = Collected::default();
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
