//! Files that change, fail or vanish while they are read, and dumps that end in the middle.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nxs_base::entry::{EntryKind, EntryState, Meta};
use rustix::io::Errno;

use super::super::batch::{SMALL_FILE_BYTES, Work};
use super::super::open::{FileStat, OpenFiles, ReadFile, Xattrs};
use super::super::queue::Feed;
use super::super::{Archive, Batch, Users};
use super::*;

/// One file of a made-up tree, and what happens to it.
#[derive(Clone)]
struct Fake {
    /// Size by the walk, and after that each time somebody asks; the last one stays.
    sizes: Vec<u64>,
    /// Reads beyond this many bytes are at the end.
    content_bytes: u64,
    /// Bytes that cannot be read.
    bad: std::ops::Range<u64>,
    /// Opening it gives this error.
    refused: Option<Errno>,
    is_regular: bool,
    /// Has one attribute of so many bytes.
    attribute_bytes: usize,
    /// Fewer blocks than bytes, and no holes: a file system that compresses.
    is_compressed: bool,
    ino: u64,
    nlink: u64,
    /// How often its content was asked for.
    reads: Arc<AtomicUsize>,
}

impl Fake {
    fn of(size: u64) -> Self {
        Self {
            sizes: vec![size],
            content_bytes: size,
            bad: 0..0,
            refused: None,
            is_regular: true,
            attribute_bytes: 0,
            is_compressed: false,
            ino: 0,
            nlink: 1,
            reads: Arc::default(),
        }
    }

    fn meta(&self, look: usize) -> Meta {
        let size_bytes = self.sizes[look.min(self.sizes.len() - 1)];
        Meta { mode: 0o644, size_bytes, ino: self.ino, nlink: self.nlink, ..Meta::default() }
    }
}

struct FakeTree {
    files: HashMap<Vec<u8>, Fake>,
    looks: Mutex<HashMap<Vec<u8>, usize>>,
}

struct FakeFile<'a> {
    tree: &'a FakeTree,
    name: Vec<u8>,
}

impl<'a> OpenFiles for &'a FakeTree {
    type File = FakeFile<'a>;

    fn open(&self, below: &[u8]) -> io::Result<FakeFile<'a>> {
        match self.files[below].refused {
            Some(errno) => Err(errno.into()),
            None => Ok(FakeFile { tree: self, name: below.to_vec() }),
        }
    }

    fn read_link(&self, _below: &[u8]) -> io::Result<Vec<u8>> {
        Err(Errno::INVAL.into())
    }

    fn xattrs(&self, _below: &[u8]) -> Result<Xattrs> {
        Ok(Xattrs::new())
    }
}

fn content_at(offset: u64) -> u8 {
    (offset % 251) as u8 + 1
}

impl ReadFile for FakeFile<'_> {
    fn stat(&self) -> io::Result<FileStat> {
        let fake = &self.tree.files[&self.name];
        let mut looks = self.tree.looks.lock().unwrap();
        let look = looks.entry(self.name.clone()).or_default();
        *look += 1;
        Ok(FileStat {
            meta: fake.meta(*look),
            is_regular: fake.is_regular,
            may_have_holes: fake.is_compressed,
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let fake = &self.tree.files[&self.name];
        fake.reads.fetch_add(1, Ordering::Relaxed);
        let length = (buffer.len() as u64).min(fake.content_bytes.saturating_sub(offset));
        if offset < fake.bad.end && offset + length > fake.bad.start {
            return Err(Errno::IO.into());
        }
        // Short reads happen.
        let length = length.min(100_000) as usize;
        for (i, byte) in buffer[..length].iter_mut().enumerate() {
            *byte = content_at(offset + i as u64);
        }
        Ok(length)
    }

    fn extents(&self, _size_bytes: u64) -> Option<Vec<(u64, u64)>> {
        None
    }

    fn xattrs(&self) -> Result<Xattrs> {
        let length = self.tree.files[&self.name].attribute_bytes;
        Ok(if length == 0 { Xattrs::new() } else { vec![(b"user.a".to_vec(), vec![b'x'; length])] })
    }

    fn advise_sequential(&self) {}
}

/// Dumps made-up files, each named by its place: `t/0`, `t/1`, ….
fn dump_fakes(fakes: &[Fake]) -> (Collected, DumpReport) {
    let named: Vec<(Vec<u8>, Fake)> =
        fakes.iter().enumerate().map(|(i, f)| (i.to_string().into_bytes(), f.clone())).collect();
    let tree = FakeTree { files: named.iter().cloned().collect(), looks: Mutex::default() };
    let mut sink = Collected::default();
    let (users, cancel) = (Users::new(), Cancel::new());
    let archive =
        Archive { users: &users, sinks: vec![&mut sink], cancel: &cancel, member: b"t", racy_since: None };
    let feed = |feed: Feed<Batch>| {
        let mut batch = Batch::default();
        let mut seen = Vec::new();
        for (name, fake) in &named {
            let meta = fake.meta(0);
            let is_known = meta.nlink > 1 && seen.contains(&meta.ino);
            seen.push(meta.ino);
            let work = if is_known { Work::FurtherName } else { Work::of(EntryKind::File) };
            batch.push(&[b"t/", &name[..]].concat(), &[], meta, work, None);
        }
        assert!(feed.push(batch));
        Ok(())
    };
    let report = archive.tree(&&tree, feed).unwrap();
    (sink, report)
}

/// State, notes and content of a single file.
fn fate(fake: Fake) -> (EntryState, Vec<(NoteKind, String)>, Vec<u8>) {
    let (sink, report) = dump_fakes(&[fake]);
    let mut reader = nxs_archive::tar::TarReader::new(&sink.bytes[..]);
    let header = reader.next().unwrap().unwrap();
    assert_eq!(header.stored_bytes(), sink.index[0].stored_bytes);
    assert_eq!(header.path, sink.index[0].path);
    let mut content = vec![0; header.data_bytes as usize];
    let mut got = 0;
    while got < content.len() {
        got += reader.read_data(&mut content[got..]).unwrap();
    }
    assert!(reader.next().unwrap().is_none(), "the archive goes on after the member");
    let notes = report.notes.into_iter().map(|n| (n.kind, n.reason)).collect();
    (sink.index[0].state, notes, content)
}

fn content(range: std::ops::Range<u64>) -> Vec<u8> {
    range.map(content_at).collect()
}

/// A size that is read ahead, and one that is streamed.
const SIZES: [u64; 2] = [10_000, 3_000_000];

#[test]
fn an_unchanged_file_is_sound_whatever_its_size() {
    for size in [0, 1, 511, 512, 513, SMALL_FILE_BYTES, SMALL_FILE_BYTES + 1, SIZES[1]] {
        assert_eq!(fate(Fake::of(size)), (EntryState::Sound, vec![], content(0..size)), "{size}");
    }
}

#[test]
fn a_file_that_grows_is_saved_up_to_its_first_size_and_noted() {
    for size in SIZES {
        let grown =
            Fake { sizes: (0..9).map(|i| size + i).collect(), content_bytes: size + 100, ..Fake::of(size) };
        let (state, notes, bytes) = fate(grown);
        assert_eq!(state, EntryState::Racy, "{size}");
        assert_eq!(notes, [(NoteKind::Racy, "changed while it was read".to_owned())]);
        // The first look is the walk's or the one at the open file.
        assert_eq!(bytes, content(0..size + 1));
    }
}

#[test]
fn a_file_that_shrinks_is_filled_with_zeros_and_a_gap() {
    for size in SIZES {
        let (state, notes, bytes) = fate(Fake { content_bytes: 1000, ..Fake::of(size) });
        assert_eq!((state, notes[0].0, notes.len()), (EntryState::Gap, NoteKind::Gap, 1), "{size}");
        let mut expected = content(0..1000);
        expected.resize(size as usize, 0);
        assert!(bytes == expected, "{size}");
    }
}

#[test]
fn a_file_that_changed_once_before_it_was_opened_is_sound() {
    let fake = Fake { sizes: vec![10, 2000], content_bytes: 2000, ..Fake::of(0) };
    assert_eq!(fate(fake), (EntryState::Sound, vec![], content(0..2000)));
    let big = Fake { sizes: vec![10, SIZES[1]], content_bytes: SIZES[1], ..Fake::of(0) };
    assert_eq!(fate(big), (EntryState::Sound, vec![], content(0..SIZES[1])));
}

#[test]
fn a_bad_spot_becomes_zeros_and_what_is_around_it_is_saved() {
    for size in SIZES {
        let bad = 5000..5001;
        let (state, notes, bytes) = fate(Fake { bad: bad.clone(), ..Fake::of(size) });
        assert_eq!((state, notes[0].0, notes.len()), (EntryState::Gap, NoteKind::Gap, 1), "{size}");
        assert!(notes[0].1.contains("Input/output error"), "{}", notes[0].1);
        let zeros = bytes.iter().filter(|b| **b == 0).count();
        assert!((1..=4096).contains(&zeros), "{zeros} bytes given up of {size}");
        assert!(bytes.iter().zip(content(0..size)).all(|(a, b)| *a == 0 || *a == b), "{size}");
    }
}

#[test]
fn after_a_bad_spot_reads_are_soon_large_again() {
    let fake = Fake { bad: 300_000..300_001, ..Fake::of(8_000_000) };
    let (state, _, bytes) = fate(fake.clone());
    assert_eq!(state, EntryState::Gap);
    assert!(bytes.iter().filter(|b| **b == 0).count() <= 4096);
    // 100,000 bytes is the most that one read gives; 4 KiB each would be two thousand.
    let reads = fake.reads.load(Ordering::Relaxed);
    assert!((80..200).contains(&reads), "{reads} reads");
}

#[test]
fn a_file_that_is_bad_to_its_end_is_given_up_in_time() {
    let size = 40_000_000;
    let (state, _, bytes) = fate(Fake { bad: 1_000_000..size, ..Fake::of(size) });
    assert_eq!(state, EntryState::Gap);
    assert!(bytes[2_000_000..].iter().all(|b| *b == 0));
}

#[test]
fn a_file_that_vanished_or_cannot_be_opened_is_a_note_and_the_others_go_on() {
    let refused = |errno| Fake { refused: Some(errno), ..Fake::of(10) };
    let big = |errno| Fake { refused: Some(errno), ..Fake::of(SIZES[1]) };
    let (sink, report) = dump_fakes(&[
        refused(Errno::NOENT),
        refused(Errno::ACCESS),
        big(Errno::NOENT),
        big(Errno::ACCESS),
        // A link was put in its place.
        refused(Errno::LOOP),
        // A socket was.
        refused(Errno::NXIO),
        refused(Errno::IO),
        Fake { is_regular: false, ..Fake::of(10) },
        Fake { is_regular: false, ..Fake::of(SIZES[1]) },
        Fake::of(7),
    ]);
    assert_eq!(sink.paths(), ["t/9"]);
    assert_eq!(sink.missing, ["t/1", "t/3", "t/6"], "the index tells the names of what could not be read");
    let kinds: Vec<_> = report.notes.iter().map(|n| n.kind).collect();
    let (gone, unreadable) = (NoteKind::Vanished, NoteKind::Unreadable);
    assert_eq!(kinds, [gone, unreadable, gone, unreadable, gone, gone, unreadable, gone, gone]);
    assert_eq!((report.gaps(), report.files), (3, 1));
    assert_eq!(report.notes[1].path, "/t/1");
    assert!(report.notes[1].reason.starts_with("cannot open: Permission denied"));
}

#[test]
fn a_further_name_is_saved_as_a_file_when_the_first_could_not_be() {
    let named = |refused| Fake { ino: 9, nlink: 3, refused, ..Fake::of(10) };
    let (sink, _) = dump_fakes(&[named(Some(Errno::ACCESS)), named(None), named(None)]);
    let shown: Vec<_> = sink.index.iter().map(|e| (&e.path[..], e.meta.kind, &e.link[..])).collect();
    let expected =
        [(&b"t/1"[..], EntryKind::File, &b""[..]), (&b"t/2"[..], EntryKind::HardLink, &b"t/1"[..])];
    assert_eq!(shown, expected);
}

#[test]
fn attributes_that_no_archive_can_hold_cost_a_gap_and_not_the_content() {
    for size in SIZES {
        let (state, notes, bytes) = fate(Fake { attribute_bytes: 5 << 20, ..Fake::of(size) });
        assert_eq!((state, notes.len(), notes[0].0), (EntryState::Sound, 1, NoteKind::Unreadable));
        assert!(notes[0].1.starts_with("saved without its attributes: cannot write `t/0`"), "{}", notes[0].1);
        assert!(bytes == content(0..size), "{size}");
    }
}

#[test]
fn a_file_that_the_file_system_compresses_has_no_holes() {
    for size in SIZES {
        let fake = Fake { is_compressed: true, ..Fake::of(size) };
        assert_eq!(fate(fake), (EntryState::Sound, vec![], content(0..size)), "{size}");
    }
}

#[test]
fn a_batch_of_files_that_grew_keeps_to_its_memory() {
    let fakes: Vec<_> = (0..64)
        .map(|_| Fake { sizes: vec![1, SMALL_FILE_BYTES], content_bytes: SMALL_FILE_BYTES, ..Fake::of(0) })
        .collect();
    let (sink, report) = dump_fakes(&fakes);
    assert_eq!(report.notes, []);
    assert!(sink.index.iter().all(|e| e.meta.size_bytes == SMALL_FILE_BYTES));
}

#[test]
fn an_error_of_the_sink_ends_the_dump_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..2000 {
        fs::write(dir.path().join(i.to_string()), [1; 600]).unwrap();
    }
    let source = source(&[dir.path().to_str().unwrap()], &[]);
    let mut sink = Collected { room: Some(100_000), ..Collected::default() };
    let error = source.dump(&targets(&source)[0], &mut sink, &Cancel::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(sink.index.len() < 100);
}

#[test]
fn a_cancelled_dump_ends_before_the_next_entry() {
    let dir = tempfile::tempdir().unwrap();
    for i in 10..30 {
        fs::write(dir.path().join(i.to_string()), "x").unwrap();
    }
    let source = source(&[dir.path().to_str().unwrap()], &[]);
    let cancel = Cancel::new();
    let flag = cancel.clone();
    let mut sink = Collected::after("/15", move || flag.cancel());
    let error = source.dump(&targets(&source)[0], &mut sink, &cancel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(sink.index.last().unwrap().path.ends_with(b"/15"));
}

/// Names the part of a test that runs as another user, in a process of its own.
const UNPRIVILEGED: &str = "NXS_TEST_UNPRIVILEGED";

#[test]
fn what_may_not_be_read_is_a_gap_and_the_run_goes_on() {
    if rustix::process::geteuid().is_root() && std::env::var_os(UNPRIVILEGED).is_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "files::tests::damage::what_may_not_be_read_is_a_gap_and_the_run_goes_on"])
            .env(UNPRIVILEGED, "1")
            .env("TMPDIR", dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for d in ["closed", "open"] {
        fs::create_dir(root.join(d)).unwrap();
        fs::write(root.join(d).join("f"), "x").unwrap();
    }
    fs::write(root.join("secret"), "x").unwrap();
    fs::write(root.join("secret big"), vec![1; 300_000]).unwrap();
    let set_mode = |name: &str, mode| {
        fs::set_permissions(root.join(name), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    for name in ["closed", "secret", "secret big"] {
        set_mode(name, 0);
    }
    let (sink, report) = dump_path(&root, &[]);
    let base = &root.to_str().unwrap()[1..];
    assert_eq!(sink.paths(), ["", "/closed", "/open", "/open/f"].map(|p| format!("{base}{p}")));
    let unreadable = |name: &str| (NoteKind::Unreadable, name.to_owned());
    assert_eq!(notes(&report, &root), ["closed", "secret", "secret big"].map(unreadable));
    assert_eq!(report.gaps(), 3);

    let source = source(&[&format!("{}/*", root.display())], &[]);
    let probes: Vec<_> =
        targets(&source).iter().map(|t| source.probe(t).map_err(|e| e.kind()).err()).collect();
    let denied = Some(ErrorKind::Denied);
    assert_eq!(probes, [denied, None, denied, denied]);

    // A glob must not pass over a place that it cannot look into, as if nothing were there.
    for (pattern, found) in
        [("*/f", vec!["f"]), ("closed/*", vec![]), ("closed/f", vec![]), ("closed/f/", vec![])]
    {
        let list = super::source(&[&format!("{}/{pattern}", root.display())], &[]).targets().unwrap();
        let names: Vec<_> = list.iter().flatten().map(|t| t.root.rsplit('/').next().unwrap()).collect();
        let errors: Vec<_> = list.iter().filter_map(|t| t.as_ref().err()).collect();
        assert_eq!((names, errors.len()), (found, 1), "{pattern}");
        assert_eq!(errors[0].kind(), ErrorKind::Denied, "{pattern}");
        assert!(errors[0].to_string().starts_with("cannot look for target `"), "{}", errors[0]);
    }
    set_mode("closed", 0o700);
}
