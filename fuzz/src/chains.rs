//! Hostile bytes for what reads chains of increments: the merge of indexes into a state, version 2's state files, and the
//! making of indexes from archives.

use std::io::Write;
use std::sync::Arc;

use nxs_archive::frames::{Codec, FrameWriter};
use nxs_archive::index::IndexReader;
use nxs_base::entry::{EntryState, path_order};
use nxs_base::event::NoEvents;
use nxs_base::ports::source::Cancel;
use nxs_base::ports::storage::Storage;
use nxs_base::record::{BackupId, Completeness, IndexDigest, Record, StoredDigest};
use nxs_base::spec::{JobKind, JobSpec, Require, Retention, Rotation, StorageSettings, StorageSpec, Traffic};
use nxs_base::{Error, ErrorKind};
use nxs_engine::incremental::inc_state::read_state;
use nxs_engine::incremental::rebuild::Times;
use nxs_engine::incremental::state::{Sited, State};
use nxs_engine::job::RunContext;
use nxs_engine::reindex::{self, Outcome};
use nxs_engine::verify::{self, Finding};
use nxs_testkit::{FakeClock, MemoryStorage};

use super::{blocks, is_about_the_bytes};

/// How many paths of a merge are looked up one by one.
const LOOKED_UP: usize = 16;

/// The merge of the indexes of a chain, the newest first, in the form of [`blocks::assemble_all`].
pub fn state(data: &[u8]) {
    let mut readers = Vec::new();
    for file in blocks::assemble_all(data) {
        match IndexReader::open(file) {
            Ok(reader) => readers.push(reader),
            Err(error) => is_about_the_bytes(&error),
        }
    }
    let begin = || State::new(readers.iter().map(IndexReader::entries));
    let mut merged: Vec<Sited> = Vec::new();
    for sited in begin() {
        match sited {
            Ok(sited) => merged.push(sited),
            Err(error) => return is_about_the_bytes(&error),
        }
    }
    assert!(merged.windows(2).all(|two| path_order(&two[0].entry.path, &two[1].entry.path).is_lt()));
    for Sited { entry, level } in merged.iter().take(LOOKED_UP) {
        assert!(!matches!(entry.state, EntryState::Removed | EntryState::Missing));
        for (number, reader) in readers[..=*level].iter().enumerate() {
            let known = reader.find(&entry.path).expect("all of it was read a moment ago");
            if number == *level {
                assert_eq!(known.as_ref(), Some(entry));
            } else {
                assert!(known.is_none_or(|known| known.state == EntryState::Missing));
            }
        }
    }
    // A leap from anywhere comes to where going comes.
    let Some(target) = merged.get(merged.len() / 2).map(|sited| &sited.entry.path) else { return };
    for begun in [0, 1] {
        let mut state = begin();
        state.by_ref().take(begun).for_each(drop);
        state.skip_to(target).expect("all of it was read a moment ago");
        let expected = merged[begun..].iter().find(|s| path_order(&s.entry.path, target).is_ge());
        let found = state.next().transpose().expect("all of it was read a moment ago");
        assert_eq!(found.as_ref(), expected);
    }
}

/// Version 2's state file, in both shapes.
pub fn inc_state(data: &[u8]) {
    let mut files = 0;
    let read = read_state(data, &mut |path, time| {
        assert!(!path.is_empty() && path.len() <= 0xffff + 3 && time.nsec < 1_000_000_000);
        files += 1;
        Ok(())
    });
    if let Err(error) = &read {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
    }
    match Times::read(data) {
        Ok(_) => assert!(read.is_ok()),
        Err(error) => is_about_the_bytes(&error),
    }
    assert!(files <= data.len());
}

/// Set in the first byte: the archive is one of ours, with a record that fits it.
pub const OURS: u8 = 0x80;
/// Set in the first byte: archives lie there as they come, whatever their names say.
pub const AS_IT_IS: u8 = 0x40;

/// What [`reindex`] takes: the kind of its archives (0 plain, 1 gzip, 2 zstd, and flags), two archives in whole blocks of
/// 512 bytes, and a state file.
pub fn pack_chain(kind: u8, full: &[u8], month: &[u8], times: &[u8]) -> Vec<u8> {
    let mut data = vec![0; 512];
    data[0] = kind;
    data[1..3].copy_from_slice(&((full.len() / 512) as u16).to_le_bytes());
    data[3..5].copy_from_slice(&((month.len() / 512) as u16).to_le_bytes());
    [&data, full, month, times].concat()
}

/// `index rebuild` over a full and a month of version 2, or a full of ours. What it makes verifies.
pub fn reindex(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<512>() else { return };
    let blocks = |at: usize| 512 * usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let (full, rest) = rest.split_at(blocks(1).min(rest.len()));
    let (month, times) = rest.split_at(blocks(3).min(rest.len()));
    let (codec, suffix) = [(Codec::None, "tar"), (Codec::Gzip(6), "tar.gz"), (Codec::Zstd(3), "tar.zst")]
        [usize::from(head[0] & 0x3f) % 3];
    let stored = |plain: &[u8]| if head[0] & AS_IT_IS == 0 { stored(codec, plain) } else { plain.to_vec() };
    let memory = MemoryStorage::new("memory");
    let is_ours = head[0] & OURS != 0;
    if is_ours {
        let archive = stored(full);
        let key = format!("shop/daily/shop_2026-02-01_03-00.{suffix}");
        memory.insert(&format!("{key}.nxs.json"), record(&archive, full, codec).to_line().as_bytes());
        memory.insert(&key, &archive);
    } else {
        memory.insert(&format!("shop/2026/year/shop_2026-01-31_03-00.{suffix}"), &stored(full));
        memory.insert("shop/2026/year/year.inc", times);
        let dir = "shop/2026/month_02/monthly";
        memory.insert(&format!("{dir}/shop_2026-02-01_03-00.{suffix}"), &stored(month));
        memory.insert(&format!("{dir}/month.inc"), times);
    }
    let job = job(if is_ours { JobKind::DescFiles } else { JobKind::IncFiles });
    let cancel = Cancel::new();
    let clock = FakeClock::utc("2026-02-02T03:00");
    let ctx = RunContext {
        server_name: "web-01",
        host: "web-01",
        run_id: "0000000000000001",
        clock: &clock,
        cancel: &cancel,
        events: &NoEvents,
        workers: 1,
        cache: None,
    };
    let storages: Vec<(StorageSpec, Arc<dyn Storage>)> = vec![(job.storages[0].clone(), Arc::new(memory))];
    let again = |kinds: &[ErrorKind]| {
        let report = reindex::run(&ctx, &job, &storages, &reindex::Request::default(), &mut |_| ());
        let report = report.expect("nobody cancels");
        assert!(report.problems.is_empty());
        for done in &report.indexes {
            if let Outcome::Failed(problem) = &done.outcome {
                assert!(kinds.contains(&problem.kind), "{problem:?}");
            }
        }
        report.indexes
    };
    let kinds = [ErrorKind::Corrupt, ErrorKind::Unsupported, ErrorKind::Invalid, ErrorKind::NotFound];
    let first = again(&kinds);
    if first.iter().all(|done| matches!(done.outcome, Outcome::Failed(_))) {
        return;
    }
    let request = verify::Request { target: None, at: None, sample_percent: 100 };
    let verified = verify::run(&ctx, &job, &storages, &request, &mut |_| ()).expect("nobody cancels");
    for (before, after) in first.iter().zip(again(&kinds)) {
        if matches!(before.outcome, Outcome::Failed(_)) {
            continue;
        }
        assert_eq!(after.outcome, Outcome::Sound, "{}, which was {:?}", after.key, before.outcome);
        let found = verified.copies.iter().find(|copy| copy.key == after.key).expect("each is verified");
        assert!(matches!(found.finding, Finding::Sound | Finding::BrokenChain(_)), "{:?}", found.finding);
    }
}

/// As the program stores it.
fn stored(codec: Codec, plain: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    let mut writer =
        FrameWriter::new(codec, 1, |bytes| stored.write_all(bytes).map_err(|e| Error::io("", e)))
            .expect("writers need only memory");
    writer.write(plain).expect("memory takes it");
    drop(writer.finish().expect("memory takes it"));
    stored
}

/// The record of a full of `plain`. That of its index fits none.
fn record(archive: &[u8], plain: &[u8], codec: Codec) -> Record {
    use sha2::Digest as _;
    let digest = |bytes: &[u8]| StoredDigest {
        blake3: blake3::hash(bytes).to_hex().to_string(),
        sha256: sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect(),
        bytes: bytes.len() as u64,
    };
    let at: jiff::Timestamp = "2026-02-01T03:00:00Z".parse().expect("a time");
    Record {
        id: BackupId(7),
        program: "nxs-backup 4.0.0".into(),
        server_name: "web-01".into(),
        host: "web-01".into(),
        job: "sites".into(),
        source: 0,
        target: "shop".into(),
        part: "shop".into(),
        root: "/srv".into(),
        kind: JobKind::DescFiles.name().into(),
        level: Record::FULL.into(),
        parents: Vec::new(),
        started: at,
        finished: at,
        local: jiff::civil::date(2026, 2, 1).at(3, 0, 0, 0),
        plain_bytes: plain.len() as u64,
        compressed_bytes: archive.len() as u64,
        stored_bytes: archive.len() as u64,
        archive: digest(archive),
        index: Some(IndexDigest { stored: digest(b"no index"), plain_bytes: 1 }),
        compression: match codec {
            Codec::None => "none".into(),
            Codec::Gzip(level) => format!("gzip-{level}"),
            Codec::Zstd(level) => format!("zstd-{level}"),
        },
        recipients: Vec::new(),
        tools: Vec::new(),
        end_marker: None,
        log: None,
        completeness: Completeness::Complete,
        counts: Default::default(),
        periods: nxs_base::calendar::Periods::NONE,
        files: 0,
        dirs: 0,
    }
}

fn job(kind: JobKind) -> JobSpec {
    let storage = StorageSpec {
        name: "memory".into(),
        enable: true,
        backup_dir: "/memory".into(),
        retention: Retention { days: 1, weeks: 0, months: 0 },
        settings: StorageSettings::Local,
        traffic: Traffic::default(),
    };
    JobSpec {
        name: "sites".into(),
        kind,
        tmp_dir: None,
        sources: Vec::new(),
        storages: vec![storage],
        rotation: Rotation::After,
        months_to_store: 12,
        floor: None,
        require: Require::All,
    }
}
