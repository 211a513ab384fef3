//! GNU tar extracts the archive, and the tree equals the original.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use nxs_base::entry::{EntryKind, path_order};
use rustix::fs::{FileType, Mode, mknodat};

use super::*;

const KIB: usize = 1 << 10;

/// One of everything, below `root`.
fn build(root: &Path) {
    for dir in ["a/deep/er", "a.b", "a-b", "empty", "many"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for (name, size) in [
        ("zero", 0),
        ("one", 1),
        ("block", 512),
        ("a/small", 5 * KIB),
        ("a/limit", 256 * KIB),
        ("a/above", 256 * KIB + 1),
        ("a/deep/big", 1536 * KIB + 7),
        ("a.b/x", 10),
        ("a-b/x", 11),
    ] {
        fs::write(root.join(name), noise(size, size as u64)).unwrap();
    }
    for i in 0..300 {
        fs::write(root.join(format!("many/{i:03}")), noise(i * 40, i as u64)).unwrap();
    }
    fs::write(root.join(as_path(b"caf\xe9\n\"'\\ $")), "odd").unwrap();
    let long = format!("{}/{}", "d".repeat(200), "e".repeat(200));
    fs::create_dir_all(root.join(&long)).unwrap();
    fs::write(root.join(&long).join("f".repeat(250)), "long").unwrap();
    symlink("a/small", root.join("link")).unwrap();
    symlink("no/where", root.join("dangling")).unwrap();
    symlink("t".repeat(180), root.join("long link")).unwrap();
    fs::hard_link(root.join("a/small"), root.join("z hard")).unwrap();
    fs::hard_link(root.join("a/small"), root.join("a/deep/er/hard")).unwrap();
    fs::hard_link(root.join("a/deep/big"), root.join("z big")).unwrap();
    rustix::fs::mkfifoat(CWD, root.join("fifo"), Mode::from_raw_mode(0o640)).unwrap();
    let mut sparse = File::create(root.join("sparse")).unwrap();
    sparse.seek(SeekFrom::Start(3 << 20)).unwrap();
    sparse.write_all(b"middle").unwrap();
    sparse.set_len(8 << 20).unwrap();
    File::create(root.join("hole")).unwrap().set_len(1 << 20).unwrap();
    rustix::fs::chmod(root.join("one"), Mode::from_raw_mode(0o4751)).unwrap();
    rustix::fs::chmod(root.join("empty"), Mode::from_raw_mode(0o1777)).unwrap();
    rustix::fs::chmod(root.join("block"), Mode::from_raw_mode(0o400)).unwrap();
    for path in ["a/small", "a", "a/above", "zero"] {
        set_xattr(&root.join(path), "user.note", path.as_bytes());
    }
    set_xattr(&root.join("one"), "user.b=%25\u{e9}", &noise(1500, 3));
    let acl =
        nxs_archive::tar::acl::encode(b"user::rw-,user:1234:r--,group::r-x,mask::r-x,other::---", |_, _| {
            None
        })
        .unwrap();
    set_xattr(&root.join("a.b/x"), "system.posix_acl_access", &acl);
    set_xattr(&root.join("a-b"), "system.posix_acl_default", &acl);
    if is_root() {
        set_xattr(&root.join("a/above"), "trusted.t", b"\0\xff");
        set_xattr(&root.join("link"), "trusted.t", b"of a link");
        set_xattr(&root.join("a/above"), "security.NTACL", b"\x04\0\x04");
        let net_raw = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        set_xattr(&root.join("a/deep/big"), "security.capability", &net_raw);
        mknodat(
            CWD,
            root.join("null"),
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            rustix::fs::makedev(1, 3),
        )
        .unwrap();
        for (path, uid, gid) in [("one", 1, 2), ("a", 4_000_000, 65_534), ("link", 12_345, 3)] {
            std::os::unix::fs::lchown(root.join(path), Some(uid), Some(gid)).unwrap();
        }
        rustix::fs::chmod(root.join("one"), Mode::from_raw_mode(0o4751)).unwrap();
    }
    for (path, sec, nsec) in [
        ("a/small", 1, 1),
        ("one", 1_500_000_000, 999_999_999),
        ("link", 1_234_567_890, 120_000_000),
        ("zero", 5_000_000_000, 5),
        ("a/deep", 1_000_000_000, 0),
    ] {
        set_mtime(&root.join(path), sec, nsec);
    }
}

#[test]
fn gnu_tar_extracts_the_tree_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().join("tree");
    build(&root);
    let before = Snapshot::take(&root);
    let (sink, report) = dump_path(&root, &[]);
    assert_eq!(report.notes, []);
    assert_eq!(report.files + report.dirs, before.nodes.len() as u64);
    // Holes take no room in the archive.
    assert!(sink.bytes.len() < 9 << 20, "{} bytes", sink.bytes.len());
    let place = untar(&sink.bytes);
    before.assert_same(&Snapshot::take(&unpacked(&place, &root)), "what GNU tar unpacked");
}

#[test]
fn the_index_is_in_order_and_leads_to_every_member() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().join("tree");
    build(&root);
    let (sink, _) = dump_path(&root, &[]);
    assert!(sink.index.windows(2).all(|w| path_order(&w[0].path, &w[1].path).is_lt()));
    let mut end = 0;
    for entry in &sink.index {
        assert_eq!(entry.offset, end, "members follow each other");
        end += entry.stored_bytes;
        let member = &sink.bytes[entry.offset as usize..end as usize];
        let mut reader = nxs_archive::tar::TarReader::new(member);
        let header = reader.next().unwrap().unwrap();
        assert_eq!(header.path, entry.path);
        assert_eq!(header.meta.kind, entry.meta.kind);
        assert_eq!(header.meta.size_bytes, entry.meta.size_bytes);
        assert_eq!(header.link, entry.link);
    }
    assert_eq!(end as usize + 1024, sink.bytes.len());
    let offsets: Vec<u64> = sink.index.iter().map(|e| e.offset).collect();
    assert_eq!(sink.cuts, offsets, "every member is a place to cut");
}

#[test]
fn further_names_of_a_file_are_links_to_its_first_name_in_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    fs::write(root.join("a"), "x").unwrap();
    fs::hard_link(root.join("a"), root.join("b")).unwrap();
    fs::hard_link(root.join("a"), root.join("c")).unwrap();
    let shown = |excludes: &[&str]| -> Vec<(EntryKind, String)> {
        let (sink, _) = dump_path(&root, excludes);
        let link = |e: &IndexEntry| String::from_utf8_lossy(&e.link).rsplit('/').next().unwrap().to_owned();
        sink.index[1..].iter().map(|e| (e.meta.kind, link(e))).collect()
    };
    let (file, link) = (EntryKind::File, EntryKind::HardLink);
    assert_eq!(shown(&[]), [(file, "".into()), (link, "a".into()), (link, "a".into())]);
    assert_eq!(shown(&["a"]), [(file, "".into()), (link, "b".into())]);
}

#[test]
fn a_socket_is_a_note_and_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let _listener = UnixListener::bind(root.join("s")).unwrap();
    fs::write(root.join("t"), "x").unwrap();
    let (sink, report) = dump_path(&root, &[]);
    assert_eq!(notes(&report, &root), [(NoteKind::Socket, "s".to_owned())]);
    assert_eq!((report.gaps(), sink.index.len()), (0, 2));
    let (sink, report) = dump_path(&root.join("s"), &[]);
    assert_eq!((report.counts[&NoteKind::Socket], sink.bytes.len()), (1, 1024));
}
