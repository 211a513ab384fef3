//! A job of one source to two flaky storages in memory, and runs on it; forks are worlds of their own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jiff::civil::DateTime;
use nxs_base::Result;
use nxs_base::event::{Event, EventSink};
use nxs_base::ports::clock::Clock;
use nxs_base::ports::source::{Cancel, Source, Target};
use nxs_base::ports::storage::Storage;
use nxs_base::report::{JobReport, RunOutcome, RunReport};
use nxs_base::spec::{
    Compression, FilesSource, JobKind, JobSpec, Require, Retention, Rotation, SourceEntry, SourceSpec,
    StorageSettings, StorageSpec, Traffic,
};
use nxs_engine::cache::IndexCache;
use nxs_engine::job::{JobPorts, RunContext, run_job};
use nxs_testkit::{FakeClock, FlakyStorage, MemoryStorage};

use crate::shelf;

/// What a scene saves.
pub(crate) trait Saved: Source + Clone + Default + 'static {
    const KIND: JobKind;

    /// Called before each run.
    fn prepare(&mut self, run: u32, at: DateTime);
}

/// The target `/srv/<name>`.
pub(crate) fn target(name: &str) -> Target {
    Target {
        name: name.into(),
        part: name.into(),
        file_stem: name.into(),
        extension: "tar".into(),
        root: format!("/srv/{name}"),
    }
}

/// Keeps the warnings and the errors.
#[derive(Default)]
pub(crate) struct Heard(pub(crate) Mutex<Vec<String>>);

impl EventSink for Heard {
    fn emit(&self, event: &Event<'_>) {
        if let Event::Warned { message, .. } = event {
            self.0.lock().unwrap().push((*message).to_owned());
        }
    }
}

pub(crate) struct Scene<S> {
    pub(crate) memory: [MemoryStorage; 2],
    pub(crate) flaky: [FlakyStorage; 2],
    pub(crate) clock: FakeClock,
    pub(crate) job: JobSpec,
    pub(crate) source: S,
    /// Where indexes are kept, if they are.
    pub(crate) state_dir: Option<PathBuf>,
    runs: u32,
}

/// What one run said.
pub(crate) struct Said {
    pub(crate) report: JobReport,
    pub(crate) warnings: Vec<String>,
}

impl Said {
    pub(crate) fn outcome(&self) -> RunOutcome {
        RunReport {
            run_id: String::new(),
            started: jiff::Timestamp::UNIX_EPOCH,
            finished: jiff::Timestamp::UNIX_EPOCH,
            jobs: vec![self.report.clone()],
            cancelled: false,
        }
        .outcome()
    }

    /// The archives (part and file name) that storage `n` is said to have got.
    pub(crate) fn made(&self, n: usize) -> Vec<String> {
        let copies = self.report.targets.iter().filter(|t| t.problem.is_none()).flat_map(|t| &t.copies);
        copies
            .filter(|c| c.storage == name(n) && c.problem.is_none())
            .map(|c| shelf::family(&c.key))
            .collect()
    }

    /// The keys that are said to have gone from storage `n`.
    pub(crate) fn dropped(&self, n: usize) -> Vec<String> {
        let copies = self.report.targets.iter().flat_map(|t| &t.copies).filter(|c| c.storage == name(n));
        copies.flat_map(|c| &c.dropped).map(|d| d.key.clone()).collect()
    }
}

pub(crate) fn name(n: usize) -> &'static str {
    ["left", "right"][n]
}

impl<S: Saved> Scene<S> {
    pub(crate) fn new() -> Self {
        Self::on([0, 1].map(|n| MemoryStorage::new(name(n))))
    }

    fn on(memory: [MemoryStorage; 2]) -> Self {
        Self {
            flaky: memory.clone().map(|m| FlakyStorage::new(Arc::new(m))),
            memory,
            clock: FakeClock::utc("2026-01-01T03:00"),
            job: job(S::KIND),
            source: S::default(),
            state_dir: None,
            runs: 0,
        }
    }

    /// The same in a world of its own, without what was kept of indexes.
    pub(crate) fn fork(&self) -> Self {
        Self {
            clock: FakeClock::new(self.clock.now()),
            job: self.job.clone(),
            source: self.source.clone(),
            runs: self.runs,
            ..Self::on([shelf::copy(&self.memory[0]), shelf::copy(&self.memory[1])])
        }
    }

    /// One run of the job.
    pub(crate) fn run(&mut self) -> Said {
        self.runs += 1;
        self.source.prepare(self.runs, self.clock.now().datetime());
        let heard = Heard::default();
        let run_id = format!("{:016x}", self.runs);
        let cancel = Cancel::new();
        let cache = self.state_dir.as_deref().map(IndexCache::new);
        let ctx = RunContext {
            server_name: "web-01",
            host: "web-01",
            run_id: &run_id,
            clock: &self.clock,
            cancel: &cancel,
            events: &heard,
            workers: 1,
            cache: cache.as_ref(),
        };
        let storage = |n: usize| -> (StorageSpec, Result<Arc<dyn Storage>>) {
            (self.job.storages[n].clone(), Ok(Arc::new(self.flaky[n].clone())))
        };
        let ports = JobPorts {
            storages: vec![storage(0), storage(1)],
            sources: vec![(self.job.sources[0].clone(), Ok(Box::new(self.source.clone())))],
            neighbours: Vec::new(),
        };
        let report = run_job(&ctx, &self.job, ports);
        Said { report, warnings: heard.0.into_inner().unwrap() }
    }
}

fn job(kind: JobKind) -> JobSpec {
    let storage = |n: usize| StorageSpec {
        name: name(n).into(),
        enable: true,
        backup_dir: format!("/{}", name(n)),
        retention: Retention { days: 2, weeks: 2, months: 0 },
        settings: StorageSettings::Local,
        traffic: Traffic::default(),
    };
    let files = FilesSource {
        targets: vec!["/srv/*".into()],
        excludes: Vec::new(),
        one_file_system: false,
        exclude_caches: false,
        exclude_if_present: Vec::new(),
    };
    JobSpec {
        name: "sites".into(),
        kind,
        tmp_dir: None,
        sources: vec![SourceEntry {
            index: 0,
            spec: SourceSpec::Files(files),
            compression: Compression::None,
            full_every: None,
        }],
        storages: vec![storage(0), storage(1)],
        rotation: Rotation::After,
        months_to_store: 12,
        require: Require::All,
        floor: None,
    }
}
