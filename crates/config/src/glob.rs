//! Python's `glob` for include patterns: component by component, not recursive (`**` is `*`), hidden names only
//! for patterns that begin with a dot. Results are sorted. Does not read files.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// Whether the pattern has `*`, `?` or `[`.
pub(crate) fn is_magic(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// All existing paths that match, sorted by name. A pattern without magic yields itself if it exists. Directories that
/// are there but cannot be read go to `unreadable`.
pub(crate) fn expand(pattern: &Path, unreadable: &mut Vec<(PathBuf, std::io::Error)>) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let Component::Normal(name) = component else {
            found.iter_mut().for_each(|p| p.push(component));
            continue;
        };
        let text = name.to_string_lossy();
        if is_magic(&text) {
            found = found
                .iter()
                .flat_map(|dir| {
                    matches_in(dir, &text).unwrap_or_else(|error| {
                        unreadable.push((dir.clone(), error));
                        Vec::new()
                    })
                })
                .collect();
        } else {
            found.iter_mut().for_each(|p| p.push(name));
        }
    }
    found.retain(|p| p.symlink_metadata().is_ok());
    found.sort();
    found
}

fn matches_in(dir: &Path, pattern: &str) -> std::io::Result<Vec<PathBuf>> {
    let here = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let entries = match std::fs::read_dir(here) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let pattern: Vec<char> = pattern.chars().collect();
    let hidden = pattern.first() == Some(&'.');
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if text.starts_with('.') == hidden && fnmatch(&pattern, &text.chars().collect::<Vec<_>>()) {
            found.push(dir.join(&name));
        }
    }
    Ok(found)
}

/// Whether `name` fits `pattern` (`*`, `?`, `[a-z]`, `[!a]`). Time is at most the product of the lengths.
pub(crate) fn fnmatch(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
            continue;
        }
        if let Some(next) = one(pattern, p, name[n]) {
            p = next;
            n += 1;
            continue;
        }
        let Some((sp, sn)) = star else { return false };
        star = Some((sp, sn + 1));
        p = sp + 1;
        n = sn + 1;
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Matches one character at `pattern[p]`; the position behind it if it fits.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match *pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => match class_end(pattern, p) {
            Some(end) => in_class(&pattern[p + 1..end], c).then_some(end + 1),
            None => (c == '[').then_some(p + 1),
        },
        other => (other == c).then_some(p + 1),
    }
}

/// Index of the `]` that closes the class opened at `open`; a `]` right after `[` or `[!` is literal.
fn class_end(pattern: &[char], open: usize) -> Option<usize> {
    let mut first = open + 1;
    if pattern.get(first) == Some(&'!') {
        first += 1;
    }
    (first + 1..pattern.len()).find(|i| pattern[*i] == ']')
}

fn in_class(class: &[char], c: char) -> bool {
    let (negated, class) = match class.split_first() {
        Some(('!', rest)) => (true, rest),
        _ => (false, class),
    };
    let mut i = 0;
    let mut hit = false;
    while i < class.len() {
        if i + 2 < class.len() && class[i + 1] == '-' {
            hit |= (class[i]..=class[i + 2]).contains(&c);
            i += 3;
        } else {
            hit |= class[i] == c;
            i += 1;
        }
    }
    hit != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        fnmatch(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
    }

    #[test]
    fn patterns_follow_pythons_rules() {
        for (pattern, name) in [
            ("*.conf", "a.conf"),
            ("a*b*c", "axxbyyc"),
            ("?", "é"),
            ("[a-c]x", "bx"),
            ("[!a]", "b"),
            ("[]]", "]"),
            ("[", "["),
            ("**", "x"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("*.conf", "a.conf~"), ("?", ""), ("[a-c]", "d"), ("[!a]", "a"), ("[]a]", "b"), ("a", "A")]
        {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_do_not_take_long() {
        assert!(!fits(&"*a".repeat(200), &"a".repeat(199)));
        assert!(fits(&"*a".repeat(200), &"a".repeat(400)));
    }
}
