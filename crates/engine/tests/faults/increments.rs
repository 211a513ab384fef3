//! Incremental jobs under fault: two storages in memory whose chains differ, so that one run makes two archives; one
//! of them fails, loses its answer, fills up or dies with the process at its k-th operation, for every k.
//!
//! After each: no increment without its parents, every older restore point that the policy keeps is unchanged, the
//! other storage has what it should, and the next run leaves all in order, with the tree as it is then.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use jiff::civil::DateTime;
use nxs_archive::index::IndexReader;
use nxs_base::entry::{EntryKind, EntryState, FileTime, IndexEntry, Meta};
use nxs_base::ports::source::{Artefact, Cancel, DumpReport, Lane, Sink, Source, Target};
use nxs_base::ports::storage::{ObjectKey, Storage};
use nxs_base::record::{BackupId, Record};
use nxs_base::report::RunOutcome;
use nxs_base::spec::{JobKind, Rotation};
use nxs_base::{ErrorKind, Result};
use nxs_engine::incremental::state::State;
use nxs_testkit::{FlakyStorage, MemoryStorage};

use crate::scene::{Saved, Scene, target};
use crate::shelf::Order;

/// A tree: paths and the version of each.
type Tree = BTreeMap<String, i64>;

/// Gives the tree, or what of it differs from a baseline.
#[derive(Clone, Default)]
pub(crate) struct Living {
    tree: Tree,
    /// The tree of each run, by its local time.
    trees: BTreeMap<String, Tree>,
}

impl Living {
    /// One new path, one changed, one gone, each time others.
    fn change(&mut self, n: i64) {
        self.tree.insert(format!("srv/one/{:03}", n * 7 % 100), n);
        self.tree.insert("srv/one/999".into(), n);
        self.tree.insert("srv/one/always".into(), 1);
        if n % 2 == 0
            && let Some(path) = self.tree.keys().nth(n as usize % 3).cloned()
        {
            self.tree.remove(&path);
        }
    }

    fn write(&self, lane: &mut Lane<'_>, cancel: &Cancel) -> Result<DumpReport> {
        let before: BTreeMap<String, i64> = match lane.baseline.take() {
            None => BTreeMap::new(),
            Some(entries) => entries
                .map(|e| e.map(|e| (String::from_utf8(e.path).unwrap(), e.meta.mtime.sec)))
                .collect::<Result<_>>()?,
        };
        lane.sink.begin(Artefact { has_index: true, expected_bytes: None })?;
        let mut offset = 0;
        let paths: BTreeSet<&String> = before.keys().chain(self.tree.keys()).collect();
        for path in paths {
            cancel.check()?;
            let now = self.tree.get(path);
            if now == before.get(path) {
                continue;
            }
            let bytes = now.map_or(Vec::new(), |version| vec![*version as u8; 300]);
            let meta = Meta {
                kind: EntryKind::File,
                size_bytes: bytes.len() as u64,
                mtime: FileTime { sec: now.copied().unwrap_or(0), nsec: 0 },
                ..Meta::default()
            };
            let state = if now.is_some() { EntryState::Sound } else { EntryState::Removed };
            let path = path.clone().into_bytes();
            let stored_bytes = bytes.len() as u64;
            lane.sink.entry(&IndexEntry {
                path,
                meta,
                state,
                offset,
                stored_bytes,
                ..IndexEntry::default()
            })?;
            lane.sink.write(&bytes)?;
            lane.sink.cut_here()?;
            offset += stored_bytes;
        }
        Ok(DumpReport { files: self.tree.len() as u64, ..DumpReport::default() })
    }
}

impl Source for Living {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        Ok(vec![Ok(target("one"))])
    }

    fn probe(&self, _: &Target) -> Result<()> {
        Ok(())
    }

    fn dump(&self, _: &Target, sink: &mut dyn Sink, cancel: &Cancel) -> Result<DumpReport> {
        self.write(&mut Lane { baseline: None, sink }, cancel)
    }

    fn dump_since(
        &self,
        _: &Target,
        lanes: &mut [Lane<'_>],
        cancel: &Cancel,
    ) -> Result<Vec<Result<DumpReport>>> {
        Ok(lanes.iter_mut().map(|lane| self.write(lane, cancel)).collect())
    }
}

impl Saved for Living {
    const KIND: JobKind = JobKind::IncFiles;

    fn prepare(&mut self, run: u32, at: DateTime) {
        self.change(i64::from(run));
        self.trees.insert(at.to_string(), self.tree.clone());
    }
}

impl Scene<Living> {
    /// All levels over four months; the right storage missed some days, so that its chain is another.
    pub(crate) fn with_history() -> Self {
        let mut scene = Self::new();
        let days = [
            ("2026-09-28", true),
            ("2026-10-05", true),
            ("2026-10-06", false),
            ("2026-10-11", true),
            ("2026-10-12", true),
            ("2026-11-03", true),
            ("2026-12-04", true),
            ("2026-12-12", false),
            ("2026-12-13", false),
        ];
        for (day, is_right_there) in days {
            scene.clock.set(&format!("{day}T03:00"));
            if !is_right_there {
                scene.flaky[1].kill_before(1);
            }
            let said = scene.run();
            assert_eq!(said.report.is_complete(), is_right_there, "{day}: {:#?}", said.report);
            scene.flaky[1].revive();
        }
        scene
    }

    /// What the storage holds, judged by the documented rules alone. Panics where something is neither a backup with
    /// all its parents nor allowed to be there, or where a restore point is not the tree of its time.
    #[track_caller]
    pub(crate) fn read(&self, n: usize, order: Order, what: &str) -> Points {
        read(&self.memory[n], order, &self.source.trees, what)
    }
}

/// Restore points by local time: level, and the bytes of archive, index and record.
pub(crate) type Points = BTreeMap<String, (String, [Vec<u8>; 3])>;

pub(crate) fn get(storage: &MemoryStorage, key: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    storage.get(&ObjectKey::new(key).unwrap(), None).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[track_caller]
fn read(storage: &MemoryStorage, order: Order, trees: &BTreeMap<String, Tree>, what: &str) -> Points {
    let tree = storage.tree();
    let (mut files, mut links) = (BTreeSet::new(), BTreeMap::new());
    for line in tree.lines() {
        match line.split_once(" -> ") {
            Some((key, to)) => drop(links.insert(key, to)),
            None => drop(files.insert(line)),
        }
    }
    let is_house = |k: &str| k == "RESTORE.md" || k == ".nxs-adopted.json";
    let is_partial = |k: &str| k.ends_with(".nxs-part");
    let mut known: BTreeSet<String> = files.iter().filter(|k| is_house(k)).map(|k| (*k).to_owned()).collect();
    let mut backups: BTreeMap<BackupId, (Record, [Vec<u8>; 3])> = BTreeMap::new();
    let archives = files.iter().filter(|k| k.ends_with(".tar"));
    for key in archives {
        let [record_key, index_key] = ["nxs.json", "nxs.idx"].map(|end| format!("{key}.{end}"));
        if !files.contains(record_key.as_str()) {
            let (dir, name) = key.rsplit_once('/').unwrap();
            let begins = format!("{dir}/.{name}.nxs.json.");
            let is_known = order != Order::Settled && files.iter().any(|k| k.starts_with(&begins));
            assert!(is_known, "{what}: `{key}` is no backup, and nothing says so:\n{tree}");
            continue;
        }
        let bytes = [get(storage, key), get(storage, &index_key), get(storage, &record_key)];
        let record = Record::parse(&bytes[2]).unwrap();
        assert_eq!(record.archive.bytes, bytes[0].len() as u64, "{what}: {key}");
        let index = record.index.as_ref().unwrap();
        assert_eq!(index.stored.blake3, blake3::hash(&bytes[1]).to_hex().to_string(), "{what}: {index_key}");
        known.extend([(*key).to_owned(), record_key, index_key]);
        assert!(backups.insert(record.id, (record, bytes)).is_none(), "{what}: `{key}` is there twice");
    }
    let mut points = Points::new();
    for (record, bytes) in backups.values() {
        let at = record.local.to_string();
        let mut levels = vec![bytes];
        for parent in &record.parents {
            let parent = backups.get(parent);
            let parent = parent.unwrap_or_else(|| panic!("{what}: {at} lost its parent:\n{tree}"));
            levels.push(&parent.1);
        }
        let depth = ["year", "month", "decade", "day"].iter().position(|l| *l == record.level).unwrap();
        assert!(levels.len() <= depth + 1 && (depth == 0) == (levels.len() == 1), "{what}: {at}");
        let indexes: Vec<_> = levels.iter().map(|b| IndexReader::open(b[1].clone()).unwrap()).collect();
        let state = State::new(indexes.iter().map(IndexReader::entries));
        let mut restored = Tree::new();
        for sited in state {
            let sited = sited.unwrap();
            let version = sited.entry.meta.mtime.sec;
            let from = sited.entry.offset as usize;
            assert_eq!(levels[sited.level][0][from], version as u8, "{what}: {at}: bytes of another version");
            restored.insert(String::from_utf8(sited.entry.path).unwrap(), version);
        }
        assert_eq!(trees.get(&at), Some(&restored), "{what}: {at} is not what was there");
        let is_first = points.insert(at.clone(), (record.level.clone(), bytes.clone())).is_none();
        assert!(is_first, "{what}: {at} is there twice:\n{tree}");
    }
    if order == Order::Settled {
        let stray: Vec<_> = files.iter().filter(|k| !known.contains(**k)).collect();
        assert!(stray.is_empty(), "{what}: left over: {stray:#?}\n{tree}");
    }
    if order == Order::Settled {
        for (link, to) in &links {
            assert!(files.contains(to) && !is_partial(link), "{what}: the link `{link}` dangles:\n{tree}");
            let name = |key: &str| key.rsplit('/').next().map(str::to_owned);
            assert_eq!(name(link), name(to), "{what}: the link `{link}` leads astray");
        }
    }
    points
}

/// What the run does when nothing goes wrong.
struct Clean {
    before: [Points; 2],
    after: [Points; 2],
    next: [Points; 2],
    links: [BTreeSet<String>; 2],
    ops: u64,
    next_run: &'static str,
}

fn links(storage: &MemoryStorage) -> BTreeSet<String> {
    storage.tree().lines().filter(|l| l.contains(" -> ")).map(str::to_owned).collect()
}

impl Clean {
    fn of(scene: &Scene<Living>, next_run: &'static str) -> Self {
        let mut run = scene.fork();
        let said = run.run();
        assert!(said.report.is_complete() && said.warnings.is_empty(), "{:#?}", said.report);
        let ops = run.flaky[0].op_count();
        let both = |scene: &Scene<Living>| [0, 1].map(|n| scene.read(n, Order::Settled, "without faults"));
        let after = both(&run);
        run.clock.set(&format!("{next_run}T03:00"));
        assert!(run.run().report.is_complete());
        let links = [0, 1].map(|n| links(&run.memory[n]));
        Self { before: both(scene), after, next: both(&run), links, ops, next_run }
    }
}

/// The job, the day of the run, the next run, and how old months may be.
const DAYS: [(&str, &str, u32); 4] = [
    // A day on the left, a decade on the right.
    ("2026-12-14", "2026-12-15", 12),
    // A decade on both, against the same parent; two months go.
    ("2026-12-21", "2026-12-22", 1),
    // A full with its links; nearly all of last year goes, but the full that December needs.
    ("2027-01-05", "2027-01-06", 1),
    // A month with its link.
    ("2026-10-13", "2026-10-21", 12),
];

fn scenes() -> impl Iterator<Item = (Scene<Living>, Clean, String)> {
    let history = Scene::<Living>::with_history();
    DAYS.into_iter().flat_map(move |(day, next, months)| {
        let history = history.fork();
        [Rotation::Before, Rotation::After].into_iter().map(move |rotation| {
            let mut scene = history.fork();
            scene.job.rotation = rotation;
            scene.job.months_to_store = months;
            scene.clock.set(&format!("{day}T03:00"));
            let clean = Clean::of(&scene, next);
            assert!(clean.ops > 20, "the run is to be long: {}", clean.ops);
            (scene, clean, format!("{day}, {rotation:?}"))
        })
    })
}

#[track_caller]
fn at_every_operation(fault: &str, order: Order, plan: impl Fn(&FlakyStorage, u64)) {
    for (scene, clean, day) in scenes() {
        for k in 1..=clean.ops {
            let mut run = scene.fork();
            plan(&run.flaky[0], k);
            let said = run.run();
            let op = run.flaky[0].ops().get(k as usize - 1).cloned();
            let what = format!("{day}, {fault} at operation {k} ({op:?})");
            assert_ne!(said.outcome(), RunOutcome::Failed, "{what}: {:#?}", said.report);
            let right = run.read(1, Order::Settled, &what);
            assert!(right.keys().eq(clean.after[1].keys()), "{what}: the other storage");
            let left = run.read(0, order, &what);
            for (at, was) in clean.before[0].iter().filter(|(at, _)| clean.after[0].contains_key(*at)) {
                assert_eq!(left.get(at), Some(was), "{what}: {at} is to be kept");
            }
            if order != Order::CutOff {
                let gone = clean.before[0].keys().filter(|at| !left.contains_key(*at)).count();
                assert_eq!(said.dropped(0).len(), gone, "{what}: what went is told");
            }
            if said.report.is_complete() && said.warnings.is_empty() && order != Order::CutOff {
                assert!(left.keys().eq(clean.after[0].keys()), "{what}: the run says nothing of it");
            }

            run.flaky[0].revive();
            run.clock.set(&format!("{}T03:00", clean.next_run));
            let next = run.run();
            assert!(next.report.is_complete(), "{what}: the next run: {:#?}", next.report);
            assert_eq!(next.warnings, Vec::<String>::new(), "{what}: the next run");
            for n in [0, 1] {
                let settled = run.read(n, Order::Settled, &format!("{what}, the next run"));
                for (at, was) in clean.before[n].iter().filter(|(at, _)| clean.next[n].contains_key(*at)) {
                    assert_eq!(settled.get(at), Some(was), "{what}: {at} after the next run");
                }
                let has_next = settled.keys().any(|at| at.starts_with(clean.next_run));
                assert!(has_next, "{what}: {:?}", settled.keys());
                assert!(settled.len() + 1 >= clean.next[n].len(), "{what}: {:?}", settled.keys());
            }
            let others = links(&run.memory[1]);
            assert_eq!(others, clean.links[1], "{what}: links of the other storage");
        }
    }
}

#[test]
fn a_storage_that_fails_at_any_operation_of_an_increment_hurts_no_chain() {
    for kind in [ErrorKind::Full, ErrorKind::Timeout] {
        at_every_operation(&format!("{kind:?}"), Order::Failed, |flaky, k| flaky.fail_op(k, kind));
    }
}

#[test]
fn an_answer_that_is_lost_at_any_operation_of_an_increment_hurts_no_chain() {
    at_every_operation("done and told as failed", Order::Failed, |flaky, k| {
        flaky.fail_after(k, ErrorKind::Timeout)
    });
}

#[test]
fn a_death_before_any_operation_of_an_increment_hurts_no_chain() {
    at_every_operation("dead", Order::CutOff, |flaky, k| flaky.kill_before(k));
}

#[test]
fn a_death_after_any_operation_of_an_increment_hurts_no_chain() {
    at_every_operation("dead after", Order::CutOff, |flaky, k| flaky.kill_after(k));
}

#[test]
fn a_death_within_a_stream_of_an_increment_hurts_no_chain() {
    for bytes in [1, 400] {
        at_every_operation("dead in the stream", Order::CutOff, |flaky, k| flaky.kill_in_stream(k, bytes));
    }
}
