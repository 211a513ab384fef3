//! Runs the benchmark scripts of `bench/`, which make a release build themselves.

use std::process::Command;

/// Runs `bench/run.sh` with the given names (none = all).
pub(crate) fn run(names: &[&str]) -> Result<(), String> {
    crate::run(Command::new("bash").arg("bench/run.sh").args(names))
}
