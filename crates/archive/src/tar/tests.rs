//! Specification of the tar module: tables, round trips, and hostile input.

use nxs_base::ErrorKind;
use nxs_base::entry::{EntryKind, EntryState, FileTime, Meta};
use proptest::prelude::*;

use super::*;

fn file(size_bytes: u64) -> Meta {
    let time = FileTime { sec: 1_700_000_000, nsec: 0 };
    Meta { mode: 0o640, uid: 1000, gid: 100, size_bytes, mtime: time, ctime: time, ino: 7, ..Meta::default() }
}

fn member<'a>(path: &'a [u8], meta: &'a Meta) -> Member<'a> {
    Member {
        path,
        meta,
        link: b"",
        uname: b"",
        gname: b"",
        xattrs: &[],
        acl_access: None,
        acl_default: None,
        sparse: None,
        state: EntryState::Sound,
        dumpdir: None,
    }
}

fn append(out: &mut Vec<u8>, m: &Member<'_>, data: &[u8]) {
    let plan = header(out, m).unwrap();
    assert_eq!(plan.data_bytes, data.len() as u64);
    out.extend_from_slice(data);
    out.resize(out.len() + plan.padding, 0);
}

fn archive(members: &[(Member<'_>, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (m, data) in members {
        append(&mut out, m, data);
    }
    out.extend_from_slice(&TRAILER);
    out
}

fn read_all(bytes: &[u8]) -> nxs_base::Result<Vec<(EntryHeader, Vec<u8>)>> {
    let mut reader = TarReader::new(bytes);
    let mut all = Vec::new();
    while let Some(entry) = reader.next()? {
        let mut data = Vec::new();
        let mut buf = [0; 700];
        loop {
            match reader.read_data(&mut buf)? {
                0 => break,
                n => data.extend_from_slice(&buf[..n]),
            }
        }
        all.push((entry, data));
    }
    Ok(all)
}

fn one(m: &Member<'_>, data: &[u8]) -> EntryHeader {
    let bytes = archive(&[(*m, data)]);
    let mut all = read_all(&bytes).unwrap();
    assert_eq!(all.len(), 1);
    let (entry, got) = all.pop().unwrap();
    assert_eq!(got, data);
    assert_eq!(entry.stored_bytes() as usize + TRAILER.len(), bytes.len());
    entry
}

/// The records of the first extended header, as text.
fn records(bytes: &[u8]) -> String {
    let size = block::number(&bytes[block::SIZE]).unwrap().unwrap() as usize;
    bytes[BLOCK..BLOCK + size].escape_ascii().to_string().replace("\\n", "\n")
}

/// A block with a fitting checksum, for archives that our writer would not write.
fn raw_header(typeflag: u8, name: &[u8], size: u64) -> Vec<u8> {
    let mut b = vec![0; BLOCK];
    block::put_text(&mut b[block::NAME], name);
    block::put_octal(&mut b[block::MODE], 0o644);
    block::put_octal(&mut b[block::SIZE], size);
    b[block::TYPE] = typeflag;
    block::put_text(&mut b[block::MAGIC], block::MAGIC_POSIX);
    block::seal(&mut b);
    b
}

fn padded(content: &[u8]) -> Vec<u8> {
    let mut out = content.to_vec();
    out.resize(content.len() + padding(content.len() as u64), 0);
    out
}

fn pax_block(typeflag: u8, records: &[u8]) -> Vec<u8> {
    [raw_header(typeflag, b"pax", records.len() as u64), padded(records)].concat()
}

fn record(keyword: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    pax::put_record(&mut out, keyword.as_bytes(), value.as_bytes());
    out
}

fn refused(bytes: &[u8]) -> (ErrorKind, String) {
    let error = read_all(bytes).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn a_plain_member_carries_only_ctime_and_comment_as_records() {
    let meta = file(3);
    let bytes = archive(&[(member(b"a.txt", &meta), b"abc")]);
    assert_eq!(records(&bytes), "20 ctime=1700000000\n21 comment=nxs ino=7\n");
    assert_eq!(bytes.len(), 4 * BLOCK + TRAILER.len());
}

#[test]
fn records_appear_only_for_what_the_header_cannot_hold() {
    let mut meta = file(0);
    meta.mtime = FileTime { sec: -2, nsec: 500_000_000 };
    meta.ctime = FileTime { sec: -1, nsec: 0 };
    meta.uid = 2_097_152;
    meta.gid = 2_097_151;
    let long = [b'u'; 32];
    let mut m = member(b"x", &meta);
    (m.uname, m.gname) = (&long, &long[..31]);
    m.state = EntryState::Racy;
    let xattrs = [(b"user.a=b%".to_vec(), b"1\n2".to_vec())];
    m.xattrs = &xattrs;
    m.acl_access = Some(b"user::rwx\n");
    let bytes = archive(&[(m, b"")]);
    let expected = format!(
        "15 uid=2097152\n42 uname={}\n14 mtime=-1.5\n12 ctime=-1\n32 comment=nxs ino=7 state=racy\n\
         32 SCHILY.acl.access=user::rwx\n\n34 SCHILY.xattr.user.a%3Db%25=1\n2\n",
        "u".repeat(32)
    );
    assert_eq!(records(&bytes), expected);
    let entry = one(&m, b"");
    assert_eq!((entry.meta, entry.state, entry.xattrs), (meta, EntryState::Racy, xattrs.to_vec()));
    assert_eq!((entry.uname.as_slice(), entry.gname.as_slice()), (m.uname, m.gname));
}

#[test]
fn times_are_kept_to_the_nanosecond_on_both_sides_of_the_epoch() {
    let cases =
        [(0, 1), (-1, 999_999_999), (-1, 1), (-5, 0), (8_589_934_592, 0), (i64::MAX, 5), (i64::MIN + 1, 7)];
    for (sec, nsec) in cases {
        let mut meta = file(0);
        meta.mtime = FileTime { sec, nsec };
        meta.ctime = FileTime { sec: sec.saturating_sub(1), nsec };
        assert_eq!(one(&member(b"t", &meta), b"").meta, meta, "{sec}.{nsec}");
    }
    assert_eq!(pax::time(b"1.1234567899"), Some(FileTime { sec: 1, nsec: 123_456_789 }));
    assert_eq!(pax::time(b"-0.9999999999"), Some(FileTime { sec: -1, nsec: 0 }));
    for bad in [&b""[..], b"-", b"1.x", b"1e5", b"+1", b" 1", b".5", b"99999999999999999999"] {
        assert_eq!(pax::time(bad), None, "{}", bad.escape_ascii());
    }
}

#[test]
fn names_use_the_header_then_the_prefix_then_a_record() {
    let component = |n| "n".repeat(n);
    let cases = [
        (component(100), false),
        (component(101), true),
        (format!("{}/{}", component(155), component(100)), false),
        (format!("{}/{}", component(156), component(100)), true),
        (format!("{}/{}", component(10), component(101)), true),
        (format!("a/{}", component(100)), false),
    ];
    for (path, needs_record) in cases {
        let meta = file(0);
        let m = member(path.as_bytes(), &meta);
        let bytes = archive(&[(m, b"")]);
        assert_eq!(records(&bytes).contains(" path="), needs_record, "{path}");
        assert_eq!(one(&m, b"").path, path.as_bytes());

        // A directory needs one byte more for its slash.
        let dir = Meta { kind: EntryKind::Dir, size_bytes: 0, ..meta };
        assert_eq!(one(&member(path.as_bytes(), &dir), b"").path, path.as_bytes());
    }
    let dir = Meta { kind: EntryKind::Dir, ..file(0) };
    let path = component(100);
    let bytes = archive(&[(member(path.as_bytes(), &dir), b"")]);
    assert!(records(&bytes).contains(&format!("111 path={path}/\n")));
}

#[test]
fn bytes_that_are_no_text_travel_as_they_are() {
    let meta = file(0);
    let path = [&b"\xff\xfe="[..], &[b'\n'; 120], b"\x80"].concat();
    assert_eq!(one(&member(&path, &meta), b"").path, path);
    assert_eq!(one(&member(b"k\xd6ln", &meta), b"").path, b"k\xd6ln");
}

#[test]
fn every_kind_comes_back_with_its_link_and_device() {
    for (kind, link, rdev) in [
        (EntryKind::Dir, &b""[..], (0, 0)),
        (EntryKind::Symlink, b"../somewhere//else/", (0, 0)),
        (EntryKind::Symlink, &[b'l'; 101], (0, 0)),
        (EntryKind::HardLink, b"first/name", (0, 0)),
        (EntryKind::Fifo, b"", (0, 0)),
        (EntryKind::CharDevice, b"", (1, 3)),
        (EntryKind::BlockDevice, b"", (259, 1_048_575)),
    ] {
        let meta = Meta { kind, rdev_major: rdev.0, rdev_minor: rdev.1, ..file(0) };
        let mut m = member(b"some/path", &meta);
        m.link = link;
        let entry = one(&m, b"");
        assert_eq!((entry.meta, entry.link.as_slice()), (meta, link));
    }
}

#[test]
fn sizes_of_eight_gib_and_more_stand_in_a_record() {
    for size in [0o77_777_777_777, 1 << 33, i64::MAX as u64 - 10_000] {
        let meta = file(size);
        let mut bytes = Vec::new();
        let plan = header(&mut bytes, &member(b"big", &meta)).unwrap();
        assert_eq!((plan.data_bytes, plan.padding), (size, padding(size)));
        assert_eq!(records(&bytes).contains(" size="), size >= 1 << 33);
        let entry = TarReader::new(&bytes[..]).next().unwrap().unwrap();
        assert_eq!((entry.meta.size_bytes, entry.data_bytes), (size, size));
    }
}

#[test]
fn sparse_files_keep_their_map_and_store_only_data() {
    let k = 1024;
    let cases: [(u64, Vec<Extent>); 6] = [
        (100 * k, vec![Extent { offset: 0, len: k }, Extent { offset: 50 * k, len: 2 * k }]),
        (100 * k, vec![]),
        (100 * k + 5, vec![Extent { offset: 100 * k, len: 5 }]),
        (100 * k, vec![Extent { offset: k, len: 0 }, Extent { offset: 2 * k, len: k }]),
        (1 << 40, vec![Extent { offset: (1 << 40) - 512, len: 512 }]),
        (1 << 30, (0..100).map(|i| Extent { offset: i * 10 * k, len: 512 }).collect()),
    ];
    for (size, extents) in cases {
        let meta = file(size);
        let mut m = member(b"dir/disk.img", &meta);
        m.sparse = Some(&extents);
        let data = vec![b'd'; extents.iter().map(|e| e.len).sum::<u64>() as usize];
        let entry = one(&m, &data);
        let filled: Vec<Extent> = extents.iter().copied().filter(|e| e.len != 0).collect();
        assert_eq!((entry.path.as_slice(), entry.meta.size_bytes), (m.path, size));
        assert_eq!(entry.sparse, Some(filled));
    }
    let meta = file(1024);
    let mut m = member(b"full", &meta);
    let whole = [Extent { offset: 0, len: 512 }, Extent { offset: 512, len: 512 }];
    m.sparse = Some(&whole);
    assert_eq!(one(&m, &[1; 1024]).sparse, None);
}

#[test]
fn a_sparse_member_of_eight_gib_of_data_counts_its_map_in_the_size_record() {
    let size = 1 << 40;
    let extents = [Extent { offset: 512, len: 1 << 33 }];
    let meta = file(size);
    let mut m = member(b"d", &meta);
    m.sparse = Some(&extents);
    let mut bytes = Vec::new();
    assert_eq!(header(&mut bytes, &m).unwrap().data_bytes, 1 << 33);
    assert!(records(&bytes).contains(&format!(" size={}\n", (1_u64 << 33) + 512)));
    let entry = TarReader::new(&bytes[..]).next().unwrap().unwrap();
    assert_eq!((entry.data_bytes, entry.meta.size_bytes), (1 << 33, size));
    assert_eq!(entry.data_offset, bytes.len() as u64);
}

#[test]
fn extents_are_widened_to_blocks_and_joined() {
    let e = |offset, len| Extent { offset, len };
    let cases = [
        (vec![e(10, 10)], 5000, vec![e(0, 512)]),
        (vec![e(10, 10), e(600, 10)], 5000, vec![e(0, 1024)]),
        (vec![e(10, 10), e(1024, 10)], 1030, vec![e(0, 512), e(1024, 6)]),
        (vec![e(0, 4096), e(4096, 0), e(8192, 4096)], 9000, vec![e(0, 4096), e(8192, 808)]),
        (vec![e(0, 100), e(50, 1000), e(9000, 5)], 5000, vec![e(0, 1536)]),
        (vec![e(u64::MAX - 5, 100)], u64::MAX, vec![e(u64::MAX - 511, 511)]),
    ];
    for (mut extents, size, expected) in cases {
        align_extents(&mut extents, size);
        assert_eq!(extents, expected);
    }
}

#[test]
fn a_dumpdir_of_any_size_comes_back_in_full() {
    let meta = Meta { kind: EntryKind::Dir, ..file(0) };
    for names in [b"\0".to_vec(), b"Ya\0Db\0\0".to_vec(), b"Yfile\0".repeat(1_000_000)] {
        let mut m = member(b"dir", &meta);
        m.dumpdir = Some(&names);
        assert_eq!(one(&m, b"").dumpdir, Some(names));
    }
}

#[test]
fn the_writer_refuses_what_no_tar_could_hold_and_leaves_the_buffer_alone() {
    let meta = file(2000);
    let link = Meta { kind: EntryKind::Symlink, ..file(0) };
    let base = member(b"p", &meta);
    let big = [(b"user.x".to_vec(), vec![0; MAX_PAX_BYTES])];
    let unaligned = [Extent { offset: 0, len: 5 }, Extent { offset: 1000, len: 5 }];
    let overlap = [Extent { offset: 512, len: 512 }, Extent { offset: 512, len: 512 }];
    let outside = [Extent { offset: 1990, len: 512 }];
    let overflow = [Extent { offset: u64::MAX, len: 512 }];
    let cases = [
        Member { path: b"", ..base },
        Member { path: b"a/", ..base },
        Member { path: b"a\0", ..base },
        Member { link: b"t", ..base },
        Member { meta: &link, ..base },
        Member { xattrs: &big, ..base },
        Member { sparse: Some(&unaligned), ..base },
        Member { sparse: Some(&overlap), ..base },
        Member { sparse: Some(&outside), ..base },
        Member { sparse: Some(&overflow), ..base },
    ];
    for (i, m) in cases.iter().enumerate() {
        let mut out = b"before".to_vec();
        assert!(header(&mut out, m).is_err(), "case {i}");
        assert_eq!(out, b"before");
    }
}

#[test]
fn a_size_record_governs_what_is_skipped() {
    let bytes = [
        pax_block(b'x', &record("size", "600")),
        raw_header(b'0', b"a", 3),
        padded(&[b'x'; 600]),
        raw_header(b'0', b"b", 2),
        padded(b"hi"),
        TRAILER.to_vec(),
    ]
    .concat();
    let all = read_all(&bytes).unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].0.meta.size_bytes, all[1].1.as_slice()), (600, &b"hi"[..]));
    assert_eq!(all[1].0.offset, 2 * 512 + 512 + 1024);
}

#[test]
fn global_records_hold_until_a_member_says_otherwise() {
    let global = [record("uid", "4000000"), record("mtime", "5.5"), record("comment", "0123abcd")].concat();
    let bytes = [
        pax_block(b'g', &global),
        raw_header(b'0', b"a", 0),
        pax_block(b'x', &[record("uid", "1"), record("mtime", "")].concat()),
        raw_header(b'0', b"b", 0),
        TRAILER.to_vec(),
    ]
    .concat();
    let all = read_all(&bytes).unwrap();
    assert_eq!((all[0].0.meta.uid, all[0].0.meta.mtime), (4_000_000, FileTime { sec: 5, nsec: 500_000_000 }));
    assert_eq!((all[1].0.meta.uid, all[1].0.meta.mtime), (1, FileTime::default()));
    assert_eq!((all[0].0.offset, all[1].0.offset), (1024, 1536));
}

#[test]
fn old_headers_are_read_with_long_names_and_binary_numbers() {
    let mut old = raw_header(b'0', b"short", 3);
    block::put_text(&mut old[block::MAGIC], b"ustar  \0");
    old[block::UID].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
    old[block::MTIME]
        .copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]);
    // What old GNU headers keep where ustar has its prefix.
    block::put_text(&mut old[block::PREFIX], b"14723442034\0");
    block::seal(&mut old);
    let long = [b'p'; 300];
    let bytes = [
        raw_header(b'L', b"././@LongLink", 301),
        padded(&[&long[..], b"\0"].concat()),
        old,
        padded(b"abc"),
        raw_header(b'V', b"label", 0),
        raw_header(b'\0', b"v7dir/", 0),
        raw_header(b'5', b"./", 0),
        TRAILER.to_vec(),
    ]
    .concat();
    let all = read_all(&bytes).unwrap();
    assert_eq!((all[0].0.path.as_slice(), all[0].0.meta.uid), (&long[..], i32::MAX as u32));
    assert_eq!((all[0].0.meta.mtime.sec, all[0].1.as_slice()), (-2, &b"abc"[..]));
    assert_eq!((all[1].0.path.as_slice(), all[1].0.meta.kind), (&b"v7dir"[..], EntryKind::Dir));
    assert_eq!(all[2].0.path, b".");
}

#[test]
fn hostile_headers_are_refused_with_the_reason() {
    let corrupt = |parts: &[Vec<u8>], reason: &str| {
        let (kind, text) = refused(&[&parts.concat()[..], &TRAILER].concat());
        assert_eq!(kind, ErrorKind::Corrupt, "{text}");
        assert!(text.contains(reason), "{text} / {reason}");
    };
    let mut damaged = raw_header(b'0', b"a", 0);
    damaged[3] = b'z';
    corrupt(&[damaged], "checksum");
    let mut negative = raw_header(b'0', b"a", 0);
    negative[block::SIZE].fill(0xff);
    block::seal(&mut negative);
    corrupt(&[negative], "negative");
    corrupt(&[raw_header(b'x', b"a", 5 << 20), vec![0; 6 << 20]], "malformed");
    corrupt(&[raw_header(b'x', b"a", 0o77_777_777_777)], "absurdly large");
    let comment = record("comment", &"c".repeat(5 << 20));
    corrupt(&[pax_block(b'x', &comment), raw_header(b'0', b"a", 0)], "absurdly large");
    corrupt(&[raw_header(b'L', b"a", 2 << 20)], "absurdly long");
    corrupt(&[pax_block(b'x', &record("size", "-1"))], "`-1`");
    corrupt(&[pax_block(b'x', &record("size", "18446744073709551616"))], "as `size`");
    corrupt(
        &[pax_block(b'x', &record("size", "9223372036854775807")), raw_header(b'0', b"a", 0)],
        "out of range",
    );
    corrupt(&[pax_block(b'x', &record("path", "a\0b"))], "path");
    corrupt(&[pax_block(b'x', &record("uid", "4294967296"))], "uid");
    for keyword in ["size", "SCHILY.xattr.user.a", "SCHILY.acl.access", "RHT.security.selinux"] {
        corrupt(&[pax_block(b'g', &record(keyword, "1"))], "global");
    }
    corrupt(&[pax_block(b'g', &record("comment", &"c".repeat(65 << 10)))], "absurdly large");
    // Many headers of one member count as one.
    let part = pax_block(b'x', &record("comment", &"c".repeat(1 << 20)));
    corrupt(&[part.clone(), part.clone(), part.clone(), part, raw_header(b'0', b"a", 0)], "absurdly large");
    corrupt(&[pax_block(b'x', &record("uid", "1"))], "ends after");
    corrupt(&[raw_header(b'0', b"", 0)], "no name");
    corrupt(&[raw_header(b'2', b"l", 0)], "no target");
    corrupt(&[raw_header(b'5', b"d/", 10), vec![0; 512]], "states a size");
    corrupt(&[vec![0; 512], raw_header(b'0', b"a", 0)], "single block");
    for records in ["5 a=b\n", "7 a=b\n", "06 a=b", "x a=b\n", "4 =\n", "99999999999999999999999 a=b\n", "2 "]
    {
        corrupt(&[pax_block(b'x', records.as_bytes())], "malformed");
    }
    let (kind, text) = refused(&raw_header(b'M', b"a", 0));
    assert_eq!((kind, text.contains("`M`")), (ErrorKind::Unsupported, true), "{text}");
}

#[test]
fn hostile_sparse_maps_are_refused() {
    let sparse = |major: &str, real: &str, map: &str| {
        let records = [
            record("GNU.sparse.major", major),
            record("GNU.sparse.minor", "0"),
            record("GNU.sparse.realsize", real),
            record("GNU.sparse.name", "s"),
        ];
        let map = padded(map.as_bytes());
        [pax_block(b'x', &records.concat()), raw_header(b'0', b"n", map.len() as u64), map, TRAILER.to_vec()]
            .concat()
    };
    assert!(read_all(&sparse("1", "10", "1\n10\n0\n")).is_ok());
    for (major, real, map) in [
        ("1", "10", "1\n11\n0\n"),
        ("1", "10", "1\n0\n5\n"),
        ("1", "10", "2\n5\n0\n4\n0\n"),
        ("1", "10", "9999999999\n"),
        ("1", "10", "1\n\n0\n"),
        ("1", "10", "2\n10\n0\n"),
        ("1", "10", ""),
        ("1", "99999999999999999999", "1\n10\n0\n"),
        ("1", "18446744073709551615", "1\n18446744073709551615\n1\n"),
        ("2", "10", "1\n10\n0\n"),
    ] {
        assert!(read_all(&sparse(major, real, map)).is_err(), "{major} {real} {map:?}");
    }
}

#[test]
fn after_an_error_there_are_only_errors() {
    let mut bytes = archive(&[]);
    bytes[0] = 1;
    let mut reader = TarReader::new(&bytes[..]);
    assert!(reader.next().is_err());
    assert!(reader.next().is_err());
    assert!(reader.read_data(&mut [0; 4]).is_err());
}

#[test]
fn safe_paths_stay_below_the_root() {
    for (path, safe) in [
        ("a", "a"),
        ("/etc//x/", "etc/x"),
        ("./a/./b", "a/b"),
        ("///a", "a"),
        ("...", "..."),
        ("a..b/..c", "a..b/..c"),
    ] {
        assert_eq!(safe_path(path.as_bytes()).unwrap(), safe.as_bytes());
    }
    for path in ["", "/", ".", "./", "..", "a/..", "../a", "a/../b", "/..", "a\0b"] {
        assert_eq!(safe_path(path.as_bytes()).unwrap_err().kind(), ErrorKind::Invalid, "{path:?}");
    }
}

fn sample() -> Vec<u8> {
    let long = "d/".repeat(200) + "file";
    let mut meta = file(700);
    meta.mtime.nsec = 1;
    let dir = Meta { kind: EntryKind::Dir, ..file(0) };
    let xattrs = [(b"user.a".to_vec(), vec![0, 255, 10]), (b"user.b".to_vec(), vec![])];
    let extents = [Extent { offset: 512, len: 188 }];
    let whole = member(long.as_bytes(), &meta);
    archive(&[
        (Member { dumpdir: Some(b"Yfile\0\0"), ..member(b"dir", &dir) }, b""),
        (Member { xattrs: &xattrs, acl_access: Some(b"user::rw-\n"), ..whole }, &[7; 700]),
        (Member { sparse: Some(&extents), path: b"sparse", ..whole }, &[8; 188]),
    ])
}

#[test]
fn an_archive_cut_anywhere_is_an_error() {
    let bytes = sample();
    assert_eq!(read_all(&bytes).unwrap().len(), 3);
    for len in 0..bytes.len() {
        assert_eq!(read_all(&bytes[..len]).unwrap_err().kind(), ErrorKind::Corrupt, "cut at {len}");
    }
}

#[test]
fn acls_go_to_text_and_back() {
    let text = b"user::rwx\nuser:1000:r-x\ngroup::r--\ngroup:7:-w-\nmask::rwx\nother::---\n";
    let no_names = |_, _: &[u8]| None;
    let raw = acl::encode(text, no_names).unwrap();
    assert_eq!(raw.len(), 4 + 6 * 8);
    assert_eq!(&raw[..12], &[2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255]);
    assert_eq!(acl::decode(&raw).unwrap(), text);
    let shuffled = b"o::-,m::rwx,g:7:w,g::r # effective\n u:bob:rx,u::7\n";
    let bob = |who, name: &[u8]| (who == acl::Qualifier::User && name == b"bob").then_some(1000);
    assert_eq!(acl::encode(shuffled, bob).unwrap(), raw);
    let star = b"user::rwx,user:gone:r-x:1000,group::r--,group:7:-w-,mask::rwx,other::---";
    assert_eq!(acl::encode(star, no_names).unwrap(), raw);
    assert_eq!(acl::encode(shuffled, no_names).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn malformed_acls_are_refused() {
    for text in [
        "",
        "user::rwx",
        "user::rwx,group::r--,other::---,other::---",
        "user::rwx,user:5:r--,group::r--,other::---",
        "user::rwx,user:5:r--,user:5:r--,group::r--,mask::r,other::---",
        "user::rwz,group::r--,other::---",
        "user:rwx,group::r--,other::---",
        "user:4294967295:rwx,user::rwx,group::r--,mask::r,other::---",
        "user::8,group::r--,other::---",
        "none::r,user::7,group::r--,other::---",
    ] {
        let error = acl::encode(text.as_bytes(), |_, _| Some(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{text}");
    }
    for raw in [
        &b""[..],
        &[1, 0, 0, 0],
        &[2, 0, 0, 0, 1],
        &[2, 0, 0, 0, 3, 0, 7, 0, 0, 0, 0, 0],
        &[2, 0, 0, 0, 1, 0, 8, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(acl::decode(raw).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

prop_compose! {
    fn any_path()(parts in prop::collection::vec(prop::collection::vec(1..=255_u8, 1..60), 1..8)) -> Vec<u8> {
        let parts: Vec<Vec<u8>> = parts
            .into_iter()
            .map(|part| part.into_iter().map(|b| if b == b'/' { b'_' } else { b }).collect())
            .collect();
        parts.join(&b'/')
    }
}

fn any_time() -> impl Strategy<Value = FileTime> {
    (-10_000_000_000..20_000_000_000_i64, prop_oneof![Just(0), 0..1_000_000_000_u32])
        .prop_map(|(sec, nsec)| FileTime { sec, nsec })
}

prop_compose! {
    fn any_meta()(mode in 0..0o10_000_u32, uid: u32, gid: u32, mtime in any_time(), ctime in any_time(), ino: u64)
        -> Meta {
        Meta { mode, uid, gid, mtime, ctime, ino, ..Meta::default() }
    }
}

type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

fn any_xattrs() -> impl Strategy<Value = Attributes> {
    let name = prop::collection::vec(1..=255_u8, 1..40);
    let value = prop::collection::vec(any::<u8>(), 0..300);
    prop::collection::btree_map(name, value, 0..4).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        path in any_path(),
        link in any_path(),
        meta in any_meta(),
        xattrs in any_xattrs(),
        kind in 0..4_u8,
        data in prop::collection::vec(any::<u8>(), 0..2000),
        extents in prop::collection::vec((0..40_000_u64, 0..3000_u64), 0..6),
        owner in prop::collection::vec(1..=255_u8, 0..60),
        state in 0..3_u8,
    ) {
        let mut meta = meta;
        let state = [EntryState::Sound, EntryState::Racy, EntryState::Gap][usize::from(state)];
        let mut map: Vec<Extent> = extents.into_iter().map(|(offset, len)| Extent { offset, len }).collect();
        map.sort_by_key(|e| e.offset);
        let (mut content, mut written_map, mut dumpdir, mut target) = (Vec::new(), None, None, &b""[..]);
        match kind {
            0 => {
                meta.size_bytes = data.len() as u64;
                content = data;
            }
            1 => {
                meta.size_bytes = 40_000;
                align_extents(&mut map, meta.size_bytes);
                content = vec![b's'; map.iter().map(|e| e.len).sum::<u64>() as usize];
                written_map = Some(map);
            }
            2 => {
                meta.kind = EntryKind::Dir;
                dumpdir = Some(data);
            }
            _ => {
                meta.kind = EntryKind::Symlink;
                target = &link;
            }
        }
        let m = Member {
            xattrs: &xattrs,
            uname: &owner,
            gname: &owner,
            link: target,
            state,
            sparse: written_map.as_deref(),
            dumpdir: dumpdir.as_deref(),
            ..member(&path, &meta)
        };
        let expected_map = written_map.clone().filter(|_| content.len() as u64 != meta.size_bytes);
        let entry = one(&m, &content);
        prop_assert_eq!(&entry.path, &path);
        prop_assert_eq!(entry.meta, meta);
        prop_assert_eq!(entry.link.as_slice(), m.link);
        prop_assert_eq!(&entry.xattrs, &xattrs);
        prop_assert_eq!((&entry.uname, &entry.gname), (&owner, &owner));
        prop_assert_eq!(entry.state, state);
        prop_assert_eq!(entry.sparse, expected_map);
        prop_assert_eq!(entry.dumpdir.as_deref(), m.dumpdir);
    }

    #[test]
    fn flipped_bytes_never_break_the_reader(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = sample();
        for (at, value) in &flips {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        // Whether the checksums are right or made right, there is an answer, never a panic.
        drop(read_all(&bytes));
        let seals: Vec<usize> = (0..bytes.len() / BLOCK)
            .filter(|i| bytes[i * BLOCK + block::MAGIC.start..].starts_with(b"ustar"))
            .collect();
        for i in seals {
            block::seal(&mut bytes[i * BLOCK..(i + 1) * BLOCK]);
        }
        if let Ok(all) = read_all(&bytes) {
            prop_assert!(all.iter().all(|(entry, data)| entry.data_bytes == data.len() as u64));
        }
    }

    #[test]
    fn bytes_at_random_never_break_the_reader(records in prop::collection::vec(any::<u8>(), 0..200), kind: u8) {
        let bytes = [pax_block(b'x', &records), raw_header(kind, b"n", 100), padded(&records), TRAILER.to_vec()];
        drop(read_all(&bytes.concat()));
        drop(read_all(&records));
        drop(safe_path(&records));
    }

    #[test]
    fn acls_of_any_bytes_never_break(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(raw) = acl::decode(&bytes).and_then(|text| acl::encode(&text, |_, _| None)) {
            prop_assert_eq!(raw.len(), bytes.len());
        }
        drop(acl::encode(&bytes, |_, _| None));
    }
}
