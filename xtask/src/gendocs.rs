//! Pages of the manual that are printed from tables in the code: written, or compared with what is committed.
//!
//! The program prints the pages itself, so that this crate needs none of the others.

use std::fs;
use std::process::{Command, Stdio};

/// A page, and the arguments with which the program prints it.
const PAGES: [(&str, [&str; 3]); 2] = [
    ("docs/config.md", ["help", "config", "--markdown"]),
    ("docs/exit-codes.md", ["help", "exit-codes", "--markdown"]),
];

/// Writes all pages anew.
pub(crate) fn write() -> Result<(), String> {
    for (path, arguments) in PAGES {
        let text = print(&arguments)?;
        fs::write(path, text).map_err(|e| format!("cannot write {path}: {e}"))?;
    }
    Ok(())
}

/// Fails with the first line of each page that is not what the program prints.
pub(crate) fn check() -> Result<(), String> {
    let mut differences = Vec::new();
    for (path, arguments) in PAGES {
        let is = fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}"))?;
        if let Some(difference) = first_difference(&is, &print(&arguments)?) {
            differences.push(format!("{path}:{difference}"));
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(format!("`cargo xtask gen-docs` would change these pages:\n{}", differences.join("\n")))
}

fn print(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--locked", "--package", "nxs-backup", "--"]).args(arguments);
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|e| format!("cannot start {command:?}: {e}"))?;
    if !output.status.success() || output.stdout.is_empty() {
        return Err(format!("{command:?} ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{command:?} printed no text: {e}"))
}

/// Number of the first line in which the texts differ, and both versions of it.
fn first_difference(is: &str, should: &str) -> Option<String> {
    if is == should {
        return None;
    }
    let (mut old, mut new) = (is.split('\n'), should.split('\n'));
    for number in 1.. {
        match (old.next(), new.next()) {
            (a, b) if a != b => {
                let shown = |line: Option<&str>| line.map_or("(end)".to_owned(), |l| format!("`{l}`"));
                return Some(format!("{number}: is {}, should be {}", shown(a), shown(b)));
            }
            (None, None) => break,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n").unwrap(), "2: is `b`, should be `c`");
        assert_eq!(first_difference("a\n", "a\nb\n").unwrap(), "2: is ``, should be `b`");
        assert_eq!(first_difference("a", "a\n").unwrap(), "2: is (end), should be ``");
    }
}
