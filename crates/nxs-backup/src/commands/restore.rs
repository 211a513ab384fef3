//! `restore`: brings a backup back. The work is the engine's.

use std::path::Path;

use crate::app::{self, Env};
use crate::cli::RestoreArgs;
use crate::exit::Exit;

pub(crate) fn run(env: &Env, config: &Path, args: &RestoreArgs) -> Exit {
    let spec = match app::load(env, config) {
        Ok(spec) => spec,
        Err(exit) => return exit,
    };
    let Some(job) = spec.jobs.iter().find(|j| j.name == args.job) else {
        return app::no_such_job(env, &spec, &args.job);
    };
    env.console.say(&format!(
        "job '{}': this build cannot restore yet; see RESTORE.md beside the backups",
        job.name
    ));
    Exit::Failed
}
