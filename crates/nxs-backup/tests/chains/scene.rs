//! A house with an incremental job, days that pass, and what the tree looked like at each run.
//!
//! Each storage can be looked at by the program alone and by GNU tar alone, and can be down, full or dead in one run.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::civil::{Date, DateTime};
use jiff::{ToSpan, Zoned};
use nxs_base::ports::clock::Clock;
use nxs_base::ports::source::{Cancel, DumpReport, Lane, Sink, Source, Target};
use nxs_base::ports::storage::Storage;
use nxs_base::spec::{JobKind, SourceEntry, SourceSpec, StorageSpec};
use nxs_base::{Error, ErrorKind, Result};
use nxs_sources::files::FilesSource;
use nxs_sources::registry::Surroundings;
use nxs_testkit::FlakyStorage;
use nxs_testkit::snapshot::Snapshot;
use serde_json::Value;

use crate::house::{Answer, House, MAIN};

/// The job of a world.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) target: &'static str,
    /// Their directories in the house.
    pub(crate) storages: Vec<&'static str>,
    pub(crate) excludes: &'static str,
    pub(crate) months: u32,
    pub(crate) rotation: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            target: "~/www/*/upload/",
            storages: vec!["backup"],
            excludes: "",
            months: 12,
            rotation: "auto",
        }
    }
}

impl Setup {
    /// A configuration with these storages.
    fn config(&self, storages: &[&str]) -> String {
        let Self { target, excludes, months, rotation, .. } = self;
        let mut text = format!(
            "{MAIN}  lock_file: ~/lock\n  nice: 0\n  ionice: none\njobs:\n- job: uploads\n  type: inc_files\n  \
             rotation: {rotation}\n  inc_months_to_store: {months}\n  sources:\n  - target: ['{target}']\n    \
             gzip: yes\n    excludes: [{excludes}]\n  storages:\n"
        );
        for dir in storages {
            text += &format!("  - {{storage: local, enable: yes, backup_dir: ~/{dir}}}\n");
        }
        text
    }
}

thread_local! {
    /// The storages of this test's world, by `backup_dir`.
    static FLAKY: RefCell<BTreeMap<String, FlakyStorage>> = const { RefCell::new(BTreeMap::new()) };
    static DOWN: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    /// Archives of each walk.
    static WALKS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

fn open_storage(spec: &StorageSpec) -> Result<Arc<dyn Storage>> {
    let dir = spec.backup_dir.trim_end_matches('/').to_owned();
    if DOWN.with_borrow(|down| down.contains(&dir)) {
        return Err(Error::new(ErrorKind::Timeout, format!("`{dir}` is down")));
    }
    let inner = nxs_storages::registry::open(spec, nxs_config::secrets::resolve)?;
    let flaky =
        FLAKY.with_borrow_mut(|all| all.entry(dir).or_insert_with(|| FlakyStorage::new(inner)).clone());
    Ok(Arc::new(flaky))
}

/// Counts the walks.
struct Walked(FilesSource);

impl Source for Walked {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        self.0.targets()
    }

    fn probe(&self, target: &Target) -> Result<()> {
        self.0.probe(target)
    }

    fn dump(&self, target: &Target, sink: &mut dyn Sink, cancel: &Cancel) -> Result<DumpReport> {
        self.0.dump(target, sink, cancel)
    }

    fn dump_since(
        &self,
        target: &Target,
        lanes: &mut [Lane<'_>],
        cancel: &Cancel,
    ) -> Result<Vec<Result<DumpReport>>> {
        WALKS.with_borrow_mut(|walks| walks.push(lanes.len()));
        self.0.dump_since(target, lanes, cancel)
    }
}

/// Days pass within seconds here, so what changed just now did not change just now.
pub(crate) fn open_source(
    entry: &SourceEntry,
    kind: JobKind,
    around: &Surroundings,
) -> Result<Box<dyn Source>> {
    match &entry.spec {
        SourceSpec::Files(spec) => Ok(Box::new(Walked(FilesSource::new(spec.clone())?.without_racy_rule()))),
        _ => nxs_sources::registry::open(entry, kind, around),
    }
}

/// A clock that stands still, in any zone.
#[derive(Clone)]
pub(crate) struct At(pub(crate) Zoned);

impl Clock for At {
    fn now(&self) -> Zoned {
        self.0.clone()
    }
}

pub(crate) struct World {
    pub(crate) house: House,
    pub(crate) setup: Setup,
    /// The tree at each run, by its time.
    pub(crate) points: BTreeMap<DateTime, Snapshot>,
    /// Told when something is wrong.
    pub(crate) name: String,
    runs: u32,
}

/// A temporary directory where it costs least: months of runs are flushed to it.
pub(crate) fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl World {
    pub(crate) fn new(setup: Setup, first: Date) -> Self {
        FLAKY.with_borrow_mut(BTreeMap::clear);
        DOWN.with_borrow_mut(BTreeSet::clear);
        WALKS.with_borrow_mut(Vec::clear);
        let mut house = House::in_dir(temp_dir());
        std::fs::create_dir_all(house.path("www/shop/upload")).unwrap();
        house.now = first.at(3, 0, 0, 0);
        let mut world = Self { house, setup, points: BTreeMap::new(), name: String::new(), runs: 0 };
        world.configure(|_| ());
        world
    }

    /// Changes the configuration.
    pub(crate) fn configure(&mut self, change: impl FnOnce(&mut Setup)) {
        change(&mut self.setup);
        for dir in &self.setup.storages {
            self.house.config(&self.setup.config(&[dir]));
            std::fs::rename(self.house.path("nxs.conf"), self.house.path(&format!("{dir}.conf"))).unwrap();
        }
        self.house.config(&self.setup.config(&self.setup.storages));
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.house.path("www/shop/upload")
    }

    pub(crate) fn dir(&self, storage: usize) -> PathBuf {
        self.house.path(self.setup.storages[storage])
    }

    pub(crate) fn pass(&mut self, days: i32) {
        self.house.now = self.house.now.checked_add(days.days()).unwrap();
    }

    pub(crate) fn set_day(&mut self, date: Date) {
        self.house.now = date.at(3, 0, 0, 0);
    }

    /// A storage that does not answer from now on, or does again.
    pub(crate) fn set_down(&self, storage: usize, is_down: bool) {
        let dir = self.dir(storage).to_str().unwrap().to_owned();
        DOWN.with_borrow_mut(|down| if is_down { down.insert(dir) } else { down.remove(&dir) });
    }

    /// Plans a fault of a storage in the next run; it must have been in use before.
    pub(crate) fn plan(&self, storage: usize, plan: impl FnOnce(&FlakyStorage)) {
        let dir = self.dir(storage).to_str().unwrap().to_owned();
        FLAKY.with_borrow(|all| all.get(&dir).into_iter().for_each(|f| f.revive()));
        FLAKY.with_borrow(|all| plan(&all[&dir]));
    }

    /// How many archives each walk since the last question made.
    pub(crate) fn walks(&self) -> Vec<usize> {
        WALKS.take()
    }

    fn run_id(&mut self) -> String {
        self.runs += 1;
        format!("{:016x}", self.runs)
    }

    /// Empties `state_dir`, which is a cache and no more.
    pub(crate) fn forget(&self) {
        let state = self.house.path("state");
        if state.exists() {
            std::fs::remove_dir_all(state).unwrap();
        }
    }

    /// Storages are opened anew: what lies there is another file system now.
    pub(crate) fn reopen(&self) {
        FLAKY.with_borrow_mut(BTreeMap::clear);
        DOWN.with_borrow_mut(BTreeSet::clear);
    }

    /// The tree as it is now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.tree())
    }

    /// The next run has the number of the last one.
    pub(crate) fn run_anew(&mut self) {
        self.runs -= 1;
    }

    /// Runs the program with the configuration of one storage.
    pub(crate) fn run_on(&mut self, storage: usize, args: &[&str]) -> Answer {
        let config = self.house.path(&format!("{}.conf", self.setup.storages[storage]));
        let mut all = vec!["nxs-backup", "-c", config.to_str().unwrap()];
        all.extend(args);
        let id = self.run_id();
        self.house.run_bare(&all, |env| env.run_id = id)
    }

    /// A run at any clock, whatever becomes of it; the planned faults are over then.
    pub(crate) fn start_by(&mut self, clock: Option<At>) -> Answer {
        let deadline = Instant::now() + Duration::from_secs(20);
        let id = self.run_id();
        let answer = loop {
            let id = id.clone();
            let answer = self.house.run_with(&["start"], |env| {
                env.open_source = open_source;
                env.open_storage = open_storage;
                env.run_id = id;
                if let Some(clock) = &clock {
                    env.clock = Box::new(clock.clone());
                }
            });
            // A child that another test just forked holds all locks until it is another program.
            if !answer.err.contains("Script already is running!") || Instant::now() > deadline {
                break answer;
            }
        };
        FLAKY.with_borrow(|all| all.values().for_each(FlakyStorage::revive));
        answer
    }

    /// A run that remembers the tree, whatever becomes of it.
    pub(crate) fn attempt(&mut self) -> Answer {
        let answer = self.start_by(None);
        self.points.insert(self.house.now, Snapshot::take(&self.tree()));
        answer
    }

    /// A run that must be complete.
    pub(crate) fn backup(&mut self) {
        let answer = self.attempt();
        let log = self.house.log();
        assert_eq!(answer.code, 0, "{} {}: {}\n{log}", self.name, self.house.now, answer.err);
    }

    /// What the program brings back of a point, from one storage.
    pub(crate) fn restored(&mut self, storage: usize, at: DateTime) -> Snapshot {
        let root = self.tree();
        let moment = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
        self.restored_of(storage, &root, &moment)
    }

    /// The same of any target.
    pub(crate) fn restored_of(&mut self, storage: usize, root: &Path, moment: &str) -> Snapshot {
        let place = temp_dir();
        let to = place.path().join("to");
        let (root_text, to_text) = (root.to_str().unwrap(), to.to_str().unwrap());
        let answer = self
            .run_on(storage, &["restore", "uploads", "--target", root_text, "--at", moment, "--to", to_text]);
        assert_eq!(answer.code, 0, "{} {moment}: {}", self.name, answer.err);
        Snapshot::take(&to.join(root.strip_prefix("/").unwrap()))
    }

    /// What GNU tar makes of the chain of a point, by the records alone.
    pub(crate) fn untarred(&self, storage: usize, at: DateTime) -> Snapshot {
        self.untarred_of(storage, &self.tree(), at)
    }

    pub(crate) fn untarred_of(&self, storage: usize, root: &Path, at: DateTime) -> Snapshot {
        let place = temp_dir();
        let chain = self.chain_of(storage, root, at);
        for (number, archive) in chain.iter().enumerate() {
            let mut tar = Command::new("tar");
            tar.args([
                "--xattrs",
                "--xattrs-include=*",
                "--acls",
                "--numeric-owner",
                "--warning=no-timestamp",
            ]);
            tar.arg(if number == 0 { "-xp" } else { "-xpG" });
            let output = tar.arg("-zf").arg(archive).arg("-C").arg(place.path()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let is_fine = output.status.success() && said.is_empty();
            assert!(is_fine, "{} {}: {said}", self.name, archive.display());
        }
        Snapshot::take(&place.path().join(root.strip_prefix("/").unwrap()))
    }

    /// The records on a storage with their archives, by id.
    pub(crate) fn records(&self, storage: usize) -> BTreeMap<String, (PathBuf, Value)> {
        let mut records = BTreeMap::new();
        for path in files(&self.dir(storage)) {
            let text = path.to_str().unwrap();
            let Some(archive) = text.strip_suffix(".nxs.json") else { continue };
            let line = std::fs::read_to_string(&path).unwrap();
            // Damaged on purpose, or that of the adoption list.
            let Ok(record) = serde_json::from_str::<Value>(line.lines().next().unwrap_or_default()) else {
                continue;
            };
            if !record["parents"].is_array() {
                continue;
            }
            records.insert(record["id"].as_str().unwrap().to_owned(), (PathBuf::from(archive), record));
        }
        records
    }

    /// The record of the backup of this moment; its archive.
    pub(crate) fn record(&self, storage: usize, at: DateTime) -> (PathBuf, Value) {
        let at = at.to_string();
        let mut found = self.records(storage).into_values().filter(|(_, r)| r["local"] == at.as_str());
        found.next().unwrap_or_else(|| panic!("{}: no record of {at}", self.name))
    }

    /// The archives of a point, the full first.
    fn chain_of(&self, storage: usize, root: &Path, at: DateTime) -> Vec<PathBuf> {
        let records = self.records(storage);
        let (at, root) = (at.to_string(), root.to_str().unwrap());
        let newest = records.values().find(|(_, r)| r["local"] == at.as_str() && r["root"] == root);
        let (archive, record) = newest.unwrap_or_else(|| panic!("{}: no record of {at}", self.name));
        let parents = record["parents"].as_array().unwrap().iter().rev().map(|p| p.as_str().unwrap());
        let mut chain: Vec<PathBuf> = parents
            .map(|id| {
                let parent = records.get(id);
                parent.unwrap_or_else(|| panic!("{} {at}: parent {id} is gone", self.name)).0.clone()
            })
            .collect();
        chain.push(archive.clone());
        chain
    }

    /// Times of the backups that are on a storage.
    pub(crate) fn kept(&self, storage: usize) -> Vec<DateTime> {
        let records = self.records(storage);
        let times: BTreeSet<DateTime> =
            records.values().map(|(_, r)| r["local"].as_str().unwrap().parse().unwrap()).collect();
        times.into_iter().collect()
    }

    /// Compares a point in both ways.
    pub(crate) fn check(&mut self, storage: usize, at: DateTime) {
        self.check_ours(storage, at);
        let what = format!("{} {at}, storage {storage}, by GNU tar", self.name);
        self.points[&at].assert_same(&self.untarred(storage, at), &what);
    }

    /// Compares what the program brings back.
    pub(crate) fn check_ours(&mut self, storage: usize, at: DateTime) {
        let restored = self.restored(storage, at);
        let what = format!("{} {at}, storage {storage}, by the program", self.name);
        self.points[&at].assert_same(&restored, &what);
    }

    /// All that is kept comes back, and `verify` finds nothing wrong.
    pub(crate) fn check_all(&mut self, storage: usize) {
        for at in self.kept(storage) {
            self.check_ours(storage, at);
        }
        self.verify(storage);
    }

    pub(crate) fn verify(&mut self, storage: usize) {
        let answer = self.run_on(storage, &["verify"]);
        assert_eq!(answer.code, 0, "{} {}{}", self.name, answer.out, answer.err);
    }

    /// Keys of archives (`l` after those that are links) of a storage; nothing half and no link to nowhere may be there.
    pub(crate) fn listing(&self, storage: usize) -> Vec<String> {
        let root = self.dir(storage);
        let (mut lines, mut waiting) = (Vec::new(), vec![root.clone()]);
        while let Some(dir) = waiting.pop() {
            for entry in std::fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let meta = std::fs::symlink_metadata(&path).unwrap();
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                assert!(!name.ends_with(".nxs-part"), "{}: {name} is left", self.name);
                if meta.is_dir() {
                    waiting.push(path);
                } else if meta.is_symlink() {
                    let to = std::fs::read_link(&path).unwrap();
                    let is_fine = to.is_relative() && path.exists();
                    assert!(is_fine, "{}: {name} leads to {}", self.name, to.display());
                    lines.push(format!("{name} l"));
                } else if name.ends_with(".tar.gz") {
                    lines.push(name);
                }
            }
        }
        lines.sort();
        lines
    }
}

/// All regular files below a directory; links are not followed.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(listing) = std::fs::read_dir(dir) else { return found };
    for entry in listing {
        let path = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            found.extend(files(&path));
        } else if meta.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Names of the members of an archive, as GNU tar lists them.
pub(crate) fn members(archive: &Path) -> Vec<String> {
    let output = Command::new("tar").arg("-tzf").arg(archive).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
