//! One change a day: it is noticed, what did not change is not saved again, and the point comes back in both ways.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use jiff::civil::date;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, utimensat};

use crate::scene::{Setup, World, members};

fn set_mtime(path: &Path, sec: i64, nsec: i64) {
    let time = Timespec { tv_sec: sec, tv_nsec: nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn run(command: &str, args: &[&str], path: &Path) {
    let status = Command::new(command).args(args).arg(path).status().unwrap();
    assert!(status.success(), "{command} {args:?}");
}

/// What is done to the tree, and which names below it the increment has, directories apart.
type Step = (&'static str, fn(&Path), &'static [&'static str]);

const STEPS: &[Step] = &[
    ("nothing", |_| (), &[]),
    ("content", |t| fs::write(t.join("a/f"), "other").unwrap(), &["a/f"]),
    (
        "content of the same size, with its time put back",
        |t| {
            let meta = fs::metadata(t.join("a/f")).unwrap();
            fs::write(t.join("a/f"), "OTHER").unwrap();
            set_mtime(&t.join("a/f"), meta.mtime(), meta.mtime_nsec());
        },
        &["a/f"],
    ),
    ("one nanosecond", |t| set_mtime(&t.join("a/f"), 1_700_000_000, 1), &["a/f"]),
    ("and another", |t| set_mtime(&t.join("a/f"), 1_700_000_000, 2), &["a/f"]),
    ("a time before the epoch", |t| set_mtime(&t.join("a/f"), -5, 999_999_999), &["a/f"]),
    ("cut off", |t| fs::write(t.join("a/f"), "").unwrap(), &["a/f"]),
    ("mode", |t| fs::set_permissions(t.join("a/g"), fs::Permissions::from_mode(0o4711)).unwrap(), &["a/g"]),
    ("owner", |t| std::os::unix::fs::chown(t.join("a/g"), Some(1234), Some(4321)).unwrap(), &["a/g"]),
    (
        "an attribute",
        |t| rustix::fs::setxattr(t.join("a/g"), "user.note", b"one", XattrFlags::empty()).unwrap(),
        &["a/g"],
    ),
    (
        "an attribute again",
        |t| rustix::fs::setxattr(t.join("a/g"), "user.note", b"two", XattrFlags::empty()).unwrap(),
        &["a/g"],
    ),
    ("no attribute", |t| rustix::fs::removexattr(t.join("a/g"), "user.note").unwrap(), &["a/g"]),
    ("an ACL", |t| run("setfacl", &["-m", "u:1234:r"], &t.join("a/h")), &["a/h"]),
    ("no ACL", |t| run("setfacl", &["-b"], &t.join("a/h")), &["a/h"]),
    (
        "mode of a directory",
        |t| fs::set_permissions(t.join("a"), fs::Permissions::from_mode(0o2750)).unwrap(),
        &[],
    ),
    (
        "an ACL for what will be in a directory",
        |t| run("setfacl", &["-d", "-m", "u:1234:rx"], &t.join("c")),
        &[],
    ),
    ("time of a directory", |t| set_mtime(&t.join("a"), 1_600_000_000, 7), &[]),
    ("time of the root", |t| set_mtime(t, 1_600_000_000, 8), &[]),
    ("a hard link made", |t| fs::hard_link(t.join("a/g"), t.join("c/g2")).unwrap(), &["a/g", "c/g2"]),
    ("a third name", |t| fs::hard_link(t.join("a/g"), t.join("0")).unwrap(), &["0", "a/g", "c/g2"]),
    (
        "one of them rewritten in place",
        |t| fs::write(t.join("c/g2"), "through the link").unwrap(),
        &["0", "a/g", "c/g2"],
    ),
    (
        "one of them replaced by a file of its own",
        |t| {
            fs::write(t.join("new"), "mine").unwrap();
            fs::rename(t.join("new"), t.join("a/g")).unwrap();
        },
        &["0", "a/g", "c/g2"],
    ),
    ("one of two names gone", |t| fs::remove_file(t.join("0")).unwrap(), &["c/g2"]),
    (
        "replaced by rename, with the same size and time",
        |t| {
            let meta = fs::metadata(t.join("a/h")).unwrap();
            fs::write(t.join("new"), "H").unwrap();
            set_mtime(&t.join("new"), meta.mtime(), meta.mtime_nsec());
            fs::rename(t.join("new"), t.join("a/h")).unwrap();
        },
        &["a/h"],
    ),
    ("a directory renamed", |t| fs::rename(t.join("d"), t.join("e")).unwrap(), &["e/deep/1", "e/deep/2"]),
    (
        "two names swapped",
        |t| {
            fs::rename(t.join("e/deep/1"), t.join("x")).unwrap();
            fs::rename(t.join("e/deep/2"), t.join("e/deep/1")).unwrap();
            fs::rename(t.join("x"), t.join("e/deep/2")).unwrap();
        },
        &["e/deep/1", "e/deep/2"],
    ),
    (
        "a directory renamed over the place of another",
        |t| {
            fs::remove_dir_all(t.join("c")).unwrap();
            fs::rename(t.join("e"), t.join("c")).unwrap();
        },
        &["c/deep/1", "c/deep/2"],
    ),
    (
        "a file becomes a directory",
        |t| {
            fs::remove_file(t.join("a/h")).unwrap();
            fs::create_dir(t.join("a/h")).unwrap();
            fs::write(t.join("a/h/in"), "x").unwrap();
        },
        &["a/h/in"],
    ),
    (
        "a directory becomes a link",
        |t| {
            fs::remove_dir_all(t.join("a/h")).unwrap();
            symlink("../c", t.join("a/h")).unwrap();
        },
        &["a/h"],
    ),
    (
        "the link leads elsewhere",
        |t| {
            fs::remove_file(t.join("a/h")).unwrap();
            symlink("nowhere", t.join("a/h")).unwrap();
        },
        &["a/h"],
    ),
    (
        "the link becomes a pipe",
        |t| {
            fs::remove_file(t.join("a/h")).unwrap();
            run("mkfifo", &[], &t.join("a/h"));
        },
        &["a/h"],
    ),
    (
        "a file with holes grows",
        |t| {
            let file = fs::OpenOptions::new().write(true).open(t.join("holes")).unwrap();
            file.write_at(b"end", 5 << 20).unwrap();
        },
        &["holes"],
    ),
    (
        "and loses its end",
        |t| fs::OpenOptions::new().write(true).open(t.join("holes")).unwrap().set_len(3 << 20).unwrap(),
        &["holes"],
    ),
    (
        "all is gone",
        |t| {
            for entry in fs::read_dir(t).unwrap() {
                let path = entry.unwrap().path();
                if fs::symlink_metadata(&path).unwrap().is_dir() {
                    fs::remove_dir_all(path).unwrap();
                } else {
                    fs::remove_file(path).unwrap();
                }
            }
        },
        &[],
    ),
];

#[test]
fn every_sort_of_change_is_noticed_and_nothing_else_is_saved() {
    let mut world = World::new(Setup::default(), date(2026, 3, 5));
    let tree = world.tree();
    for name in ["a/f", "a/g", "a/h", "a/still", "c/still", "d/deep/1", "d/deep/2", "still"] {
        let path = tree.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, name[..1].to_uppercase()).unwrap();
    }
    let holes = fs::File::create(tree.join("holes")).unwrap();
    holes.write_at(b"begin", 0).unwrap();
    holes.set_len(4 << 20).unwrap();
    drop(holes);
    for (n, (what, change, saved)) in STEPS.iter().enumerate() {
        // A year for each, so that it is compared with the tree just before.
        let year = 1980 + n as i16;
        world.name = format!("{what}:");
        world.set_day(date(year, 1, 1));
        world.backup();
        change(&tree);
        world.set_day(date(year, 1, 2));
        world.backup();
        let now = world.house.now;
        world.check(0, now);
        let root = format!("{}/", tree.strip_prefix("/").unwrap().display());
        let names = members(&world.record(0, now).0);
        let mut is: Vec<&str> =
            names.iter().filter(|m| !m.ends_with('/')).filter_map(|m| m.strip_prefix(&root)).collect();
        is.sort_unstable();
        assert_eq!(is, *saved, "{what}");
    }
    world.verify(0);
}
