//! What is true of local storages beyond the suite: modes, locks, symbolic links that others made, full disks.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};

use nxs_testkit::suite::{key, keys, list, put, read, stage, tag};
use nxs_testkit::{Fixture, SmallDisk};

use super::*;

nxs_testkit::storage_suite!(|| {
    let dir = tempfile::tempdir().unwrap();
    Fixture::keeping(Arc::new(LocalStorage::new("local", dir.path().join("not/yet/there"))), dir)
});

struct Place {
    dir: tempfile::TempDir,
    storage: LocalStorage,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let storage = LocalStorage::new("local", dir.path().join("b"));
    fs::create_dir(dir.path().join("b")).unwrap();
    Place { dir, storage }
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("b").join(name)
    }
}

fn kind_of<T>(outcome: Result<T>) -> Option<ErrorKind> {
    outcome.err().map(|e| e.kind())
}

fn target(storage: &LocalStorage, name: &str) -> Option<String> {
    match storage.stat(&key(name)).unwrap().kind {
        ObjectKind::Link { target } => target.map(|t| t.as_str().to_owned()),
        ObjectKind::File => panic!("`{name}` is no link"),
    }
}

#[test]
fn files_are_for_the_owner_alone() {
    let p = place();
    put(&p.storage, "d/x", b"dump");
    p.storage.put_replace(&key("d/RESTORE.md"), &tag("1"), b"").unwrap();
    for name in ["d/x", "d/RESTORE.md"] {
        assert_eq!(fs::metadata(p.path(name)).unwrap().permissions().mode() & 0o7777, 0o600, "{name}");
    }
}

#[test]
fn links_are_relative_and_as_short_as_can_be() {
    let p = place();
    put(&p.storage, "s/monthly/x", b"");
    for (name, text) in [("s/daily/x", "../monthly/x"), ("s/monthly/y", "x"), ("l", "s/monthly/x")] {
        p.storage.link(&key(name), &key("s/monthly/x")).unwrap();
        assert_eq!(fs::read_link(p.path(name)).unwrap(), Path::new(text));
    }
    p.storage.link(&key("a/b/c"), &key("s/monthly/x")).unwrap();
    assert_eq!(fs::read_link(p.path("a/b/c")).unwrap(), Path::new("../../s/monthly/x"));
    p.storage.rename(&key("a/b/c"), &key("s/weekly/x")).unwrap();
    assert_eq!(fs::read_link(p.path("s/weekly/x")).unwrap(), Path::new("../monthly/x"));
    assert!(!p.path("a").exists(), "directories left empty by a move are removed");
}

#[test]
fn absolute_links_of_older_versions_lead_to_their_key() {
    let p = place();
    put(&p.storage, "s/monthly/x", b"v2");
    fs::create_dir(p.path("s/daily")).unwrap();
    symlink(p.path("s/monthly/x"), p.path("s/daily/x")).unwrap();
    assert_eq!(target(&p.storage, "s/daily/x").as_deref(), Some("s/monthly/x"));
    assert_eq!(read(&p.storage, "s/daily/x", None), b"v2");
    p.storage.rename(&key("s/daily/x"), &key("s/weekly/x")).unwrap();
    assert_eq!(fs::read_link(p.path("s/weekly/x")).unwrap(), Path::new("../monthly/x"));
}

#[test]
fn absolute_links_are_understood_when_the_root_itself_is_a_link() {
    let p = place();
    put(&p.storage, "m/x", b"v2");
    symlink(p.path(""), p.dir.path().join("alias")).unwrap();
    let alias = LocalStorage::new("alias", p.dir.path().join("alias"));
    symlink(p.path("m/x"), p.path("by-real-name")).unwrap();
    symlink(p.dir.path().join("alias/m/x"), p.path("by-alias")).unwrap();
    for name in ["by-real-name", "by-alias"] {
        assert_eq!(target(&alias, name).as_deref(), Some("m/x"), "{name}");
    }
    put(&alias, "n/y", b"through the alias");
    assert_eq!(read(&p.storage, "n/y", None), b"through the alias");
}

#[test]
fn links_that_lead_out_are_listed_and_not_followed() {
    let p = place();
    fs::write(p.dir.path().join("secret"), b"root's").unwrap();
    fs::create_dir(p.path("d")).unwrap();
    for (name, text) in [
        ("d/up", "../../secret".into()),
        ("d/abs", p.dir.path().join("secret")),
        ("d/through", p.path("../secret")),
        ("d/etc", PathBuf::from("/etc/passwd")),
        ("d/dir", PathBuf::from("..")),
    ] {
        symlink(&text, p.path(name)).unwrap();
        assert_eq!(target(&p.storage, name), None, "{name}");
        assert_eq!(kind_of(p.storage.get(&key(name), None)), Some(ErrorKind::NotFound), "{name}");
    }
    assert_eq!(list(&p.storage, "").len(), 5);
}

#[test]
fn nothing_goes_through_a_directory_that_is_a_link() {
    let p = place();
    let outside = p.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("x"), b"theirs").unwrap();
    symlink(&outside, p.path("trap")).unwrap();
    put(&p.storage, "mine", b"mine");
    let s = &p.storage;
    assert_eq!(keys(s, ""), ["mine", "trap"], "the link is an object, what is behind it is not");
    assert!(keys(s, "trap").is_empty());
    assert_eq!(kind_of(s.get(&key("trap/x"), None)), Some(ErrorKind::NotFound));
    assert_eq!(kind_of(s.stat(&key("trap/x"))), Some(ErrorKind::NotFound));
    assert_eq!(kind_of(s.delete(&key("trap/x"))), Some(ErrorKind::NotFound));
    assert!(stage(s, "trap/new", "1", b"").is_err());
    assert!(s.put_replace(&key("trap/x"), &tag("1"), b"").is_err());
    assert!(s.link(&key("trap/l"), &key("mine")).is_err());
    assert!(s.rename(&key("mine"), &key("trap/mine")).is_err());
    symlink("trap/x", p.path("via")).unwrap();
    assert_eq!(target(s, "via"), None);
    let there: Vec<_> = fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(there, ["x"]);
    assert_eq!(fs::read(outside.join("x")).unwrap(), b"theirs");
}

#[test]
fn names_that_cannot_be_ours_are_passed_over_and_kept() {
    let p = place();
    put(&p.storage, "d/x", b"");
    fs::write(p.path("d").join(std::ffi::OsStr::from_bytes(b"caf\xe9")), b"").unwrap();
    fs::write(p.path("d/line\nbreak"), b"").unwrap();
    fs::create_dir(p.path("d/bad\x01dir")).unwrap();
    fs::write(p.path("d/bad\x01dir/inside"), b"").unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, p.path("d/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_eq!(keys(&p.storage, ""), ["d/x"]);
    assert_eq!(kind_of(p.storage.get(&key("d/fifo"), None)), Some(ErrorKind::NotFound));
    assert_eq!(kind_of(p.storage.delete(&key("d/fifo"))), Some(ErrorKind::NotFound));
    p.storage.delete(&key("d/x")).unwrap();
    assert_eq!(fs::read_dir(p.path("d")).unwrap().count(), 4);
}

#[test]
fn a_root_that_was_emptied_stays() {
    let p = place();
    put(&p.storage, "a/b/x", b"");
    p.storage.delete(&key("a/b/x")).unwrap();
    assert!(p.path("").is_dir() && !p.path("a").exists());
}

#[test]
fn an_aborted_write_removes_the_directories_it_made_and_no_others() {
    let p = place();
    fs::create_dir_all(p.path("there/daily")).unwrap();
    drop(stage(&p.storage, "there/daily/x", "1", b"").unwrap());
    drop(stage(&p.storage, "new/daily/x", "1", b"").unwrap());
    assert!(p.path("there/daily").is_dir());
    assert!(!p.path("new").exists());
}

#[test]
fn a_partial_is_live_while_it_is_written_and_until_it_is_published() {
    struct Probe<'a>(&'a LocalStorage, bool);
    impl Read for Probe<'_> {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.1 = self.0.is_part_live(&key("d/.x.host.1.nxs-part"));
            Ok(0)
        }
    }
    let p = place();
    let part = key("d/.x.host.1.nxs-part");
    assert!(!p.storage.is_part_live(&part), "nothing there");
    let mut probe = Probe(&p.storage, false);
    let pending = p.storage.stage(&key("d/x"), &tag("1"), &mut probe).unwrap();
    assert!(probe.1, "live while written");
    assert!(p.storage.is_part_live(&part), "live until published");
    assert!(p.storage.is_part_live(&part), "asking does not change it");
    pending.commit().unwrap();
    assert!(!p.storage.is_part_live(&key("d/x")));
}

#[test]
fn a_partial_whose_writer_was_killed_is_not_live_and_can_be_swept() {
    let p = place();
    let part = p.path(".x.host.dead.nxs-part");
    // A process that holds the lock as a writer does, until it is killed.
    let script = r#"exec 9>"$1"; flock -x 9; echo half >&9; echo ready; exec cat"#;
    let mut child = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(&part)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let part = key(".x.host.dead.nxs-part");
    assert!(p.storage.is_part_live(&part), "its writer lives");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!p.storage.is_part_live(&part), "its writer is dead");
    assert_eq!(keys(&p.storage, ""), [part.as_str()], "what a killed writer left is listed");
    put(&p.storage, "x", b"the next run writes the same name");
    p.storage.delete(&part).unwrap();
    assert_eq!(keys(&p.storage, ""), ["x"]);
}

#[test]
fn a_partial_of_the_same_tag_is_never_written_over() {
    let p = place();
    let _first = stage(&p.storage, "x", "1", b"first").unwrap();
    assert_eq!(kind_of(stage(&p.storage, "x", "1", b"second")), Some(ErrorKind::Exists));
    assert_eq!(fs::read(p.path(".x.host.1.nxs-part")).unwrap(), b"first");
    symlink("elsewhere", p.path(".y.host.1.nxs-part")).unwrap();
    assert_eq!(kind_of(stage(&p.storage, "y", "1", b"")), Some(ErrorKind::Exists));
    assert!(!p.path("elsewhere").exists(), "a link in the place of a partial is not followed");
}

#[test]
fn of_many_threads_that_commit_the_same_key_exactly_one_wins() {
    let p = place();
    for round in 0..20 {
        let name = format!("d{round}/x");
        let barrier = Barrier::new(8);
        let wins: Vec<u8> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8u8)
                .map(|i| {
                    let (storage, name, barrier) = (&p.storage, &name, &barrier);
                    scope.spawn(move || {
                        let pending = stage(storage, name, &format!("{i:x}"), &[i; 100]).unwrap();
                        barrier.wait();
                        match pending.commit() {
                            Ok(()) => Some(i),
                            Err(e) => {
                                assert_eq!(e.kind(), ErrorKind::Exists);
                                None
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().filter_map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(wins.len(), 1);
        assert_eq!(read(&p.storage, &name, None), vec![wins[0]; 100]);
    }
    assert_eq!(list(&p.storage, "").len(), 20, "no partial stayed");
}

#[test]
fn writers_and_deleters_of_one_directory_do_not_trip_each_other() {
    let p = place();
    std::thread::scope(|scope| {
        for i in 0..4 {
            let storage = &p.storage;
            scope.spawn(move || {
                let (name, moved) = (format!("a/b/{i}"), format!("a/c/{i}"));
                for _ in 0..100 {
                    put(storage, &name, b"");
                    storage.rename(&key(&name), &key(&moved)).unwrap();
                    storage.link(&key(&name), &key(&moved)).unwrap();
                    storage.delete(&key(&moved)).unwrap();
                    storage.delete(&key(&name)).unwrap();
                }
            });
        }
    });
    assert!(!p.path("a").exists());
}

#[test]
fn put_replace_keeps_the_old_object_when_it_cannot_finish() {
    let p = place();
    p.storage.put_replace(&key("RESTORE.md"), &tag("1"), b"old").unwrap();
    let inode = fs::metadata(p.path("RESTORE.md")).unwrap().ino();
    let before = fs::File::open(p.path("RESTORE.md")).unwrap();
    p.storage.put_replace(&key("RESTORE.md"), &tag("2"), b"new").unwrap();
    assert_ne!(fs::metadata(p.path("RESTORE.md")).unwrap().ino(), inode, "replaced, not written into");
    assert_eq!(io::read_to_string(before).unwrap(), "old", "who reads sees one or the other");
    fs::write(p.path(".RESTORE.md.host.3.nxs-part"), b"").unwrap();
    assert!(p.storage.put_replace(&key("RESTORE.md"), &tag("3"), b"never").is_err());
    assert_eq!(read(&p.storage, "RESTORE.md", None), b"new");
}

#[test]
fn a_file_in_the_place_of_a_directory_is_named_in_the_error() {
    let p = place();
    put(&p.storage, "a", b"file");
    let error = stage(&p.storage, "a/x", "1", b"").err().unwrap();
    assert_eq!(error.to_string(), "cannot write `a/x` to storage `local`");
    assert!(error.chain().contains("Not a directory"), "{}", error.chain());
    put(&p.storage, "d/x", b"");
    let outcome = stage(&p.storage, "d", "1", b"").unwrap().commit();
    assert_eq!(kind_of(outcome), Some(ErrorKind::Exists), "a directory is not replaced either");
}

#[test]
fn a_name_too_long_for_the_file_system_is_an_error_and_leaves_nothing() {
    let p = place();
    let longest = format!("fits/{}", "n".repeat(255));
    put(&p.storage, &longest, b"its partial's name is told by a digest");
    p.storage.put_replace(&key(&longest), &tag("1"), b"").unwrap();
    p.storage.link(&key(&format!("links/{}", "n".repeat(255))), &key(&longest)).unwrap();
    let error =
        stage(&p.storage, &format!("new/{}", "n".repeat(256)), "1", b"").unwrap().commit().unwrap_err();
    assert!(error.chain().contains("too long"), "{}", error.chain());
    assert!(!p.path("new").exists());
}

#[test]
fn directories_are_for_the_owner_alone_and_old_ones_keep_their_mode() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("above/root");
    let storage = LocalStorage::new("local", root.clone());
    put(&storage, "s/daily/x", b"dump");
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(""), mode("s"), mode("s/daily")), (0o700, 0o700, 0o700));
    assert_eq!(mode("..") & 0o700, 0o700, "what lies above is made as the umask says");
    fs::set_permissions(root.join("s"), fs::Permissions::from_mode(0o2755)).unwrap();
    put(&storage, "s/weekly/y", b"dump");
    assert_eq!((mode("s"), mode("s/weekly") & 0o777), (0o2755, 0o700));
}

#[test]
fn a_move_onto_a_directory_and_out_of_one_that_is_busy_changes_nothing() {
    let p = place();
    put(&p.storage, "x", b"file");
    put(&p.storage, "d/inside", b"");
    assert_eq!(kind_of(p.storage.rename(&key("x"), &key("d"))), Some(ErrorKind::Exists));
    assert_eq!(kind_of(p.storage.link(&key("d"), &key("x"))), Some(ErrorKind::Exists));
    assert!(p.storage.put_replace(&key("d"), &tag("1"), b"").is_err());
    assert_eq!(keys(&p.storage, ""), ["d/inside", "x"]);
}

#[test]
fn a_link_dangles_only_if_nothing_lies_at_its_end_inside() {
    let p = place();
    let outside = p.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("x"), b"").unwrap();
    put(&p.storage, "m/x", b"");
    symlink(&outside, p.path("moved")).unwrap();
    let dangles = |name: &str, text: &Path| {
        symlink(text, p.path(name)).unwrap();
        p.storage.is_dangling(&key(name)).unwrap()
    };
    assert!(!dangles("good", Path::new("m/x")));
    assert!(!dangles("absolute", &p.path("m/x")));
    assert!(dangles("gone", Path::new("m/y")));
    assert!(dangles("absolute-gone", &p.path("m/y")));
    assert!(dangles("to-a-dangling-one", Path::new("gone")));
    assert!(!dangles("out", &outside.join("x")), "leads out");
    assert!(!dangles("out-and-gone", &outside.join("y")), "a disk that is not mounted looks like this");
    assert!(!dangles("up-and-gone", Path::new("../../nothing")));
    assert!(!dangles("through-a-moved-directory", Path::new("moved/x")), "the kernel finds a file");
    assert!(dangles("through-a-moved-directory-gone", Path::new("moved/y")));
    assert!(!p.storage.is_dangling(&key("m/x")).unwrap() && !p.storage.is_dangling(&key("none")).unwrap());
    p.storage.delete(&key("out")).unwrap();
    assert!(outside.join("x").exists(), "deleting a link never deletes what it leads to");
}

/// Runs `act` as another user in a thread of its own; for tests that are run by root.
fn as_nobody<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("this test needs root");
            act()
        });
        thread.join().unwrap()
    })
}

#[test]
fn a_directory_that_cannot_be_read_fails_the_listing() {
    let p = place();
    for path in [p.dir.path().to_path_buf(), p.path("")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::create_dir(p.path("theirs")).unwrap();
    fs::set_permissions(p.path("theirs"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(p.path("theirs/x"), b"").unwrap();
    let seen = as_nobody(|| {
        let listed = p.storage.list("", &mut |_| Ok(()));
        let part = stage(&p.storage, "theirs/y", "1", b"").err().map(|e| e.kind());
        let made = stage(&p.storage, "ours/y", "1", b"").and_then(|pending| pending.commit());
        (kind_of(listed), part, kind_of(made), kind_of(p.storage.get(&key("theirs/x"), None)))
    });
    let denied = Some(ErrorKind::Denied);
    assert_eq!(seen, (denied, denied, None, denied));
    fs::rename(p.path("theirs"), p.path("lost+found")).unwrap();
    let listed = as_nobody(|| keys(&p.storage, ""));
    assert_eq!(listed, ["ours/y"], "the file system's own `lost+found` is none of ours");
    fs::create_dir(p.path("deeper")).unwrap();
    fs::set_permissions(p.path("deeper"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(p.path("lost+found"), p.path("deeper/lost+found")).unwrap();
    assert!(as_nobody(|| p.storage.list("", &mut |_| Ok(()))).is_err());
}

#[test]
fn what_may_not_be_written_or_deleted_is_denied_and_stays() {
    let p = place();
    put(&p.storage, "d/x", b"root's");
    for path in [p.dir.path().to_path_buf(), p.path(""), p.path("d")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let seen = as_nobody(|| {
        [
            kind_of(p.storage.delete(&key("d/x"))),
            kind_of(p.storage.rename(&key("d/x"), &key("d/y"))),
            kind_of(p.storage.link(&key("d/l"), &key("d/x"))),
            kind_of(p.storage.put_replace(&key("RESTORE.md"), &tag("1"), b"")),
            kind_of(p.storage.get(&key("d/x"), None)),
        ]
    });
    assert_eq!(seen, [Some(ErrorKind::Denied); 5]);
    assert_eq!(keys(&p.storage, ""), ["d/x"]);
}

#[test]
fn a_full_disk_is_full_and_the_partial_is_removed() {
    let disk = SmallDisk::mount("size=2m");
    let storage = LocalStorage::new("local", disk.path().to_path_buf());
    put(&storage, "d/old", b"kept");
    let free = storage.free_bytes().unwrap().unwrap();
    assert!((1 << 20..=2 << 20).contains(&free), "{free}");
    let error = storage.stage(&key("new/x"), &tag("1"), &mut io::repeat(7).take(64 << 20)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.hint().is_some());
    assert_eq!(keys(&storage, ""), ["d/old"]);
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 1, "not even a directory stayed");
    assert_eq!(storage.free_bytes().unwrap().unwrap(), free, "the room is free again");
    put(&storage, "new/x", &vec![1; 1 << 20]);
}

#[test]
fn a_disk_without_inodes_is_full() {
    let disk = SmallDisk::mount("size=2m,nr_inodes=6");
    let storage = LocalStorage::new("local", disk.path().to_path_buf());
    let mut stored = 0;
    let error = loop {
        match stage(&storage, &format!("d/{stored}"), "1", b"").and_then(|pending| pending.commit()) {
            Ok(()) => stored += 1,
            Err(e) => break e,
        }
        assert!(stored < 10, "the disk never became full");
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(list(&storage, "").len(), stored);
    let error = storage.link(&key("l"), &key("d/0")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
}

#[test]
fn a_read_only_storage_is_denied() {
    let disk = SmallDisk::mount("size=2m");
    let storage = LocalStorage::new("local", disk.path().to_path_buf());
    put(&storage, "d/x", b"x");
    let done = Command::new("mount").args(["-o", "remount,ro"]).arg(disk.path()).status().unwrap();
    assert!(done.success());
    assert_eq!(kind_of(stage(&storage, "d/y", "1", b"")), Some(ErrorKind::Denied));
    assert_eq!(kind_of(storage.delete(&key("d/x"))), Some(ErrorKind::Denied));
    assert_eq!(read(&storage, "d/x", None), b"x");
}

#[test]
fn free_room_is_told_before_the_directory_exists() {
    let dir = tempfile::tempdir().unwrap();
    let storage = LocalStorage::new("local", dir.path().join("a/b/c"));
    assert!(storage.free_bytes().unwrap().is_some_and(|free| free > 0));
}

#[test]
fn a_commit_after_the_name_was_taken_by_another_program_replaces_nothing() {
    let p = place();
    let pending = stage(&p.storage, "x", "1", b"ours").unwrap();
    fs::File::create(p.path("x")).unwrap().write_all(b"theirs").unwrap();
    assert_eq!(kind_of(pending.commit()), Some(ErrorKind::Exists));
    assert_eq!(fs::read(p.path("x")).unwrap(), b"theirs");
    assert_eq!(keys(&p.storage, ""), ["x"]);
}

#[test]
fn what_is_written_past_the_cache_is_whole_whatever_its_length() {
    let disk = SmallDisk::ext4(64 << 20);
    let storage = LocalStorage::new("local", disk.path().to_path_buf());
    let content: Vec<u8> =
        (0..17_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mib = 1 << 20;
    for len in [8 * mib - 1, 8 * mib, 8 * mib + 1, 12 * mib, 12 * mib + 4096, 12 * mib + 4097, 17 * mib] {
        put(&storage, "d/x", &content[..len]);
        assert!(fs::read(disk.path().join("d/x")).unwrap() == content[..len], "{len} bytes");
        storage.delete(&key("d/x")).unwrap();
    }
}

#[test]
fn a_disk_that_fills_up_past_the_cache_is_full_and_the_partial_is_removed() {
    let disk = SmallDisk::ext4(32 << 20);
    let storage = LocalStorage::new("local", disk.path().to_path_buf());
    put(&storage, "d/old", b"kept");
    let error = storage.stage(&key("new/x"), &tag("1"), &mut io::repeat(7).take(64 << 20)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(keys(&storage, ""), ["d/old"]);
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 1, "not even a directory stayed");
}

#[test]
fn a_large_object_leaves_the_cache_to_others() {
    let disk = SmallDisk::ext4(64 << 20);
    let storage = LocalStorage::new("local", disk.path().to_path_buf());
    put(&storage, "x", &vec![7; 40 << 20]);
    let mut out = Command::new("fincore");
    out.args(["--bytes", "--noheadings", "--output", "RES"]).arg(disk.path().join("x"));
    let out = out.output().unwrap();
    let cached: u64 = String::from_utf8(out.stdout).unwrap().trim().parse().unwrap();
    assert!(cached <= 9 << 20, "{cached} bytes of 40 MiB are in the cache");
}
