//! Runs the benchmark scripts of `bench/` with a release build.

use std::process::Command;

/// Runs `bench/run.sh` with the given names (none = all).
pub(crate) fn run(names: &[&str]) -> Result<(), String> {
    crate::cargo(&["build", "--release", "--locked", "--workspace"])?;
    crate::run(Command::new("bash").arg("bench/run.sh").args(names))
}
