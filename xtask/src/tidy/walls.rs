//! Compares the manifest of every crate with the table of ARCHITECTURE.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The crate that only tests may name.
const TESTKIT: &str = "testkit";

/// Crate folder and the crates of ours that it may name; none = any.
type Walls = BTreeMap<String, Option<Vec<String>>>;

pub(super) fn check() -> Result<Vec<String>, String> {
    let table = walls(&super::read(Path::new("ARCHITECTURE.md"))?);
    let mut breaches = Vec::new();
    for entry in fs::read_dir("crates").map_err(|e| format!("cannot list crates: {e}"))? {
        let folder = entry.map_err(|e| format!("cannot list crates: {e}"))?.file_name();
        let krate = folder.to_string_lossy().into_owned();
        let path = format!("crates/{krate}/Cargo.toml");
        match table.get(&krate) {
            Some(allowed) => {
                let text = super::read(Path::new(&path))?;
                breaches.extend(breaches_of(&krate, &text, allowed.as_deref(), &path));
            }
            None => breaches.push(format!("{path}: `{krate}` is not in the table of ARCHITECTURE.md")),
        }
    }
    for krate in table.keys().filter(|krate| !Path::new("crates").join(krate).is_dir()) {
        breaches.push(format!("ARCHITECTURE.md: there is no crate `{krate}`"));
    }
    breaches.sort();
    Ok(breaches)
}

/// Reads the rows ``| `crate` | floor | what | may depend on |``.
fn walls(text: &str) -> Walls {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| {
        let mut cells = row.trim_end().trim_end_matches('|').split('|').map(str::trim);
        let krate = cells.next()?.trim_matches('`').to_owned();
        let allowed = match cells.nth(2)? {
            "all" => None,
            "–" => Some(Vec::new()),
            list => Some(list.split(',').map(|name| name.trim().to_owned()).collect()),
        };
        Some((krate, allowed))
    })
    .collect()
}

/// Tests may use what the crate may, and the testkit.
fn breaches_of(krate: &str, manifest: &str, allowed: Option<&[String]>, path: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut section = "";
    for (number, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line;
        }
        let from_header =
            line.strip_prefix('[').and_then(|l| l.split_once("dependencies.nxs-")).map(|(_, name)| name);
        let Some(rest) = from_header.or_else(|| line.strip_prefix("nxs-")) else { continue };
        if !section.contains("dependencies") {
            continue;
        }
        let name = rest.split(['.', ' ', '=', ']']).next().unwrap_or(rest);
        let is_allowed = if name == TESTKIT {
            section.contains("dev-dependencies")
        } else {
            allowed.is_none_or(|list| list.iter().any(|a| a == name))
        };
        if !is_allowed {
            breaches.push(format!("{path}:{}: `{krate}` must not depend on `{name}`", number + 1));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_held_against_the_table() {
        let table = walls(
            "| crate | floor | what | may depend on |\n|---|---|---|---|\n| `base` | 0 | x | – |\n\
             | `sys` | 1 | x | base |\n| `top` | 4 | x | all |\n",
        );
        let manifest = "[package]\nname = \"nxs-x\"\nnxs-no = 1\n[dependencies]\nnxs-base.workspace = true\n\
                        [dev-dependencies]\nnxs-testkit.workspace = true\nnxs-engine = { path = \"\" }\n\
                        [target.'cfg(unix)'.dependencies.nxs-testkit]\n";
        let found = |krate: &str| breaches_of(krate, manifest, table[krate].as_deref(), "C");
        let testkit = |krate: &str| format!("C:9: `{krate}` must not depend on `testkit`");
        let engine = |krate: &str| format!("C:8: `{krate}` must not depend on `engine`");
        assert_eq!(found("top"), [testkit("top")]);
        assert_eq!(found("sys"), [engine("sys"), testkit("sys")]);
        assert_eq!(
            found("base"),
            ["C:5: `base` must not depend on `base`".to_owned(), engine("base"), testkit("base")]
        );
    }
}
