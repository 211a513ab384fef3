//! Files of a real file system that change at an exact place of the dump: what was read stays valid, what was not is
//! said, nothing is waited for and no link is followed.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use nxs_base::entry::{EntryKind, EntryState, Meta};
use rustix::fs::{FileType, Mode, mknodat};

use super::super::batch::Work;
use super::super::open::Root;
use super::super::queue::Feed;
use super::super::{Archive, Batch, Users};
use super::*;

const MIB: usize = 1 << 20;

/// A tree with a big file between two small ones, and the content of the big one.
fn tree() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let (dir, root) = fresh();
    let big = noise(3 * MIB, 1);
    fs::write(root.join("a"), "first").unwrap();
    fs::write(root.join("big"), &big).unwrap();
    fs::write(root.join("z"), "last").unwrap();
    set_mtime(&root.join("big"), 1_000_000_000, 0);
    (dir, root, big)
}

/// Dumps the tree while `act` happens to its big file after its first MiB; gives the fate of the big file.
fn big_file_during(act: impl FnOnce(&Path) + 'static) -> (EntryState, Vec<(NoteKind, String)>, Vec<u8>) {
    let (_dir, root, _) = tree();
    let source = source(&[root.to_str().unwrap()], &[]);
    let big = root.join("big");
    let sink = Collected::at_byte(MIB, move || act(&big));
    let (sink, report) = dump_into(&source, &targets(&source)[0], sink);
    let place = untar(&sink.bytes);
    let out = unpacked(&place, &root);
    assert_eq!(fs::read(out.join("z")).unwrap(), b"last");
    let entry = sink.index.iter().find(|e| e.path.ends_with(b"/big")).unwrap();
    (entry.state, notes(&report, &root), fs::read(out.join("big")).unwrap())
}

fn note(kind: NoteKind) -> Vec<(NoteKind, String)> {
    vec![(kind, "big".to_owned())]
}

#[test]
fn a_file_that_is_cut_while_it_is_read_is_padded_with_zeros_to_its_first_size() {
    let (state, notes, bytes) = big_file_during(|big| {
        OpenOptions::new().write(true).open(big).unwrap().set_len(10).unwrap();
    });
    assert_eq!((state, notes), (EntryState::Gap, note(NoteKind::Gap)));
    let original = noise(3 * MIB, 1);
    let kept = bytes.iter().zip(&original).take_while(|(a, b)| a == b).count();
    assert!((MIB / 2..2 * MIB).contains(&kept), "{kept} bytes of it were read");
    // The last of them may be zeros by themselves.
    assert!(bytes.len() == 3 * MIB && bytes[kept..].iter().all(|b| *b == 0));
}

#[test]
fn a_file_that_grows_while_it_is_read_is_saved_up_to_its_first_size() {
    let (state, notes, bytes) = big_file_during(|big| {
        OpenOptions::new().append(true).open(big).unwrap().write_all(&noise(MIB, 2)).unwrap();
    });
    assert_eq!((state, notes), (EntryState::Racy, note(NoteKind::Racy)));
    assert!(!NoteKind::Racy.is_gap() && bytes == noise(3 * MIB, 1));
}

#[test]
fn a_file_that_is_rewritten_while_it_is_read_is_noted() {
    let (state, notes, bytes) = big_file_during(|big| {
        OpenOptions::new().write(true).open(big).unwrap().write_all(&noise(MIB, 2)).unwrap();
    });
    assert_eq!((state, notes, bytes.len()), (EntryState::Racy, note(NoteKind::Racy), 3 * MIB));
}

#[test]
fn a_file_that_is_removed_while_it_is_read_is_saved_whole() {
    let (_, notes, bytes) = big_file_during(|big| fs::remove_file(big).unwrap());
    assert!(bytes == noise(3 * MIB, 1));
    assert!(notes.iter().all(|(kind, _)| *kind == NoteKind::Racy), "{notes:?}");
}

#[test]
fn a_sparse_file_that_is_filled_while_it_is_read_keeps_its_first_map_and_is_noted() {
    let (_dir, root) = fresh();
    let path = root.join("sparse");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&noise(2 * MIB, 3)).unwrap();
    file.set_len(64 << 20).unwrap();
    set_mtime(&path, 1_000_000_000, 0);
    let source = source(&[root.to_str().unwrap()], &[]);
    let filled = path.clone();
    let sink = Collected::at_byte(MIB, move || {
        let mut file = OpenOptions::new().append(true).open(&filled).unwrap();
        file.write_all(b"more").unwrap();
    });
    let (sink, report) = dump_into(&source, &targets(&source)[0], sink);
    assert_eq!(notes(&report, &root), [(NoteKind::Racy, "sparse".to_owned())]);
    assert!(sink.bytes.len() < 3 * MIB, "holes take no room");
    let place = untar(&sink.bytes);
    let bytes = fs::read(unpacked(&place, &root).join("sparse")).unwrap();
    assert!(bytes.len() == 64 * MIB && bytes[..2 * MIB] == noise(2 * MIB, 3));
    assert!(bytes[2 * MIB..].iter().all(|b| *b == 0));
}

/// Puts something else where a file, a link or a directory was.
fn replace_all(root: &Path, outside: &Path) {
    let gone = |name: &str| {
        fs::remove_file(root.join(name)).unwrap();
        root.join(name)
    };
    gone("f-gone");
    rustix::fs::mkfifoat(CWD, gone("f-fifo"), Mode::RUSR).unwrap();
    symlink(outside, gone("f-link")).unwrap();
    fs::create_dir(gone("f-dir")).unwrap();
    drop(UnixListener::bind(gone("f-socket")).unwrap());
    if is_root() {
        let device = rustix::fs::makedev(1, 5);
        mknodat(CWD, gone("f-zero"), FileType::CharacterDevice, Mode::RUSR, device).unwrap();
    } else {
        gone("f-zero");
    }
    fs::rename(root.join("p"), root.join("q")).unwrap();
    symlink(outside.parent().unwrap(), root.join("p")).unwrap();
}

const REPLACED: [&str; 6] = ["f-gone", "f-fifo", "f-link", "f-dir", "f-socket", "f-zero"];

#[test]
fn a_file_that_became_something_else_has_vanished_and_is_neither_followed_nor_waited_for() {
    let (_dir, root) = fresh();
    let (_outside_dir, outside) = fresh();
    let secret = outside.join("x");
    fs::write(&secret, vec![b'S'; 400 << 10]).unwrap();
    fs::write(root.join("a"), "").unwrap();
    fs::create_dir(root.join("p")).unwrap();
    for name in REPLACED.iter().chain(&["p/x", "r-stays"]) {
        // Such big files are opened when it is their turn.
        fs::write(root.join(name), vec![b'o'; 300 << 10]).unwrap();
    }
    let source = source(&[root.to_str().unwrap()], &[]);
    let act_root = root.clone();
    let sink = Collected::after("/a", move || replace_all(&act_root, &secret));
    let (sink, report) = dump_into(&source, &targets(&source)[0], sink);
    let mut shown = notes(&report, &root);
    shown.sort_by(|a, b| a.1.cmp(&b.1));
    let mut expected = REPLACED.map(|name| (NoteKind::Vanished, name.to_owned())).to_vec();
    expected.push((NoteKind::Vanished, "p/x".to_owned()));
    expected.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(shown, expected);
    assert_eq!(report.gaps(), 0);
    assert!(!sink.bytes.windows(64).any(|w| w == [b'S'; 64]), "a file from outside was read");
    let base = root.to_str().unwrap()[1..].to_owned();
    assert_eq!(sink.paths(), ["", "/a", "/p", "/r-stays"].map(|p| format!("{base}{p}")));
    let place = untar(&sink.bytes);
    assert_eq!(fs::read(unpacked(&place, &root).join("r-stays")).unwrap(), vec![b'o'; 300 << 10]);
}

/// Dumps `names` below `root` as the walk would have found them before `act`.
fn dump_stale(root: &Path, names: &[&str], act: impl FnOnce()) -> (Collected, DumpReport) {
    let looked: Vec<(String, Meta)> = names
        .iter()
        .map(|name| {
            let stat = rustix::fs::lstat(root.join(name)).unwrap();
            (format!("t/{name}"), nxs_sys::meta::from_stat(&stat).0)
        })
        .collect();
    act();
    let mut sink = Collected::default();
    let (users, cancel) = (Users::new(), Cancel::new());
    let archive =
        Archive { users: &users, sinks: vec![&mut sink], cancel: &cancel, member: b"t", racy_since: None };
    let opener = Root::open(root.as_os_str().as_bytes()).unwrap();
    let feed = |feed: Feed<Batch>| {
        let mut batch = Batch::default();
        for (path, meta) in &looked {
            batch.push(path.as_bytes(), &[], *meta, Work::of(meta.kind), None);
        }
        assert!(feed.push(batch));
        Ok(())
    };
    let report = archive.tree(&opener, feed).unwrap();
    (sink, report)
}

#[test]
fn small_files_read_ahead_and_what_is_no_file_vanish_in_the_same_way() {
    let (_dir, root) = fresh();
    let (_outside_dir, outside) = fresh();
    let secret = outside.join("x");
    fs::write(&secret, vec![b'S'; 4000]).unwrap();
    fs::create_dir(root.join("p")).unwrap();
    for name in REPLACED.iter().chain(&["p/x", "r-stays"]) {
        fs::write(root.join(name), vec![b'o'; 3000]).unwrap();
    }
    fs::create_dir(root.join("d-gone")).unwrap();
    for name in ["l-gone", "l-file"] {
        symlink("there", root.join(name)).unwrap();
    }
    rustix::fs::mkfifoat(CWD, root.join("fifo-gone"), Mode::RUSR).unwrap();
    let mut names: Vec<&str> = REPLACED.to_vec();
    names.extend(["p/x", "r-stays", "d-gone", "l-gone", "l-file", "fifo-gone"]);
    names.sort_unstable();
    let (sink, report) = dump_stale(&root, &names, || {
        replace_all(&root, &secret);
        fs::remove_dir(root.join("d-gone")).unwrap();
        for name in ["l-gone", "l-file", "fifo-gone"] {
            fs::remove_file(root.join(name)).unwrap();
        }
        fs::write(root.join("l-file"), "").unwrap();
    });
    assert_eq!(report.gaps(), 0, "{:?}", report.notes);
    assert_eq!(report.counts, [(NoteKind::Vanished, 11)].into());
    // The directory is known well enough to be saved, and what is in it may need it.
    assert_eq!(sink.paths(), ["t/d-gone", "t/r-stays"]);
    assert_eq!(sink.index[0].meta.kind, EntryKind::Dir);
    assert!(!sink.bytes.windows(64).any(|w| w == [b'S'; 64]), "a file from outside was read");
    untar(&sink.bytes);
}

#[test]
fn a_small_file_that_changed_since_the_walk_is_saved_as_it_is_now() {
    let (_dir, root) = fresh();
    for name in ["grown", "cut", "renamed", "big"] {
        fs::write(root.join(name), noise(2000, 4)).unwrap();
    }
    let (sink, report) = dump_stale(&root, &["big", "cut", "grown", "renamed"], || {
        fs::write(root.join("big"), noise(MIB, 5)).unwrap();
        fs::write(root.join("cut"), noise(1000, 5)).unwrap();
        fs::write(root.join("grown"), noise(3000, 5)).unwrap();
        fs::write(root.join("new"), noise(2000, 5)).unwrap();
        fs::rename(root.join("new"), root.join("renamed")).unwrap();
    });
    assert_eq!(report.notes, []);
    let place = untar(&sink.bytes);
    for (name, size) in [("big", MIB), ("cut", 1000), ("grown", 3000), ("renamed", 2000)] {
        assert!(fs::read(place.path().join("out/t").join(name)).unwrap() == noise(size, 5), "{name}");
    }
}

#[test]
fn reading_leaves_the_access_times_alone() {
    if !is_root() {
        println!("SKIP access times: needs root");
        return;
    }
    let (_dir, root) = fresh();
    fs::write(root.join("small"), "x").unwrap();
    fs::write(root.join("big"), noise(MIB, 6)).unwrap();
    let paths = [root.clone(), root.join("small"), root.join("big")];
    for path in &paths {
        let past = Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = Timestamps { last_access: past, last_modification: now };
        utimensat(CWD, path, &times, rustix::fs::AtFlags::empty()).unwrap();
    }
    for path in &paths {
        dump_path(path, &[]);
    }
    for path in &paths {
        let stat = rustix::fs::lstat(path).unwrap();
        assert_eq!(stat.st_atime, 1_000_000_000, "{}", path.display());
    }
}

#[test]
fn a_target_that_is_moved_away_is_saved_to_its_end_from_where_it_is() {
    let (_dir, root) = fresh();
    // More entries than are read ahead.
    for i in 0..1500 {
        fs::write(root.join(format!("e{i:04}")), "").unwrap();
        symlink("there", root.join(format!("l{i:04}"))).unwrap();
        fs::create_dir(root.join(format!("o{i:04}"))).unwrap();
    }
    fs::write(root.join("z"), "last").unwrap();
    let before = Snapshot::take(&root);
    let source = source(&[root.to_str().unwrap()], &[]);
    let (from, to) = (root.clone(), root.with_extension("old"));
    let sink = Collected::after("/e0000", move || fs::rename(from, to).unwrap());
    let (sink, report) = dump_into(&source, &targets(&source)[0], sink);
    assert_eq!(report.notes, []);
    let place = untar(&sink.bytes);
    before.assert_same(&Snapshot::take(&unpacked(&place, &root)), "moved while it was dumped");
}

#[test]
fn a_target_that_was_replaced_when_the_walk_begins_is_torn_and_not_empty() {
    let (_dir, root) = fresh();
    let ino = fs::symlink_metadata(&root).map(|m| std::os::unix::fs::MetadataExt::ino(&m)).unwrap();
    let excludes = std::sync::Arc::default();
    let spec = spec(&[], &[]);
    let other = root.with_extension("other");
    let gone = root.with_extension("gone");
    fs::create_dir(&other).unwrap();
    for (at, is_there) in [(&root, true), (&other, false), (&gone, false)] {
        let walk = super::super::walk::Walk {
            root: at.as_os_str().as_bytes(),
            root_ino: ino,
            member: b"t",
            spec: &spec,
            excludes: &excludes,
        };
        let cancel = Cancel::new();
        let run = super::super::queue::run(1, |feed| walk.run(feed, &cancel), |_: &mut Batch| {}, |_| Ok(()));
        assert_eq!(run.map_err(|e| e.kind()), if is_there { Ok(()) } else { Err(ErrorKind::NotFound) });
    }
}

/// Takes a lease on the file that is its argument, says so, and gives it back when the kernel asks for it.
const LEASE_HOLDER: &str = "
import fcntl, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDWR)
signal.signal(signal.SIGIO, lambda *_: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK))
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('ready', flush=True)
sys.stdin.read()
";

#[test]
fn a_file_on_which_somebody_holds_a_lease_is_read_once_it_is_given_back() {
    use std::io::BufRead;
    use std::process::Stdio;
    let (_dir, root) = fresh();
    for (name, size, is_target) in [("small", 2000, false), ("big", 400 << 10, false), ("small", 2000, true)]
    {
        let path = root.join(name);
        fs::write(&path, noise(size, 8)).unwrap();
        let holder = Command::new("python3")
            .args(["-c", LEASE_HOLDER])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut holder) = holder else {
            println!("SKIP leases: needs python3");
            return;
        };
        let mut says = String::new();
        std::io::BufReader::new(holder.stdout.take().unwrap()).read_line(&mut says).unwrap();
        if says != "ready\n" {
            println!("SKIP leases: none to be had here");
            return;
        }
        let source = source(&[if is_target { &path } else { &root }.to_str().unwrap()], &[]);
        let target = &targets(&source)[0];
        source.probe(target).unwrap();
        let (whole, report) = dump(&source, target);
        drop(holder.stdin.take());
        holder.wait().unwrap();
        assert_eq!(report.notes, [], "{name}");
        let place = untar(&whole.bytes);
        assert!(fs::read(unpacked(&place, &path)).unwrap() == noise(size, 8), "{name}");
    }
}
