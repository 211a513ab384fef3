//! `verify`: proves that backups can be restored. The work is the engine's; this says what came of it.

use std::path::Path;

use nxs_base::units::human_bytes;
use nxs_engine::verify::{self, Finding, Request, Verified};

use super::when;
use crate::app::{self, Env};
use crate::cli::VerifyArgs;
use crate::exit::{Ended, Exit};
use crate::messages::harmless;
use crate::shelf::{self, Reached};

pub(crate) fn run(env: &Env, config: &Path, args: &VerifyArgs) -> Ended {
    let spec = app::load(env, config)?;
    let jobs = app::select(env, &spec, &args.job)?;
    let at = when::parse(env, args.at.as_deref())?;
    let request = Request { target: args.target.clone(), at, sample_percent: args.sample };
    let ctx = app::reading(env, &spec);
    let mut reached = Reached::default();
    let (mut sound, mut damaged, mut skipped) = (0, 0, 0);
    let mut written = Ok(());
    for job in jobs {
        let storages = shelf::open(env, job, None, &mut reached);
        let mut each = |verified: &Verified| {
            if written.is_ok() {
                written = env.console.data(&line(&job.name, verified));
            }
            if let Some(problem) = verified.finding.problem() {
                env.console.say_with_hint(&problem.message, problem.hint.as_deref());
            }
        };
        match verify::run(&ctx, job, &storages, &request, &mut each) {
            Ok(report) => {
                sound += report.sound();
                damaged += report.damaged();
                skipped += report.problems.len() + report.orphans.len();
                for (storage, problem) in &report.damage {
                    let text = format!("job '{}', storage '{storage}': {}", job.name, problem.message);
                    env.console.say_with_hint(&text, problem.hint.as_deref());
                }
                for (storage, key) in &report.orphans {
                    let text = format!(
                        "job '{}', storage '{storage}': `{key}` has no record and was not checked",
                        job.name
                    );
                    env.console.say_with_hint(
                        &text,
                        Some("It counts as no backup: put its record back, or move it away."),
                    );
                }
                for problem in &report.problems {
                    env.console.say_with_hint(&problem.message, problem.hint.as_deref());
                }
            }
            Err(error) => return Err(app::failed(env, &error)),
        }
    }
    if sound + damaged == 0 {
        env.console.say("there is nothing to verify");
    }
    let exit = match (sound, damaged + skipped, reached.exit()) {
        (0, _, _) if damaged == 0 => Exit::Failed,
        (_, 0, Exit::Complete) => Exit::Complete,
        _ => Exit::Partial,
    };
    Ok(app::said(env, written, exit))
}

fn line(job: &str, verified: &Verified) -> String {
    let state = match (&verified.finding, verified.is_recorded, verified.is_complete) {
        (Finding::Damaged(_), ..) => "DAMAGED",
        (Finding::BrokenChain(_), ..) => "BROKEN CHAIN",
        (Finding::IndexDamaged(_), ..) => "INDEX DAMAGED",
        (Finding::Sound, false, _) => "readable (no record)",
        (Finding::Sound, true, true) => "ok",
        (Finding::Sound, true, false) => "ok (made with gaps)",
    };
    format!(
        "{state}: job '{}', storage '{}', {} ({} read)\n",
        harmless(job),
        harmless(&verified.storage),
        harmless(&verified.key),
        human_bytes(verified.read_bytes)
    )
}
