//! The stock tools of the host, run to their ends.

use std::path::Path;
use std::process::Command;

/// Copies a tree with all that `cp` can keep.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    run(Command::new("cp").arg("--archive").arg("--no-target-directory").args([from, to]));
}

/// Runs a line of shell in `dir`. It must succeed and have nothing to complain of, but that GNU tar does not tell of
/// files from before 1970 and after today, whose times it sets all the same.
pub(crate) fn shell(line: &str, dir: &Path) {
    run(Command::new("sh").args(["-c", line]).current_dir(dir).env("TAR_OPTIONS", "--warning=no-timestamp"));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{command:?} ended with {}: {said}", output.status);
}
