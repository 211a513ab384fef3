//! The index: round trips, size, lookups against brute force, old files, and damage.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use nxs_base::entry::{EntryKind, EntryState, FileTime, IndexEntry, Meta, path_order};
use nxs_base::{ErrorKind, Result};
use proptest::prelude::*;

use super::*;
use crate::frames::{FrameRecord, FrameTotals};

mod golden;

fn start() -> IndexStart {
    IndexStart { archive_id: *b"0123456789abcdef", codec: Codec::Gzip(6), root: b"/var/www/site1".to_vec() }
}

fn frames_of(lengths: &[(u32, u32)]) -> (Vec<FrameRecord>, FrameTotals) {
    let mut totals = FrameTotals::default();
    let mut frames = Vec::new();
    for (stored_bytes, plain_bytes) in lengths {
        frames.push(FrameRecord {
            stored_offset: totals.stored_bytes,
            stored_bytes: *stored_bytes,
            plain_offset: totals.plain_bytes,
            plain_bytes: *plain_bytes,
            hash: short_hash(&totals.frames.to_le_bytes()),
        });
        totals.stored_bytes += u64::from(*stored_bytes);
        totals.plain_bytes += u64::from(*plain_bytes);
        totals.frames += 1;
    }
    (frames, totals)
}

fn pack(entries: &[IndexEntry], lengths: &[(u32, u32)]) -> Vec<u8> {
    let mut writer = IndexWriter::new(start()).unwrap();
    entries.iter().for_each(|entry| writer.push(entry).unwrap());
    let (frames, totals) = frames_of(lengths);
    let index = writer.finish(&frames, totals).unwrap();
    let mut read = Vec::new();
    index.reader().read_to_end(&mut read).unwrap();
    assert_eq!(read.len() as u64, index.total_bytes());
    assert!(read == index.chunks().collect::<Vec<_>>().concat());
    assert!(read == index.into_vec());
    read
}

fn unpack(index: &[u8]) -> Result<Vec<IndexEntry>> {
    IndexReader::open(index)?.entries().collect()
}

/// Numbers that look random and are always the same.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// A web server's tree: a third of the entries are directories and small files of a package unpacked in one go (times
/// in whole seconds), the rest was written over years, with times to the nanosecond.
fn synthetic(count: usize) -> Vec<IndexEntry> {
    let mut dice = Dice(42);
    let words = ["index", "config", "image", "vendor", "cache", "module", "style", "test", "main", "lib"];
    let ends = [".php", ".js", ".css", ".png", ".html", ".json", ".txt"];
    let mut paths = Vec::new();
    for number in 0..count {
        let site = number / 2000;
        let dir = number / 20;
        let word = words[dice.next(10) as usize];
        let (a, b) = (words[dir / 10 % 10], words[dir % 10]);
        let mut path = format!("var/www/site{site:03}/htdocs/{a}{}/{b}{dir}", dir / 10 % 7);
        if number % 20 != 0 {
            path += &format!("/{word}-{:x}{}", dice.next(1 << 16), ends[dice.next(7) as usize]);
        }
        paths.push(path.into_bytes());
    }
    paths.sort_by(|a, b| path_order(a, b));
    paths.dedup();
    let mut offset = 0;
    let mut ino = 1_000_000;
    let mut entries = Vec::new();
    for path in paths {
        let is_dir = !path.contains(&b'.');
        let is_package = dice.next(3) == 0;
        let written = FileTime {
            sec: 1_600_000_000 + dice.next(100_000_000) as i64,
            nsec: dice.next(1_000_000_000) as u32,
        };
        let unpacked =
            FileTime { sec: 1_690_000_000 + dice.next(4) as i64, nsec: dice.next(250) as u32 * 4_000_000 };
        let size_bytes = if is_dir { 0 } else { 1 << dice.next(17) | dice.next(1000) };
        let (mtime, ctime) = match is_package {
            true => (FileTime { sec: 1_680_000_000, nsec: 0 }, unpacked),
            false => (written, written),
        };
        ino += 1 + dice.next(5).saturating_sub(2);
        let stored_bytes = 1536 + size_bytes.div_ceil(512) * 512;
        entries.push(IndexEntry {
            path,
            meta: Meta {
                kind: if is_dir { EntryKind::Dir } else { EntryKind::File },
                mode: if is_dir { 0o755 } else { 0o644 },
                uid: 33,
                gid: 33,
                size_bytes,
                mtime,
                ctime,
                ino,
                ..Meta::default()
            },
            offset,
            stored_bytes,
            ..IndexEntry::default()
        });
        offset += stored_bytes;
    }
    entries
}

fn arbitrary_entry() -> impl Strategy<Value = IndexEntry> {
    let kind = prop::sample::select(vec![
        EntryKind::File,
        EntryKind::Dir,
        EntryKind::Symlink,
        EntryKind::HardLink,
        EntryKind::Fifo,
        EntryKind::CharDevice,
        EntryKind::BlockDevice,
    ]);
    let state = prop::sample::select(vec![EntryState::Sound, EntryState::Racy, EntryState::Gap]);
    let time = || {
        (prop_oneof![any::<i64>(), 0i64..3], prop_oneof![Just(0), 0u32..1_000_000_000])
            .prop_map(|(sec, nsec)| FileTime { sec, nsec })
    };
    let number = || prop_oneof![any::<u64>(), 0u64..5, Just(u64::MAX)];
    let small = || prop_oneof![any::<u32>(), 0u32..3];
    let meta = (kind, [small(), small(), small(), small(), small()], time(), time(), number(), number())
        .prop_map(|(kind, [mode, uid, gid, rdev_major, rdev_minor], mtime, ctime, size_bytes, ino)| Meta {
            kind,
            mode,
            uid,
            gid,
            rdev_major,
            rdev_minor,
            mtime,
            ctime,
            size_bytes,
            ino,
            ..Meta::default()
        });
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let path = prop_oneof!["[a-c]{1,2}(/[a-c.]{1,2}){0,4}".prop_map(String::into_bytes), bytes(20)];
    let link = prop_oneof![Just(Vec::new()), bytes(30)];
    (path, meta, state, link, number(), number()).prop_map(
        |(path, meta, state, link, offset, stored_bytes)| IndexEntry {
            path,
            meta,
            state,
            link,
            offset,
            stored_bytes,
        },
    )
}

fn arbitrary_entries(most: usize) -> impl Strategy<Value = Vec<IndexEntry>> {
    prop::collection::vec(arbitrary_entry(), 0..most).prop_map(|mut entries| {
        entries.sort_by(|a, b| path_order(&a.path, &b.path));
        entries.dedup_by(|a, b| a.path == b.path);
        entries
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_pushed_is_read(entries in arbitrary_entries(60)) {
        let index = pack(&entries, &[(10, 20)]);
        prop_assert_eq!(&unpack(&index).unwrap(), &entries);
        let reader = IndexReader::open(&index).unwrap();
        for entry in &entries {
            prop_assert_eq!(reader.find(&entry.path).unwrap(), Some(entry.clone()));
        }
    }

    #[test]
    fn a_prefix_yields_what_a_filter_yields(entries in arbitrary_entries(60), pick in any::<prop::sample::Index>()) {
        let index = pack(&entries, &[]);
        let reader = IndexReader::open(&index).unwrap();
        let mut prefixes = vec![b"a".to_vec(), b"a/b".to_vec(), b"b.".to_vec(), b"zz".to_vec(), Vec::new()];
        if !entries.is_empty() {
            prefixes.push(pick.get(&entries).path.clone());
        }
        for prefix in prefixes {
            let found: Vec<_> = reader.entries_under(&prefix).map(|entry| entry.unwrap()).collect();
            let mut below = prefix.clone();
            below.push(b'/');
            let wanted: Vec<_> = entries
                .iter()
                .filter(|e| prefix.is_empty() || e.path == prefix || e.path.starts_with(&below))
                .cloned()
                .collect();
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn frames_for_a_range_are_those_that_touch_it(
        lengths in prop::collection::vec((1u32..9, 1u32..9), 0..40),
        offset in 0u64..250,
        length in prop_oneof![0u64..60, Just(u64::MAX)],
    ) {
        let index = pack(&[], &lengths);
        let reader = IndexReader::open(&index).unwrap();
        let (frames, _) = frames_of(&lengths);
        prop_assert_eq!(&reader.all_frames().unwrap(), &frames);
        let wanted: Vec<_> = frames
            .into_iter()
            .filter(|f| (f.plain_offset..f.plain_end()).any(|b| b >= offset && b - offset < length))
            .collect();
        prop_assert_eq!(reader.frames_for(offset, length).unwrap(), wanted);
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(unpack(&noise).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn any_plain_bytes_of_a_block_are_refused_or_read_without_a_panic(noise in prop::collection::vec(any::<u8>(), 0..200), count in 0u64..50) {
        let refuses = |kind| kind == ErrorKind::Corrupt || kind == ErrorKind::Unsupported;
        if let Err(error) = block::decode_header(&noise) {
            prop_assert!(refuses(error.kind()));
        }
        for kind in [KIND_ENTRIES, KIND_FRAMES, KIND_DIRECTORY] {
            let mut plain = vec![kind];
            cursor::put_varint(&mut plain, count);
            plain.extend_from_slice(&noise);
            if let Err(error) = block::decode_frames(&plain, count) {
                prop_assert!(refuses(error.kind()));
            }
            if let Err(error) = directory::decode_directory(&plain, 1000) {
                prop_assert!(refuses(error.kind()));
            }
        }
    }

    #[test]
    fn a_changed_byte_in_a_plain_entry_block_never_panics(entries in arbitrary_entries(30), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut block = entries::EntryBlock::default();
        entries.iter().for_each(|entry| block.push(entry));
        let first = block.first_path().to_vec();
        let mut plain = block.take();
        let position = at.index(plain.len());
        plain[position] ^= flip;
        let read = || -> Result<()> {
            let mut walk = entries::EntryWalk::new(plain, entries.len() as u64, &first)?;
            while walk.next_entry()?.is_some() {}
            Ok(())
        };
        if let Err(error) = read() {
            prop_assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported));
        }
    }

    #[test]
    fn numbers_survive_their_coding(old in any::<u64>(), new in any::<u64>()) {
        let mut bytes = Vec::new();
        cursor::put_varint(&mut bytes, new);
        cursor::put_difference(&mut bytes, old, new);
        let mut read = cursor::Cursor::new(&bytes);
        prop_assert_eq!((read.varint().unwrap(), read.difference(old).unwrap()), (new, new));
        prop_assert!(read.is_empty());
    }
}

#[test]
fn a_hundred_thousand_entries_take_at_most_thirty_bytes_each() {
    let entries = synthetic(100_000);
    let mut writer = IndexWriter::new(start()).unwrap();
    entries.iter().for_each(|entry| writer.push(entry).unwrap());
    let held = writer.held_bytes();
    let (frames, totals) = frames_of(&[(1_000_000, 2_000_000); 1000]);
    let index = writer.finish(&frames, totals).unwrap().into_vec();
    let each = index.len() as f64 / entries.len() as f64;
    println!("{} entries: {each:.1} bytes each, {held} bytes held", entries.len());
    assert!(entries.len() > 90_000);
    assert!(each <= 30.0, "{each} bytes each");
    assert!(held as f64 / entries.len() as f64 <= 30.0, "{held} bytes held");
    assert!(unpack(&index).unwrap() == entries);
}

/// Counts what is read.
struct Counted<'a>(&'a [u8], RefCell<Vec<usize>>);

impl ReadAt for Counted<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.1.borrow_mut().push(length);
        self.0.read_at(offset, length)
    }
}

#[test]
fn one_path_is_found_by_reading_one_block() {
    let entries = synthetic(50_000);
    let index = pack(&entries, &[(1_000_000, 2_000_000); 9000]);
    let reader = IndexReader::open(Counted(&index, RefCell::default())).unwrap();
    for entry in entries.iter().step_by(4999) {
        reader.source.1.borrow_mut().clear();
        assert_eq!(reader.find(&entry.path).unwrap().as_ref(), Some(entry));
        let mut missing = entry.path.clone();
        missing.push(0);
        assert_eq!(reader.find(&missing).unwrap(), None);
        let reads = reader.source.1.borrow().clone();
        assert!(reads.len() == 2 && reads.iter().all(|length| *length < 40_000), "{reads:?}");
    }
    reader.source.1.borrow_mut().clear();
    assert_eq!(reader.entries().count(), entries.len());
    assert!(reader.source.1.borrow().len() <= index.len() / FETCH_FLOOR + 1);
    assert_eq!(reader.find(b"").unwrap(), None);
}

/// Pieces in which a whole index is fetched are larger than this.
const FETCH_FLOOR: usize = 500_000;

#[test]
fn a_frame_table_of_several_blocks_is_searched_by_block() {
    let (frames, _) = frames_of(&[(7, 10); 9000]);
    let index = pack(&[], &[(7, 10); 9000]);
    let reader = IndexReader::open(&index).unwrap();
    assert_eq!(reader.all_frames().unwrap(), frames);
    for (offset, length, wanted) in [
        (0, 1, 0..1),
        (9, 2, 0..2),
        (40_950, 20, 4095..4097),
        (40_960, 1, 4096..4097),
        (40_959, 1, 4095..4096),
        (89_999, 100, 8999..9000),
        (90_000, 5, 0..0),
        (5, 0, 0..0),
        (81_910, 20, 8191..8193),
    ] {
        assert_eq!(reader.frames_for(offset, length).unwrap(), frames[wanted], "{offset}+{length}");
    }
}

#[test]
fn zstd_opens_the_index_whole() {
    let index = pack(&synthetic(5000), &[(5, 9); 5000]);
    let mut child =
        Command::new("zstd").args(["-dc"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(&index).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success());
    assert_eq!(output.stdout[..9], *b"\x01nxs-idx\n");
    let path = b"var/www/site000/htdocs/";
    assert!(output.stdout.windows(path.len()).any(|part| part == path));
}

#[test]
fn entries_out_of_order_are_refused_and_change_nothing() {
    let entry = |path: &[u8]| IndexEntry { path: path.to_vec(), ..IndexEntry::default() };
    let mut writer = IndexWriter::new(start()).unwrap();
    writer.push(&entry(b"a/b")).unwrap();
    for path in [&b"a/b"[..], b"a", b"a/a", b""] {
        assert_eq!(writer.push(&entry(path)).unwrap_err().kind(), ErrorKind::Invalid, "{path:?}");
    }
    let long = vec![b'x'; MAX_PATH_BYTES + 1];
    assert_eq!(writer.push(&entry(&long)).unwrap_err().kind(), ErrorKind::Invalid);
    let mut bad_time = entry(b"c");
    bad_time.meta.mtime.nsec = 1_000_000_000;
    assert_eq!(writer.push(&bad_time).unwrap_err().kind(), ErrorKind::Invalid);
    writer.push(&entry(b"a.txt")).unwrap();
    writer.push(&entry(&vec![b'x'; MAX_PATH_BYTES])).unwrap();
    assert_eq!(writer.entries(), 3);
    let index = writer.finish(&[], FrameTotals::default()).unwrap().into_vec();
    assert_eq!(unpack(&index).unwrap().len(), 3);
}

#[test]
fn frames_that_do_not_add_up_are_refused() {
    let (frames, totals) = frames_of(&[(5, 9), (5, 9)]);
    let finish = |frames: &[FrameRecord], totals| {
        IndexWriter::new(start()).unwrap().finish(frames, totals).map_err(|e| e.kind()).err()
    };
    assert_eq!(finish(&frames, totals), None);
    assert_eq!(finish(&frames[..1], totals), Some(ErrorKind::Invalid));
    assert_eq!(finish(&frames[1..], totals), Some(ErrorKind::Invalid));
    assert_eq!(finish(&frames, FrameTotals { plain_bytes: 17, ..totals }), Some(ErrorKind::Invalid));
}

#[test]
fn the_header_tells_what_was_counted() {
    let mut entries = synthetic(300);
    entries[7].meta.kind = EntryKind::Symlink;
    let dirs = entries.iter().filter(|e| e.meta.kind == EntryKind::Dir).count() as u64;
    let files = entries.iter().filter(|e| e.meta.kind == EntryKind::File).count() as u64;
    let index = pack(&entries, &[(5, 9), (6, 10)]);
    let header = IndexReader::open(&index).unwrap().header().clone();
    let wanted = IndexHeader {
        version: 1,
        archive_id: *b"0123456789abcdef",
        codec: Codec::Gzip(6),
        plain_bytes: 19,
        stored_bytes: 11,
        entries: entries.len() as u64,
        files,
        dirs,
        frames: 2,
        is_rebuilt: false,
        is_foreign: false,
        root: b"/var/www/site1".to_vec(),
    };
    assert_eq!(header, wanted);
}

#[test]
fn a_cut_index_is_corrupt_wherever_it_is_cut() {
    let index = pack(&synthetic(2000), &[(5, 9); 10]);
    for length in 0..index.len() {
        let kind = IndexReader::open(&index[..length]).err().map(|e| e.kind());
        assert_eq!(kind, Some(ErrorKind::Corrupt), "cut to {length} of {}", index.len());
    }
}

#[test]
fn a_flipped_byte_is_noticed_or_changes_nothing() {
    let entries = synthetic(2500);
    let index = pack(&entries, &[(5, 9); 10]);
    let frames = IndexReader::open(&index).unwrap().all_frames().unwrap();
    for at in (0..index.len()).step_by(3).chain(index.len() - 400..index.len()) {
        let mut damaged = index.clone();
        damaged[at] ^= 0x10;
        let read = || {
            let reader = IndexReader::open(&damaged)?;
            Ok((reader.entries().collect::<Result<Vec<_>>>()?, reader.all_frames()?))
        };
        let outcome: Result<_> = read();
        match outcome {
            Ok(read) => assert!(read == (entries.clone(), frames.clone()), "byte {at} passed unnoticed"),
            Err(error) => {
                let kind = error.kind();
                assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported), "byte {at}: {error}");
            }
        }
    }
}

#[test]
fn after_an_error_the_entries_end() {
    let index = pack(&synthetic(5000), &[]);
    let mut damaged = index.clone();
    damaged[12_000] ^= 1;
    let reader = IndexReader::open(&damaged).unwrap();
    let mut entries = reader.entries().skip_while(|entry| entry.is_ok());
    assert_eq!(entries.next().unwrap().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(entries.next().is_none());
}

#[test]
fn an_index_of_another_version_is_unsupported() {
    let mut index = pack(&[], &[]);
    let version = index.len() - FOOTER_BYTES + 16;
    index[version] = 2;
    assert_eq!(IndexReader::open(&index).err().map(|e| e.kind()), Some(ErrorKind::Unsupported));
}
