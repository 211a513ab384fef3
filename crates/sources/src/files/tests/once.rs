//! Several archives from one walk: what more than one of them saves is read once, and each archive is the one that it
//! would be alone.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use nxs_base::entry::path_order;
use nxs_base::ports::source::Baseline;
use nxs_sys::users::Users;

use super::*;
use crate::files::difference::Differ;
use crate::files::exclude::Excludes;
use crate::files::open::{FileStat, OpenFiles, ReadFile, Root, Xattrs};
use crate::files::{Archive, member_path, walk};

/// How often files were opened and links read, and bytes were read of each, by path below the root.
#[derive(Default)]
struct Counts {
    opens: BTreeMap<Vec<u8>, u32>,
    bytes: BTreeMap<Vec<u8>, u64>,
    links: BTreeMap<Vec<u8>, u32>,
    attributes: BTreeMap<Vec<u8>, u32>,
}

struct Counted<'r> {
    root: &'r Root,
    counts: Arc<Mutex<Counts>>,
}

struct CountedFile {
    file: <Root as OpenFiles>::File,
    below: Vec<u8>,
    counts: Arc<Mutex<Counts>>,
}

impl OpenFiles for Counted<'_> {
    type File = CountedFile;

    fn open(&self, below: &[u8]) -> io::Result<CountedFile> {
        *self.counts.lock().unwrap().opens.entry(below.to_vec()).or_default() += 1;
        let counts = Arc::clone(&self.counts);
        self.root.open(below).map(|file| CountedFile { file, below: below.to_vec(), counts })
    }

    fn read_link(&self, below: &[u8]) -> io::Result<Vec<u8>> {
        *self.counts.lock().unwrap().links.entry(below.to_vec()).or_default() += 1;
        self.root.read_link(below)
    }

    fn xattrs(&self, below: &[u8]) -> Result<Xattrs> {
        *self.counts.lock().unwrap().attributes.entry(below.to_vec()).or_default() += 1;
        self.root.xattrs(below)
    }
}

impl ReadFile for CountedFile {
    fn stat(&self) -> io::Result<FileStat> {
        self.file.stat()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let n = self.file.read_at(buffer, offset)?;
        *self.counts.lock().unwrap().bytes.entry(self.below.clone()).or_default() += n as u64;
        Ok(n)
    }

    fn extents(&self, size_bytes: u64) -> Option<Vec<(u64, u64)>> {
        self.file.extents(size_bytes)
    }

    fn xattrs(&self) -> Result<Xattrs> {
        self.file.xattrs()
    }

    fn advise_sequential(&self) {
        self.file.advise_sequential();
    }
}

type State = Vec<IndexEntry>;

fn baseline(state: Option<&State>) -> Baseline<'static> {
    Box::new(state.cloned().unwrap_or_default().into_iter().map(Ok))
}

/// An archive for each state, made of one walk; what each is, and what was read for all.
fn dump_all(path: &Path, states: &[Option<&State>], sinks: Vec<Collected>) -> (Vec<Made>, Counts) {
    let (bytes, cancel, users) = (path.as_os_str().as_bytes(), Cancel::new(), Users::new());
    let (spec, excludes) = (spec(&[], &[]), Arc::new(Excludes::new(&[]).unwrap()));
    let (root, member) = (Root::open(bytes).unwrap(), member_path(bytes));
    let root_ino = root.stat().unwrap().0.ino;
    let mut differs: Vec<Differ<'_>> = states.iter().map(|s| Differ::new(baseline(*s))).collect();
    let walk = walk::Walk { root: root.path(), root_ino, member, spec: &spec, excludes: &excludes };
    walk.compare(&mut differs, &cancel).unwrap();
    let mut sinks = sinks;
    let counts = Arc::<Mutex<Counts>>::default();
    let counted = Counted { root: &root, counts: Arc::clone(&counts) };
    let mut taken: Vec<&mut dyn Sink> = Vec::new();
    for sink in &mut sinks {
        taken.push(sink);
    }
    let archive = Archive { users: &users, sinks: taken, cancel: &cancel, member, racy_since: None };
    let reports = archive.changes(&counted, differs.into_iter().map(Differ::finish).collect());
    let reports = match reports {
        Ok(reports) => reports,
        Err(error) => states.iter().map(|_| Err(Error::new(error.kind(), error.chain()))).collect(),
    };
    drop(counted);
    let counts = Arc::into_inner(counts).unwrap().into_inner().unwrap();
    let made = sinks.into_iter().zip(reports);
    (made.map(|(sink, report)| Made { bytes: sink.bytes, index: sink.index, report }).collect(), counts)
}

struct Made {
    bytes: Vec<u8>,
    index: State,
    report: Result<DumpReport>,
}

fn collected(count: usize) -> Vec<Collected> {
    (0..count).map(|_| Collected::default()).collect()
}

/// A tree of every sort of entry, and its states before three changes, the oldest first.
fn tree_with_states(root: &Path) -> [State; 3] {
    for n in 0..300 {
        let dir = root.join(format!("d{:02}", n % 13));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{n:03}")), noise(n * 900, n as u64)).unwrap();
    }
    fs::write(root.join("big"), noise(3 << 20, 1)).unwrap();
    let holes = fs::File::create(root.join("holes")).unwrap();
    holes.write_at(b"x", 2 << 20).unwrap();
    fs::hard_link(root.join("d00/f000"), root.join("d05/same")).unwrap();
    fs::hard_link(root.join("d01/f001"), root.join("d07/same")).unwrap();
    std::os::unix::fs::symlink("d00", root.join("link")).unwrap();
    set_xattr(&root.join("d03"), "user.a", b"b");
    let full = || {
        let (made, _) = dump_all(root, &[None], collected(1));
        made.into_iter().next().unwrap().index
    };
    let first = full();
    let write = |name: &str, bytes: &[u8]| fs::write(root.join(name), bytes).unwrap();
    (0..300).step_by(7).for_each(|n| write(&format!("d{:02}/f{n:03}", n % 13), &noise(n * 901, 7)));
    fs::remove_file(root.join("d02/f002")).unwrap();
    let second = full();
    write("d01/f001", b"both names");
    write("d04/new", b"new");
    write("big", &noise(3 << 20, 2));
    fs::remove_file(root.join("d09/f009")).unwrap();
    let third = full();
    (0..300).step_by(11).for_each(|n| write(&format!("d{:02}/f{n:03}", n % 13), &noise(n * 902, 8)));
    fs::rename(root.join("d06"), root.join("moved")).unwrap();
    fs::remove_file(root.join("link")).unwrap();
    fs::create_dir(root.join("link")).unwrap();
    std::os::unix::fs::symlink("big", root.join("other")).unwrap();
    assert!(first.is_sorted_by(|a, b| path_order(&a.path, &b.path).is_lt()));
    [first, second, third]
}

#[test]
fn what_several_archives_save_is_read_once_and_each_is_what_it_would_be_alone() {
    let (_dir, root) = fresh();
    let [first, second, third] = tree_with_states(&root);
    let states = [Some(&second), None, Some(&third), Some(&first), Some(&third)];
    let (all, counts) = dump_all(&root, &states, collected(5));
    let mut most = Counts::default();
    for (n, (state, made)) in states.iter().zip(&all).enumerate() {
        let (alone, of_alone) = dump_all(&root, &[*state], collected(1));
        assert!(made.bytes == alone[0].bytes, "archive {n} is another than alone");
        assert_eq!(made.index, alone[0].index, "{n}");
        assert_eq!(made.report.as_ref().unwrap(), alone[0].report.as_ref().unwrap(), "{n}");
        assert!(made.bytes.len() > 100_000, "{n}");
        most.opens.extend(of_alone.opens);
        most.bytes.extend(of_alone.bytes);
        most.links.extend(of_alone.links);
        most.attributes.extend(of_alone.attributes);
    }
    // As much as the one that saves all reads alone: each file once.
    let sum = |counts: &BTreeMap<Vec<u8>, u64>| counts.values().sum::<u64>();
    assert_eq!(sum(&counts.bytes), sum(&most.bytes));
    assert_eq!(counts.bytes, most.bytes);
    assert_eq!((counts.opens, counts.links, counts.attributes), (most.opens, most.links, most.attributes));
    // What only the parents had is told to those that had it.
    let removed = |made: &Made| made.index.iter().filter(|e| e.state == EntryState::Removed).count();
    assert_eq!(removed(&all[1]), 0);
    assert!(removed(&all[3]) > removed(&all[0]) && removed(&all[0]) > removed(&all[2]));
}

#[test]
fn an_archive_that_nobody_takes_any_more_leaves_the_others_as_they_are() {
    let (_dir, root) = fresh();
    let [first, second, _] = tree_with_states(&root);
    let states = [Some(&first), None, Some(&second)];
    let (whole, _) = dump_all(&root, &states, collected(3));
    for room in [0, 100, 50_000, 1_000_000, 4_000_000] {
        for fails in 0..3 {
            let mut sinks = collected(3);
            sinks[fails].room = Some(room);
            let (made, _) = dump_all(&root, &states, sinks);
            for (n, (made, whole)) in made.iter().zip(&whole).enumerate() {
                if n == fails && whole.bytes.len() > room {
                    assert_eq!(made.report.as_ref().unwrap_err().kind(), ErrorKind::Full, "{fails} {room}");
                } else {
                    assert!(made.report.is_ok() && made.bytes == whole.bytes, "{n}, {fails} {room}");
                }
            }
        }
    }
    let mut sinks = collected(3);
    sinks.iter_mut().for_each(|sink| sink.room = Some(50_000));
    let (made, counts) = dump_all(&root, &states, sinks);
    assert!(made.iter().all(|made| made.report.is_err()));
    // Nothing is read on for nobody, but what was under way.
    assert!(counts.bytes.len() < 200, "{}", counts.bytes.len());
}
