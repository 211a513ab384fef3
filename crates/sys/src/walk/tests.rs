//! A walk yields what a plain recursive walk yields, in path order, whatever the tree and the number of threads.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use nxs_base::entry::path_order;

use super::*;
use crate::safe;

fn all() -> Arc<Filter> {
    Arc::new(|_, _| true)
}

fn options(threads: usize, max_ahead: usize) -> Options {
    Options { threads, max_ahead, ..Options::default() }
}

fn walk(root: &Path, options: Options) -> Vec<WalkItem> {
    Walker::start(root, options, all()).collect()
}

fn paths(items: &[WalkItem]) -> Vec<String> {
    items.iter().map(|i| fsx::show(&i.path)).collect()
}

/// A plain recursive walk.
fn naive(root: &Path) -> Vec<Vec<u8>> {
    fn below(path: &Path, rel: &[u8], found: &mut Vec<Vec<u8>>) {
        found.push(rel.to_vec());
        if std::fs::symlink_metadata(path).unwrap().is_dir() {
            for name in fsx::list_dir(path).unwrap() {
                let mut child = rel.to_vec();
                listing::push_name(&mut child, &name);
                below(&path.join(fsx::as_path(&name)), &child, found);
            }
        }
    }
    let mut found = Vec::new();
    below(root, b"", &mut found);
    found
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Names that sort differently as bytes, as text and as whole paths.
fn random_tree(root: &Path, seed: u64) {
    const PARTS: [&[u8]; 9] = [b"a", b"a.b", b"a-", b"B", b"\xff\xfe", b"\xc3\xa9", b" ", b"\n", b"a0"];
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut dirs = vec![root.to_path_buf()];
    for i in 0..400 {
        let dir = dirs[random.below(dirs.len() as u64) as usize].clone();
        let mut name = PARTS[random.below(9) as usize].to_vec();
        if random.below(2) == 0 {
            name.extend_from_slice(i.to_string().as_bytes());
        }
        let path = dir.join(fsx::as_path(&name));
        if std::fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        match random.below(5) {
            0 | 1 => {
                std::fs::create_dir(&path).unwrap();
                dirs.push(path);
            }
            2 => fsx::symlink(root, &path).unwrap(),
            _ => fsx::write(&path, &name).unwrap(),
        }
    }
}

#[test]
fn random_trees_come_whole_and_in_path_order_for_any_number_of_threads_and_any_bound() {
    for seed in 1..=8 {
        let dir = tempfile::tempdir().unwrap();
        random_tree(dir.path(), seed);
        let expected = naive(dir.path());
        for (threads, max_ahead) in [(0, 10), (1, 1), (3, 5), (4, 50_000), (8, 0)] {
            let items = walk(dir.path(), options(threads, max_ahead));
            assert!(items.iter().all(|i| i.error.is_none() && i.left_out.is_none()));
            assert!(items.is_sorted_by(|a, b| path_order(&a.path, &b.path).is_lt()));
            let found: Vec<_> = items.into_iter().map(|i| i.path).collect();
            assert!(found == expected, "seed {seed}, {threads} threads");
        }
    }
}

#[test]
fn metadata_is_that_of_stat_without_following() {
    let dir = tempfile::tempdir().unwrap();
    random_tree(dir.path(), 99);
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo"), Mode::RUSR).unwrap();
    for item in walk(dir.path(), options(2, 50)) {
        let stat = std::fs::symlink_metadata(dir.path().join(fsx::as_path(&item.path))).unwrap();
        let m = &item.meta;
        assert_eq!((m.ino, m.dev, m.nlink), (stat.ino(), stat.dev(), stat.nlink()));
        assert_eq!((m.mode, m.uid, m.gid), (stat.mode() & 0o7777, stat.uid(), stat.gid()));
        assert_eq!((m.mtime.sec, i64::from(m.mtime.nsec)), (stat.mtime(), stat.mtime_nsec()));
        assert_eq!((m.ctime.sec, i64::from(m.ctime.nsec)), (stat.ctime(), stat.ctime_nsec()));
        assert_eq!(m.size_bytes, if stat.is_file() { stat.len() } else { 0 });
        assert_eq!(m.kind == EntryKind::Dir, stat.is_dir());
        assert_eq!(m.kind == EntryKind::Symlink, stat.is_symlink());
    }
}

#[test]
fn devices_keep_their_numbers_and_their_own_device() {
    let items = walk(Path::new("/dev"), options(1, 100));
    let null = items.iter().find(|i| i.path == b"null").unwrap();
    assert_eq!(null.meta.kind, EntryKind::CharDevice);
    assert_eq!((null.meta.rdev_major, null.meta.rdev_minor, null.meta.size_bytes), (1, 3, 0));
}

#[test]
fn directories_on_another_file_system_are_told_of_and_not_entered() {
    let is_mount = |i: &WalkItem| i.left_out == Some(OTHER_FILE_SYSTEM);
    let only_top: Arc<Filter> = Arc::new(|path, _| !path.contains(&b'/') && matches!(path, b"proc" | b"etc"));
    let o = Options { one_file_system: true, ..options(2, 100) };
    let items: Vec<_> = Walker::start(Path::new("/"), o, only_top).collect();
    let root_dev = std::fs::metadata("/").unwrap().dev();
    for item in &items {
        assert_eq!(is_mount(item), item.meta.dev != root_dev, "{}", fsx::show(&item.path));
    }
    let proc = items.iter().find(|i| i.path == b"proc").unwrap();
    assert_eq!(proc.meta.dev, std::fs::metadata("/proc").unwrap().dev());
    assert!(is_mount(proc));
}

#[test]
fn a_wide_directory_comes_sorted() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..20_000u32 {
        let name = format!("{:08x}", i.wrapping_mul(2_654_435_761));
        std::fs::File::create(dir.path().join(name)).unwrap();
    }
    let items = walk(dir.path(), options(2, 100));
    assert_eq!(items.len(), 20_001);
    assert!(items.is_sorted_by(|a, b| a.path < b.path));
}

#[test]
fn directories_beyond_path_max_are_walked_to_their_end() {
    let dir = tempfile::tempdir().unwrap();
    let deep = vec![vec![b'd'; 250]; 40].join(&b'/');
    let root = safe::Root::open(dir.path()).unwrap();
    safe::create_file(root.dir(&deep, true).unwrap(), b"f", 0o600).unwrap();
    // Many siblings on the way, so that not all descriptors can be kept.
    for i in 0..200 {
        root.dir(format!("d{i:03}/x/y").as_bytes(), true).unwrap();
    }
    for threads in [0, 4] {
        let items = walk(dir.path(), options(threads, 50_000));
        assert_eq!(items.len(), 1 + 40 + 1 + 600);
        assert!(items.iter().all(|i| i.error.is_none()));
        assert!(items.iter().any(|i| i.path.len() == deep.len() + 2 && i.path.ends_with(b"/f")));
    }
}

#[test]
fn what_the_filter_refuses_is_left_out_with_all_below() {
    let dir = tempfile::tempdir().unwrap();
    for d in ["keep/x", "drop/x", "keep/drop/y"] {
        std::fs::create_dir_all(dir.path().join(d)).unwrap();
    }
    let asked = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&asked);
    let filter: Arc<Filter> = Arc::new(move |path, meta| {
        assert_eq!(meta.kind, EntryKind::Dir);
        seen.lock().unwrap().insert(path.to_vec());
        !path.ends_with(b"drop")
    });
    let items: Vec<_> = Walker::start(dir.path(), options(2, 10), filter).collect();
    assert_eq!(paths(&items), ["", "keep", "keep/x"]);
    let asked: Vec<_> = asked.lock().unwrap().iter().map(|p| fsx::show(p)).collect();
    assert_eq!(asked, ["drop", "keep", "keep/drop", "keep/x"]);
}

#[test]
fn cache_directories_keep_their_tag_alone_and_only_with_the_signature() {
    let dir = tempfile::tempdir().unwrap();
    for d in ["cache/deep", "fake/deep", "linked"] {
        std::fs::create_dir_all(dir.path().join(d)).unwrap();
    }
    let signature = "Signature: 8a477f597d28d172789f06886806bc55\n# x";
    std::fs::write(dir.path().join("cache/CACHEDIR.TAG"), signature).unwrap();
    std::fs::write(dir.path().join("fake/CACHEDIR.TAG"), "Signature: no").unwrap();
    fsx::symlink(Path::new("../cache/CACHEDIR.TAG"), &dir.path().join("linked/CACHEDIR.TAG")).unwrap();
    let items = walk(dir.path(), Options { exclude_caches: true, ..options(2, 10) });
    let expected = [
        "",
        "cache",
        "cache/CACHEDIR.TAG",
        "fake",
        "fake/CACHEDIR.TAG",
        "fake/deep",
        "linked",
        "linked/CACHEDIR.TAG",
    ];
    assert_eq!(paths(&items), expected);
    let left_out: Vec<_> = items.iter().filter(|i| i.left_out.is_some()).collect();
    assert_eq!(left_out.len(), 1);
    assert_eq!((left_out[0].path.as_slice(), left_out[0].left_out), (&b"cache"[..], Some(CACHE_DIR)));
    assert!(paths(&walk(dir.path(), options(1, 10))).contains(&"cache/deep".to_string()));
}

#[test]
fn marked_directories_keep_their_marker_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("a/deep")).unwrap();
    std::fs::create_dir_all(dir.path().join("b/deep")).unwrap();
    std::fs::write(dir.path().join("a/.nobackup"), "").unwrap();
    let o = Options { exclude_if_present: vec![b"other".to_vec(), b".nobackup".to_vec()], ..options(1, 10) };
    let items = walk(dir.path(), o);
    assert_eq!(paths(&items), ["", "a", "a/.nobackup", "b", "b/deep"]);
    assert_eq!(items[1].left_out, Some(MARKED));
}

#[test]
fn a_marker_that_is_a_directory_is_kept_without_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("a/.git/objects")).unwrap();
    std::fs::create_dir_all(dir.path().join("a/src")).unwrap();
    for threads in [0, 2] {
        let o = Options { exclude_if_present: vec![b".git".to_vec()], ..options(threads, 10) };
        let items = walk(dir.path(), o);
        let shown: Vec<_> = items.iter().map(|i| (fsx::show(&i.path), i.left_out)).collect();
        let expected = [("", None), ("a", Some(MARKED)), ("a/.git", Some(MARKED))];
        assert_eq!(shown, expected.map(|(path, why)| (path.to_owned(), why)));
    }
}

#[test]
fn sockets_are_told_of_as_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
    let items = walk(dir.path(), options(1, 10));
    assert_eq!(items[1].left_out, Some(SOCKET));
}

#[test]
fn a_directory_that_vanishes_between_listing_and_opening_is_an_item_of_kind_not_found() {
    let dir = tempfile::tempdir().unwrap();
    for d in ["a", "b/below", "c"] {
        std::fs::create_dir_all(dir.path().join(d)).unwrap();
    }
    let victim = dir.path().join("b");
    // The filter sees the directory after its stat and before anyone opens it.
    let filter: Arc<Filter> = Arc::new(move |path, _| {
        if path == b"b" {
            std::fs::remove_dir_all(&victim).unwrap();
        }
        true
    });
    let items: Vec<_> = Walker::start(dir.path(), options(2, 10), filter).collect();
    assert_eq!(paths(&items), ["", "a", "b", "c"]);
    assert_eq!(items[2].error.as_ref().unwrap().kind(), ErrorKind::NotFound);
    assert!(items[2].error.as_ref().unwrap().to_string().ends_with("/b`"));
    assert!(items[1].error.is_none() && items[3].error.is_none());
}

#[test]
fn a_directory_that_becomes_a_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("b")).unwrap();
    let victim = dir.path().join("b");
    let filter: Arc<Filter> = Arc::new(move |path, _| {
        if path == b"b" {
            std::fs::remove_dir(&victim).unwrap();
            fsx::symlink(Path::new("/etc"), &victim).unwrap();
        }
        true
    });
    let items: Vec<_> = Walker::start(dir.path(), options(0, 10), filter).collect();
    assert_eq!(paths(&items), ["", "b"]);
    let error = items[1].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().ends_with("/b` is no longer a directory"), "{error}");
}

#[test]
fn an_entry_that_vanishes_before_its_stat_is_an_item_of_kind_not_found() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x"), "").unwrap();
    std::fs::write(dir.path().join("y"), "").unwrap();
    let (root, done) = (dir.path().to_path_buf(), AtomicBool::new(false));
    // Whichever of the two is asked first removes the other.
    let filter: Arc<Filter> = Arc::new(move |path, _| {
        if !done.swap(true, Ordering::SeqCst) {
            std::fs::remove_file(root.join(if path == b"x" { "y" } else { "x" })).unwrap();
        }
        true
    });
    let items: Vec<_> = Walker::start(dir.path(), options(0, 10), filter).collect();
    assert_eq!(paths(&items), ["", "x", "y"]);
    let gone: Vec<_> = items.iter().filter_map(|i| i.error.as_ref()).map(Error::kind).collect();
    assert_eq!(gone, [ErrorKind::NotFound]);
}

#[test]
fn a_root_that_is_a_file_or_missing_is_a_single_item() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    std::fs::write(&file, "abc").unwrap();
    let items = walk(&file, Options::default());
    assert_eq!((items.len(), items[0].meta.size_bytes), (1, 3));
    let items = walk(&dir.path().join("none"), Options::default());
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].error.as_ref().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn the_link_at_the_root_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("real/x")).unwrap();
    fsx::symlink(Path::new("real"), &dir.path().join("link")).unwrap();
    assert_eq!(paths(&walk(&dir.path().join("link"), Options::default())), ["", "x"]);
}

#[test]
fn a_walk_can_be_dropped_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    random_tree(dir.path(), 5);
    for n in [0, 1, 10, 100] {
        let mut walker = Walker::start(dir.path(), options(4, 100), all());
        assert_eq!(walker.by_ref().take(n).count(), n);
        drop(walker);
    }
}

#[test]
fn read_ahead_stays_within_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    for d in 0..200 {
        let d = dir.path().join(format!("d{d:03}"));
        std::fs::create_dir(&d).unwrap();
        for f in 0..10 {
            std::fs::write(d.join(f.to_string()), "").unwrap();
        }
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&asked);
    let filter: Arc<Filter> = Arc::new(move |_, _| {
        seen.fetch_add(1, Ordering::SeqCst);
        true
    });
    let mut consumed = 0;
    for item in Walker::start(dir.path(), options(3, 100), filter) {
        consumed += 1;
        // 200 of the root, 100 ahead, and what each thread had begun when the bound was reached.
        let most = consumed + 200 + 100 + 11 * 5;
        assert!(asked.load(Ordering::SeqCst) <= most, "at `{}`", fsx::show(&item.path));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2200);
}

#[test]
fn a_panic_of_the_filter_reaches_the_consumer() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
    let filter: Arc<Filter> = Arc::new(|path, _| {
        assert!(!path.ends_with(b"c"), "found");
        true
    });
    let walk = || Walker::start(dir.path(), options(2, 10), filter).count();
    catch_unwind(AssertUnwindSafe(walk)).unwrap_err();
}
