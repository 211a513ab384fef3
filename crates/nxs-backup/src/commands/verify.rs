//! `verify`: proves that backups can be restored. The work is the engine's; this says what came of it.

use std::path::Path;

use nxs_base::ErrorKind;
use nxs_base::units::human_bytes;
use nxs_engine::verify::{self, Request, Verified};

use super::when;
use crate::app::{self, Env};
use crate::cli::VerifyArgs;
use crate::exit::Exit;
use crate::messages::harmless;
use crate::shelf::{self, Reached};

pub(crate) fn run(env: &Env, config: &Path, args: &VerifyArgs) -> Exit {
    let spec = match app::load(env, config) {
        Ok(spec) => spec,
        Err(exit) => return exit,
    };
    let jobs = match app::select(env, &spec, &args.job) {
        Ok(jobs) => jobs,
        Err(exit) => return exit,
    };
    let at = match when::parse(env, args.at.as_deref()) {
        Ok(at) => at,
        Err(exit) => return exit,
    };
    let request = Request { target: args.target.clone(), at, sample_percent: args.sample };
    let ctx = app::reading(env, &spec);
    let mut reached = Reached::default();
    let (mut sound, mut damaged, mut unread) = (0, 0, 0);
    let mut written = Ok(());
    for job in jobs {
        let storages = shelf::open(env, job, &mut reached);
        let mut each = |verified: &Verified| {
            if written.is_ok() {
                written = env.console.data(&line(&job.name, verified));
            }
            if let Some(problem) = &verified.damage {
                env.console.say_with_hint(&problem.message, problem.hint.as_deref());
            }
        };
        match verify::run(&ctx, job, &storages, &request, &mut each) {
            Ok(report) => {
                sound += report.sound();
                damaged += report.damaged();
                unread += report.problems.len();
                for (storage, problem) in &report.damage {
                    let text = format!("job '{}', storage '{storage}': {}", job.name, problem.message);
                    env.console.say_with_hint(&text, problem.hint.as_deref());
                }
                for problem in &report.problems {
                    env.console.say_with_hint(&problem.message, problem.hint.as_deref());
                }
            }
            Err(error) => {
                env.console.say_error(&error);
                return if error.kind() == ErrorKind::Cancelled { Exit::Cancelled } else { Exit::Failed };
            }
        }
    }
    if sound + damaged == 0 {
        env.console.say("there is nothing to verify");
    }
    let exit = match (sound, damaged + unread, reached.exit()) {
        (0, _, _) if damaged == 0 => Exit::Failed,
        (_, 0, Exit::Complete) => Exit::Complete,
        _ => Exit::Partial,
    };
    app::said(env, written, exit)
}

fn line(job: &str, verified: &Verified) -> String {
    let state = match (&verified.damage, verified.is_recorded, verified.is_complete) {
        (Some(_), _, _) => "DAMAGED",
        (None, false, _) => "readable (no record)",
        (None, true, true) => "ok",
        (None, true, false) => "ok (made with gaps)",
    };
    format!(
        "{state}: job '{}', storage '{}', {} ({} read)\n",
        harmless(job),
        harmless(&verified.storage),
        harmless(&verified.key),
        human_bytes(verified.read_bytes)
    )
}
