//! Runs the program over a tree that is nowhere: `simulated N [CHANGED] -c CONF start`. N entries come from a formula in
//! place of a walk, CHANGED of every thousand with another time; all else is real: comparison with the baseline, index,
//! archive, storage. For the memory and the time of increments of millions of entries.
//!
//! Every directory has nine files without content. Whether a walk keeps its own bound is the affair of its tests.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use nxs_archive::tar::{self, Member};
use nxs_backup::app::{self, Env};
use nxs_base::entry::{EntryKind, EntryState, FileTime, IndexEntry, Meta};
use nxs_base::ports::source::{Artefact, Cancel, DumpReport, Lane, Sink, Source, Target};
use nxs_base::spec::{JobKind, SourceEntry};
use nxs_base::{Error, ErrorKind, Result};
use nxs_sources::registry::Surroundings;
use nxs_testkit::Rng;

use difference::{Differ, Found, Seeing, Seen};

#[path = "../../sources/src/files/changes.rs"]
mod changes;
#[expect(dead_code, reason = "what is told of a difference besides the changes is not needed here")]
#[path = "../../sources/src/files/difference.rs"]
mod difference;

const PER_DIR: u64 = 10;
const ROOT: &str = "/simulated";

static ENTRIES: AtomicU64 = AtomicU64::new(0);
static CHANGED: AtomicU64 = AtomicU64::new(0);

/// Entry `number` of the tree, the root aside; in path order.
fn entry(number: u64, path: &mut Vec<u8>) -> Meta {
    let is_dir = number.is_multiple_of(PER_DIR);
    let mut rng = Rng::for_item(7, number);
    let dir = number / PER_DIR;
    path.clear();
    path.extend_from_slice(format!("{}/iblock-{:03x}/dir{dir:07}", &ROOT[1..], dir / 4096).as_bytes());
    if !is_dir {
        path.extend_from_slice(format!("/{}-{:08x}.jpg", number % PER_DIR, rng.next_u64() as u32).as_bytes());
    }
    let day = 86_400 * (number % 1000);
    let mtime = FileTime { sec: (1_700_000_000 + day) as i64, nsec: rng.below(1_000_000_000) as u32 };
    let touched = if rng.below(1000) < CHANGED.load(Ordering::Relaxed) { 1 } else { 0 };
    Meta {
        kind: if is_dir { EntryKind::Dir } else { EntryKind::File },
        mode: if is_dir { 0o755 } else { 0o644 },
        uid: 33,
        gid: 33,
        mtime: FileTime { sec: mtime.sec + touched, ..mtime },
        ctime: FileTime { sec: mtime.sec + touched, ..mtime },
        ino: 12 + number * 3,
        dev: 1,
        nlink: 1,
        ..Meta::default()
    }
}

/// The directories above the others, which come when the first of those does.
fn above(number: u64) -> Option<Vec<u8>> {
    let dir = number / PER_DIR;
    let is_first = number.is_multiple_of(PER_DIR) && dir.is_multiple_of(4096);
    is_first.then(|| format!("{}/iblock-{:03x}", &ROOT[1..], dir / 4096).into_bytes())
}

fn dir_meta() -> Meta {
    let time = FileTime { sec: 1_700_000_000, nsec: 5 };
    Meta { kind: EntryKind::Dir, mode: 0o755, mtime: time, ctime: time, ino: 3, dev: 1, ..Meta::default() }
}

/// Calls `take` with every path and what is known of it.
fn walk(mut take: impl FnMut(&[u8], Meta) -> Result<()>) -> Result<()> {
    take(&ROOT.as_bytes()[1..], dir_meta())?;
    let mut path = Vec::new();
    for number in 0..ENTRIES.load(Ordering::Relaxed) {
        if let Some(above) = above(number) {
            take(&above, dir_meta())?;
        }
        let meta = entry(number, &mut path);
        take(&path, meta)?;
    }
    Ok(())
}

struct Simulated;

/// Puts members into an archive.
struct Members<'a> {
    sink: &'a mut dyn Sink,
    line: IndexEntry,
    header: Vec<u8>,
    report: DumpReport,
}

impl<'a> Members<'a> {
    fn new(sink: &'a mut dyn Sink) -> Result<Self> {
        sink.begin(Artefact { has_index: true, expected_bytes: None })?;
        Ok(Self { sink, line: IndexEntry::default(), header: Vec::new(), report: DumpReport::default() })
    }

    fn add(&mut self, path: &[u8], meta: Meta, dumpdir: Option<&[u8]>) -> Result<()> {
        self.header.clear();
        let member = Member {
            path,
            meta: &meta,
            link: &[],
            uname: b"www-data",
            gname: b"www-data",
            xattrs: &[],
            acl_access: None,
            acl_default: None,
            sparse: None,
            state: EntryState::Sound,
            dumpdir,
        };
        tar::header(&mut self.header, &member)?;
        self.line.path.clear();
        self.line.path.extend_from_slice(path);
        self.line.meta = meta;
        self.line.stored_bytes = self.header.len() as u64;
        self.sink.cut_here()?;
        self.sink.write(&self.header)?;
        self.sink.entry(&self.line)?;
        self.line.offset += self.line.stored_bytes;
        let count = if meta.kind == EntryKind::Dir { &mut self.report.dirs } else { &mut self.report.files };
        *count += 1;
        Ok(())
    }

    fn removed(&mut self, path: Vec<u8>) -> Result<()> {
        self.sink.entry(&IndexEntry { path, state: EntryState::Removed, ..IndexEntry::default() })
    }

    fn finish(self) -> Result<DumpReport> {
        self.sink.write(&tar::TRAILER)?;
        Ok(self.report)
    }
}

fn save(lane: &mut Lane<'_>) -> Result<DumpReport> {
    let Some(baseline) = lane.baseline.take() else {
        let mut members = Members::new(&mut *lane.sink)?;
        walk(|path, meta| members.add(path, meta, None))?;
        return members.finish();
    };
    let mut differ = Differ::new(baseline);
    walk(|path, meta| differ.add(Seen { path, meta, note: None, state: Seeing::Whole }))?;
    let mut members = Members::new(&mut *lane.sink)?;
    for change in differ.finish()?.changes {
        match change.found {
            Found::Removed => members.removed(change.path)?,
            Found::Dir { dumpdir } => members.add(&change.path, change.meta, dumpdir.as_deref())?,
            Found::Entry => members.add(&change.path, change.meta, None)?,
            Found::Lost => {}
        }
    }
    members.finish()
}

impl Source for Simulated {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        let name = ROOT[1..].to_owned();
        let (part, file_stem) = (name.clone(), name.clone());
        Ok(vec![Ok(Target { name, part, file_stem, extension: "tar".into(), root: ROOT.into() })])
    }

    fn probe(&self, _target: &Target) -> Result<()> {
        Ok(())
    }

    fn dump(&self, _target: &Target, sink: &mut dyn Sink, _cancel: &Cancel) -> Result<DumpReport> {
        save(&mut Lane { baseline: None, sink })
    }

    fn dump_since(
        &self,
        _target: &Target,
        lanes: &mut [Lane<'_>],
        _cancel: &Cancel,
    ) -> Result<Vec<Result<DumpReport>>> {
        Ok(lanes.iter_mut().map(save).collect())
    }
}

fn open_source(_: &SourceEntry, _: JobKind, _: &Surroundings) -> Result<Box<dyn Source>> {
    Ok(Box::new(Simulated))
}

/// Takes the numbers in front of the program's own arguments.
fn numbers(args: &mut Vec<std::ffi::OsString>) -> Result<()> {
    for place in [&ENTRIES, &CHANGED] {
        let number = args.get(1).and_then(|word| word.to_str()?.parse().ok());
        if let Some(number) = number {
            place.store(number, Ordering::Relaxed);
            args.remove(1);
        }
    }
    let usage = || Error::new(ErrorKind::Invalid, "usage: simulated N [CHANGED] -c CONF start");
    if ENTRIES.load(Ordering::Relaxed) > 0 { Ok(()) } else { Err(usage()) }
}

fn main() -> ExitCode {
    let mut args: Vec<_> = std::env::args_os().collect();
    match numbers(&mut args).and_then(|()| Env::system(Cancel::new())) {
        Ok(env) => ExitCode::from(app::run(args, &Env { open_source, ..env })),
        Err(_) => ExitCode::from(2),
    }
}
