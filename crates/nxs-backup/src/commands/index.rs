//! `index rebuild`: writes missing or damaged indexes again. The work is the engine's; this says what came of it.

use std::path::Path;

use nxs_base::ErrorKind;
use nxs_engine::reindex::{self, Outcome, Reindexed, Request};

use super::when;
use crate::app::{self, Env};
use crate::cli::IndexRebuildArgs;
use crate::exit::Exit;
use crate::messages::harmless;
use crate::shelf::{self, Reached};

pub(crate) fn rebuild(env: &Env, config: &Path, args: &IndexRebuildArgs) -> Exit {
    let spec = match app::load(env, config) {
        Ok(spec) => spec,
        Err(exit) => return exit,
    };
    let Some(job) = spec.jobs.iter().find(|j| j.name == args.job) else {
        return app::no_such_job(env, &spec, &args.job);
    };
    let at = match when::parse(env, args.at.as_deref()) {
        Ok(at) => at,
        Err(exit) => return exit,
    };
    if let Some(storage) = args.storage.as_deref()
        && !job.storages.iter().any(|s| s.name == storage)
    {
        let names: Vec<&str> = job.storages.iter().map(|s| s.name.as_str()).collect();
        let text = format!("job '{}' has no storage `{storage}`, it has: {}", job.name, names.join(", "));
        env.console.say(&text);
        return Exit::Usage;
    }
    let request = Request { target: args.target.clone(), storage: args.storage.clone(), at };
    let ctx = app::reading(env, &spec);
    let mut reached = Reached::default();
    let storages = shelf::open(env, job, &mut reached);
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
    let report = match reindex::run(&ctx, job, &storages, &request, &mut each) {
        Ok(report) => report,
        Err(error) => {
            env.console.say_error(&error);
            return if error.kind() == ErrorKind::Cancelled { Exit::Cancelled } else { Exit::Failed };
        }
    };
    for problem in &report.problems {
        env.console.say_with_hint(&problem.message, problem.hint.as_deref());
    }
    if report.indexes.is_empty() {
        env.console.say("there is no backup that has an index");
        return app::said(env, written, Exit::Failed);
    }
    let failed = report.indexes.iter().filter(|i| matches!(i.outcome, Outcome::Failed(_))).count();
    let exit = match (failed, report.problems.len(), reached.exit()) {
        (0, 0, Exit::Complete) => Exit::Complete,
        (failed, ..) if failed == report.indexes.len() => Exit::Failed,
        _ => Exit::Partial,
    };
    app::said(env, written, exit)
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
