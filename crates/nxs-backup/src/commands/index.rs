//! `index rebuild`: writes missing or damaged indexes again. The work is the engine's; this says what came of it.

use std::path::Path;

use nxs_engine::reindex::{self, Outcome, Reindexed, Request};

use super::when;
use crate::app::{self, Env};
use crate::cli::IndexRebuildArgs;
use crate::exit::{Ended, Exit};
use crate::messages::harmless;
use crate::shelf::{self, Reached};

pub(crate) fn rebuild(env: &Env, config: &Path, args: &IndexRebuildArgs) -> Ended {
    let spec = app::load(env, config)?;
    let job = app::job(env, &spec, &args.job)?;
    let at = when::parse(env, args.at.as_deref())?;
    shelf::check_name(env, &[job], args.storage.as_deref())?;
    let request = Request { target: args.target.clone(), storage: args.storage.clone(), at };
    let ctx = app::reading(env, &spec);
    let mut reached = Reached::default();
    let storages = shelf::open(env, job, args.storage.as_deref(), &mut reached);
    let mut written = Ok(());
    let mut each = |done: &Reindexed| {
        if written.is_ok() {
            written = env.console.data(&line(&job.name, done));
        }
        match &done.outcome {
            Outcome::Failed(problem) => {
                env.console.say_with_hint(&problem.message, problem.hint.as_deref());
            }
            Outcome::NotAsRecorded => env.console.say_with_hint(
                &format!("the index of `{}` is not the one that its record tells of", harmless(&done.key)),
                Some("It is held against id and sizes alone; the archive itself is what its record says."),
            ),
            _ => {}
        }
    };
    let report = reindex::run(&ctx, job, &storages, &request, &mut each);
    let report = report.map_err(|error| app::failed(env, &error))?;
    for problem in &report.problems {
        env.console.say_with_hint(&problem.message, problem.hint.as_deref());
    }
    if report.indexes.is_empty() {
        env.console.say("there is no backup that has an index");
        return Ok(app::said(env, written, Exit::Failed));
    }
    let failed = report.indexes.iter().filter(|i| matches!(i.outcome, Outcome::Failed(_))).count();
    let exit = match (failed, report.problems.len(), reached.exit()) {
        (0, 0, Exit::Complete) => Exit::Complete,
        (failed, ..) if failed == report.indexes.len() => Exit::Failed,
        _ => Exit::Partial,
    };
    Ok(app::said(env, written, exit))
}

fn line(job: &str, done: &Reindexed) -> String {
    let state = match &done.outcome {
        Outcome::Sound => "sound",
        Outcome::Rebuilt => "rebuilt",
        Outcome::NotAsRecorded => "rebuilt (not as recorded)",
        Outcome::Foreign => "rebuilt (no record)",
        Outcome::Failed(_) => "FAILED",
    };
    let (job, storage, key) = (harmless(job), harmless(&done.storage), harmless(&done.key));
    format!("{state}: job '{job}', storage '{storage}', {key}\n")
}
