//! Indexes of earlier days: they load for ever, and the same entries still make the same plain bytes.
//!
//! `testdata/index/v1.idx` has one of everything, `v1-blocks.idx` several blocks of each kind. They are never made anew;
//! `NXS_BLESS=1` writes those that are missing.

use std::path::PathBuf;

use super::*;

/// One of everything.
fn golden_entries() -> Vec<IndexEntry> {
    let at = |sec, nsec| FileTime { sec, nsec };
    let meta = |kind, mode, size_bytes, mtime, ctime, ino| Meta {
        kind,
        mode,
        uid: 1000,
        gid: 33,
        size_bytes,
        mtime,
        ctime,
        ino,
        ..Meta::default()
    };
    let (old, new) = (at(-86_400, 5), at(1_700_000_000, 123_456_789));
    let entry = |path: &[u8], meta, link: &[u8], offset, stored_bytes| IndexEntry {
        path: path.to_vec(),
        meta,
        link: link.to_vec(),
        offset,
        stored_bytes,
        ..IndexEntry::default()
    };
    let mut entries = vec![
        entry(b"srv/a", meta(EntryKind::Dir, 0o755, 0, new, new, 10), b"", 0, 1536),
        entry(b"srv/a/b", meta(EntryKind::File, 0o4711, 700, old, new, 11), b"", 1536, 2560),
        entry(b"srv/a/c \xff\n", meta(EntryKind::HardLink, 0o4711, 0, old, new, 11), b"srv/a/b", 4096, 1536),
        entry(b"srv/a.txt", meta(EntryKind::Symlink, 0o777, 0, at(1, 0), new, 500), b"../x y", 5632, 1536),
        entry(b"srv/null", meta(EntryKind::CharDevice, 0o666, 0, new, at(9, 9), 7), b"", 7168, 1536),
        entry(b"srv/pipe", meta(EntryKind::Fifo, 0o600, 0, new, new, u64::MAX), b"", 8704, 1536),
        entry(b"srv/torn", meta(EntryKind::File, 0o644, 1 << 40, new, new, 13), b"", 10_240, 0),
    ];
    (entries[4].meta.rdev_major, entries[4].meta.rdev_minor) = (1, 3);
    entries[1].state = EntryState::Racy;
    entries[6].state = EntryState::Gap;
    entries
}

/// Enough entries for several blocks.
fn many_entries() -> Vec<IndexEntry> {
    let mut offset = 0;
    let mut entries = Vec::new();
    for number in 0..3000_u64 {
        let path = format!("srv/{:02}/a longer name {number:05}", number / 100).into_bytes();
        let time = FileTime { sec: 1_700_000_000 + number as i64, nsec: number as u32 * 1000 };
        let meta = Meta {
            mode: 0o644,
            size_bytes: number,
            mtime: time,
            ctime: time,
            ino: number * 3,
            ..Meta::default()
        };
        let stored_bytes = 1536 + number.div_ceil(512) * 512;
        entries.push(IndexEntry { path, meta, offset, stored_bytes, ..IndexEntry::default() });
        offset += stored_bytes;
    }
    entries
}

/// Reads a golden file and holds it against what is written today.
fn check(name: &str, entries: &[IndexEntry], frames: &[FrameRecord], totals: FrameTotals) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/index").join(name);
    let mut writer = IndexWriter::new(start()).unwrap();
    entries.iter().for_each(|entry| writer.push(entry).unwrap());
    let today = writer.finish(frames, totals).unwrap().into_vec();
    if std::env::var_os("NXS_BLESS").is_some() && !file.exists() {
        std::fs::write(&file, &today).unwrap();
    }
    let golden = std::fs::read(&file).unwrap();
    let reader = IndexReader::open(&golden).unwrap();
    assert_eq!(reader.header(), IndexReader::open(&today).unwrap().header());
    assert_eq!(reader.header().root, b"/var/www/site1");
    assert_eq!(reader.header().archive_id, *b"0123456789abcdef");
    assert_eq!(reader.header().codec, Codec::Gzip(6));
    assert!(unpack(&golden).unwrap() == entries, "{name} reads as other entries");
    assert_eq!(reader.all_frames().unwrap(), frames);
    for entry in entries.iter().step_by(97) {
        assert_eq!(reader.find(&entry.path).unwrap().as_ref(), Some(entry));
    }
    // The lengths of compressed blocks, which the directory holds, may change with zstd.
    assert!(plain_blocks(&golden) == plain_blocks(&today), "the plain bytes of {name} are others today");
}

/// All blocks but the directory.
fn plain_blocks(index: &[u8]) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    let mut left = &index[..index.len() - FOOTER_BYTES];
    while !left.is_empty() {
        let length = zstd::zstd_safe::find_frame_compressed_size(left).unwrap();
        let (block, rest) = left.split_at(length);
        blocks.push(block::decode_block(block, MAX_BLOCK_BYTES).unwrap());
        left = rest;
    }
    assert_eq!(blocks.pop().unwrap()[0], KIND_DIRECTORY);
    blocks
}

#[test]
fn an_index_of_format_version_1_loads_for_ever() {
    let (frames, totals) = frames_of(&[(700, 4096), (900, 6144)]);
    check("v1.idx", &golden_entries(), &frames, totals);
}

#[test]
fn an_index_of_format_version_1_with_many_blocks_loads_for_ever() {
    let (mut frames, totals) = frames_of(&[(7, 10); 5000]);
    // Hashes would make most of the file.
    frames.iter_mut().for_each(|frame| frame.hash = [7; 16]);
    check("v1-blocks.idx", &many_entries(), &frames, totals);
}
