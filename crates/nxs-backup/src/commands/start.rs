//! `start`: takes the lock, runs the selected jobs group by group, says what went wrong, answers with the exit code.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use nxs_base::diag::Diagnostic;
use nxs_base::event::{Event, EventSink};
use nxs_base::report::{JobReport, Problem, RunReport};
use nxs_base::spec::{IoNice, JobSpec, MainSpec, RunSpec};
use nxs_base::{Error, ErrorKind};
use nxs_engine::cache::IndexCache;
use nxs_engine::job::{JobPorts, RunContext, run_job};
use nxs_sys::lock::{LockError, RunLock};
use nxs_sys::priority;

use crate::app::{self, Env, GROUPS};
use crate::cli::StartArgs;
use crate::exit::Exit;
use crate::logfile::LogFile;
use crate::messages::{self, Level, Messages};
use crate::runlog::RunLog;
use crate::{shelf, summary, wire};

pub(crate) fn run(env: &Env, config: &Path, args: &StartArgs) -> u8 {
    let (spec, warnings) = match app::load_with_warnings(env, config) {
        Ok(found) => found,
        Err(exit) => return exit.code(),
    };
    let exit = run_spec(env, &spec, &warnings, args);
    if spec.main.legacy_exit_codes { exit.legacy_code() } else { exit.code() }
}

fn run_spec(env: &Env, spec: &RunSpec, warnings: &[Diagnostic], args: &StartArgs) -> Exit {
    let jobs = match app::select(env, spec, &args.job) {
        Ok(jobs) => jobs,
        Err(exit) => return exit,
    };
    // A backup without a log is better than none: its lines then go to stderr.
    let file = LogFile::open(Path::new(&spec.main.log_file));
    let file = file.map_err(|error| env.console.say_error(&error)).ok();
    let log = RunLog::new(env, file, Messages::new(&spec.jobs), args.verbose);
    for warning in warnings {
        log.say(Level::Warning, None, &warning.to_string().replace("\n  hint: ", ". hint: "));
    }
    if spec.jobs.is_empty() {
        log.say_loud(Level::Error, messages::run::no_jobs());
        return Exit::Failed;
    }
    if env.lower_priority {
        lower_priority(&log, &spec.main);
    }
    let _locks = match take_locks(env, &spec.main, &log) {
        Ok(locks) => locks,
        Err(exit) => return exit,
    };
    let is_mended = recover(env, spec, &log);
    let (report, bug) = run_jobs(env, spec, &jobs, &log);
    let exit = match Exit::of_run(&report, bug) {
        Exit::Complete if !is_mended => Exit::Partial,
        exit => exit,
    };
    log.finish();
    summary::show(&env.console, &report, exit, &spec.main.log_file);
    if args.json { app::said(env, env.console.data(&wire::run(&report, exit)), exit) } else { exit }
}

fn run_jobs(env: &Env, spec: &RunSpec, jobs: &[&JobSpec], log: &RunLog<'_>) -> (RunReport, bool) {
    let host = &safe_host(&env.host);
    let server_name = shelf::server_name(env, spec);
    let cache = IndexCache::new(Path::new(&spec.main.state_dir));
    let ctx = RunContext {
        server_name,
        host,
        run_id: &env.run_id,
        clock: &*env.clock,
        cancel: &env.cancel,
        events: log,
        workers: env.workers,
        cache: Some(&cache),
    };
    let mut report = RunReport {
        run_id: env.run_id.clone(),
        started: env.clock.now().timestamp(),
        finished: env.clock.now().timestamp(),
        jobs: Vec::new(),
        cancelled: false,
    };
    let mut bug = false;
    log.emit(&Event::RunStarted);
    for group in GROUPS {
        let in_group: Vec<&&JobSpec> = jobs.iter().filter(|j| j.kind.group() == group).collect();
        if in_group.is_empty() || env.cancel.is_cancelled() {
            continue;
        }
        log.emit(&Event::BlockStarted { group });
        for job in in_group {
            if env.cancel.is_cancelled() {
                break;
            }
            if let Some(problem) = lacking(env, spec, job) {
                let lacks = empty_report(job, problem);
                log.report_rest(&lacks);
                report.jobs.push(lacks);
                continue;
            }
            let done = catch_unwind(AssertUnwindSafe(|| run_job(&ctx, job, open(env, spec, job))));
            let done = done.unwrap_or_else(|panic| {
                bug = true;
                log.emit(&Event::JobFinished { job: &job.name });
                broken(job, &*panic)
            });
            log.report_rest(&done);
            report.jobs.push(done);
        }
        log.emit(&Event::BlockFinished { group });
    }
    report.cancelled = env.cancel.is_cancelled();
    if report.cancelled {
        log.say(Level::Error, None, messages::run::cancelled());
    }
    log.emit(&Event::RunFinished);
    report.finished = env.clock.now().timestamp();
    (report, bug)
}

/// Mends what a run that died left behind in servers, whichever jobs were asked for now. False if that failed.
fn recover(env: &Env, spec: &RunSpec, log: &RunLog<'_>) -> bool {
    let mut is_mended = true;
    for job in &spec.jobs {
        for entry in &job.sources {
            let recovered = app::open_source(env, spec, entry, job.kind).and_then(|source| source.recover());
            match recovered {
                Ok(None) => {}
                Ok(Some(text)) => log.say(Level::Warning, Some(&job.name), &messages::sentence(&text)),
                // What this build lacks, or cannot open, is told where the job is run.
                Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Invalid) => {}
                Err(error) => {
                    is_mended = false;
                    log.say_error(&error);
                }
            }
        }
    }
    is_mended
}

fn open(env: &Env, spec: &RunSpec, job: &JobSpec) -> JobPorts {
    let enabled = job.storages.iter().filter(|s| s.enable);
    JobPorts {
        storages: enabled.map(|s| (s.clone(), (env.open_storage)(s))).collect(),
        sources: job.sources.iter().map(|s| (s.clone(), app::open_source(env, spec, s, job.kind))).collect(),
        neighbours: shelf::configured_groups(env, spec, shelf::neighbours(spec, job)),
    }
}

/// The host name as it may stand in names of partial objects.
fn safe_host(host: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    if host.is_empty() { "localhost".into() } else { host.chars().map(safe).collect() }
}

/// The report of a job in which the program panicked.
fn broken(job: &JobSpec, panic: &(dyn std::any::Any + Send)) -> JobReport {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    let problem = Problem { kind: ErrorKind::Other, message: messages::run::bug(text), hint: None };
    empty_report(job, problem)
}

/// What this build lacks for all of the job, whatever day it is: such a job must never look green.
fn lacking(env: &Env, spec: &RunSpec, job: &JobSpec) -> Option<Problem> {
    let mut errors = job.sources.iter().map(|s| app::open_source(env, spec, s, job.kind).err());
    let first = errors.next().flatten().filter(|e| e.kind() == ErrorKind::Unsupported);
    first.filter(|_| errors.all(|e| e.is_some())).as_ref().map(Problem::from)
}

fn empty_report(job: &JobSpec, problem: Problem) -> JobReport {
    let (job, kind) = (job.name.clone(), job.kind);
    JobReport { job, kind, no_backup_day: false, problems: vec![problem], targets: Vec::new() }
}

/// Nice and ionice; where the kernel refuses, a warning says so and the run goes on.
fn lower_priority(log: &RunLog<'_>, main: &MainSpec) {
    let io = match main.ionice {
        IoNice::Idle => priority::set_io_class(priority::IoClass::Idle),
        IoNice::BestEffort(level) => priority::set_io_class(priority::IoClass::BestEffort(level)),
        IoNice::None => Ok(()),
    };
    for result in [priority::set_nice(i32::from(main.nice)), io] {
        if let Err(error) = result {
            log.say(Level::Warning, None, &messages::sentence(&error.chain()));
        }
    }
}

/// Our lock and v2's. Waits for `loop_timeout` at most, if that is set.
fn take_locks(env: &Env, main: &MainSpec, log: &RunLog<'_>) -> Result<(RunLock, Option<RunLock>), Exit> {
    let path = main.lock_file.as_ref().map_or(env.lock_path.as_path(), Path::new);
    let timeout = main.loop_timeout_secs.unwrap_or(0);
    let interval = main.loop_interval_secs.max(1);
    let mut waited = 0;
    loop {
        let holder = match try_locks(env, path) {
            Ok(locks) => return Ok(locks),
            Err(LockError::Other(error)) => {
                log.say_error(&error);
                return Err(Exit::Failed);
            }
            Err(LockError::Held { holder }) => holder,
        };
        if waited >= timeout || env.cancel.is_cancelled() {
            log.say_loud(Level::Error, &messages::run::already_running(&holder));
            return Err(if env.cancel.is_cancelled() { Exit::Cancelled } else { Exit::Locked });
        }
        if waited == 0 {
            log.say(Level::Warning, None, &messages::run::waiting_for_lock(&holder, timeout));
        }
        // Second by second, so that a signal ends the waiting at once.
        for _ in 0..interval.min(timeout - waited) {
            if !env.cancel.is_cancelled() {
                (env.pause)(Duration::from_secs(1));
                waited += 1;
            }
        }
    }
}

/// The holder in the error is empty or ` (…)`.
fn try_locks(env: &Env, path: &Path) -> Result<(RunLock, Option<RunLock>), LockError> {
    let text = format!("nxs-backup start, run {}, since {}", env.run_id, env.clock.now().strftime("%F %T"));
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).map_err(|e| {
            LockError::Other(Error::io(format!("cannot make the directory of `{}`", path.display()), e))
        })?;
    }
    let ours =
        RunLock::acquire(path, &text).map_err(|e| named(e, |holder| format!(" (process {holder})")))?;
    let theirs = (env.v2_lock)().map_err(|e| named(e, |_| " (version 2 of nxs-backup)".to_owned()))?;
    Ok((ours, theirs))
}

fn named(error: LockError, name: impl FnOnce(&str) -> String) -> LockError {
    match error {
        LockError::Held { holder } if holder.is_empty() => LockError::Held { holder: name("unknown") },
        LockError::Held { holder } => LockError::Held { holder: name(&holder) },
        other => other,
    }
}
