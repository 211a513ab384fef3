//! What stderr says at the end of a run: nothing when all went well (so that cron stays silent), else every problem
//! once, and where the log is. On a terminal a good run gets one line per job.

use nxs_base::report::{JobReport, Problem, RunReport, TargetReport};
use nxs_base::units::human_bytes;

use crate::console::Console;
use crate::exit::Exit;

/// More lines than this for one job are left to the log.
const MAX_LINES: usize = 30;

/// A problem and where it belongs.
pub(crate) struct Placed<'a> {
    target: Option<&'a str>,
    storage: Option<&'a str>,
    pub(crate) problem: &'a Problem,
}

/// All problems of a job, in the order of the report.
pub(crate) fn problems(report: &JobReport) -> Vec<Placed<'_>> {
    let mut all: Vec<Placed<'_>> =
        report.problems.iter().map(|problem| Placed { target: None, storage: None, problem }).collect();
    for target in &report.targets {
        let name = Some(target.target.as_str());
        all.extend(target.problem.iter().map(|problem| Placed { target: name, storage: None, problem }));
        for copy in &target.copies {
            let storage = Some(copy.storage.as_str());
            all.extend(copy.problem.iter().map(|problem| Placed { target: name, storage, problem }));
        }
    }
    all
}

/// How much of a target is missing, lower case, without a full stop.
pub(crate) fn gaps(target: &TargetReport) -> String {
    let n = target.dump.gaps();
    let what = if n == 1 { "1 entry is" } else { &format!("{n} entries are") };
    format!("{what} missing or damaged in the backup of target '{}'", target.target)
}

/// Shows the end of a run.
pub(crate) fn show(console: &Console, report: &RunReport, exit: Exit, log_file: &str) {
    if exit == Exit::Complete {
        if console.is_terminal {
            report.jobs.iter().for_each(|job| console.say(&good(job)));
        }
        return;
    }
    for job in &report.jobs {
        show_job(console, job);
    }
    let bad = report.jobs.iter().filter(|j| !j.is_complete()).count();
    let end = match exit {
        Exit::Cancelled => "the run was cancelled".to_owned(),
        _ => format!("{bad} of {} jobs not complete", report.jobs.len()),
    };
    console.say(&format!("{end}: exit code {} ({}); the log is '{log_file}'", exit.code(), exit.name()));
}

fn show_job(console: &Console, job: &JobReport) {
    let problems = problems(job);
    for placed in problems.iter().take(MAX_LINES) {
        let target = placed.target.map(|t| format!(", target '{t}'")).unwrap_or_default();
        let storage = placed.storage.map(|s| format!(", storage '{s}'")).unwrap_or_default();
        let text = format!("job '{}'{target}{storage}: {}", job.job, placed.problem.message);
        console.say_with_hint(&text, placed.problem.hint.as_deref());
    }
    if problems.len() > MAX_LINES {
        console.say(&format!("job '{}': {} more problems", job.job, problems.len() - MAX_LINES));
    }
    for target in job.targets.iter().filter(|t| t.dump.gaps() > 0) {
        console.say(&format!("job '{}': {}", job.job, gaps(target)));
        for note in target.dump.notes.iter().filter(|n| n.kind.is_gap()).take(MAX_LINES) {
            console.say(&format!("  {}: {}", note.path, note.reason));
        }
    }
}

fn good(job: &JobReport) -> String {
    if job.no_backup_day {
        return format!("job '{}': today is no backup day", job.job);
    }
    let plain: u64 = job.targets.iter().map(|t| t.plain_bytes).sum();
    let stored: u64 = job.targets.iter().map(|t| t.stored_bytes).sum();
    let targets = if job.targets.len() == 1 { "1 target" } else { &format!("{} targets", job.targets.len()) };
    format!(
        "job '{}': complete, {targets}, {} stored as {}",
        job.job,
        human_bytes(plain),
        human_bytes(stored)
    )
}
