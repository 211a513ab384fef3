//! What hostile bytes are given to: one function a parser, each of which must end without a panic, whatever comes.
//!
//! Used twice: by the fuzz targets beside this (`cargo xtask fuzz [NAME]`, or `cargo fuzz run NAME`), and by the tests in
//! `crates/nxs-backup/tests/formats`, which include this file and feed it mutations of valid input on every run.
//! Functions assert what holds for any input; kinds of errors are part of that.

pub mod blocks;
pub mod chains;

pub use chains::{inc_state, reindex, state};

use std::cell::RefCell;
use std::io::Read;

use nxs_archive::frames::{self, Codec, FrameReader, FrameRecord, ParallelReader};
use nxs_archive::index::IndexReader;
use nxs_archive::mongodump::{self, Event, RawParser};
use nxs_archive::tar::{TarReader, acl, safe_path};
use nxs_archive::xbstream::{Parser, Piece};
use nxs_base::diag::Severity;
use nxs_base::layout::{RECORD_SUFFIX, Role, discrete};
use nxs_base::naming;
use nxs_base::ports::storage::{MAX_COMPONENT_BYTES, ObjectKey, PartTag, is_name_digest};
use nxs_base::record::Record;
use nxs_base::{Error, ErrorKind, Result};
use nxs_testkit::MemoryStorage;

/// What damage may be called; anything else blames somebody who is not at fault.
fn is_about_the_bytes(error: &Error) {
    let kinds = [ErrorKind::Corrupt, ErrorKind::Unsupported, ErrorKind::Invalid];
    assert!(kinds.contains(&error.kind()), "{:?}: {}", error.kind(), error.chain());
    assert!(!error.to_string().is_empty());
}

/// The tar reader, to the end or the first error, with all data.
pub fn tar(data: &[u8]) {
    let mut reader = TarReader::new(data);
    let mut buffer = [0; 4096];
    loop {
        let entry = match reader.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => return,
            Err(error) => return is_about_the_bytes(&error),
        };
        assert!(!entry.path.is_empty() && !entry.path.contains(&0));
        assert!(entry.offset < entry.data_offset && entry.data_offset <= data.len() as u64);
        if let Ok(path) = safe_path(&entry.path) {
            assert!(
                !path.starts_with(b"/") && path.split(|b| *b == b'/').all(|c| c != b".." && !c.is_empty())
            );
        }
        for text in [&entry.acl_access, &entry.acl_default].into_iter().flatten() {
            if let Ok(raw) = acl::encode(text, |_, _| Some(7)) {
                acl::decode(&raw).expect("what was encoded is a list that the kernel knows");
            }
        }
        let mut got = 0;
        loop {
            match reader.read_data(&mut buffer) {
                Ok(0) => break,
                Ok(n) => got += n as u64,
                Err(error) => return is_about_the_bytes(&error),
            }
        }
        assert_eq!(got, entry.data_bytes, "data of a member that was read without an error");
    }
}

/// A stream of `mariadb-backup`, in pieces as long as the first byte says.
pub fn xbstream(data: &[u8]) {
    let Some((piece_bytes, stream)) = data.split_first() else { return };
    let mut parser = Parser::new();
    let mut bytes_seen = 0;
    let mut ends = 0;
    let is_safe = |path: &[u8]| {
        let path = safe_path(path).expect("a path that was let through stays beneath");
        assert!(!path.is_empty() && !path.contains(&0));
    };
    let mut take = |piece: Piece<'_>| {
        match piece {
            Piece::Data { path, offset, bytes } => {
                is_safe(path);
                assert!(offset.checked_add(bytes.len() as u64).is_some());
                bytes_seen += bytes.len() as u64;
            }
            Piece::End { path, .. } => {
                is_safe(path);
                ends += 1;
            }
            Piece::Again { path } | Piece::Removed { path } => is_safe(path),
            Piece::Renamed { from, to } => {
                is_safe(from);
                is_safe(to);
            }
        }
        Ok(())
    };
    let mut pieces = stream.chunks(usize::from(*piece_bytes).max(1));
    let pushed = pieces.try_for_each(|piece| parser.push(piece, &mut take));
    match pushed.and_then(|()| parser.finish()) {
        Ok(totals) => assert_eq!((totals.bytes, totals.files), (bytes_seen, ends)),
        Err(error) => is_about_the_bytes(&error),
    }
}

/// An archive of mongodump, in pieces whose size the first byte says; and the same bytes as bare documents.
pub fn mongodump(data: &[u8]) {
    let Some((size, data)) = data.split_first() else { return };
    let (mut parser, mut raw) = (mongodump::Parser::default(), RawParser::default());
    let (mut open, mut is_open) = (Vec::new(), false);
    let pieces = data.chunks(usize::from(*size) + 1);
    let parsed = pieces.clone().try_for_each(|piece| {
        parser.push(piece, &mut |event| {
            match event {
                Event::Prelude(prelude) => {
                    assert!(!std::mem::replace(&mut is_open, true), "two preludes");
                    open = vec![true; prelude.collections.len()];
                }
                Event::Document(place, document) => {
                    assert!(open[place] && document.len() >= 5 && document.ends_with(&[0]));
                }
                Event::End(place) => assert!(std::mem::replace(&mut open[place], false), "two ends"),
            }
            Ok(())
        })
    });
    match parsed.and_then(|()| parser.finish()) {
        Ok(()) => {
            assert!(is_open && !open.contains(&true), "an archive without all its ends is no whole one")
        }
        Err(error) => is_about_the_bytes(&error),
    }
    let mut got = 0;
    let parsed = pieces.clone().try_for_each(|piece| {
        raw.push(piece, &mut |document| {
            got += document.len();
            Ok(())
        })
    });
    match parsed.and_then(|()| raw.finish()) {
        Ok(()) => assert_eq!(got, data.len()),
        Err(error) => is_about_the_bytes(&error),
    }
}

/// A stored stream without a table. At most 64 MiB of what it decompresses to are looked at.
fn stream(codec: Codec, data: &[u8]) {
    let mut reader = FrameReader::new(codec, data).expect("readers need only memory").take(64 << 20);
    let mut buffer = [0; 16 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => return is_about_the_bytes(&Error::from_io("cannot read", error)),
        }
    }
}

/// gzip members.
pub fn frames_gzip(data: &[u8]) {
    stream(Codec::Gzip(6), data);
}

/// zstd frames.
pub fn frames_zstd(data: &[u8]) {
    stream(Codec::Zstd(3), data);
}

/// Frames by a table that may lie: 40 bytes of a table's line, then what is stored.
pub fn frames_by_table(data: &[u8]) {
    let Some((line, stored)) = data.split_first_chunk::<41>() else { return };
    let number = |at: usize| u32::from_le_bytes([line[at], line[at + 1], line[at + 2], line[at + 3]]);
    let mut hash = [0; 16];
    hash.copy_from_slice(&line[25..41]);
    let record = FrameRecord {
        stored_offset: u64::from(number(1)),
        stored_bytes: number(9),
        plain_offset: u64::from(number(13)),
        plain_bytes: number(21),
        hash,
    };
    let codec = [Codec::None, Codec::Gzip(6), Codec::Zstd(3)][usize::from(line[0] % 3)];
    match frames::decode_frame(codec, &record, stored.to_vec()) {
        Ok(plain) => {
            assert!(plain.len() == record.plain_bytes as usize && frames::plain_hash(&plain) == hash)
        }
        Err(error) => is_about_the_bytes(&error),
    }
    if line[0] >= 0x80 {
        let table = vec![record, FrameRecord { stored_offset: record.stored_end(), ..record }];
        match ParallelReader::new(codec, table, 1, std::io::Cursor::new(stored.to_vec())) {
            Ok(reader) => {
                if let Err(error) = reader.take(1 << 20).read_to_end(&mut Vec::new()) {
                    is_about_the_bytes(&Error::from_io("cannot read", error));
                }
            }
            Err(error) => is_about_the_bytes(&error),
        }
    }
}

/// The index reader: open, list, find, ranges, frames.
pub fn index(data: &[u8]) {
    if let Err(error) = look_at_index(data) {
        is_about_the_bytes(&error);
    }
}

fn look_at_index(data: &[u8]) -> Result<()> {
    let reader = IndexReader::open(data)?;
    let entries: Result<Vec<_>> = reader.entries().collect();
    let first = reader.entries().next().transpose()?;
    if let Some(first) = first {
        assert_eq!(reader.find(&first.path)?.as_ref(), Some(&first));
        let dir = first.path.split(|b| *b == b'/').next().unwrap_or_default().to_vec();
        for entry in reader.entries_under(&dir) {
            assert!(entry?.path.starts_with(&dir));
        }
    }
    if let Ok(entries) = &entries {
        assert_eq!(entries.len() as u64, reader.header().entries);
        if let Some(last) = entries.last() {
            assert_eq!(reader.find(&last.path)?.as_ref(), Some(last));
            reader.frames_for(last.offset, last.stored_bytes)?;
        }
    }
    reader.find(b"srv/a/zzz")?;
    reader.frames_for(1, u64::MAX)?;
    let frames = reader.all_frames()?;
    assert_eq!(frames.len() as u64, reader.header().frames);
    entries.map(drop)
}

/// The index reader behind its checks: compresses blocks of hostile content, and puts directory and footer around
/// them, so that hashes fit.
pub fn index_blocks(data: &[u8]) {
    index(&blocks::assemble(data));
}

/// The record. What parses is written and parses again to the same.
pub fn record(data: &[u8]) {
    match Record::parse(data) {
        Ok(record) => {
            let again = Record::parse(record.to_line().as_bytes()).expect("what was written parses");
            assert_eq!(again, record);
        }
        Err(error) => is_about_the_bytes(&error),
    }
}

/// The adoption list, by a scan of a storage that holds it and an archive.
pub fn adoption(data: &[u8]) {
    let storage = MemoryStorage::new("memory");
    storage.insert("site1/daily/site1_2026-02-01_03-00.tar.gz", b"0123456789");
    storage.insert(".nxs-adopted.json", data);
    let catalog = nxs_engine::catalog::scan(&storage).expect("a damaged list is reported in the catalog");
    assert!(catalog.has_adoption_list);
    assert_eq!(catalog.entries.len() + catalog.orphans.len(), 1);
    catalog.damaged.iter().for_each(|damage| is_about_the_bytes(&damage.problem));
}

/// The configuration, without running commands of hostile text. Everything wrong is a diagnostic.
pub fn config(data: &[u8]) {
    // In memory where there is such a place: some file systems wait for the disk when a file is written over.
    let make = || tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    thread_local!(static DIR: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) });
    DIR.with_borrow_mut(|dir| {
        let dir = dir.get_or_insert_with(|| make().expect("a temporary directory"));
        let file = dir.path().join("nxs-backup.conf");
        std::fs::write(&file, data).expect("a temporary file");
        let loaded = nxs_config::load(&file, nxs_config::Commands::Leave);
        let has_errors = loaded.diagnostics.iter().any(|d| d.severity == Severity::Error);
        assert_eq!(loaded.spec.is_none(), has_errors, "no settings without a word why");
    });
}

/// Keys of objects and names of partials. What parses as an archive is built to the same key again.
pub fn name(data: &[u8]) {
    let escaped = naming::escape_component(data);
    assert_eq!(naming::unescape_component(&escaped), data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some((name, tag)) = PartTag::parse(text)
        && !is_name_digest(name)
        && text.len() <= MAX_COMPONENT_BYTES
    {
        assert_eq!(tag.part_name(name), text);
    }
    let Ok(key) = ObjectKey::new(text) else { return };
    let Some(parsed) = discrete::parse(&key) else { return };
    discrete::siblings(&key).expect("a key that parses has siblings");
    if parsed.role == Role::Archive {
        match discrete::build(&parsed.name) {
            Ok(built) => assert_eq!(built, key),
            // Version 2 used up what the names of a record and an index need.
            Err(_) => assert!(key.file_name().len() > MAX_COMPONENT_BYTES - RECORD_SUFFIX.len(), "{key}"),
        }
    }
}
