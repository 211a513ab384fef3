//! The suite that every storage passes: each function checks one clause of the contract of
//! [`nxs_base::ports::storage::Storage`] on a fresh, empty storage and panics where it is broken.
//!
//! `nxs_testkit::storage_suite!(make)` turns the clauses into tests; `make` is called for each and returns a
//! [`Fixture`]. Clauses about links ask for [`ErrorKind::Unsupported`] where a storage has none.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use nxs_base::ports::storage::{ObjectInfo, ObjectKey, ObjectKind, PART_SUFFIX, PartTag, Pending, Storage};
use nxs_base::{Error, ErrorKind, Result};

use crate::Rng;

/// A storage under test, and what must outlive it (a temporary directory, a server).
pub struct Fixture {
    pub storage: Arc<dyn Storage>,
    _keep: Option<Box<dyn std::any::Any>>,
}

impl Fixture {
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, _keep: None }
    }

    pub fn keeping(storage: Arc<dyn Storage>, keep: impl std::any::Any) -> Self {
        Self { storage, _keep: Some(Box::new(keep)) }
    }
}

/// One test per clause of the storage contract, each on a fresh [`Fixture`] that the given function makes.
#[macro_export]
macro_rules! storage_suite {
    (@names [$($then:tt)*]) => {
        $crate::storage_suite! { $($then)*
            a_stream_of_unknown_length_comes_back_byte_for_byte
            nothing_is_seen_under_the_final_name_before_the_commit
            a_commit_never_replaces
            of_two_writers_of_the_same_key_one_gets_exists
            a_pending_object_that_is_dropped_leaves_nothing
            a_reader_that_fails_leaves_nothing_and_its_own_error_comes_through
            an_object_may_be_empty
            missing_directories_are_made
            put_replace_replaces_what_is_there
            a_range_is_cut_at_the_end_of_the_object
            what_is_not_there_is_not_found
            a_listing_of_a_missing_directory_is_empty
            a_listing_never_mixes_site1_with_site10
            a_listing_holds_everything_below_with_sizes_and_partials
            a_listing_ends_with_the_error_of_its_visitor
            stat_says_what_the_listing_says
            names_with_odd_characters_come_back_unchanged
            names_that_a_server_may_refuse_come_back_unchanged_or_leave_nothing
            delete_removes_one_object_and_directories_left_empty
            rename_moves_and_never_replaces_a_file
            a_link_reads_as_its_target_and_goes_alone
            a_link_replaces_a_link_and_never_a_file
            a_link_whose_target_is_gone_dangles
            a_link_that_is_moved_still_leads_to_its_target
            rename_replaces_a_link
            free_room_is_told_if_the_storage_says_so
        }
    };
    (@table $($name:ident)*) => {
        /// All clauses with their names.
        pub const CLAUSES: &[(&str, fn(&dyn Storage))] = &[$((stringify!($name), $name)),*];
    };
    (@tests ($make:expr) $($name:ident)*) => {
        mod storage_suite {
            use super::*;
            $(
                #[test]
                fn $name() {
                    let fixture: $crate::suite::Fixture = ($make)();
                    $crate::suite::$name(&*fixture.storage);
                }
            )*
        }
    };
    ($make:expr) => { $crate::storage_suite! { @names [@tests ($make)] } };
}

crate::storage_suite! { @names [@table] }

/// Runs all clauses, each on a storage of its own. For a `main` or a loop; tests use the macro.
pub fn storage_suite(make: &dyn Fn() -> Arc<dyn Storage>) {
    for (name, clause) in CLAUSES {
        let storage = make();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| clause(&*storage)));
        assert!(outcome.is_ok(), "storage `{}` breaks: {name}", storage.label());
    }
}

pub fn key(key: &str) -> ObjectKey {
    ObjectKey::new(key).expect("the test names a valid key")
}

/// A tag of host `host`.
pub fn tag(run_id: &str) -> PartTag {
    PartTag { host: "host".into(), run_id: run_id.into() }
}

pub fn stage(storage: &dyn Storage, name: &str, run_id: &str, mut data: &[u8]) -> Result<Box<dyn Pending>> {
    storage.stage(&key(name), &tag(run_id), &mut data)
}

/// Stores an object; panics if that fails.
pub fn put(storage: &dyn Storage, name: &str, data: &[u8]) {
    let stored = stage(storage, name, "1", data).and_then(|pending| pending.commit());
    stored.unwrap_or_else(|e| panic!("cannot store `{name}`: {}", e.chain()));
}

/// Reads an object; panics if that fails.
pub fn read(storage: &dyn Storage, name: &str, range: Option<Range<u64>>) -> Vec<u8> {
    let mut data = Vec::new();
    let mut reader =
        storage.get(&key(name), range).unwrap_or_else(|e| panic!("cannot get `{name}`: {}", e.chain()));
    reader.read_to_end(&mut data).unwrap_or_else(|e| panic!("cannot read `{name}`: {e}"));
    data
}

/// Lists `dir`, sorted by key; panics if that fails.
pub fn list(storage: &dyn Storage, dir: &str) -> Vec<ObjectInfo> {
    let mut found = Vec::new();
    let listed = storage.list(dir, &mut |info| {
        found.push(info);
        Ok(())
    });
    listed.unwrap_or_else(|e| panic!("cannot list `{dir}`: {}", e.chain()));
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found
}

/// The keys at and below `dir`, sorted.
pub fn keys(storage: &dyn Storage, dir: &str) -> Vec<String> {
    list(storage, dir).into_iter().map(|info| info.key.as_str().to_owned()).collect()
}

fn kind_of<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|e| e.kind())
}

fn noise(len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    Rng::new(len as u64).fill(&mut data);
    data
}

/// Hands out its bytes in pieces of odd sizes, as a pipe does.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1 * 7 % 65_537 + 1;
        let n = self.1.min(self.0.len()).min(buf.len());
        buf[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

pub fn a_stream_of_unknown_length_comes_back_byte_for_byte(storage: &dyn Storage) {
    for len in [1, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_333_333] {
        let data = noise(len);
        let name = format!("dir/{len}.tar");
        let pending = storage.stage(&key(&name), &tag("1"), &mut Pieces(&data, 1)).expect("stage");
        assert_eq!(pending.size_bytes(), len as u64);
        pending.commit().expect("commit");
        assert!(read(storage, &name, None) == data, "{len} bytes came back changed");
    }
}

pub fn nothing_is_seen_under_the_final_name_before_the_commit(storage: &dyn Storage) {
    struct Peek<'a>(&'a dyn Storage, u32);
    impl Read for Peek<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let name = key("a/x.tar");
            assert_eq!(kind_of(self.0.stat(&name)), Some(ErrorKind::NotFound), "seen while written");
            self.1 += 1;
            if self.1 > 3 {
                return Ok(0);
            }
            buf.fill(b'z');
            Ok(buf.len())
        }
    }
    let pending = storage.stage(&key("a/x.tar"), &tag("1"), &mut Peek(storage, 0)).expect("stage");
    let size = pending.size_bytes();
    assert_eq!(kind_of(storage.stat(&key("a/x.tar"))), Some(ErrorKind::NotFound), "seen before the commit");
    assert_eq!(kind_of(storage.get(&key("a/x.tar"), None)), Some(ErrorKind::NotFound));
    assert_eq!(keys(storage, ""), ["a/.x.tar.host.1.nxs-part"], "the partial is listed as what it is");
    pending.commit().expect("commit");
    assert_eq!(keys(storage, ""), ["a/x.tar"], "the partial is gone after the commit");
    assert_eq!(storage.stat(&key("a/x.tar")).expect("stat").size_bytes, size);
}

pub fn a_commit_never_replaces(storage: &dyn Storage) {
    put(storage, "a/x", b"old");
    let outcome = stage(storage, "a/x", "2", b"new").and_then(|pending| pending.commit());
    assert_eq!(kind_of(outcome), Some(ErrorKind::Exists));
    assert_eq!(read(storage, "a/x", None), b"old");
    assert_eq!(keys(storage, ""), ["a/x"], "the refused object leaves no partial");
}

pub fn of_two_writers_of_the_same_key_one_gets_exists(storage: &dyn Storage) {
    let one = stage(storage, "a/x", "1", b"one").expect("stage one");
    let two = stage(storage, "a/x", "2", b"two").expect("stage two");
    two.commit().expect("the first to commit wins");
    assert_eq!(kind_of(one.commit()), Some(ErrorKind::Exists));
    assert_eq!(read(storage, "a/x", None), b"two");
    assert_eq!(keys(storage, ""), ["a/x"]);
}

pub fn a_pending_object_that_is_dropped_leaves_nothing(storage: &dyn Storage) {
    drop(stage(storage, "a/b/x", "1", b"abc").expect("stage"));
    assert!(keys(storage, "").is_empty());
    put(storage, "a/b/x", b"again");
    assert_eq!(read(storage, "a/b/x", None), b"again");
}

pub fn a_reader_that_fails_leaves_nothing_and_its_own_error_comes_through(storage: &dyn Storage) {
    struct Failing(usize);
    impl Read for Failing {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(Error::new(ErrorKind::Cancelled, "stopped by the test").into_io());
            }
            let n = buf.len().min(self.0);
            self.0 -= n;
            Ok(n)
        }
    }
    for len in [0, 1, 2 << 20] {
        let error =
            storage.stage(&key("a/x"), &tag("1"), &mut Failing(len)).err().expect("the reader failed");
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(error.to_string(), "stopped by the test");
        assert!(keys(storage, "").is_empty(), "something stayed");
    }
    let mut broken = io::Cursor::new(b"abc").chain(Broken);
    assert!(storage.stage(&key("a/x"), &tag("1"), &mut broken).is_err());
    assert!(keys(storage, "").is_empty());
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

pub fn an_object_may_be_empty(storage: &dyn Storage) {
    put(storage, "a/empty", b"");
    assert_eq!(storage.stat(&key("a/empty")).expect("stat").size_bytes, 0);
    assert_eq!(read(storage, "a/empty", None), b"");
    assert_eq!(read(storage, "a/empty", Some(0..10)), b"");
}

pub fn missing_directories_are_made(storage: &dyn Storage) {
    put(storage, "a/b/c/d/e/x", b"deep");
    put(storage, "top", b"flat");
    storage.put_replace(&key("new/dir/RESTORE.md"), &tag("1"), b"text").expect("put_replace");
    storage.rename(&key("top"), &key("p/q/top")).expect("rename");
    assert_eq!(keys(storage, ""), ["a/b/c/d/e/x", "new/dir/RESTORE.md", "p/q/top"]);
}

pub fn put_replace_replaces_what_is_there(storage: &dyn Storage) {
    for text in ["first, and the longest of them", "second", ""] {
        storage.put_replace(&key("RESTORE.md"), &tag("1"), text.as_bytes()).expect("put_replace");
        assert_eq!(read(storage, "RESTORE.md", None), text.as_bytes());
    }
    assert_eq!(keys(storage, ""), ["RESTORE.md"]);
}

pub fn a_range_is_cut_at_the_end_of_the_object(storage: &dyn Storage) {
    let data = noise(100_000);
    put(storage, "x", &data);
    for (start, end) in [(0, 100_000), (0, 1), (99_999, 100_000), (65_530, 65_560), (99_000, 200_000), (5, 5)]
    {
        let expected = &data[start..end.min(data.len())];
        assert!(read(storage, "x", Some(start as u64..end as u64)) == expected, "range {start}..{end}");
    }
    assert_eq!(read(storage, "x", Some(100_000..100_001)), b"");
    assert_eq!(read(storage, "x", Some(1 << 40..u64::MAX)), b"");
}

pub fn what_is_not_there_is_not_found(storage: &dyn Storage) {
    put(storage, "a/x", b"");
    for name in ["none", "a/none", "a", "none/x", "a/x/below"] {
        let key = key(name);
        assert_eq!(kind_of(storage.stat(&key)), Some(ErrorKind::NotFound), "stat of `{name}`");
        assert_eq!(kind_of(storage.get(&key, None)), Some(ErrorKind::NotFound), "get of `{name}`");
        assert_eq!(kind_of(storage.delete(&key)), Some(ErrorKind::NotFound), "delete of `{name}`");
        let moved = storage.rename(&key, &self::key("elsewhere/y"));
        assert_eq!(kind_of(moved), Some(ErrorKind::NotFound), "rename of `{name}`");
        assert!(!storage.is_part_live(&key));
    }
    assert_eq!(keys(storage, ""), ["a/x"]);
}

pub fn a_listing_of_a_missing_directory_is_empty(storage: &dyn Storage) {
    assert!(keys(storage, "").is_empty(), "a new storage is empty");
    assert!(keys(storage, "none").is_empty());
    put(storage, "a/x", b"");
    assert!(keys(storage, "a/none/deeper").is_empty());
    assert!(storage.list("../a", &mut |_| Ok(())).is_err(), "no directory of that name can be");
}

pub fn a_listing_never_mixes_site1_with_site10(storage: &dyn Storage) {
    for name in ["site1/daily/x", "site10/daily/x", "site1.old/x", "site", "w/site1/x"] {
        put(storage, name, b"");
    }
    assert_eq!(keys(storage, "site1"), ["site1/daily/x"]);
    assert_eq!(keys(storage, "site1/daily"), ["site1/daily/x"]);
    assert!(keys(storage, "site1/dai").is_empty());
    assert!(keys(storage, "sit").is_empty());
}

pub fn a_listing_holds_everything_below_with_sizes_and_partials(storage: &dyn Storage) {
    let mut expected = Vec::new();
    for i in 0..150 {
        let name = format!("p{}/daily/n{i:03}.tar", i % 3);
        put(storage, &name, &vec![1; i]);
        expected.push((name, i as u64));
    }
    let pending = stage(storage, "p0/half.tar", "1", &[0; 9]).expect("stage");
    expected.push((format!("p0/.half.tar.host.1{PART_SUFFIX}"), 9));
    expected.sort();
    let found: Vec<(String, u64)> =
        list(storage, "").into_iter().map(|info| (info.key.as_str().to_owned(), info.size_bytes)).collect();
    assert_eq!(found, expected);
    let part = found.iter().filter_map(|(name, _)| PartTag::parse(name.rsplit('/').next()?)).next();
    assert_eq!(part, Some(("half.tar", tag("1"))));
    drop(pending);
}

pub fn a_listing_ends_with_the_error_of_its_visitor(storage: &dyn Storage) {
    for i in 0..5 {
        put(storage, &format!("d/{i}"), b"");
    }
    let mut seen = 0;
    let outcome = storage.list("", &mut |_| {
        seen += 1;
        if seen == 2 { Err(Error::new(ErrorKind::Cancelled, "enough")) } else { Ok(()) }
    });
    assert_eq!(kind_of(outcome), Some(ErrorKind::Cancelled));
    assert_eq!(seen, 2);
}

pub fn stat_says_what_the_listing_says(storage: &dyn Storage) {
    put(storage, "d/x", b"12345");
    if storage.caps().links {
        storage.link(&key("d/l"), &key("d/x")).expect("link");
    }
    for info in list(storage, "") {
        assert_eq!(storage.stat(&info.key).expect("stat"), info);
        assert!(info.mtime.sec > 1_000_000_000, "a plausible time: {:?}", info.mtime);
    }
}

pub fn names_with_odd_characters_come_back_unchanged(storage: &dyn Storage) {
    let names = [
        "with space/and  two.tar",
        "quotes/it's \"here\".tar",
        "percent/100%25%2F.tar",
        "plus+hash#question?.tar",
        "umlaut/größe_файл_备份.tar",
        "-dash/--option.tar",
        ".hidden/.dot.tar",
        "colon:semi;comma,equals=at@.tar",
        "trailing./dot. .tar",
    ];
    for name in names {
        put(storage, name, name.as_bytes());
    }
    let mut expected = names.to_vec();
    expected.sort_unstable();
    assert_eq!(keys(storage, ""), expected);
    for name in names {
        assert_eq!(read(storage, name, None), name.as_bytes(), "`{name}`");
        storage.delete(&key(name)).expect("delete");
    }
    assert!(keys(storage, "").is_empty());
}

/// Servers that know drives or patterns refuse some characters: a clear error then, and nothing half done.
pub fn names_that_a_server_may_refuse_come_back_unchanged_or_leave_nothing(storage: &dyn Storage) {
    for name in ["back\\slash.tar", "shell/$(x) `y` ; & | < > * [z] {a,b} ~ !.tar"] {
        match stage(storage, name, "1", name.as_bytes()).and_then(|pending| pending.commit()) {
            Ok(()) => {
                assert_eq!(keys(storage, ""), [name]);
                assert_eq!(read(storage, name, None), name.as_bytes(), "`{name}`");
                storage.delete(&key(name)).expect("delete");
            }
            Err(e) => assert!(matches!(e.kind(), ErrorKind::Denied | ErrorKind::Invalid), "{}", e.chain()),
        }
        assert!(keys(storage, "").is_empty());
    }
}

pub fn delete_removes_one_object_and_directories_left_empty(storage: &dyn Storage) {
    put(storage, "a/b/x", b"");
    put(storage, "a/b/c/y", b"");
    storage.delete(&key("a/b/x")).expect("delete");
    assert_eq!(keys(storage, ""), ["a/b/c/y"]);
    storage.delete(&key("a/b/c/y")).expect("delete");
    assert!(keys(storage, "").is_empty());
    put(storage, "a", b"where a directory was");
    assert_eq!(keys(storage, ""), ["a"]);
}

pub fn rename_moves_and_never_replaces_a_file(storage: &dyn Storage) {
    put(storage, "daily/x", b"moves");
    put(storage, "weekly/y", b"stays");
    assert_eq!(kind_of(storage.rename(&key("daily/x"), &key("weekly/y"))), Some(ErrorKind::Exists));
    assert_eq!(kind_of(storage.rename(&key("daily/x"), &key("daily/x"))), Some(ErrorKind::Exists));
    assert_eq!(keys(storage, ""), ["daily/x", "weekly/y"]);
    storage.rename(&key("daily/x"), &key("weekly/x")).expect("rename");
    assert_eq!(keys(storage, ""), ["weekly/x", "weekly/y"]);
    assert_eq!(read(storage, "weekly/x", None), b"moves");
    assert_eq!(read(storage, "weekly/y", None), b"stays");
}

/// Whether the storage has links; if not, checks that it says so.
fn has_links(storage: &dyn Storage) -> bool {
    if storage.caps().links {
        return true;
    }
    put(storage, "x", b"");
    assert_eq!(kind_of(storage.link(&key("l"), &key("x"))), Some(ErrorKind::Unsupported));
    assert_eq!(keys(storage, ""), ["x"]);
    false
}

fn target_of(storage: &dyn Storage, name: &str) -> Option<String> {
    match storage.stat(&key(name)).expect("stat").kind {
        ObjectKind::Link { target } => target.map(|key| key.as_str().to_owned()),
        ObjectKind::File => panic!("`{name}` is no link"),
    }
}

pub fn a_link_reads_as_its_target_and_goes_alone(storage: &dyn Storage) {
    if !has_links(storage) {
        return;
    }
    put(storage, "s/monthly/x", b"0123456789");
    storage.link(&key("s/weekly/x"), &key("s/monthly/x")).expect("link");
    storage.link(&key("l"), &key("s/monthly/x")).expect("link from above");
    storage.link(&key("s/daily/l"), &key("s/weekly/x")).expect("link to a link");
    for name in ["s/weekly/x", "l", "s/daily/l"] {
        assert_eq!(read(storage, name, None), b"0123456789", "`{name}`");
        assert_eq!(read(storage, name, Some(2..4)), b"23");
        assert_eq!(target_of(storage, name).as_deref(), Some("s/monthly/x"));
    }
    assert_eq!(keys(storage, ""), ["l", "s/daily/l", "s/monthly/x", "s/weekly/x"]);
    for name in ["s/daily/l", "s/weekly/x", "l"] {
        storage.delete(&key(name)).expect("delete the link");
    }
    assert_eq!(keys(storage, ""), ["s/monthly/x"]);
}

pub fn a_link_replaces_a_link_and_never_a_file(storage: &dyn Storage) {
    if !has_links(storage) {
        return;
    }
    put(storage, "a", b"a");
    put(storage, "b", b"b");
    storage.link(&key("d/l"), &key("a")).expect("link");
    storage.link(&key("d/l"), &key("b")).expect("the link is replaced");
    assert_eq!(read(storage, "d/l", None), b"b");
    assert_eq!(kind_of(storage.link(&key("a"), &key("b"))), Some(ErrorKind::Exists));
    assert_eq!(read(storage, "a", None), b"a");
    assert!(storage.link(&key("z"), &key("z")).is_err(), "a link to itself");
    let outcome = stage(storage, "d/l", "1", b"new").and_then(|pending| pending.commit());
    assert_eq!(kind_of(outcome), Some(ErrorKind::Exists), "a commit replaces not even a link");
    assert_eq!(keys(storage, ""), ["a", "b", "d/l"]);
}

pub fn a_link_whose_target_is_gone_dangles(storage: &dyn Storage) {
    if !has_links(storage) {
        return;
    }
    put(storage, "a/x", b"");
    storage.link(&key("b/l"), &key("a/x")).expect("link");
    storage.delete(&key("a/x")).expect("delete");
    assert_eq!(keys(storage, ""), ["b/l"], "a dangling link is listed");
    assert_eq!(target_of(storage, "b/l"), None);
    assert_eq!(kind_of(storage.get(&key("b/l"), None)), Some(ErrorKind::NotFound));
    storage.link(&key("c/one"), &key("c/two")).expect("a link may come before its target");
    storage.link(&key("c/two"), &key("c/one")).expect("link");
    assert_eq!(target_of(storage, "c/one"), None, "links in a circle lead nowhere");
    assert_eq!(kind_of(storage.get(&key("c/one"), None)), Some(ErrorKind::NotFound));
    storage.delete(&key("b/l")).expect("delete the dangling link");
}

pub fn a_link_that_is_moved_still_leads_to_its_target(storage: &dyn Storage) {
    if !has_links(storage) {
        return;
    }
    put(storage, "s/monthly/x", b"content");
    storage.link(&key("s/daily/x"), &key("s/monthly/x")).expect("link");
    storage.rename(&key("s/daily/x"), &key("other/deep/down/x")).expect("rename");
    assert_eq!(read(storage, "other/deep/down/x", None), b"content");
    assert_eq!(keys(storage, ""), ["other/deep/down/x", "s/monthly/x"]);
    assert_eq!(target_of(storage, "other/deep/down/x").as_deref(), Some("s/monthly/x"));
}

pub fn rename_replaces_a_link(storage: &dyn Storage) {
    if !has_links(storage) {
        return;
    }
    put(storage, "monthly/x", b"content");
    storage.link(&key("daily/x"), &key("monthly/x")).expect("link");
    storage.rename(&key("monthly/x"), &key("daily/x")).expect("the file takes the place of the link");
    assert_eq!(keys(storage, ""), ["daily/x"]);
    assert_eq!(storage.stat(&key("daily/x")).expect("stat").kind, ObjectKind::File);
    assert_eq!(read(storage, "daily/x", None), b"content");
}

pub fn free_room_is_told_if_the_storage_says_so(storage: &dyn Storage) {
    let free = storage.free_bytes().expect("free_bytes");
    assert_eq!(free.is_some(), storage.caps().free_space);
}
