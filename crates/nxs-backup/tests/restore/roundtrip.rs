//! One of everything, saved by the real source and restored.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use nxs_base::spec::Compression;
use nxs_engine::restore::Request;
use nxs_testkit::snapshot::Snapshot;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use crate::scene::{Scene, is_root, names, read};

fn set_mtime(path: &Path, sec: i64, nsec: i64) {
    let time = Timespec { tv_sec: sec, tv_nsec: nsec as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// `user::rw- user:1234:rwx group::r-- mask::rwx other::---`, or with `x` for directories.
fn acl(named: u32) -> Vec<u8> {
    let mut raw = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in
        [(1_u16, 6_u16, u32::MAX), (2, 7, named), (4, 4, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)]
    {
        raw.extend(tag.to_le_bytes());
        raw.extend(perm.to_le_bytes());
        raw.extend(id.to_le_bytes());
    }
    raw
}

fn set_acl(path: &Path, args: &str) {
    let status = Command::new("setfacl").args(args.split(' ')).arg(path).status().unwrap();
    assert!(status.success());
}

/// One of everything that a backup keeps.
pub(crate) fn zoo(root: &Path) {
    for dir in ["a/deep/er", "empty", "locked", "b"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for (name, size) in
        [("zero", 0), ("one", 1), ("a/small", 5000), ("a/deep/big", 3 << 20), ("locked/in", 700)]
    {
        let data: Vec<u8> = (0..size).map(|i: u32| (i ^ (i >> 9)) as u8).collect();
        fs::write(root.join(name), data).unwrap();
    }
    fs::hard_link(root.join("a/small"), root.join("b/hard")).unwrap();
    fs::hard_link(root.join("a/small"), root.join("b/harder")).unwrap();
    symlink("../a/small", root.join("b/soft")).unwrap();
    symlink("/nowhere/at all", root.join("dangling")).unwrap();
    symlink("x".repeat(3000), root.join("long link")).unwrap();
    fs::hard_link(root.join("dangling"), root.join("b/hard soft")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 33 << 20).unwrap();
    File::create(root.join("all hole")).unwrap().set_len(10 << 20).unwrap();
    for name in
        [&b"\xff\xfe not utf8 \x80"[..], b"new\nline", b"tab\tbell\x07", "größe".as_bytes(), &[b'n'; 255]]
    {
        let name = std::ffi::OsStr::from_bytes(name);
        fs::write(root.join(name), "odd").unwrap();
        fs::write(root.join("a").join(name), "odd").unwrap();
    }
    rustix::fs::mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    xattr(&root.join("one"), "user.text", b"value");
    xattr(&root.join("one"), "user.raw", b"\0\xff\n=");
    xattr(&root.join("a"), "user.dir", b"d");
    mode(&root.join("one"), 0o4751);
    mode(&root.join("a/deep"), 0o2770);
    mode(&root.join("empty"), 0o1777);
    mode(&root.join("zero"), 0o000);
    xattr(&root.join("a/deep/big"), "system.posix_acl_access", &acl(1234));
    set_acl(&root.join("b"), "-m u:1234:rwx,d:u:1235:r-x,d:g::r-x");
    set_mtime(&root.join("zero"), -1_000_000_000, 1);
    set_mtime(&root.join("one"), 4_000_000_000, 999_999_999);
    set_mtime(&root.join("dangling"), 1_234_567_890, 123_456_789);
    set_mtime(&root.join("sparse"), 0, 0);
    if is_root() {
        let device = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(
            CWD,
            root.join("null"),
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            device,
        )
        .unwrap();
        let device = rustix::fs::makedev(250, 70_000);
        rustix::fs::mknodat(
            CWD,
            root.join("disk"),
            FileType::BlockDevice,
            Mode::from_raw_mode(0o660),
            device,
        )
        .unwrap();
        // cap_net_raw=ep
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        xattr(&root.join("a/deep/big"), "security.capability", &capability);
        xattr(&root.join("b/soft"), "trusted.of.a.link", b"1");
        xattr(&root.join("fifo"), "trusted.of.a.fifo", b"1");
        for (name, uid, gid) in
            [("a/small", 1234, 4321), ("one", 3_000_000_000, 0), ("dangling", 7, 7), ("b", 33, 33)]
        {
            std::os::unix::fs::lchown(root.join(name), Some(uid), Some(gid)).unwrap();
        }
        mode(&root.join("one"), 0o4751);
    }
    mode(&root.join("locked"), 0o555);
    for dir in ["a/deep/er", "a/deep", "a", "empty", "locked", "b", ""] {
        set_mtime(&root.join(dir), 1_111_111_111, 222);
    }
}

#[test]
fn everything_comes_back_as_it_was_from_every_compression() {
    for compression in [Compression::None, Compression::Gzip(6), Compression::Zstd(3)] {
        let mut scene = Scene::new();
        scene.compression = compression;
        zoo(&scene.tree());
        let before = Snapshot::take(&scene.tree());
        scene.save();
        let restored = scene.restored(&scene.request());
        assert_eq!(restored.extracted.problems, Vec::<String>::new());
        before.assert_same(&Snapshot::take(&scene.restored_tree()), "the whole");
        assert_eq!(restored.extracted.dirs, 7);
        assert_eq!(restored.extracted.files + restored.extracted.dirs, before.nodes.len() as u64);
    }
}

#[test]
fn parts_come_back_as_they_were_and_directories_above_them_too() {
    let scene = Scene::new();
    zoo(&scene.tree());
    let before = Snapshot::take(&scene.tree());
    scene.save();
    let request =
        Request { paths: vec!["b".into(), "a/deep/big".into(), "new\nline".into()], ..scene.request() };
    let restored = scene.restored(&request);
    assert_eq!(restored.extracted.problems, Vec::<String>::new());
    let found = Snapshot::take(&scene.restored_tree());
    before
        .below(b"b")
        .assert_same(&found.below(b"b"), "a directory whose hard links have no first name in it");
    let mut expected = before.clone();
    let wanted = |path: &[u8]| {
        path.starts_with(b"b") || [&b""[..], b"a", b"a/deep", b"a/deep/big", b"new\nline"].contains(&path)
    };
    expected.nodes.retain(|path, _| wanted(path));
    let mut found_without = found.clone();
    for snapshot in [&mut expected, &mut found_without] {
        // The index knows no attributes of directories that are only passed.
        snapshot.nodes.get_mut(&b"a"[..]).unwrap().xattrs.clear();
        snapshot.nodes.retain(|path, _| !path.starts_with(b"b/"));
    }
    expected.assert_same(&found_without, "parts");
}

#[test]
fn stripped_the_content_of_the_target_lands_in_the_directory_itself() {
    let scene = Scene::new();
    zoo(&scene.tree());
    let before = Snapshot::take(&scene.tree());
    scene.save();
    let restored = scene.restored(&Request { strip: true, ..scene.request() });
    assert_eq!(restored.extracted.problems, Vec::<String>::new());
    before.assert_same(&Snapshot::take(&scene.path("out")), "stripped");
}

#[test]
fn a_target_that_is_a_file_comes_back_stripped_or_not() {
    let scene = Scene::new();
    fs::remove_dir(scene.tree()).unwrap();
    fs::write(scene.tree(), "only").unwrap();
    scene.save();
    scene.restored(&scene.request());
    assert_eq!(read(&scene.restored_tree()), "only");
    scene.restored(&Request { strip: true, to: scene.path("out2"), ..Request::default() });
    assert_eq!(read(&scene.path("out2/tree")), "only");
    fs::write(scene.restored_tree(), "newer").unwrap();
    scene.restored(&scene.in_place());
    assert_eq!(read(&scene.restored_tree()), "only");
}

#[test]
fn what_inherits_an_acl_from_where_it_is_put_loses_it() {
    let scene = Scene::new();
    fs::create_dir(scene.tree().join("d")).unwrap();
    fs::write(scene.tree().join("d/f"), "x").unwrap();
    let before = Snapshot::take(&scene.tree());
    scene.save();
    fs::create_dir(scene.path("out")).unwrap();
    set_acl(&scene.path("out"), "-m d:u:1234:rwx");
    let restored = scene.restored(&scene.request());
    assert_eq!(restored.extracted.problems, Vec::<String>::new());
    before.assert_same(&Snapshot::take(&scene.restored_tree()), "without the inherited ACL");
}

#[test]
fn the_directory_to_restore_into_has_to_be_empty_or_absent() {
    let scene = Scene::new();
    fs::write(scene.tree().join("f"), "x").unwrap();
    scene.save();
    fs::create_dir(scene.path("out")).unwrap();
    fs::write(scene.path("out/mine"), "mine").unwrap();
    let error = scene.restore_with(&scene.request()).unwrap_err();
    assert_eq!(error.kind(), nxs_base::ErrorKind::Exists);
    assert!(error.to_string().contains("is not empty"), "{error}");
    assert_eq!(names(&scene.path("out")), ["mine"]);
    let error =
        scene.restore_with(&Request { to: scene.path("out/mine"), ..Request::default() }).unwrap_err();
    assert!(error.chain().contains("out/mine"), "{}", error.chain());
    assert_eq!(read(&scene.path("out/mine")), "mine");
}

#[test]
fn a_link_that_the_user_names_as_the_directory_is_followed() {
    let scene = Scene::new();
    fs::write(scene.tree().join("f"), "x").unwrap();
    scene.save();
    fs::create_dir(scene.path("real")).unwrap();
    symlink("real", scene.path("out")).unwrap();
    scene.restored(&scene.request());
    assert_eq!(read(&scene.restored_tree().join("f")), "x");
    assert!(fs::symlink_metadata(scene.path("out")).unwrap().is_symlink());
    assert_eq!(fs::metadata(scene.path("real")).unwrap().nlink(), 3);
}

#[test]
fn a_rehearsal_lists_and_makes_nothing() {
    let scene = Scene::new();
    zoo(&scene.tree());
    scene.save();
    let restored = scene.restored(&Request { dry_run: true, ..scene.request() });
    assert_eq!(restored.listed.len(), Snapshot::take(&scene.tree()).nodes.len());
    assert!(!scene.path("out").exists());
}
