//! `restore`: brings backups back. Which bytes and where from is the engine's; this reads the arguments, says what
//! was done, and answers with the exit code.

use std::path::{Path, PathBuf};

use nxs_base::spec::job::SourceSpec;
use nxs_base::spec::{JobKind, JobSpec};
use nxs_base::units::human_bytes;
use nxs_engine::restore::select::Wanted;
use nxs_engine::restore::{self, Excludes, Request, Restored};
use nxs_sources::{files, registry};

use super::{restore_dump, when};
use crate::app::{self, Env};
use crate::cli::RestoreArgs;
use crate::exit::{Ended, Exit};
use crate::messages::harmless;
use crate::shelf::{self, Reached};

/// Problems of single entries that are shown; the rest is counted.
const SHOWN: usize = 20;

pub(crate) fn run(env: &Env, config: &Path, args: &RestoreArgs) -> Ended {
    let spec = app::load(env, config)?;
    let job = app::job(env, &spec, &args.job)?;
    let at = when::parse(env, args.at.as_deref())?;
    shelf::check_name(env, &[job], args.from.as_deref())?;
    let wanted = Wanted {
        source: args.source,
        target: args.target.as_deref(),
        at,
        from: args.from.as_deref(),
        adopt: args.adopt,
    };
    if args.list {
        return Ok(restore_dump::list(env, &spec, job, &wanted));
    }
    if restore_dump::is_meant(job, args) {
        return Ok(restore_dump::run(env, &spec, job, &wanted, args));
    }
    if args.in_place && job.kind == JobKind::PostgresqlBasebackup {
        env.console.say("a data directory is restored into an empty one: say where with --to DIR");
        return Ok(Exit::Usage);
    }
    if args.to.is_none() && !args.in_place && !args.dry_run {
        let places = if job.kind.group() == "files" {
            "--to DIR or --in-place"
        } else {
            "--stdout, --as NAME or --into ADDRESS"
        };
        env.console.say(&format!("where to? Say {places}, or --dry-run or --list to change nothing"));
        return Err(Exit::Usage);
    }
    let excludes = args.delete.then(|| excludes_of(job)).transpose();
    let excludes = excludes.map_err(|error| {
        env.console.say_error(&error);
        Exit::Configuration
    })?;
    let request = Request {
        source: args.source,
        target: args.target.clone(),
        at,
        from: args.from.clone(),
        paths: args.paths.clone(),
        to: args.to.clone().unwrap_or_else(|| PathBuf::from("/")),
        in_place: args.in_place,
        delete: args.delete,
        excludes,
        strip: args.strip,
        dry_run: args.dry_run,
        adopt: args.adopt,
    };
    let mut reached = Reached::default();
    let storages = shelf::open(env, job, args.from.as_deref(), &mut reached);
    let ctx = app::reading(env, &spec);
    let report = restore::run(&ctx, job, &storages, &request).map_err(|error| app::failed(env, &error))?;
    for problem in &report.problems {
        env.console.say_with_hint(&problem.message, problem.hint.as_deref());
    }
    let mut text = String::new();
    let mut is_whole = !report.failed;
    for restored in &report.restored {
        for path in &restored.listed {
            text.push_str(&harmless(path));
            text.push('\n');
        }
        for path in restored.extracted.pruned.paths.iter().filter(|_| request.dry_run) {
            text.push_str(&format!("delete {}\n", harmless(path)));
        }
        say(env, restored, &request);
        if !request.dry_run && !request.in_place && request.paths.is_empty() && !restored.is_salvaged {
            is_whole &= settle(env, job, restored, &request);
        }
        is_whole &= restored.extracted.problem_count == 0 && !restored.is_salvaged;
    }
    let exit = match (report.restored.is_empty(), is_whole) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Complete,
        (false, false) => Exit::Partial,
    };
    Ok(app::said(env, env.console.data(&text), exit))
}

/// What a source has to do with what was restored of it; false if that failed.
fn settle(env: &Env, job: &JobSpec, restored: &Restored, request: &Request) -> bool {
    let Some(entry) = job.sources.iter().find(|entry| entry.index == restored.source) else { return true };
    match registry::settle(entry, &request.to) {
        Ok(notes) => {
            notes.iter().for_each(|note| env.console.say(note));
            true
        }
        Err(error) => {
            env.console.say_error(&error);
            false
        }
    }
}

/// What the sources of the job leave out of its backups, as it is configured now.
fn excludes_of(job: &JobSpec) -> nxs_base::Result<Excludes> {
    let mut by_source = Vec::new();
    for entry in &job.sources {
        if let SourceSpec::Files(files) = &entry.spec {
            by_source.push((entry.index, files::excluder(files)?));
        }
    }
    Ok(Excludes::new(move |source, root, path, is_dir| {
        by_source.iter().any(|(index, excluded)| *index == source && excluded(root, path, is_dir))
    }))
}

fn say(env: &Env, restored: &Restored, request: &Request) {
    let zone = env.clock.now().time_zone().clone();
    let started = restored.started.to_zoned(zone).strftime("%Y-%m-%d %H:%M").to_string();
    let backup = format!("'{}' of {started} ('{}' on '{}')", restored.target, restored.key, restored.storage);
    let done = &restored.extracted;
    if request.dry_run {
        env.console.say(&format!("would restore {backup}: {} entries", restored.listed.len()));
    } else {
        let read = restored.read_bytes.map_or_else(String::new, |n| format!(", {} read", human_bytes(n)));
        env.console.say(&format!(
            "restored {backup} to '{}': {}, {}, {}{read}",
            request.to.display(),
            counted(done.files, "file", "files"),
            counted(done.dirs, "directory", "directories"),
            human_bytes(done.bytes)
        ));
    }
    if restored.is_salvaged {
        env.console.say("no copy of it is whole: what could be read was restored, the rest is lost from it");
    }
    for note in &done.notes {
        env.console.say(note);
    }
    if request.delete {
        let (would, n) = (if request.dry_run { "would remove" } else { "removed" }, done.pruned.count);
        env.console.say(&format!("{would} {n} entries that the backup does not have"));
    }
    if !restored.complete {
        env.console
            .say(&format!("{backup} was made with gaps: the log of its run tells what could not be read"));
    }
    for problem in done.problems.iter().take(SHOWN) {
        env.console.say(&format!("cannot restore {problem}"));
    }
    let rest = done.problem_count.saturating_sub(done.problems.len().min(SHOWN) as u64);
    if rest > 0 {
        env.console.say(&format!("cannot restore {rest} more entries"));
    }
}

fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
