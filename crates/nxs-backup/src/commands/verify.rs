//! `verify`: checks backups. The work is the engine's.

use std::path::Path;

use crate::app::{self, Env};
use crate::cli::VerifyArgs;
use crate::exit::Exit;

pub(crate) fn run(env: &Env, config: &Path, args: &VerifyArgs) -> Exit {
    let spec = match app::load(env, config) {
        Ok(spec) => spec,
        Err(exit) => return exit,
    };
    match app::select(env, &spec, &args.job) {
        Ok(_) => {
            env.console.say("this build cannot verify yet");
            Exit::Failed
        }
        Err(exit) => exit,
    }
}
