//! Valid input for every parser: what mutations begin with.

use std::fs;
use std::path::{Path, PathBuf};

use nxs_archive::frames::{Codec, FrameWriter, plain_hash};
use nxs_archive::index::{IndexStart, IndexWriter};
use nxs_archive::mongodump::{Collection, Prelude, Writer};
use nxs_archive::tar::{Extent, Member, TRAILER, header};
use nxs_base::entry::{EntryKind, EntryState, FileTime, IndexEntry, Meta};
use nxs_testkit::Rng;

use crate::targets::blocks::{disassemble, disassemble_all};
use crate::targets::chains::{AS_IT_IS, OURS, pack_chain};

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(path)
}

/// All files below a directory, in order.
fn files(dir: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .flat_map(|path| if path.is_dir() { files(path) } else { vec![fs::read(path).unwrap()] })
        .collect()
}

fn meta(kind: EntryKind, size_bytes: u64) -> Meta {
    let mtime = FileTime { sec: 1_600_000_000, nsec: 120_000_000 };
    let ctime = FileTime { sec: -5, nsec: 1 };
    Meta { kind, mode: 0o644, uid: 3_000_000, gid: 33, size_bytes, mtime, ctime, ino: 99, ..Meta::default() }
}

/// Archives of mongodump with collections in turn, in pieces of some sizes, and bare documents.
pub(crate) fn mongodump() -> Vec<Vec<u8>> {
    let collection = |name: &str, kind: &str| Collection {
        db: "d".into(),
        name: name.into(),
        metadata: "{\"indexes\":[]}".into(),
        kind: kind.into(),
    };
    let prelude = Prelude {
        concurrent_collections: 1,
        server_version: "7.0.14".into(),
        tool_version: "t".into(),
        collections: vec![
            collection("a", "collection"),
            collection("s", "timeseries"),
            collection("v", "view"),
        ],
    };
    let document = b"\x0c\0\0\0\x10n\0\x07\0\0\0\0";
    let (mut writer, mut bytes) = Writer::new(&prelude).unwrap();
    for place in [0, 1, 0] {
        bytes.extend(writer.documents(place, document));
        bytes.extend(document);
    }
    (0..3).for_each(|place| bytes.extend(writer.end(place)));
    writer.finish().unwrap();
    let with_size = |size: u8, bytes: &[u8]| [&[size], bytes].concat();
    vec![with_size(255, &bytes), with_size(2, &bytes), with_size(9, &document.repeat(5))]
}

/// Archives of the program's own, and one of the old kinds that it reads.
pub(crate) fn tar() -> Vec<Vec<u8>> {
    let xattrs = [(b"user.a=%".to_vec(), b"value\0\xff".to_vec())];
    let long = "deep/".repeat(60);
    let acl = b"user::rwx\nuser:1000:r-x\ngroup::r-x\nmask::r-x\nother::---\n";
    let (dir, file, device) =
        (meta(EntryKind::Dir, 0), meta(EntryKind::File, 700), meta(EntryKind::CharDevice, 0));
    let (link, sparse) = (meta(EntryKind::Symlink, 0), meta(EntryKind::File, 10_000));
    let plain = Member {
        path: b"srv/a",
        meta: &file,
        link: b"",
        uname: b"www-data",
        gname: b"",
        xattrs: &[],
        acl_access: None,
        acl_default: None,
        sparse: None,
        state: EntryState::Racy,
        dumpdir: None,
    };
    let extents = [Extent { offset: 512, len: 1024 }, Extent { offset: 4096, len: 512 }];
    let names = b"Yfile\0Ddir\0Nold\0\0";
    let members = [
        Member { meta: &dir, path: b"srv", dumpdir: Some(names), acl_default: Some(acl), ..plain },
        Member { xattrs: &xattrs, acl_access: Some(acl), ..plain },
        Member { meta: &sparse, path: b"srv/sparse", sparse: Some(&extents), ..plain },
        Member { meta: &link, path: &long.as_bytes()[..249], link: long.as_bytes(), ..plain },
        Member { meta: &device, path: b"srv/null", ..plain },
    ];
    let mut archive = Vec::new();
    let mut single = Vec::new();
    for member in members {
        let start = archive.len();
        let plan = header(&mut archive, &member).unwrap();
        archive.resize(archive.len() + plan.data_bytes as usize + plan.padding, b'd');
        single.push([&archive[start..], &TRAILER[..]].concat());
    }
    archive.extend_from_slice(&TRAILER);
    single.push(archive);
    single.push(old_tar());
    single
}

/// A long name of GNU tar, and a sparse file of its old format with a second block of the map.
fn old_tar() -> Vec<u8> {
    let head = |kind: u8, name: &[u8], size: &[u8]| {
        let mut block = vec![0; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..108].copy_from_slice(b"0000644\0");
        block[124..124 + size.len()].copy_from_slice(size);
        block[136..148].copy_from_slice(b"00000000017\0");
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar  \0");
        block
    };
    let mut long = b"name/".repeat(40);
    long.resize(512, 0);
    let mut sparse = head(b'S', b"short", b"00000001000\0");
    for (at, number) in [(386, 0o1000), (398, 0o400), (410, 0o2000), (422, 0o400)] {
        sparse[at..at + 12].copy_from_slice(format!("{number:011o}\0").as_bytes());
    }
    sparse[482] = 1;
    sparse[483..495].copy_from_slice(b"00000010000\0");
    let mut more = vec![0; 512];
    more[..12].copy_from_slice(b"00000007400\0");
    more[12..24].copy_from_slice(b"00000000000\0");
    let mut archive =
        [head(b'L', b"././@LongLink", b"00000000310\0"), long, sparse, more, vec![7; 512], vec![0; 1024]]
            .concat();
    crate::mutate::seal_tar(&mut archive);
    archive
}

fn stored(codec: Codec, plain: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    let mut writer = FrameWriter::new(codec, 1, |bytes| {
        stored.extend_from_slice(bytes);
        Ok(())
    })
    .unwrap();
    writer.write(plain).unwrap();
    drop(writer.finish().unwrap());
    stored
}

fn streams(codec: Codec) -> Vec<Vec<u8>> {
    let mut noise = vec![0; 3000];
    Rng::new(3).fill(&mut noise);
    let text = b"a line that stands here more than once\n".repeat(60);
    let (text, noise, zeros) = (stored(codec, &text), stored(codec, &noise), stored(codec, &[0; 300_000]));
    vec![[&text[..], &noise].concat(), stored(codec, b""), zeros, text]
}

pub(crate) fn frames_gzip() -> Vec<Vec<u8>> {
    streams(Codec::Gzip(6))
}

pub(crate) fn frames_zstd() -> Vec<Vec<u8>> {
    streams(Codec::Zstd(3))
}

pub(crate) fn frames_by_table() -> Vec<Vec<u8>> {
    let plain = b"a line that stands here more than once\n".repeat(60);
    let mut seeds = Vec::new();
    for (number, codec) in [Codec::None, Codec::Gzip(6), Codec::Zstd(3)].into_iter().enumerate() {
        let stored = stored(codec, &plain);
        for flag in [0, 0x81] {
            // 0x81 is a multiple of three.
            let mut line = vec![number as u8 | flag];
            for number in [0, 0, stored.len() as u32, 0, 0, plain.len() as u32] {
                line.extend_from_slice(&number.to_le_bytes());
            }
            line.extend_from_slice(&plain_hash(&plain));
            seeds.push([line, stored.clone()].concat());
        }
    }
    seeds
}

/// The golden index, an empty one, and one of many blocks.
pub(crate) fn index() -> Vec<Vec<u8>> {
    let start = || IndexStart { archive_id: [7; 16], codec: Codec::None, root: b"/srv".to_vec() };
    let empty = IndexWriter::new(start()).unwrap().finish(&[], Default::default()).unwrap().into_vec();
    let mut writer = IndexWriter::new(start()).unwrap();
    let mut rng = Rng::new(5);
    for number in 0..4000_u64 {
        let mut meta = meta(EntryKind::File, rng.below(9000));
        (meta.mtime.nsec, meta.ino) = (rng.below(1 << 29) as u32, rng.next_u64());
        let path = format!("srv/{:03}/{number:06}", number / 40).into_bytes();
        let entry =
            IndexEntry { path, meta, offset: number * 10_240, stored_bytes: 10_240, ..IndexEntry::default() };
        writer.push(&entry).unwrap();
    }
    let large = writer.finish(&[], Default::default()).unwrap().into_vec();
    vec![fs::read(testdata("index/v1.idx")).unwrap(), empty, large]
}

pub(crate) fn index_blocks() -> Vec<Vec<u8>> {
    // The large one would spend the time on compressing.
    index()[..2].iter().flat_map(|file| disassemble(file)).collect()
}

pub(crate) fn record() -> Vec<Vec<u8>> {
    files(&testdata("records"))
}

pub(crate) fn adoption() -> Vec<Vec<u8>> {
    let key = "site1/daily/site1_2026-02-01_03-00.tar.gz";
    vec![
        format!(
            "{{\"format\":1,\"objects\":[{{\"key\":\"{key}\",\"size\":10,\"mtime_sec\":1770000000}}]}}\n"
        )
        .into_bytes(),
        b"{\"format\":1,\"objects\":[]}\n".to_vec(),
    ]
}

pub(crate) fn config() -> Vec<Vec<u8>> {
    files(&testdata("config"))
}

pub(crate) fn name() -> Vec<Vec<u8>> {
    [
        "site1/daily/site1_2026-02-01_03-00.tar.gz",
        "a/b/weekly/a___b_2026-02-01_03-00-07.pgdump.sql.zst.age.nxs.json",
        "monthly/redis_2018-08-01_03-00.rdb.nxs.idx",
        ".site1_2026-02-01_03-00.tar.nxs.json.web-01.0f3a.nxs-part",
        "data/2018/month_07/monthly/data_2018-07-28_03-00.tar",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// What the tool of MariaDB 10.11 wrote; the same with what newer ones write beside it.
pub(crate) fn xbstream() -> Vec<Vec<u8>> {
    let stream = fs::read(testdata("format/xbstream/mariadb-10.11.xbstream")).unwrap();
    let chunk = |kind: u8, path: &[u8], rest: &[u8]| {
        [b"XBSTCK01\0", &[kind][..], &(path.len() as u32).to_le_bytes(), path, rest].concat()
    };
    let newer = [
        chunk(b'R', b"shop/t.frm", &[&7_u32.to_le_bytes()[..], b"other/t"].concat()),
        chunk(b'D', b"empty.CSV", b""),
        chunk(b'S', b"x.MAI", &4096_u64.to_le_bytes()),
        chunk(b'P', b"x.MAI", &[&[0; 8][..], &4096_u64.to_le_bytes(), &[0; 4]].concat()),
        chunk(b'E', b"x.MAI", b""),
        chunk(b'S', b"sparse", &[0; 24]),
        chunk(b'E', b"sparse", b""),
    ];
    let newer = [stream.clone(), newer.concat()].concat();
    [stream, newer]
        .into_iter()
        .flat_map(|seed| [[&[1], &seed[..]].concat(), [&[255], &seed[..]].concat()])
        .collect()
}

/// The indexes of a day, a decade, a month and a year, small and large.
pub(crate) fn state() -> Vec<Vec<u8>> {
    let chain = |dirs: u64, files: u64| {
        let mut rng = Rng::new(dirs);
        let levels = (0..4_u64).rev().map(|level| {
            let start =
                IndexStart { archive_id: [level as u8; 16], codec: Codec::None, root: b"/srv".to_vec() };
            let mut writer = IndexWriter::new(start).unwrap();
            for (dir, file) in (0..dirs).flat_map(|dir| (0..files).map(move |file| (dir, file))) {
                // All of it in the year, less and less in what comes after.
                if rng.below(1 << (2 * level)) > 0 {
                    continue;
                }
                let state = match rng.below(4) {
                    0 if level > 0 => EntryState::Removed,
                    1 if level > 0 => EntryState::Missing,
                    _ => EntryState::Sound,
                };
                let path = format!("srv/d{dir}/file-{file:03}").into_bytes();
                let mut entry = IndexEntry { path, state, ..IndexEntry::default() };
                if entry.is_member() {
                    entry.meta = meta(EntryKind::File, rng.below(9000));
                    (entry.offset, entry.stored_bytes) = (file * 10_240, 10_240);
                }
                writer.push(&entry).unwrap();
            }
            writer.finish(&[], Default::default()).unwrap().into_vec()
        });
        disassemble_all(&levels.collect::<Vec<_>>())
    };
    vec![chain(2, 6), chain(3, 40)]
}

/// Both shapes.
pub(crate) fn inc_state() -> Vec<Vec<u8>> {
    [
        r#"{"/srv/a/b": 1532746800.25, "/srv/a/gr\u00f6\u00dfe \ud83d\ude00 \"\\\/\n": 1e3, "/srv/caf\udce9": -0.5}"#,
        r#"{"files": ["/srv/a/link", "/srv/a/b"], "index": {"/srv/a/b": 1532746800.2512345}}"#,
        "{}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A full and a month as version 2 made them, and a full of ours.
pub(crate) fn reindex() -> Vec<Vec<u8>> {
    let (dir, file) = (meta(EntryKind::Dir, 0), meta(EntryKind::File, 700));
    let link = meta(EntryKind::HardLink, 0);
    let plain = Member {
        path: b"srv/a",
        meta: &file,
        link: b"",
        uname: b"",
        gname: b"",
        xattrs: &[],
        acl_access: None,
        acl_default: None,
        sparse: None,
        state: EntryState::Sound,
        dumpdir: None,
    };
    let archive = |members: &[Member<'_>]| {
        let mut bytes = Vec::new();
        for member in members {
            let plan = header(&mut bytes, member).unwrap();
            bytes.resize(bytes.len() + plan.data_bytes as usize + plan.padding, b'd');
        }
        bytes.extend_from_slice(&TRAILER);
        bytes
    };
    let full = archive(&[
        Member { meta: &dir, path: b"srv", dumpdir: Some(b"Ya\0Yb\0Dd\0\0"), ..plain },
        plain,
        Member { meta: &link, path: b"srv/b", link: b"srv/a", ..plain },
        Member { meta: &dir, path: b"srv/d", dumpdir: Some(b"Yx\0\0"), ..plain },
        Member { path: b"srv/d/x", ..plain },
    ]);
    let month = archive(&[
        Member { meta: &dir, path: b"srv", dumpdir: Some(b"Na\0Yd\0Dn\0\0"), ..plain },
        Member { path: b"srv/d", ..plain },
        Member { meta: &dir, path: b"srv/n", dumpdir: Some(b"\0"), ..plain },
    ]);
    let times = br#"{"/srv/a": 1600000000.12, "/srv/b": 1600000000.12}"#;
    let mut seeds: Vec<Vec<u8>> = (0..3).map(|kind| pack_chain(kind, &full, &month, times)).collect();
    seeds.extend((0..3).map(|kind| pack_chain(kind | OURS, &full, &[], b"")));
    for (kind, codec) in [(1, Codec::Gzip(6)), (2, Codec::Zstd(3))] {
        let blocks = |plain: &[u8]| {
            let mut bytes = stored(codec, plain);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            bytes
        };
        seeds.push(pack_chain(kind | AS_IT_IS, &blocks(&full), &blocks(&month), times));
        seeds.push(pack_chain(kind | AS_IT_IS | OURS, &blocks(&full), &[], b""));
    }
    seeds
}
