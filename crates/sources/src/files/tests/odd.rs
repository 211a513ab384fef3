//! What is rare: times, owners and devices at their limits, very sparse files, very long paths, pseudo files,
//! further names of what is no file.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, lchown, symlink};

use nxs_base::entry::{EntryKind, EntryState};
use nxs_sys::safe;
use rustix::fs::{FileType, Mode, mknodat};

use super::*;

/// Dumps and unpacks the tree; it must be the same. Gives what the dump yielded.
fn round_trip(root: &Path) -> (Collected, DumpReport) {
    let before = Snapshot::take(root);
    let (sink, report) = dump_path(root, &[]);
    let place = untar(&sink.bytes);
    before.assert_same(&Snapshot::take(&unpacked(&place, root)), "what GNU tar unpacked");
    assert_eq!(report.gaps(), 0, "{:?}", report.notes);
    (sink, report)
}

#[test]
fn times_before_the_epoch_and_after_2242_are_kept_to_the_nanosecond() {
    let (_dir, root) = fresh();
    for (i, (sec, nsec)) in [
        (-1, 1),
        (-2_000_000_000, 999_999_999),
        (0, 0),
        (8_589_934_591, 7),
        (8_589_934_592, 0),
        (9_999_999_999, 5),
    ]
    .into_iter()
    .enumerate()
    {
        let (file, dir, link) = (format!("f{i}"), format!("d{i}"), format!("l{i}"));
        fs::write(root.join(&file), "x").unwrap();
        fs::create_dir(root.join(&dir)).unwrap();
        symlink("x", root.join(&link)).unwrap();
        for name in [file, dir, link] {
            set_mtime(&root.join(&name), sec, nsec);
            let meta = fs::symlink_metadata(root.join(&name)).unwrap();
            assert_eq!((meta.mtime(), meta.mtime_nsec()), (sec, nsec.into()), "the file system keeps it");
        }
    }
    set_mtime(&root, -5, 500_000_000);
    round_trip(&root);
}

#[test]
fn owners_beyond_the_header_field_and_devices_at_their_limits_are_kept() {
    if !is_root() {
        println!("SKIP owners and devices: needs root");
        return;
    }
    let (_dir, root) = fresh();
    for (i, (uid, gid)) in [(2_097_151, 2_097_152), (2_097_152, 2_097_151), (4_294_967_294, 4_294_967_294)]
        .into_iter()
        .enumerate()
    {
        let path = root.join(format!("f{i}"));
        fs::write(&path, "x").unwrap();
        lchown(&path, Some(uid), Some(gid)).unwrap();
        symlink("x", root.join(format!("l{i}"))).unwrap();
        lchown(root.join(format!("l{i}")), Some(uid), Some(gid)).unwrap();
    }
    for (name, kind, major, minor) in [
        ("c0", FileType::CharacterDevice, 0, 0),
        ("c1", FileType::CharacterDevice, 4095, 1_048_575),
        ("b0", FileType::BlockDevice, 259, 65_536),
    ] {
        let device = rustix::fs::makedev(major, minor);
        mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o620), device).unwrap();
    }
    let (sink, _) = round_trip(&root);
    let owner = &sink.index.iter().find(|e| e.path.ends_with(b"/c0")).unwrap().meta;
    assert_eq!((owner.uid, owner.kind), (0, EntryKind::CharDevice));
    let mut reader = nxs_archive::tar::TarReader::new(&sink.bytes[..]);
    let header = reader.next().unwrap().unwrap();
    assert_eq!(
        (&header.uname[..], &header.gname[..]),
        (&b"root"[..], &b"root"[..]),
        "names of owners are told"
    );
}

#[test]
fn a_file_of_one_tib_with_three_bytes_of_data_takes_three_blocks() {
    const TIB: u64 = 1 << 40;
    let (_dir, root) = fresh();
    let path = root.join("huge");
    let file = File::create(&path).unwrap();
    if let Err(error) = file.set_len(TIB) {
        println!("SKIP huge file: {error}");
        return;
    }
    for at in [0, 700 << 30, TIB - 1] {
        file.write_all_at(b"x", at).unwrap();
    }
    let (sink, report) = dump_path(&root, &[]);
    assert_eq!(report.notes, []);
    assert_eq!(sink.index[1].meta.size_bytes, TIB);
    assert!(sink.bytes.len() < 64 << 10, "{} bytes", sink.bytes.len());
    let place = untar(&sink.bytes);
    let out = File::open(unpacked(&place, &path)).unwrap();
    let meta = out.metadata().unwrap();
    assert!(meta.len() == TIB && meta.blocks() < 1024, "{} bytes, {} blocks", meta.len(), meta.blocks());
    for at in [0, 700 << 30, TIB - 1] {
        let mut byte = [0];
        out.read_exact_at(&mut byte, at).unwrap();
        assert_eq!(byte, *b"x", "at {at}");
    }
}

#[test]
fn paths_beyond_path_max_keep_their_links_files_and_attributes() {
    let (_dir, root) = fresh();
    let deep = [[b'd'; 250].as_slice(); 20].join(&b'/');
    let safe = safe::Root::open(&root).unwrap();
    let at = safe.dir(&deep, true).unwrap();
    let file = safe::create_file(&at, b"file", 0o600).unwrap();
    file.write_all_at(b"content", 0).unwrap();
    safe::create_file(&at, b"empty", 0o600).unwrap();
    safe::symlink(&at, b"link", b"there").unwrap();
    safe::make_dir(&at, b"dir", 0o700).unwrap();
    for name in [&b"file"[..], b"empty", b"dir"] {
        safe::set_xattr(&at, name, b"user.of", name).unwrap();
    }
    let (sink, report) = dump_path(&root, &[]);
    assert_eq!((report.notes, sink.index.len()), (vec![], 1 + 20 + 4));
    let mut reader = nxs_archive::tar::TarReader::new(&sink.bytes[..]);
    let mut seen = Vec::new();
    while let Some(header) = reader.next().unwrap() {
        let name = header.path.rsplit(|b| *b == b'/').next().unwrap().to_vec();
        if let Some((_, value)) = header.xattrs.first() {
            assert_eq!(*value, name);
        }
        seen.push((String::from_utf8(name).unwrap(), header.xattrs.len(), header.link, header.data_bytes));
    }
    let row = |name: &str, xattrs, link: &[u8], bytes| (name.to_owned(), xattrs, link.to_vec(), bytes);
    assert_eq!(
        seen[21..],
        [row("dir", 1, b"", 0), row("empty", 1, b"", 0), row("file", 1, b"", 7), row("link", 0, b"there", 0)]
    );
}

#[test]
fn links_fifos_and_devices_with_several_names_are_one_again() {
    let (_dir, root) = fresh();
    fs::create_dir(root.join("d")).unwrap();
    symlink("there", root.join("link")).unwrap();
    fs::hard_link(root.join("link"), root.join("d/link")).unwrap();
    rustix::fs::mkfifoat(CWD, root.join("fifo"), Mode::from_raw_mode(0o600)).unwrap();
    fs::hard_link(root.join("fifo"), root.join("d/fifo")).unwrap();
    if is_root() {
        mknodat(CWD, root.join("null"), FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 3))
            .unwrap();
        fs::hard_link(root.join("null"), root.join("d/null")).unwrap();
    }
    round_trip(&root);
    // Without the first name, the next one carries all.
    let (sink, _) = dump_path(&root, &["d"]);
    let kinds: Vec<_> = sink.index[1..].iter().map(|e| e.meta.kind).collect();
    let expected = [EntryKind::Fifo, EntryKind::Symlink, EntryKind::CharDevice];
    assert_eq!(kinds, expected[..if is_root() { 3 } else { 2 }]);
    assert_eq!(sink.index[2].link, b"there");
}

#[test]
fn a_second_name_carries_the_data_when_the_first_is_excluded_in_whatever_directory() {
    let (_dir, root) = fresh();
    for name in ["a", "b", "c"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    for (name, size) in [("small", 5000), ("big", 700 << 10)] {
        fs::write(root.join("a").join(name), noise(size, 9)).unwrap();
        fs::hard_link(root.join("a").join(name), root.join("b").join(name)).unwrap();
        fs::hard_link(root.join("a").join(name), root.join("c").join(name)).unwrap();
    }
    let (sink, report) = dump_path(&root, &["a"]);
    assert_eq!(report.notes, []);
    let place = untar(&sink.bytes);
    let before = Snapshot::take_without(&root, |path, _| path.starts_with(b"a"));
    before.assert_same(&Snapshot::take(&unpacked(&place, &root)), "without the first names");
}

#[test]
fn many_attributes_and_acls_of_directories_are_kept() {
    let (_dir, root) = fresh();
    for name in ["f", "big"] {
        fs::write(root.join(name), noise(if name == "f" { 10 } else { 400 << 10 }, 2)).unwrap();
        for i in 0..40 {
            set_xattr(&root.join(name), &format!("user.{name}.{i}"), &noise(i, 7));
        }
    }
    fs::create_dir(root.join("d")).unwrap();
    let text = b"user::rwx,user:4294967294:r-x,group::r-x,group:7:---,mask::rwx,other::---";
    let acl = nxs_archive::tar::acl::encode(text, |_, _| None).unwrap();
    for name in ["system.posix_acl_access", "system.posix_acl_default"] {
        set_xattr(&root.join("d"), name, &acl);
    }
    fs::create_dir(root.join("d/heir")).unwrap();
    fs::write(root.join("d/heir/f"), "x").unwrap();
    round_trip(&root);
}

#[test]
fn a_target_that_is_a_fifo_or_a_device_is_one_member_and_is_not_opened() {
    let (_dir, root) = fresh();
    let fifo = root.join("fifo");
    rustix::fs::mkfifoat(CWD, &fifo, Mode::from_raw_mode(0o640)).unwrap();
    for (path, kind) in [(fifo.as_path(), EntryKind::Fifo), (Path::new("/dev/null"), EntryKind::CharDevice)] {
        let source = source(&[path.to_str().unwrap()], &[]);
        let target = &targets(&source)[0];
        source.probe(target).unwrap();
        let (sink, report) = dump(&source, target);
        assert_eq!((sink.index.len(), sink.index[0].meta.kind, report.notes), (1, kind, vec![]));
    }
}

#[test]
fn pseudo_files_are_saved_at_the_size_that_they_tell() {
    for path in ["/proc/version", "/proc/self/status"] {
        let (sink, report) = dump_path(Path::new(path), &[]);
        assert_eq!((report.notes, sink.index.len()), (vec![], 1), "{path}");
        let entry = &sink.index[0];
        assert_eq!((entry.meta.size_bytes, entry.state), (0, EntryState::Sound), "{path}");
    }
}
