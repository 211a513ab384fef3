//! Looks through every Rust file: its first line, its length, and words that have no place in it.

use std::path::Path;

const ROOTS: [&str; 3] = ["crates", "xtask", "fuzz"];
const MAX_LINES: usize = 800;

pub(super) fn check() -> Result<Vec<String>, String> {
    let mut breaches = Vec::new();
    for root in ROOTS {
        for path in super::collect(Path::new(root), "rs")? {
            breaches.extend(breaches_of(&path.to_string_lossy(), &super::read(&path)?));
        }
    }
    Ok(breaches)
}

fn breaches_of(name: &str, text: &str) -> Vec<String> {
    // In two parts each, lest they find themselves.
    let open_end = ["TO", "DO"].concat();
    let allow = ["allow", "("].concat();
    let ignore = ["#[ig", "nore"].concat();
    let sleep = ["thread::", "sleep"].concat();
    let mut breaches = Vec::new();
    if !text.starts_with("//!") {
        breaches.push(format!("{name}:1: does not open with `//!`"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        breaches.push(format!("{name}: {lines} lines, more than {MAX_LINES}"));
    }
    let mut is_test = name.contains("/tests/") || name.ends_with("/tests.rs");
    for (number, line) in text.lines().enumerate() {
        // A module of tests inside a file is its last item.
        is_test |= line.trim_start().starts_with("mod tests {");
        let code = line.trim_start();
        let is_attribute = code.starts_with("#[") || code.starts_with("#![");
        let found = [
            (line.contains(&open_end), "an open end left in the code"),
            (is_attribute && line.contains(&allow), "a lint is silenced: use `expect` with a reason"),
            (line.contains(&ignore), "a test is left out"),
            (is_test && line.contains(&sleep), "a test sleeps: wait for a condition, or turn the clock"),
        ];
        let found = found.into_iter().filter(|(is_found, _)| *is_found);
        breaches.extend(found.map(|(_, what)| format!("{name}:{}: {what}", number + 1)));
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_place_in_a_file_is_named_with_its_line() {
        let sleep = ["    std::thread::", "sleep(now);"].concat();
        let allow = ["#![", "allow(dead_code)]"].concat();
        let ignore = ["    #[ig", "nore]"].concat();
        let text = format!("//! x\n{allow}\n{sleep}\nmod tests {{\n{ignore}\n{sleep}\n}}\n");
        let found = breaches_of("crates/a/src/b.rs", &text);
        assert_eq!(
            found,
            [
                "crates/a/src/b.rs:2: a lint is silenced: use `expect` with a reason",
                "crates/a/src/b.rs:5: a test is left out",
                "crates/a/src/b.rs:6: a test sleeps: wait for a condition, or turn the clock",
            ]
        );
        assert_eq!(breaches_of("crates/a/tests/it/b.rs", &format!("//! x\n{sleep}\n")).len(), 1);
        assert_eq!(breaches_of("b.rs", "use x;\n"), ["b.rs:1: does not open with `//!`"]);
        assert_eq!(breaches_of("b.rs", &"//! x\n".repeat(801)), ["b.rs: 801 lines, more than 800"]);
    }
}
