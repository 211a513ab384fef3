//! Golden files: the whole answer of a test, kept in the repository.

use std::fs;
use std::path::Path;

/// Compares `text` with the file at `path`; panics with the first line that differs.
/// With `UPDATE_GOLDEN=1` in the environment the file is written instead.
pub fn golden(path: impl AsRef<Path>, text: &str) {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|v| v == "1");
    if let Err(message) = check(path.as_ref(), text, update) {
        panic!("{message}");
    }
}

fn check(path: &Path, text: &str, update: bool) -> Result<(), String> {
    if update {
        let dir = path.parent().unwrap_or(Path::new("."));
        return fs::create_dir_all(dir)
            .and_then(|()| fs::write(path, text))
            .map_err(|e| format!("cannot write golden file `{}`: {e}", path.display()));
    }
    let expected = fs::read_to_string(path).map_err(|e| {
        format!("cannot read golden file `{}`: {e} (UPDATE_GOLDEN=1 makes it)", path.display())
    })?;
    if expected == text {
        return Ok(());
    }
    let (mut old, mut new, mut line) = (expected.lines(), text.lines(), 0);
    loop {
        line += 1;
        let (a, b) = (old.next(), new.next());
        if a != b || a.is_none() {
            return Err(format!(
                "`{}` differs from line {line} on (UPDATE_GOLDEN=1 takes the new text)\n  golden: {}\n  actual: {}\n--- whole actual text\n{text}",
                path.display(),
                a.map_or("(end)".into(), |l| format!("{l:?}")),
                b.map_or("(end)".into(), |l| format!("{l:?}")),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_text_passes_and_a_different_one_names_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/answer.txt");
        check(&path, "one\ntwo\n", true).unwrap();
        check(&path, "one\ntwo\n", false).unwrap();
        let message = check(&path, "one\nzwei\n", false).unwrap_err();
        assert!(message.contains("from line 2 on"), "{message}");
        assert!(message.contains("golden: \"two\"\n  actual: \"zwei\""), "{message}");
        assert!(check(&path, "one\ntwo", false).is_err(), "a missing last newline is a difference");
    }

    #[test]
    fn a_missing_golden_file_is_an_error_that_says_how_to_make_it() {
        let dir = tempfile::tempdir().unwrap();
        let message = check(&dir.path().join("none"), "x", false).unwrap_err();
        assert!(message.contains("UPDATE_GOLDEN=1"), "{message}");
    }
}
