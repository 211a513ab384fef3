//! House rules that no compiler checks: who may depend on whom (`walls`), every file says what it is for and none is
//! too long, no lint is silenced and no test left out (`files`), every link of the manual leads somewhere (`links`).

mod files;
mod links;
mod walls;

use std::fs;
use std::path::{Path, PathBuf};

/// Prints nothing and succeeds, or lists all breaches.
pub(crate) fn check() -> Result<(), String> {
    let mut breaches = walls::check()?;
    breaches.extend(files::check()?);
    breaches.extend(links::check()?);
    if breaches.is_empty() { Ok(()) } else { Err(format!("tidy found:\n{}", breaches.join("\n"))) }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

/// All files below `dir` with this extension, sorted; none if there is no such directory. Build output is passed over.
fn collect(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let Ok(listing) = fs::read_dir(dir) else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for entry in listing {
        let path = entry.map_err(|e| format!("cannot list {}: {e}", dir.display()))?.path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
            files.extend(collect(&path, extension)?);
        } else if path.extension().is_some_and(|e| e == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
