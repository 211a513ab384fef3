//! A job over two targets to two flaky storages, with a history of Sundays and firsts, and runs on it.

use std::sync::{Arc, Mutex};

use nxs_base::entry::{EntryKind, IndexEntry, Meta};
use nxs_base::event::{Event, EventSink};
use nxs_base::ports::source::{Artefact, Cancel, DumpReport, Sink, Source, Target};
use nxs_base::ports::storage::Storage;
use nxs_base::report::{JobReport, RunOutcome, RunReport};
use nxs_base::spec::{
    Compression, FilesSource, JobKind, JobSpec, Require, Retention, Rotation, SourceEntry, SourceSpec,
    StorageKind, StorageSpec,
};
use nxs_base::{Error, ErrorKind, Result};
use nxs_engine::job::{JobPorts, RunContext, run_job};
use nxs_testkit::{FakeClock, FlakyStorage, MemoryStorage};

use crate::shelf;

/// Plain bytes of each target.
pub(crate) const BYTES: usize = 5000;
/// The source writes blocks of this size.
pub(crate) const BLOCK: usize = 500;

/// What the source gives: two targets, of which the first may break off at a byte.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) generation: u8,
    pub(crate) cut_at: Option<(usize, ErrorKind)>,
}

impl Scripted {
    pub(crate) fn plain(&self, target: &str) -> Vec<u8> {
        let salt = self.generation.wrapping_mul(31) ^ target.as_bytes()[0];
        (0..BYTES).map(|i| (i as u8).wrapping_mul(7) ^ (i >> 8) as u8 ^ salt).collect()
    }
}

impl Source for Scripted {
    fn targets(&self) -> Result<Vec<Result<Target>>> {
        let target = |name: &str| Target {
            name: name.into(),
            part: name.into(),
            file_stem: name.into(),
            extension: "tar".into(),
            root: format!("/srv/{name}"),
        };
        Ok(vec![Ok(target("one")), Ok(target("two"))])
    }

    fn probe(&self, _: &Target) -> Result<()> {
        Ok(())
    }

    fn dump(&self, target: &Target, sink: &mut dyn Sink, cancel: &Cancel) -> Result<DumpReport> {
        sink.begin(Artefact { has_index: true, expected_bytes: None })?;
        let plain = self.plain(&target.name);
        let cut = self.cut_at.filter(|_| target.name == "one");
        let end = cut.map_or(plain.len(), |(at, _)| at);
        for (n, block) in plain[..end].chunks(BLOCK).enumerate() {
            cancel.check()?;
            let meta = Meta { kind: EntryKind::File, size_bytes: block.len() as u64, ..Meta::default() };
            sink.entry(&IndexEntry {
                path: format!("srv/{}/{n:03}", target.name).into_bytes(),
                meta,
                offset: (n * BLOCK) as u64,
                stored_bytes: block.len() as u64,
                ..IndexEntry::default()
            })?;
            sink.write(block)?;
            sink.cut_here()?;
        }
        if let Some((at, kind)) = cut {
            return Err(Error::new(kind, format!("planned fault: the source breaks off at byte {at}")));
        }
        Ok(DumpReport { files: 10, ..DumpReport::default() })
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

pub(crate) struct Scene {
    pub(crate) memory: [MemoryStorage; 2],
    pub(crate) flaky: [FlakyStorage; 2],
    pub(crate) clock: FakeClock,
    pub(crate) retention: Retention,
    pub(crate) rotation: Rotation,
    pub(crate) source: Scripted,
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

    /// The archives that are said to have gone from storage `n`.
    pub(crate) fn dropped(&self, n: usize) -> Vec<String> {
        let copies = self.report.targets.iter().flat_map(|t| &t.copies).filter(|c| c.storage == name(n));
        copies.flat_map(|c| &c.dropped).map(|d| shelf::family(&d.key)).collect()
    }
}

fn name(n: usize) -> &'static str {
    ["left", "right"][n]
}

impl Scene {
    /// A history over two Sundays that are the first of a month, then a tighter policy, so that the next run makes,
    /// drops, moves and links.
    pub(crate) fn with_history() -> Self {
        let memory = [MemoryStorage::new(name(0)), MemoryStorage::new(name(1))];
        let mut scene = Self::on(memory);
        scene.retention = Retention { days: 9, weeks: 9, months: 9 };
        let days = [
            "2026-02-01",
            "2026-02-28",
            "2026-03-01",
            "2026-03-02",
            "2026-10-31",
            "2026-11-01",
            "2026-11-02",
        ];
        for day in days {
            scene.clock.set(&format!("{day}T03:00"));
            assert!(scene.run().report.is_complete());
        }
        scene.retention = Retention { days: 2, weeks: 2, months: 0 };
        scene.clock.set("2026-11-08T03:00");
        scene
    }

    fn on(memory: [MemoryStorage; 2]) -> Self {
        let flaky = memory.clone().map(|m| FlakyStorage::new(Arc::new(m)));
        Self {
            memory,
            flaky,
            clock: FakeClock::utc("2026-01-01T03:00"),
            retention: Retention { days: 2, weeks: 2, months: 0 },
            rotation: Rotation::After,
            source: Scripted { generation: 0, cut_at: None },
            runs: 0,
        }
    }

    /// The same in a world of its own.
    pub(crate) fn fork(&self) -> Self {
        use nxs_base::ports::clock::Clock;
        let mut fork = Self::on([shelf::copy(&self.memory[0]), shelf::copy(&self.memory[1])]);
        fork.clock = FakeClock::new(self.clock.now());
        fork.retention = self.retention;
        fork.rotation = self.rotation;
        fork.source = self.source.clone();
        fork.runs = self.runs;
        fork
    }

    /// One run of the job; every run has other bytes.
    pub(crate) fn run(&mut self) -> Said {
        self.runs += 1;
        self.source.generation = self.runs as u8;
        let heard = Heard::default();
        let run_id = format!("{:016x}", self.runs);
        let cancel = Cancel::new();
        let ctx = RunContext {
            server_name: "web-01",
            host: "web-01",
            run_id: &run_id,
            clock: &self.clock,
            cancel: &cancel,
            events: &heard,
            workers: 1,
        };
        let job = self.job();
        let storage = |n: usize| -> (StorageSpec, Result<Arc<dyn Storage>>) {
            (job.storages[n].clone(), Ok(Arc::new(self.flaky[n].clone())))
        };
        let ports = JobPorts {
            storages: vec![storage(0), storage(1)],
            sources: vec![(job.sources[0].clone(), Ok(Box::new(self.source.clone())))],
            neighbours: Vec::new(),
        };
        let report = run_job(&ctx, &job, ports);
        Said { report, warnings: heard.0.into_inner().unwrap() }
    }

    fn job(&self) -> JobSpec {
        let storage = |n: usize| StorageSpec {
            kind: StorageKind::Local,
            name: name(n).into(),
            enable: true,
            backup_dir: format!("/{}", name(n)),
            retention: self.retention,
            host: None,
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
            kind: JobKind::DescFiles,
            tmp_dir: None,
            sources: vec![SourceEntry {
                index: 0,
                spec: SourceSpec::Files(files),
                compression: Compression::None,
            }],
            storages: vec![storage(0), storage(1)],
            rotation: self.rotation,
            months_to_store: 12,
            require: Require::All,
        }
    }
}
