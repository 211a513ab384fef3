//! The program: signals, streams and exit status of the process. Everything else is in the library.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nxs_backup::app::{self, Env};
use nxs_backup::exit::Exit;
use nxs_base::ports::source::Cancel;

fn main() -> ExitCode {
    let flag = Arc::new(AtomicBool::new(false));
    let env = nxs_sys::signals::install(&flag).and_then(|()| Env::system(Cancel::from_flag(flag)));
    match env {
        Ok(env) => ExitCode::from(app::run(std::env::args_os(), &env)),
        Err(error) => {
            complain(&error.chain());
            ExitCode::from(Exit::Failed.code())
        }
    }
}

#[expect(clippy::print_stderr, reason = "the console is not there yet")]
fn complain(text: &str) {
    eprintln!("nxs-backup: {text}");
}
