//! The program at a moment of one's choice: `at 2026-01-01T03:00 -c CONF start`. For simulations of months within
//! minutes; the clock of the machine stays as it is.
//!
//! Time zone UTC. What changed within the last two seconds counts as any other change here: a day later it is old.

use std::process::ExitCode;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use nxs_backup::app::{self, Env};
use nxs_base::Result;
use nxs_base::ports::source::{Cancel, Source};
use nxs_base::spec::{JobKind, SourceEntry, SourceSpec};
use nxs_sources::files::FilesSource;
use nxs_sources::registry::Surroundings;
use nxs_testkit::FakeClock;

fn open_source(entry: &SourceEntry, kind: JobKind, around: &Surroundings) -> Result<Box<dyn Source>> {
    match &entry.spec {
        SourceSpec::Files(spec) => Ok(Box::new(FilesSource::new(spec.clone())?.without_racy_rule())),
        _ => nxs_sources::registry::open(entry, kind, around),
    }
}

fn main() -> ExitCode {
    let mut args: Vec<_> = std::env::args_os().collect();
    let moment = (args.len() > 1).then(|| args.remove(1));
    let at = moment.and_then(|word| word.to_str()?.parse::<DateTime>().ok());
    match (at.and_then(|at| at.to_zoned(TimeZone::UTC).ok()), Env::system(Cancel::new())) {
        (Some(now), Ok(env)) => {
            let env = Env { clock: Box::new(FakeClock::new(now)), open_source, ..env };
            ExitCode::from(app::run(args, &env))
        }
        _ => ExitCode::from(2),
    }
}
