//! The loop of a job: storages made ready, sources expanded, every target tried. A failed target or storage is
//! data in the report; nothing here ends early but on cancel.

use std::sync::Arc;

use jiff::Zoned;
use nxs_base::calendar;
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::event::{Event, EventSink};
use nxs_base::ports::clock::Clock;
use nxs_base::ports::source::{Cancel, Source};
use nxs_base::ports::storage::{PartTag, Storage};
use nxs_base::report::{JobReport, Problem};
use nxs_base::spec::job::SourceEntry;
use nxs_base::spec::{JobKind, JobSpec, Retention, StorageSpec};

use super::store::Store;
use super::target::{TargetJob, group_id, run_target};
use crate::cache::IndexCache;
use crate::catalog::ConfiguredGroup;

/// What all jobs of one run share.
pub struct RunContext<'a> {
    pub server_name: &'a str,
    /// Host name, safe for names of partial objects.
    pub host: &'a str,
    pub run_id: &'a str,
    pub clock: &'a dyn Clock,
    pub cancel: &'a Cancel,
    pub events: &'a dyn EventSink,
    /// Compression threads.
    pub workers: usize,
    /// Indexes that increments need; none for what makes no backups.
    pub cache: Option<&'a IndexCache>,
}

impl RunContext<'_> {
    pub(crate) fn tag(&self) -> PartTag {
        PartTag { host: self.host.into(), run_id: self.run_id.into() }
    }
}

/// The opened storages and sources of a job; what could not be opened is reported, the rest goes on.
pub struct JobPorts {
    pub storages: Vec<(StorageSpec, Result<Arc<dyn Storage>>)>,
    pub sources: Vec<(SourceEntry, Result<Box<dyn Source>>)>,
    /// Groups of other jobs that may share a `backup_dir` with this one.
    pub neighbours: Vec<ConfiguredGroup>,
}

/// Runs one job to its end. Never fails as a whole: everything that went wrong is in the report.
pub fn run_job(ctx: &RunContext<'_>, job: &JobSpec, ports: JobPorts) -> JobReport {
    let now = ctx.clock.now();
    let mut report = JobReport {
        job: job.name.clone(),
        kind: job.kind,
        no_backup_day: false,
        problems: Vec::new(),
        targets: Vec::new(),
    };
    ctx.events.emit(&Event::JobStarted { job: &job.name });
    run_inner(ctx, job, ports, &now, &mut report);
    ctx.events.emit(&Event::JobFinished { job: &job.name });
    report
}

fn run_inner(ctx: &RunContext<'_>, job: &JobSpec, ports: JobPorts, now: &Zoned, report: &mut JobReport) {
    let enabled: Vec<_> = ports.storages.into_iter().filter(|(spec, _)| spec.enable).collect();
    let retentions: Vec<Retention> = enabled.iter().map(|(spec, _)| spec.retention).collect();
    if enabled.is_empty() {
        let error = Error::new(ErrorKind::Invalid, format!("job `{}` has no enabled storage", job.name))
            .with_hint("Set `enable: yes` for at least one of its storages.");
        fail(ctx, report, &error);
        return;
    }
    // Increments are made every day; they have no counts.
    if job.kind != JobKind::IncFiles && !calendar::is_backup_day(now.date(), &retentions) {
        report.no_backup_day = true;
        ctx.events.emit(&Event::NoBackupDay { job: &job.name });
        return;
    }

    let mut stores = Vec::new();
    for (spec, opened) in enabled {
        let ready =
            opened.and_then(|storage| Store::open(ctx, job, spec, storage, now, ports.neighbours.clone()));
        match ready {
            Ok(store) => stores.push(store),
            Err(error) => fail(ctx, report, &error),
        }
    }
    if stores.is_empty() {
        return;
    }

    let mut work = Vec::new();
    for (entry, opened) in ports.sources {
        match opened.and_then(|source| source.targets().map(|targets| (source, targets))) {
            Ok((source, targets)) => work.push((entry, source, targets)),
            Err(error) => fail(ctx, report, &error),
        }
    }
    for store in &mut stores {
        for (entry, _, targets) in &work {
            for target in targets.iter().flatten() {
                store.configure(ctx, job, &group_id(ctx, job, entry, target), target);
            }
        }
    }
    for (entry, source, targets) in work {
        let snapshot = match source.snapshot(ctx.cancel) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                fail(ctx, report, &error);
                continue;
            }
        };
        for target in targets {
            if ctx.cancel.is_cancelled() {
                break;
            }
            match target {
                Ok(target) => {
                    let source = source.as_ref();
                    let work = TargetJob { ctx, job, entry: &entry, source, target: &target, done: None };
                    let (target, late) = run_target(&work, &mut stores);
                    report.targets.push(target);
                    late.iter().for_each(|error| fail(ctx, report, error));
                }
                Err(error) => fail(ctx, report, &error),
            }
        }
        if let Err(error) = snapshot.close() {
            fail(ctx, report, &error);
        }
    }
    if ctx.cancel.is_cancelled() {
        return;
    }
    for store in &mut stores {
        report.problems.extend(store.undone());
        if let Err(error) = store.write_guide(ctx) {
            fail(ctx, report, &error);
        }
    }
}

fn fail(ctx: &RunContext<'_>, report: &mut JobReport, error: &Error) {
    let problem = Problem::from(error);
    ctx.events.emit(&Event::Failed { job: &report.job, problem: &problem });
    report.problems.push(problem);
}
