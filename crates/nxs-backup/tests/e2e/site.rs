//! The trees that are backed up: Debian's `wordpress`, unpacked, and a zoo of everything that a file can be.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nxs_testkit::Rng;
use nxs_testkit::snapshot::{Kind, Snapshot};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::tools;

/// The `excludes` of the article's job.
pub(crate) const EXCLUDES: [&str; 5] =
    ["bitrix/backup", "bitrix/cache", "bitrix/managed_cache", "bitrix/stack_cache", "upload"];

/// The unpacked package.
fn wordpress() -> PathBuf {
    let fixtures = std::env::var_os("NXS_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fixtures"), PathBuf::from);
    let tree = fixtures.join("wordpress");
    assert!(
        tree.join("usr/share/wordpress/wp-login.php").is_file(),
        "the web project `{}` is missing: run `cargo xtask setup`",
        tree.display()
    );
    tree
}

/// What of a site is to be in its backup: all but the excludes and sockets.
pub(crate) fn snapshot(root: &Path) -> Snapshot {
    Snapshot::take_without(root, |path, kind| {
        *kind == Kind::Socket || EXCLUDES.iter().any(|exclude| path == exclude.as_bytes())
    })
}

/// Fills `www`: a large site with the zoo, a small one, and things beside them that `*/` does not match.
pub(crate) fn make_all(www: &Path) {
    let package = wordpress();
    fs::create_dir_all(www).unwrap();
    tools::copy_tree(&package.join("usr/share/wordpress"), &www.join("site1"));
    make_excluded(&www.join("site1"));
    make_zoo(&www.join("site1/zoo"));
    tools::copy_tree(&package.join("etc/wordpress"), &www.join("site2"));
    tools::copy_tree(&package.join("usr/share/doc/wordpress"), &www.join("site2/doc"));
    make_excluded(&www.join("site2"));
    fs::write(www.join("robots.txt"), "no directory\n").unwrap();
    fs::create_dir(www.join(".hidden")).unwrap();
    fs::write(www.join(".hidden/file"), "the glob skips it\n").unwrap();
}

/// A site that comes and goes.
pub(crate) fn make_guest(root: &Path) {
    tools::copy_tree(&wordpress().join("usr/share/doc/wordpress/examples"), root);
}

/// What the article leaves out, and what only looks like it.
fn make_excluded(root: &Path) {
    for exclude in EXCLUDES {
        fs::create_dir_all(root.join(exclude).join("deep")).unwrap();
        fs::write(root.join(exclude).join("deep/junk"), "must not be saved\n").unwrap();
    }
    for kept in ["bitrix/cache2", "bitrix/uploads", "more/upload", "more/bitrix/cache", "bitrix/upload"] {
        fs::create_dir_all(root.join(kept)).unwrap();
        fs::write(root.join(kept).join("kept"), "must be saved\n").unwrap();
    }
}

/// One of everything.
fn make_zoo(zoo: &Path) {
    fs::create_dir(zoo).unwrap();
    make_names(&zoo.join("names"));
    make_contents(&zoo.join("contents"));
    make_links(&zoo.join("links"));
    make_kinds(&zoo.join("kinds"));
    make_attributes(&zoo.join("attributes"));
    // Last: what is made in a directory changes its time.
    make_times(&zoo.join("times"));
}

fn make_names(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let mut names: Vec<Vec<u8>> = [
        &b"new\nline"[..],
        b"latin-\xe9\xff",
        b"-rf",
        b"--to-command=sh",
        b"trailing ",
        b" leading",
        b"back\\slash \\n \\012",
        b"*?[a-z]{b,c}",
        b"'quote\" `tick` $(x)",
        b"tab\tbell\x07esc\x1b[31m",
        b"...",
        b".hidden",
        b"a=b",
        b"100% %41 %",
        "größe 日本".as_bytes(),
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    names.push(vec![b'n'; 255]);
    names.push([&b"x"[..], "ä".repeat(127).as_bytes()].concat());
    names.extend((1..=12).map(|n| vec![b'l'; n * 9]));
    for name in &names {
        let name = OsStr::from_bytes(name);
        fs::write(dir.join(name), name.as_bytes()).unwrap();
    }
    // Longer than any field of a tar header, and still within what one system call takes.
    let mut deep = dir.join("deep");
    for level in 0..14_u8 {
        deep.push(OsStr::from_bytes(&[b'a' + level; 200]));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), [level]).unwrap();
    }
    fs::create_dir(dir.join("empty directory")).unwrap();
}

fn make_contents(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let mut rng = Rng::new(77);
    // Around the block of tar, what is read ahead as a whole, and the largest frame.
    for bytes in [0, 1, 511, 512, 513, 10_240, 262_143, 262_144, 262_145, 4 << 20, (4 << 20) + 1] {
        let mut content = vec![0; bytes];
        rng.fill(&mut content);
        fs::write(dir.join(format!("noise-{bytes}")), content).unwrap();
    }
    let islands: [(&str, u64, &[u64]); 4] = [
        ("sparse", 50 << 20, &[0, (10 << 20) + 4096, (20 << 20) + 77, (50 << 20) - 5000]),
        ("hole-at-both-ends", 9 << 20, &[4 << 20]),
        ("hole-only", 8 << 20, &[]),
        ("many-holes", 12 << 20, &[0, 1 << 20, 2 << 20, 3 << 20, 5 << 20, 7 << 20, 9 << 20, 11 << 20]),
    ];
    for (name, bytes, islands) in islands {
        let mut file = File::create_new(dir.join(name)).unwrap();
        file.set_len(bytes).unwrap();
        for at in islands {
            file.seek(SeekFrom::Start(*at)).unwrap();
            file.write_all(&at.to_string().repeat(300).as_bytes()[..300]).unwrap();
        }
    }
}

fn make_links(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::write(dir.join("middle"), "three names\n").unwrap();
    fs::create_dir(dir.join("z")).unwrap();
    fs::hard_link(dir.join("middle"), dir.join("a-first")).unwrap();
    fs::hard_link(dir.join("middle"), dir.join("z/last")).unwrap();
    fs::write(dir.join("empty"), "").unwrap();
    fs::hard_link(dir.join("empty"), dir.join("empty-too")).unwrap();
    // A name outside the tree, and one in a directory that is left out.
    fs::write(dir.join("shared"), "another name is excluded\n").unwrap();
    fs::hard_link(dir.join("shared"), dir.join("../../upload/shared")).unwrap();
    let long = "l/".repeat(1500);
    for (name, target) in [
        ("absolute", "/etc/passwd"),
        ("dangling", "no such file"),
        ("up", "../../../../../../../../etc"),
        ("self", "self"),
        ("dir", "z"),
        ("long", &long),
        ("odd", "new\nline  "),
    ] {
        symlink(target, dir.join(name)).unwrap();
    }
}

fn make_kinds(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let mknod = |name: &str, kind, mode, device| {
        match rustix::fs::mknodat(CWD, dir.join(name), kind, Mode::from(mode), device) {
            // Devices are for root, and not even for root in every container.
            Ok(()) | Err(Errno::PERM) => {}
            Err(e) => panic!("{name}: {e}"),
        }
    };
    mknod("fifo", FileType::Fifo, 0o640, 0);
    mknod("null", FileType::CharacterDevice, 0o666, rustix::fs::makedev(1, 3));
    mknod("loop", FileType::BlockDevice, 0o660, rustix::fs::makedev(7, 300));
    // Through a descriptor, since the path of a socket must be short.
    let here = File::open(dir).unwrap();
    UnixListener::bind(format!("/proc/self/fd/{}/socket", here.as_raw_fd())).unwrap();
}

fn make_attributes(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for mode in [0o000, 0o400, 0o644, 0o777, 0o4755, 0o2755, 0o6711, 0o1644] {
        let file = dir.join(format!("mode-{mode:04o}"));
        fs::write(&file, mode.to_string()).unwrap();
        // A file that its owner cannot read is a gap for everybody but root.
        let mode = if is_root() { mode } else { mode | 0o400 };
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let sub = dir.join(format!("dir-{mode:04o}"));
        fs::create_dir(&sub).unwrap();
        fs::write(sub.join("inside"), "").unwrap();
        let mode = if is_root() { mode } else { mode | 0o700 };
        fs::set_permissions(&sub, Permissions::from_mode(mode)).unwrap();
    }
    if is_root() {
        for (name, user, group) in [("www", 33, 33), ("mixed", 0, 70_000), ("high", 3_000_000_000, 2_097_152)]
        {
            fs::write(dir.join(name), "").unwrap();
            own(&dir.join(name), user, group);
            symlink("nowhere", dir.join(format!("{name}-link"))).unwrap();
            own(&dir.join(format!("{name}-link")), user, group);
            fs::write(dir.join(format!("{name}-setid")), "").unwrap();
            own(&dir.join(format!("{name}-setid")), user, group);
            fs::set_permissions(dir.join(format!("{name}-setid")), Permissions::from_mode(0o6755)).unwrap();
        }
    }
    let file = |name: &str| {
        let path = dir.join(name);
        fs::write(&path, name).unwrap();
        path
    };
    let sub = |name: &str| {
        let path = dir.join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), name).unwrap();
        path
    };
    for path in [file("user-attributes"), sub("user-attributes.d")] {
        set(&path, "user.plain", b"text");
        set(&path, "user.binary", &(0..=255).collect::<Vec<u8>>());
        set(&path, "user.empty", b"");
        set(&path, "user.with = and\nline", b"x");
        set(&path, "user.long", &[b'v'; 2000]);
    }
    let access = acl(&[
        (1, 7, NONE),
        (2, 6, 33),
        (2, 1, 70_000),
        (4, 5, NONE),
        (8, 4, 44),
        (16, 7, NONE),
        (32, 0, NONE),
    ]);
    let default = acl(&[(1, 7, NONE), (2, 5, 33), (4, 5, NONE), (16, 5, NONE), (32, 4, NONE)]);
    set(&file("acl"), "system.posix_acl_access", &access);
    let both = sub("acl.d");
    set(&both, "system.posix_acl_access", &access);
    set(&both, "system.posix_acl_default", &default);
    fs::write(both.join("heir"), "has what its directory gave it").unwrap();
    set(&sub("acl-default-only.d"), "system.posix_acl_default", &default);
    // CAP_NET_BIND_SERVICE, permitted and effective.
    let capability: Vec<u8> =
        [0x0200_0001_u32, 1 << 10, 0, 0, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
    set(&file("capability"), "security.capability", &capability);
    set(&file("trusted"), "trusted.nxs", b"for root alone");
    symlink("nowhere", dir.join("trusted-link")).unwrap();
    set(&dir.join("trusted-link"), "trusted.nxs", b"of the link");
}

fn make_times(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for (sec, nsec) in [
        (0, 0),
        (0, 1),
        (-1, 500_000_000),
        (-1, 0),
        (-2_000_000_000, 1),
        (1_700_000_000, 123_456_789),
        (1_700_000_000, 999_999_999),
        (i64::from(i32::MAX), 999_999_999),
        (1 << 31, 0),
        (4_500_000_000, 7),
        (8_589_934_592, 1),
        (15_000_000_000, 5),
    ] {
        let file = dir.join(format!("file {sec}.{nsec:09}"));
        fs::write(&file, "").unwrap();
        set_mtime(&file, sec, nsec);
        let link = dir.join(format!("link {sec}.{nsec:09}"));
        symlink("/absolute/../nowhere", &link).unwrap();
        set_mtime(&link, sec, nsec);
        let sub = dir.join(format!("dir {sec}.{nsec:09}"));
        fs::create_dir(&sub).unwrap();
        symlink("/absolute", sub.join("link")).unwrap();
        fs::write(sub.join("file"), "").unwrap();
        set_mtime(&sub, sec, nsec);
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn set_mtime(path: &Path, sec: i64, nsec: i64) {
    let time = Timespec { tv_sec: sec, tv_nsec: nsec as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Gives a path to somebody. Where a container knows no such user, it stays as it is.
pub(crate) fn own(path: &Path, user: u32, group: u32) {
    match lchown(path, Some(user), Some(group)) {
        Err(e) if e.kind() != std::io::ErrorKind::InvalidInput => panic!("{}: {e}", path.display()),
        _ => {}
    }
}

/// Sets an attribute. What only root may set is not set for others.
pub(crate) fn set(path: &Path, name: &str, value: &[u8]) {
    match rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()) {
        Ok(()) => {}
        Err(Errno::PERM) if !name.starts_with("user.") && !name.starts_with("system.") => {}
        Err(e) => panic!("{}: {name}: {e}", path.display()),
    }
}

const NONE: u32 = u32::MAX;

/// A POSIX ACL as the kernel takes it: tag (1 owner, 2 user, 4 group owner, 8 group, 16 mask, 32 other), rights, id.
pub(crate) fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}
