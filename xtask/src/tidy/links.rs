//! Follows the links of the manual: files must be there, and headings that are linked to.

use std::path::{Path, PathBuf};

const ROOTS: [&str; 6] = ["docs", "bench", "crates", "examples", "testdata", "xtask"];

pub(super) fn check() -> Result<Vec<String>, String> {
    let mut pages = Vec::new();
    for root in ROOTS {
        pages.extend(super::collect(Path::new(root), "md")?);
    }
    pages.extend(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(PathBuf::from));
    let mut breaches = Vec::new();
    for page in pages {
        let text = super::read(&page)?;
        for (line, link) in links(&text) {
            if let Some(problem) = problem_of(&page, &text, &link)? {
                breaches.push(format!("{}:{line}: `{link}`: {problem}", page.display()));
            }
        }
    }
    Ok(breaches)
}

fn problem_of(page: &Path, text: &str, link: &str) -> Result<Option<&'static str>, String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return Ok(None);
    }
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = page.parent().unwrap_or(Path::new("")).join(file);
    if !file.is_empty() && !target.exists() {
        return Ok(Some("there is no such file"));
    }
    if heading.is_empty() {
        return Ok(None);
    }
    let has = |text: &str| headings(text).any(|h| h == heading);
    let is_there = if file.is_empty() { has(text) } else { has(&super::read(&target)?) };
    Ok((!is_there).then_some("there is no such heading"))
}

/// Targets of `[text](target)` outside of code, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // Every second piece between backticks is code.
        for piece in line.split('`').step_by(2) {
            let targets = piece.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            found.extend(targets.map(|(target, _)| (number, target.to_owned())));
        }
    }
    found
}

/// Headings as the web shows them: lower case, blanks as `-`, no punctuation.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// Lines outside of fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            return None;
        }
        (!is_code).then_some((number + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_missing_files_and_headings_are_found() {
        let text = "# RESTORE.md\n[a](#restoremd) `[x](code)` [b](nowhere.md) [c](https://x/)\n```\n[d](code)\n# No\n```\n";
        let all = links(text);
        assert_eq!(all, [(2, "#restoremd".into()), (2, "nowhere.md".into()), (2, "https://x/".into())]);
        let problem = |link: &str| problem_of(Path::new("docs/x.md"), text, link).unwrap();
        assert_eq!(problem("#restoremd"), None);
        assert_eq!(problem("#no"), Some("there is no such heading"));
        assert_eq!(problem("nowhere.md"), Some("there is no such file"));
        assert_eq!(problem("https://x/"), None);
    }
}
