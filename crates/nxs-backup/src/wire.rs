//! The report as JSON, for `start --json`: the wire form and nothing else. Field names here are a promise to programs
//! that read them; the report itself (`nxs_base::report`) may change.

use std::collections::BTreeMap;

use nxs_base::report::{CopyOutcome, JobReport, Problem, RunReport, TargetReport};
use serde::Serialize;

use crate::exit::Exit;

/// Raised when a field changes its meaning or goes; new fields do not raise it.
pub const VERSION: u32 = 1;

#[derive(Serialize)]
struct RunWire<'a> {
    version: u32,
    run_id: &'a str,
    outcome: &'static str,
    exit_code: u8,
    started: String,
    finished: String,
    jobs: Vec<JobWire<'a>>,
}

#[derive(Serialize)]
struct JobWire<'a> {
    job: &'a str,
    r#type: &'static str,
    complete: bool,
    no_backup_day: bool,
    problems: Vec<ProblemWire<'a>>,
    targets: Vec<TargetWire<'a>>,
}

#[derive(Serialize)]
struct TargetWire<'a> {
    source: usize,
    target: &'a str,
    root: &'a str,
    complete: bool,
    problem: Option<ProblemWire<'a>>,
    files: u64,
    dirs: u64,
    gaps: u64,
    notes: BTreeMap<&'static str, u64>,
    plain_bytes: u64,
    stored_bytes: u64,
    started: String,
    finished: String,
    copies: Vec<CopyWire<'a>>,
}

#[derive(Serialize)]
struct CopyWire<'a> {
    storage: &'a str,
    key: &'a str,
    complete: bool,
    problem: Option<ProblemWire<'a>>,
    dropped: Vec<DroppedWire<'a>>,
}

#[derive(Serialize)]
struct DroppedWire<'a> {
    key: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct ProblemWire<'a> {
    kind: String,
    message: &'a str,
    hint: Option<&'a str>,
}

/// One JSON object with a line end. `exit` is the honest one, whatever `legacy_exit_codes` makes of it.
pub fn run(report: &RunReport, exit: Exit) -> String {
    json(&RunWire {
        version: VERSION,
        run_id: &report.run_id,
        outcome: exit.name(),
        exit_code: exit.code(),
        started: report.started.to_string(),
        finished: report.finished.to_string(),
        jobs: report.jobs.iter().map(job).collect(),
    })
}

/// Pretty JSON with a line end.
pub fn json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("maps have text keys and nothing can fail");
    text.push('\n');
    text
}

fn job(report: &JobReport) -> JobWire<'_> {
    JobWire {
        job: &report.job,
        r#type: report.kind.name(),
        complete: report.is_complete(),
        no_backup_day: report.no_backup_day,
        problems: report.problems.iter().map(problem).collect(),
        targets: report.targets.iter().map(target).collect(),
    }
}

fn target(report: &TargetReport) -> TargetWire<'_> {
    TargetWire {
        source: report.source,
        target: &report.target,
        root: &report.root,
        complete: report.is_complete(),
        problem: report.problem.as_ref().map(problem),
        files: report.dump.files,
        dirs: report.dump.dirs,
        gaps: report.dump.gaps(),
        notes: report.dump.counts.iter().map(|(kind, n)| (kind.name(), *n)).collect(),
        plain_bytes: report.plain_bytes,
        stored_bytes: report.stored_bytes,
        started: report.started.to_string(),
        finished: report.finished.to_string(),
        copies: report.copies.iter().map(|c| copy(report, c)).collect(),
    }
}

fn copy<'a>(target: &TargetReport, outcome: &'a CopyOutcome) -> CopyWire<'a> {
    CopyWire {
        storage: &outcome.storage,
        key: &outcome.key,
        complete: target.has_copy(outcome),
        problem: outcome.problem.as_ref().map(problem),
        dropped: outcome.dropped.iter().map(|d| DroppedWire { key: &d.key, reason: &d.reason }).collect(),
    }
}

fn problem(problem: &Problem) -> ProblemWire<'_> {
    ProblemWire {
        kind: format!("{:?}", problem.kind).to_lowercase(),
        message: &problem.message,
        hint: problem.hint.as_deref(),
    }
}
