//! One job of one or more targets on one storage, run night by night with a clock that is set by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nxs_base::calendar::Period;
use nxs_base::event::{Event, EventSink};
use nxs_base::layout::{Role, discrete};
use nxs_base::ports::source::{Artefact, Cancel, DumpReport, NoteKind, Sink, Source, Target};
use nxs_base::ports::storage::{ObjectInfo, ObjectKind, Storage};
use nxs_base::report::JobReport;
use nxs_base::spec::{
    Compression, JobKind, JobSpec, Require, Retention, Rotation, SourceEntry, SourceSpec, StorageSettings,
    StorageSpec, Traffic,
};
use nxs_base::{Error, ErrorKind, Result};
use nxs_engine::catalog::{self, Catalog, ConfiguredGroup, GroupId};
use nxs_engine::job::{JobPorts, RunContext, run_job};
use nxs_storages::LocalStorage;
use nxs_testkit::{FakeClock, MemoryStorage};

pub(crate) fn keep(days: u32, weeks: u32, months: u32) -> Retention {
    Retention { days, weeks, months }
}

/// What the source does tonight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Night {
    /// The whole content of every target.
    pub(crate) content: Vec<u8>,
    /// Some files cannot be read.
    pub(crate) has_gaps: bool,
    /// The dump breaks off.
    pub(crate) fails: bool,
    /// The rehearsal fails.
    pub(crate) probe_fails: bool,
}

impl Default for Night {
    fn default() -> Self {
        Self { content: b"content".to_vec(), has_gaps: false, fails: false, probe_fails: false }
    }
}

struct Scripted {
    targets: Vec<Target>,
    night: Night,
}

impl Source for Scripted {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        Ok(self.targets.iter().cloned().map(Ok).collect())
    }

    fn probe(&self, _: &Target) -> Result<()> {
        if self.night.probe_fails { Err(Error::new(ErrorKind::Denied, "no entry")) } else { Ok(()) }
    }

    fn dump(&self, _: &Target, sink: &mut dyn Sink, _: &Cancel) -> Result<DumpReport> {
        sink.begin(Artefact { has_index: true, expected_bytes: None })?;
        sink.write(&self.night.content)?;
        if self.night.fails {
            return Err(Error::new(ErrorKind::Tool, "the dump breaks off"));
        }
        let mut report = DumpReport::default();
        if self.night.has_gaps {
            report.note(NoteKind::Unreadable, "/x", "denied");
        }
        Ok(report)
    }
}

/// Takes down warnings and failures.
#[derive(Default)]
struct Ears(Mutex<Vec<String>>);

impl EventSink for Ears {
    fn emit(&self, event: &Event<'_>) {
        let line = match event {
            Event::Warned { message, .. } => format!("warning: {message}"),
            Event::Info { message, .. } => format!("info: {message}"),
            Event::Failed { problem, .. } => format!("error: {}", problem.message),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

/// What a night told.
pub(crate) struct Told {
    pub(crate) report: JobReport,
    pub(crate) said: Vec<String>,
}

impl Told {
    pub(crate) fn is_complete(&self) -> bool {
        self.report.is_complete()
    }

    pub(crate) fn dropped(&self) -> usize {
        self.report.targets.iter().flat_map(|t| &t.copies).map(|c| c.dropped.len()).sum()
    }

    pub(crate) fn says(&self, text: &str) -> bool {
        self.said.iter().any(|line| line.contains(text))
    }
}

/// The storages of a job, opened.
pub(crate) type Opened = [(StorageSpec, Arc<dyn Storage>)];

/// A job on a storage.
pub(crate) struct House {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) retention: Retention,
    pub(crate) rotation: Rotation,
    pub(crate) server: String,
    pub(crate) job: String,
    pub(crate) targets: Vec<Target>,
    pub(crate) neighbours: Vec<ConfiguredGroup>,
    pub(crate) compression: Compression,
    pub(crate) zone: TimeZone,
    pub(crate) run: u32,
}

pub(crate) fn target(name: &str) -> Target {
    Target {
        name: name.into(),
        part: name.into(),
        file_stem: name.into(),
        extension: "tar".into(),
        root: format!("/var/www/{name}"),
    }
}

impl House {
    pub(crate) fn on(storage: Arc<dyn Storage>, retention: Retention) -> Self {
        Self {
            storage,
            retention,
            rotation: Rotation::Auto,
            server: "web".into(),
            job: "files".into(),
            targets: vec![target("site1")],
            neighbours: Vec::new(),
            compression: Compression::None,
            zone: TimeZone::UTC,
            run: 0,
        }
    }

    pub(crate) fn in_memory(retention: Retention) -> (Self, MemoryStorage) {
        let storage = MemoryStorage::new("memory");
        (Self::on(Arc::new(storage.clone()), retention), storage)
    }

    /// One run at that local time, or, with an offset from UTC, at that instant.
    pub(crate) fn night(&mut self, at: &str) -> Told {
        self.night_of(at, Night::default())
    }

    pub(crate) fn night_of(&mut self, at: &str, night: Night) -> Told {
        self.run += 1;
        let run_id = format!("{:x}", self.run);
        let now = match at.parse::<Timestamp>() {
            Ok(instant) => instant.to_zoned(self.zone.clone()),
            Err(_) => at.parse::<jiff::civil::DateTime>().unwrap().to_zoned(self.zone.clone()).unwrap(),
        };
        let clock = FakeClock::new(now);
        let (cancel, ears) = (Cancel::new(), Ears::default());
        let ctx = RunContext {
            server_name: &self.server,
            host: &self.server,
            run_id: &run_id,
            clock: &clock,
            cancel: &cancel,
            events: &ears,
            workers: 1,
            cache: None,
        };
        let (job, spec) = self.specs();
        let entry = job.sources[0].clone();
        let source: Box<dyn Source> = Box::new(Scripted { targets: self.targets.clone(), night });
        let ports = JobPorts {
            storages: vec![(spec, Ok(Arc::clone(&self.storage)))],
            sources: vec![(entry, Ok(source))],
            neighbours: self.neighbours.clone(),
        };
        let report = run_job(&ctx, &job, ports);
        Told { report, said: ears.0.into_inner().unwrap() }
    }

    /// What a command that reads does at that instant, and what was said.
    pub(crate) fn read<T>(
        &self,
        at: &str,
        command: impl FnOnce(&RunContext<'_>, &JobSpec, &Opened) -> T,
    ) -> (T, Vec<String>) {
        let clock = FakeClock::new(at.parse::<Timestamp>().unwrap().to_zoned(self.zone.clone()));
        let (cancel, ears) = (Cancel::new(), Ears::default());
        let ctx = RunContext {
            server_name: &self.server,
            host: &self.server,
            run_id: "fefe",
            clock: &clock,
            cancel: &cancel,
            events: &ears,
            workers: 1,
            cache: None,
        };
        let (job, spec) = self.specs();
        let done = command(&ctx, &job, &[(spec, Arc::clone(&self.storage))]);
        (done, ears.0.into_inner().unwrap())
    }

    /// The job and its storage, as a configuration would say.
    pub(crate) fn specs(&self) -> (JobSpec, StorageSpec) {
        let entry = SourceEntry {
            index: 0,
            spec: SourceSpec::Later,
            compression: self.compression,
            full_every: None,
        };
        let spec = StorageSpec {
            name: "local".into(),
            enable: true,
            backup_dir: "/backup".into(),
            retention: self.retention,
            settings: StorageSettings::Local,
            traffic: Traffic::default(),
        };
        let job = JobSpec {
            name: self.job.clone(),
            kind: JobKind::DescFiles,
            tmp_dir: None,
            sources: vec![entry],
            storages: vec![spec.clone()],
            rotation: self.rotation,
            require: Require::All,
            floor: None,
            months_to_store: 12,
        };
        (job, spec)
    }

    /// A night that must go well.
    pub(crate) fn good_night(&mut self, at: &str) -> Told {
        let told = self.night(at);
        assert!(told.is_complete(), "{at}: {:?} {:?}", told.report, told.said);
        told
    }

    pub(crate) fn group(&self) -> ConfiguredGroup {
        let target = &self.targets[0];
        let id = GroupId {
            server_name: self.server.clone(),
            job: self.job.clone(),
            source: 0,
            root: target.root.clone(),
            part: target.part.clone(),
        };
        ConfiguredGroup { id, part: target.part.clone(), stem: target.file_stem.clone() }
    }

    pub(crate) fn catalog(&self) -> Catalog {
        catalog::scan(&*self.storage).unwrap()
    }

    /// The archives of the first target by day, `f` for files and `l` for links, as the tables of version 2.
    pub(crate) fn table(&self) -> String {
        let part = &self.targets[0].part;
        let mut rows: BTreeMap<Period, BTreeSet<(jiff::civil::DateTime, String)>> = BTreeMap::new();
        for info in objects(&*self.storage) {
            let Some(parsed) = discrete::parse(&info.key) else { continue };
            if parsed.role != Role::Archive || parsed.name.part != *part {
                continue;
            }
            let letter = if info.kind == ObjectKind::File { 'f' } else { 'l' };
            let cell = format!("{:02}{letter}", parsed.name.at.day());
            rows.entry(parsed.name.period).or_default().insert((parsed.name.at, cell));
        }
        let row = |(period, cells): (&Period, &BTreeSet<(_, String)>)| {
            let cells: Vec<&str> = cells.iter().map(|(_, cell)| cell.as_str()).collect();
            format!("{period}: {}", cells.join(" "))
        };
        rows.iter().map(row).collect::<Vec<_>>().join(" | ")
    }

    /// What must hold after every run that was not cut: three objects per backup, every link leads to its archive,
    /// nothing half is left.
    pub(crate) fn check(&self) {
        let catalog = self.catalog();
        assert!(catalog.damaged.is_empty(), "{:?}", catalog.damaged);
        assert!(catalog.partials.is_empty(), "{:?}", catalog.partials);
        assert!(catalog.dangling.is_empty(), "{:?}", catalog.dangling);
        for entry in &catalog.entries {
            assert!(entry.links.iter().all(|l| l.leads_to_archive), "{entry:?}");
            assert!(entry.record().is_none() || entry.index.is_some(), "{entry:?}");
        }
    }
}

pub(crate) fn objects(storage: &dyn Storage) -> Vec<ObjectInfo> {
    nxs_testkit::suite::list(storage, "")
}

pub(crate) fn keys(storage: &dyn Storage) -> Vec<String> {
    nxs_testkit::suite::keys(storage, "")
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// All days from the first to the last, at 03:00.
pub(crate) fn nights(first: &str, last: &str) -> Vec<String> {
    let (first, last): (jiff::civil::Date, jiff::civil::Date) =
        (first.parse().unwrap(), last.parse().unwrap());
    first.series(jiff::Span::new().days(1)).take_while(|d| *d <= last).map(|d| format!("{d}T03:00")).collect()
}

/// A real directory as storage, in memory where the host has `/dev/shm`.
pub(crate) struct Disk {
    pub(crate) dir: tempfile::TempDir,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let shm = Path::new("/dev/shm");
        let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
        let disk = Self { dir: dir.unwrap() };
        fs::create_dir(disk.root()).unwrap();
        disk
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("backup")
    }

    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.root().join(key)
    }

    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(LocalStorage::new("local", self.root()))
    }

    pub(crate) fn house(&self, retention: Retention) -> House {
        House::on(self.storage(), retention)
    }
}
