//! `RESTORE.md` as a person uses it who has nothing else: finds the section of a backup, and runs what stands there.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The commands of the sections whose heading has `` `root` ``, in the order of the page.
pub(crate) fn commands(storage: &Path, root: &str) -> Vec<String> {
    let page = fs::read_to_string(storage.join("RESTORE.md")).unwrap();
    let heading = format!("`{root}` (job ");
    let sections = page.split("\n## ").filter(|section| section.starts_with(&heading));
    let found: Vec<String> = sections
        .flat_map(|section| section.split("```sh\n").skip(1))
        .map(|part| part.split("\n```").next().unwrap().to_owned())
        .collect();
    assert!(!found.is_empty(), "no `{root}` on the page:\n{page}");
    found
}

/// Runs a line of shell in the directory of the backups. It must succeed; answers with what it complained of.
pub(crate) fn run(storage: &Path, line: &str, prepare: impl FnOnce(&mut Command)) -> String {
    let mut shell = Command::new("bash");
    shell.args(["-e", "-o", "pipefail", "-c", line]).current_dir(storage);
    prepare(&mut shell);
    let output = shell.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {said}");
    said
}
