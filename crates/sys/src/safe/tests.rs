//! Nothing leads out of the root; everything else works with single names.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink as std_symlink};

use super::*;

struct Place {
    dir: tempfile::TempDir,
    root: Root,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("root/a/b")).unwrap();
    std::fs::create_dir(dir.path().join("outside")).unwrap();
    std::fs::write(dir.path().join("outside/secret"), "s").unwrap();
    let root = Root::open(&dir.path().join("root")).unwrap();
    Place { dir, root }
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().unwrap().kind()
}

#[test]
fn paths_with_dot_dot_empty_components_or_nul_are_refused() {
    let p = place();
    for bad in [&b".."[..], b"a/../..", b"a//b", b"/etc", b"a/", b"a/./b", b"a\0b"] {
        assert_eq!(kind(p.root.dir(bad, true)), ErrorKind::Invalid, "{}", fsx::show(bad));
        assert_eq!(kind(p.root.open_file(bad)), ErrorKind::Invalid);
    }
    for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
        assert_eq!(kind(create_file(&p.root, bad, 0o600)), ErrorKind::Invalid);
    }
}

#[test]
fn a_link_in_the_middle_or_at_the_end_is_refused_also_when_creating() {
    let p = place();
    std_symlink("../../outside", p.dir.path().join("root/a/out")).unwrap();
    std_symlink("b", p.dir.path().join("root/a/in")).unwrap();
    for bad in [&b"a/out"[..], b"a/out/x/y", b"a/in", b"a/in/x"] {
        for create in [false, true] {
            assert_eq!(kind(p.root.dir(bad, create)), ErrorKind::Denied, "{}", fsx::show(bad));
        }
    }
    assert_eq!(kind(p.root.open_file(b"a/out/secret")), ErrorKind::Denied);
    assert_eq!(fsx::list_dir(&p.dir.path().join("outside")).unwrap(), vec![b"secret".to_vec()]);
}

#[test]
fn the_way_without_openat2_refuses_links_too() {
    let p = place();
    std_symlink("../outside", p.dir.path().join("root/out")).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(&p.root, "out", flags, Mode::empty()).unwrap_err();
    assert_eq!(split_chunk(b"a/b/c", 0), (&b"a"[..], &b"b/c"[..]));
    assert_eq!(split_chunk(b"c", 0), (&b"c"[..], &b""[..]));
    assert_eq!(split_chunk(b"aa/bb/cc", 6), (&b"aa/bb"[..], &b"cc"[..]));
}

#[test]
fn missing_directories_are_made_private_and_only_when_asked() {
    let p = place();
    assert_eq!(kind(p.root.dir(b"a/new/deep", false)), ErrorKind::NotFound);
    p.root.dir(b"a/new/deep", true).unwrap();
    assert_eq!(std::fs::metadata(p.dir.path().join("root/a/new")).unwrap().mode() & 0o777, 0o700);
    p.root.dir(b"", false).unwrap();
}

#[test]
fn directories_beyond_path_max_are_made_and_opened() {
    let p = place();
    let rel = vec![vec![b'd'; 200]; 40].join(&b'/');
    assert!(rel.len() > 8000);
    let fd = p.root.dir(&rel, true).unwrap();
    create_file(&fd, b"f", 0o600).unwrap().write_all(b"deep").unwrap();
    let mut file = rel.clone();
    file.extend_from_slice(b"/f");
    assert_eq!(p.root.open_file(&file).unwrap().metadata().unwrap().len(), 4);
}

#[test]
fn files_links_fifos_and_devices_are_made_and_never_replace() {
    let p = place();
    let dir = p.root.dir(b"a", false).unwrap();
    create_file(&dir, b"f", 0o600).unwrap();
    symlink(&dir, b"l", b"../../outside/\xff").unwrap();
    link(&dir, b"f", &dir, b"h").unwrap();
    make_fifo(&dir, b"p", 0o640).unwrap();
    make_dir(&dir, b"d", 0o700).unwrap();
    assert_eq!(read_link(&dir, b"l").unwrap(), b"../../outside/\xff");
    assert_eq!(stat(&dir, b"h").unwrap().ino, stat(&dir, b"f").unwrap().ino);
    let kinds: Vec<_> = [&b"f"[..], b"l", b"p", b"d"].iter().map(|n| stat(&dir, n).unwrap().kind).collect();
    assert_eq!(kinds, [EntryKind::File, EntryKind::Symlink, EntryKind::Fifo, EntryKind::Dir]);
    for name in [&b"f"[..], b"l", b"p", b"d"] {
        assert_eq!(kind(create_file(&dir, name, 0o600)), ErrorKind::Exists);
        assert_eq!(kind(symlink(&dir, name, b"x")), ErrorKind::Exists);
        assert_eq!(kind(link(&dir, b"f", &dir, name)), ErrorKind::Exists);
    }
    assert_eq!(kind(make_node(&dir, b"n", &Meta::default())), ErrorKind::Invalid);
    remove_file(&dir, b"l").unwrap();
    remove_dir(&dir, b"d").unwrap();
    assert_eq!(kind(stat(&dir, b"l")), ErrorKind::NotFound);
}

#[test]
fn metadata_is_set_on_the_link_itself_and_never_on_what_it_leads_to() {
    let p = place();
    let victim = p.dir.path().join("outside/secret");
    let before = std::fs::metadata(&victim).unwrap();
    symlink(&p.root, b"l", b"../outside/secret").unwrap();
    let mtime = FileTime { sec: -5, nsec: 123_456_789 };
    set_mtime(&p.root, b"l", mtime).unwrap();
    assert_eq!(stat(&p.root, b"l").unwrap().mtime, mtime);
    assert_eq!(kind(set_mode(&p.root, b"l", 0o777)), ErrorKind::Denied);
    set_xattr(&p.root, b"l", b"user.x", b"1").unwrap_err();
    set_owner(&p.root, b"l", before.uid(), before.gid()).unwrap();
    let after = std::fs::metadata(&victim).unwrap();
    assert_eq!((before.mode(), before.ctime_nsec()), (after.mode(), after.ctime_nsec()));
}

#[test]
fn mode_time_and_attributes_are_set_by_name() {
    let p = place();
    create_file(&p.root, b"f", 0o600).unwrap();
    set_xattr(&p.root, b"f", b"user.x", b"v").unwrap();
    set_mode(&p.root, b"f", 0o4751).unwrap();
    let mtime = FileTime { sec: 1_600_000_000, nsec: 1 };
    set_mtime(&p.root, b"f", mtime).unwrap();
    let meta = stat(&p.root, b"f").unwrap();
    assert_eq!((meta.mode, meta.mtime), (0o4751, mtime));
    let file = open_file(&p.root, b"f").unwrap();
    set_mode_fd(&file, 0o640).unwrap();
    set_xattr_fd(&file, b"user.y", b"w").unwrap();
    let found = crate::xattr::of_fd(&file).unwrap();
    assert_eq!(found, [(b"user.x".to_vec(), b"v".to_vec()), (b"user.y".to_vec(), b"w".to_vec())]);
    assert_eq!(stat(&p.root, b"f").unwrap().mode, 0o640);
    assert_eq!(kind(set_owner(&p.root, b"f", u32::MAX, 0)), ErrorKind::Invalid);
}

#[test]
fn on_the_way_to_a_target_only_links_of_root_and_ones_own_are_followed() {
    let p = place();
    let at = |rest: &str| p.dir.path().join(rest);
    std_symlink("root/a", at("own")).unwrap();
    std_symlink(at("outside"), at("absolute")).unwrap();
    std_symlink("loop", at("loop")).unwrap();
    let opened = Root::open_trusted(&at("own/b"), false).unwrap();
    create_file(&opened, b"f", 0o600).unwrap();
    assert!(at("root/a/b/f").exists());
    assert_eq!(list(Root::open_trusted(&at("absolute"), false).unwrap()).unwrap(), [b"secret".to_vec()]);
    assert_eq!(kind(Root::open_trusted(&at("own/new"), false)), ErrorKind::NotFound);
    Root::open_trusted(&at("own/new/deep"), true).unwrap();
    assert!(at("root/a/new/deep").is_dir());
    Root::open_trusted(&at("loop"), true).unwrap_err();
    Root::open_trusted(&at("outside/secret"), true).unwrap_err();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(at("absolute"), Some(1234), Some(1234)).unwrap();
        assert_eq!(kind(Root::open_trusted(&at("absolute"), true)), ErrorKind::Denied);
        assert_eq!(kind(Root::open_trusted(&at("absolute/below"), true)), ErrorKind::Denied);
    }
}

#[test]
fn what_was_made_is_opened_and_what_took_its_name_is_not() {
    let p = place();
    symlink(&p.root, b"l", b"x").unwrap();
    let made = open_made(&p.root, b"l", EntryKind::Symlink).unwrap();
    let me = rustix::process::geteuid().as_raw();
    set_owner_made(&made, me, rustix::process::getegid().as_raw()).unwrap();
    make_fifo(&p.root, b"p", 0o600).unwrap();
    let fifo = open_made(&p.root, b"p", EntryKind::Fifo).unwrap();
    set_mode_made(&fifo, 0o640).unwrap();
    assert_eq!(stat(&p.root, b"p").unwrap().mode, 0o640);
    assert_eq!(kind(open_made(&p.root, b"l", EntryKind::Fifo)), ErrorKind::Denied);
    link(&p.root, b"p", &p.root, b"further").unwrap();
    assert_eq!(kind(open_made(&p.root, b"p", EntryKind::Fifo)), ErrorKind::Denied);
}

#[test]
fn names_change_places_and_are_listed_in_order() {
    let p = place();
    create_file(&p.root, b"f", 0o600).unwrap();
    make_dir(&p.root, b"d", 0o700).unwrap();
    exchange(&p.root, b"d", b"f").unwrap();
    assert_eq!(stat(&p.root, b"d").unwrap().kind, EntryKind::File);
    assert_eq!(list(&p.root).unwrap(), [b"a".to_vec(), b"d".to_vec(), b"f".to_vec()]);
    p.root.dir_on_same_mount(b"a/b").unwrap();
    p.root.dir_on_same_mount(b"").unwrap();
    let host = Root::open(Path::new("/")).unwrap();
    assert_eq!(kind(host.dir_on_same_mount(b"proc")), ErrorKind::Unsupported);
}
