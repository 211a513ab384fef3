//! House rules that no compiler checks: who may depend on whom, every file says what it is for, no file too long.

use std::fs;
use std::path::{Path, PathBuf};

/// The walls of ARCHITECTURE.md: crate folder and the crates of ours that it may name.
const WALLS: [(&str, &[&str]); 9] = [
    ("base", &[]),
    ("archive", &["base"]),
    ("sys", &["base"]),
    ("config", &["base"]),
    ("engine", &["base", "archive", "sys"]),
    ("sources", &["base", "archive", "sys"]),
    ("storages", &["base", "sys"]),
    ("nxs-backup", &["base", "archive", "sys", "config", "engine", "sources", "storages"]),
    ("testkit", &["base"]),
];

const MAX_LINES: usize = 800;

/// Prints nothing and succeeds, or lists all breaches.
pub(crate) fn check() -> Result<(), String> {
    let mut breaches = Vec::new();
    walls(&mut breaches)?;
    let mut files = Vec::new();
    for root in ["crates", "xtask", "fuzz"] {
        collect(Path::new(root), &mut files)?;
    }
    for file in &files {
        let text = fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        let name = file.display();
        if !text.starts_with("//!") {
            breaches.push(format!("{name}:1: does not open with `//!`"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            breaches.push(format!("{name}: {lines} lines, more than {MAX_LINES}"));
        }
        for (number, line) in text.lines().enumerate() {
            let marker = ["TO", "DO"].concat();
            if line.contains(&marker) {
                breaches.push(format!("{name}:{}: an open end left in the code", number + 1));
            }
        }
    }
    if breaches.is_empty() { Ok(()) } else { Err(format!("tidy found:\n{}", breaches.join("\n"))) }
}

fn walls(breaches: &mut Vec<String>) -> Result<(), String> {
    for (krate, allowed) in WALLS {
        let path = format!("crates/{krate}/Cargo.toml");
        let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {path}: {e}"))?;
        let mut section = String::new();
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('[') {
                section = line.to_owned();
            }
            let Some(rest) = line.strip_prefix("nxs-") else { continue };
            let name = rest.split(['.', ' ', '=']).next().unwrap_or(rest);
            if section == "[dependencies]" && !allowed.contains(&name) {
                breaches.push(format!("{path}:{}: `{krate}` must not depend on `{name}`", number + 1));
            }
        }
    }
    Ok(())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let Ok(listing) = fs::read_dir(dir) else { return Ok(()) };
    for entry in listing {
        let path = entry.map_err(|e| format!("cannot list {}: {e}", dir.display()))?.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
