//! Restores over what is there: replaced whole, nothing else touched, removed only with `delete`.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::Arc;

use nxs_base::ports::source::NoteKind;
use nxs_base::ports::storage::{Caps, ObjectInfo, ObjectKey, PartTag, Pending, Storage};
use nxs_base::{ErrorKind, Result};
use nxs_engine::restore::{Excludes, Request};
use nxs_testkit::MemoryStorage;
use nxs_testkit::snapshot::Snapshot;

use crate::roundtrip::zoo;
use crate::scene::{Canned, Scene, is_root, names, read, storage_spec};

/// A zoo that was saved, and restored once into `out`.
fn restored_zoo() -> (Scene, Snapshot) {
    let scene = Scene::new();
    zoo(&scene.tree());
    let before = Snapshot::take(&scene.tree());
    scene.save();
    assert!(scene.restored(&scene.request()).extracted.problems.is_empty());
    (scene, before)
}

#[test]
fn a_second_restore_over_the_first_changes_nothing() {
    let (scene, before) = restored_zoo();
    for paths in [vec![], vec!["**".to_owned()]] {
        let restored = scene.restored(&Request { paths, ..scene.in_place() });
        assert_eq!(restored.extracted.problems, Vec::<String>::new());
        before.assert_same(&Snapshot::take(&scene.restored_tree()), "again");
    }
}

#[test]
fn every_kind_replaces_every_other_kind() {
    let (scene, before) = restored_zoo();
    let tree = scene.restored_tree();
    let every = ["one", "dangling", "fifo", "b/hard", "b/soft", "empty", "sparse"];
    for shift in 0..4 {
        for (n, name) in every.iter().enumerate() {
            let at = tree.join(name);
            if fs::symlink_metadata(&at).unwrap().is_dir() {
                fs::remove_dir(&at)
            } else {
                fs::remove_file(&at)
            }
            .unwrap();
            match (n + shift) % 4 {
                0 => fs::create_dir(&at).unwrap(),
                1 => fs::write(&at, "other").unwrap(),
                2 => symlink(scene.path("outside"), &at).unwrap(),
                _ => drop(UnixListener::bind(&at).unwrap()),
            }
        }
        let outside = scene.outside();
        let restored = scene.restored(&scene.in_place());
        assert_eq!(restored.extracted.problems, Vec::<String>::new());
        before.assert_same(&Snapshot::take(&tree), "all kinds are right again");
        outside.assert_same(&scene.outside(), "nothing was done to what links led to");
    }
}

#[test]
fn what_the_backup_does_not_know_stays_and_is_never_written_through() {
    let (scene, before) = restored_zoo();
    let tree = scene.restored_tree();
    fs::write(tree.join("a/new"), "new").unwrap();
    fs::create_dir_all(tree.join("new/dir")).unwrap();
    fs::remove_file(tree.join("zero")).unwrap();
    fs::hard_link(scene.path("outside/secret"), tree.join("zero")).unwrap();
    fs::remove_file(tree.join("b/hard")).unwrap();
    fs::hard_link(scene.path("outside/secret"), tree.join("b/hard")).unwrap();
    let restored = scene.restored(&scene.in_place());
    assert_eq!(restored.extracted.problems, Vec::<String>::new());
    assert_eq!(read(&scene.path("outside/secret")), "secret");
    assert_eq!(fs::metadata(scene.path("outside/secret")).unwrap().nlink(), 1);
    assert_eq!(read(&tree.join("a/new")), "new");
    let without = Snapshot::take_without(&tree, |path, _| path == b"a/new" || path == b"new");
    before.assert_same(&without, "all else is as it was");
}

#[test]
fn a_directory_with_unknown_content_is_not_replaced_by_a_file_and_told_of() {
    let (scene, _) = restored_zoo();
    let at = scene.restored_tree().join("one");
    fs::remove_file(&at).unwrap();
    fs::create_dir(&at).unwrap();
    fs::write(at.join("mine"), "mine").unwrap();
    let restored = scene.restored(&scene.in_place());
    assert_eq!(restored.extracted.problem_count, 1, "{:?}", restored.extracted.problems);
    assert!(restored.extracted.problems[0].contains("one: a directory that is not empty"));
    assert_eq!(read(&at.join("mine")), "mine");
    let deleted = scene.restored(&Request { delete: true, ..scene.in_place() });
    assert_eq!(deleted.extracted.problems, Vec::<String>::new());
    assert!(fs::metadata(&at).unwrap().is_file());
}

#[test]
fn directories_above_a_part_stay_as_they_are() {
    let (scene, before) = restored_zoo();
    let tree = scene.restored_tree();
    fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::remove_file(tree.join("a/small")).unwrap();
    scene.restored(&Request { paths: vec!["a/small".into()], ..scene.in_place() });
    assert_eq!(fs::metadata(tree.join("a")).unwrap().mode() & 0o777, 0o711);
    let now = Snapshot::take(&tree);
    assert_eq!(now.nodes[&b"a/small"[..]].kind, before.nodes[&b"a/small"[..]].kind);
}

#[test]
fn what_cannot_be_replaced_is_told_and_the_rest_comes_back() {
    if !is_root() {
        return;
    }
    let (scene, _) = restored_zoo();
    let at = scene.restored_tree().join("one");
    fs::write(&at, "immutable").unwrap();
    let flag = |flag: &str| Command::new("chattr").arg(flag).arg(&at).status().is_ok_and(|s| s.success());
    if !flag("+i") {
        return;
    }
    fs::remove_file(scene.restored_tree().join("zero")).unwrap();
    let restored = scene.restored(&scene.in_place());
    assert!(flag("-i"));
    assert_eq!(restored.extracted.problem_count, 1, "{:?}", restored.extracted.problems);
    assert!(restored.extracted.problems[0].contains("one"));
    assert_eq!(read(&at), "immutable");
    assert!(scene.restored_tree().join("zero").exists());
    assert!(!names(&scene.restored_tree()).iter().any(|n| n.starts_with(".nxs-restore")));
}

#[test]
fn delete_removes_what_the_backup_does_not_have_and_a_rehearsal_lists_it() {
    let (scene, before) = restored_zoo();
    let tree = scene.restored_tree();
    fs::write(tree.join("a/new"), "new").unwrap();
    fs::create_dir_all(tree.join("new/dir/deep")).unwrap();
    fs::write(tree.join("new/dir/deep/f"), "f").unwrap();
    symlink(scene.path("outside"), tree.join("new/out")).unwrap();
    symlink(scene.path("outside"), tree.join("a/out")).unwrap();
    fs::write(tree.parent().unwrap().join("beside"), "stays").unwrap();
    let outside = scene.outside();

    let rehearsal = scene.restored(&Request { delete: true, dry_run: true, ..scene.in_place() });
    assert!(tree.join("new/dir/deep/f").exists());
    let mut listed = rehearsal.extracted.pruned.paths.clone();
    listed.sort();
    let expected = ["a/new", "a/out", "new", "new/dir", "new/dir/deep", "new/dir/deep/f", "new/out"];
    assert_eq!(listed, expected.map(|name| scene.member(name)));

    let restored = scene.restored(&Request { delete: true, ..scene.in_place() });
    assert_eq!(restored.extracted.problems, Vec::<String>::new());
    assert_eq!(restored.extracted.pruned.count, 7);
    before.assert_same(&Snapshot::take(&tree), "as saved, times of directories included");
    outside.assert_same(&scene.outside(), "no link was followed");
    assert_eq!(read(&tree.parent().unwrap().join("beside")), "stays");
}

#[test]
fn delete_with_paths_stays_below_the_directories_that_were_asked_for() {
    let (scene, _) = restored_zoo();
    let tree = scene.restored_tree();
    for name in ["a/new", "a/deep/new", "b/new", "new"] {
        fs::write(tree.join(name), "new").unwrap();
    }
    let paths = vec!["a/deep".into(), "b/hard".into()];
    let restored = scene.restored(&Request { delete: true, paths, ..scene.in_place() });
    assert_eq!(restored.extracted.pruned.paths, [scene.member("a/deep/new")]);
    for name in ["a/new", "b/new", "new"] {
        assert!(tree.join(name).exists(), "{name}");
    }
}

#[test]
fn delete_leaves_excluded_paths_sockets_and_what_holds_them() {
    let mut scene = Scene::new();
    scene.excludes = vec!["cache".into(), "*.log".into()];
    fs::create_dir_all(scene.tree().join("a/cache")).unwrap();
    fs::write(scene.tree().join("a/cache/kept"), "c").unwrap();
    fs::write(scene.tree().join("f"), "f").unwrap();
    scene.save();
    scene.restored(&scene.request());
    let tree = scene.restored_tree();
    fs::create_dir_all(tree.join("cache/deep")).unwrap();
    fs::create_dir_all(tree.join("new/dir")).unwrap();
    for name in ["cache/deep/kept", "new/x.log", "new/dir/gone", "gone"] {
        fs::write(tree.join(name), name).unwrap();
    }
    let _socket = UnixListener::bind(tree.join("sock")).unwrap();
    let request = Request { delete: true, ..scene.in_place() };
    let report = scene.restore_with(&request).unwrap();
    assert!(report.failed && report.problems[0].message.contains("excludes"), "{:?}", report.problems);
    assert!(tree.join("gone").exists());

    let root = scene.member("").into_bytes();
    let excludes = Excludes::new(move |source, target, path, _| {
        assert_eq!((source, target), (0, &root[..]));
        path.strip_prefix(&root[..]).is_some_and(|p| p == b"/cache" || p.ends_with(b".log"))
    });
    let restored = scene.restored(&Request { excludes: Some(excludes), ..request });
    assert_eq!(restored.extracted.problems, Vec::<String>::new());
    assert_eq!(names(&tree), ["a", "cache", "f", "new", "sock"]);
    assert_eq!(names(&tree.join("new")), ["x.log"]);
    assert!(tree.join("cache/deep/kept").exists());
}

#[test]
fn delete_is_refused_where_the_backup_lacks_what_is_there() {
    for (counts, word) in
        [(vec![(NoteKind::Unreadable, 2)], "could not be read"), (vec![(NoteKind::LeftOut, 1)], "left out")]
    {
        let scene = Scene::new();
        let mut c = Canned { has_index: true, counts, ..Canned::of(&scene) };
        c.dir(scene.member("")).file(scene.member("f"), "x");
        scene.save_from(Box::new(c));
        fs::create_dir_all(scene.restored_tree()).unwrap();
        fs::write(scene.restored_tree().join("secret that root could not read"), "x").unwrap();
        for dry_run in [true, false] {
            let report = scene.restore_with(&Request { delete: true, dry_run, ..scene.in_place() }).unwrap();
            assert!(report.failed && report.restored.is_empty());
            assert!(report.problems[0].message.contains(word), "{:?}", report.problems);
        }
        assert_eq!(names(&scene.restored_tree()), ["secret that root could not read"]);
    }
    let scene = Scene::new();
    let error = scene.restore_with(&Request { delete: true, ..scene.request() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn delete_never_crosses_a_mount() {
    let scene = Scene::new();
    fs::create_dir(scene.tree().join("d")).unwrap();
    scene.save();
    scene.restored(&scene.request());
    let tree = scene.restored_tree();
    fs::create_dir_all(tree.join("unknown/mnt")).unwrap();
    fs::write(tree.join("unknown/gone"), "x").unwrap();
    let mount = |what: &std::path::Path, at: &std::path::Path| {
        Command::new("mount").arg("--bind").args([what, at]).stderr(std::process::Stdio::null()).status()
    };
    let mounted = [tree.join("d"), tree.join("unknown/mnt")];
    if !mount(&scene.path("outside"), &mounted[0]).is_ok_and(|s| s.success()) {
        return;
    }
    assert!(mount(&scene.path("outside"), &mounted[1]).unwrap().success());
    let outside = scene.outside();
    let outcome = scene.restore_with(&Request { delete: true, ..scene.in_place() });
    for at in mounted {
        assert!(Command::new("umount").arg(at).status().unwrap().success());
    }
    let restored = outcome.unwrap().restored.remove(0);
    assert_eq!(restored.extracted.problems, Vec::<String>::new());
    assert_eq!(restored.extracted.pruned.paths, [scene.member("unknown/gone")]);
    let mut now = scene.outside();
    // The directory itself stood in the backup and got its metadata.
    now.nodes.insert(Vec::new(), outside.nodes[&b""[..]].clone());
    outside.assert_same(&now, "what was mounted there");
}

/// Ends the process while the second frame of an archive is fetched, once a file of the first is restored.
struct Deadly {
    inner: MemoryStorage,
    restored: std::path::PathBuf,
}

struct DeadlyReader {
    inner: Box<dyn Read + Send>,
    left: usize,
    restored: std::path::PathBuf,
}

impl Read for DeadlyReader {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let want = buf.len().min(512);
        let n = self.inner.read(&mut buf[..want])?;
        self.left = self.left.saturating_sub(n);
        if self.left == 0 {
            let begun = std::time::Instant::now();
            while begun.elapsed().as_secs() < 20
                && !fs::read(&self.restored).is_ok_and(|bytes| bytes.starts_with(b"new "))
            {
                std::thread::yield_now();
            }
            std::process::abort();
        }
        Ok(n)
    }
}

impl Storage for Deadly {
    fn label(&self) -> &str {
        "deadly"
    }
    fn caps(&self) -> Caps {
        self.inner.caps()
    }
    fn stage(&self, key: &ObjectKey, tag: &PartTag, data: &mut dyn Read) -> Result<Box<dyn Pending>> {
        self.inner.stage(key, tag, data)
    }
    fn put_replace(&self, key: &ObjectKey, tag: &PartTag, data: &[u8]) -> Result<()> {
        self.inner.put_replace(key, tag, data)
    }
    fn get(&self, key: &ObjectKey, range: Option<std::ops::Range<u64>>) -> Result<Box<dyn Read + Send>> {
        let reader = self.inner.get(key, range)?;
        let deadly = key.as_str().ends_with(".tar");
        let restored = self.restored.clone();
        Ok(if deadly { Box::new(DeadlyReader { inner: reader, left: 4_400_000, restored }) } else { reader })
    }
    fn list(&self, dir: &str, each: &mut dyn FnMut(ObjectInfo) -> Result<()>) -> Result<()> {
        self.inner.list(dir, each)
    }
    fn stat(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.inner.stat(key)
    }
    fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.inner.delete(key)
    }
    fn rename(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        self.inner.rename(from, to)
    }
    fn link(&self, key: &ObjectKey, target: &ObjectKey) -> Result<()> {
        self.inner.link(key, target)
    }
    fn is_part_live(&self, key: &ObjectKey) -> bool {
        self.inner.is_part_live(key)
    }
    fn free_bytes(&self) -> Result<Option<u64>> {
        self.inner.free_bytes()
    }
}

const OLD: &str = "the old content";
const VICTIM: &str = "NXS_TEST_RESTORE_DIES_AFTER";

fn many_files(scene: &Scene, text: &str) -> Canned {
    let mut c = Canned { has_index: true, ..Canned::of(scene) };
    c.dir(scene.member(""));
    for n in 0..60 {
        let bytes = if n % 7 == 0 { 700_000 } else { 3000 };
        c.file(scene.member(&format!("f{n:02}")), &text.repeat(bytes / text.len()));
    }
    c
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_or_the_new_file_never_half_of_one() {
    if let Ok(plan) = std::env::var(VICTIM) {
        let (dir, name) = plan.split_once('|').unwrap();
        let mut scene = Scene::new();
        scene.compression = nxs_base::spec::Compression::None;
        scene.save_from(Box::new(many_files(&scene, "new ")));
        let request = Request { in_place: true, to: dir.into(), ..Request::default() };
        let tree = request.to.join(scene.member(""));
        fs::create_dir_all(&tree).unwrap();
        for n in 0..60 {
            fs::write(tree.join(format!("f{n:02}")), OLD).unwrap();
        }
        let storage = Deadly { inner: scene.storages[0].clone(), restored: tree.join(name) };
        let storages = vec![(storage_spec(0), Arc::new(storage) as Arc<dyn Storage>)];
        let outcome = scene.restore_from(storages, &request);
        panic!("the restore went on to its end: {outcome:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut seen = [0, 0];
    for name in ["f00", "f01", "f06", "f07", "f08", "f10", "f13"] {
        let into = dir.path().join(name);
        fs::create_dir(&into).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "in_place::a_restore_that_is_killed_leaves_the_old_or_the_new_file_never_half_of_one",
            ])
            .env(VICTIM, format!("{}|{name}", into.display()))
            .env("TMPDIR", dir.path())
            .output()
            .unwrap();
        assert!(!child.status.success());
        assert!(child.status.code().is_none(), "{}", String::from_utf8_lossy(&child.stdout));
        let (mut waiting, mut files) = (vec![into], 0);
        while let Some(dir) = waiting.pop() {
            for name in names(&dir) {
                let path = dir.join(&name);
                if path.is_dir() {
                    waiting.push(path);
                } else if !name.starts_with(".nxs-restore-") {
                    let text = read(&path);
                    files += 1;
                    seen[usize::from(text == OLD)] += 1;
                    let is_new = [3000, 700_000].contains(&text.len())
                        && text.as_bytes().chunks(4).all(|c| c == b"new ");
                    assert!(text == OLD || is_new, "{name} is half a file of {} bytes", text.len());
                }
            }
        }
        assert_eq!(files, 60, "every name is there");
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}
