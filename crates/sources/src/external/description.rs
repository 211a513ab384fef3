//! What a command says of the archive it made: one JSON object, in the words of version 2 (`full_path`, `basename`,
//! `extension`, `gzip`), in those of version 3 (`full_path` alone), or, beside a stream, any of the last three. Pure.

use std::path::{Path, PathBuf};

use nxs_base::naming;
use nxs_base::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

/// How a stream is called whose command says nothing of it.
const STREAM_EXTENSION: &str = "dump";
/// What a file without an extension gets.
const NO_EXTENSION: &str = "bin";
/// Ends of names that do not tell what is inside.
const WRAPPINGS: [&str; 8] = ["gz", "zst", "xz", "bz2", "lz4", "age", "gpg", "enc"];
/// What is shown of something that is no description.
const SHOWN: usize = 200;

/// The name of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// Made safe.
    pub(super) stem: String,
    /// `tar`, `tar.gz`.
    pub(super) extensions: String,
}

/// Whether a text holds a whole JSON value by now, or never will.
pub(super) fn is_whole(text: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    match values.next() {
        None => false,
        Some(Ok(value)) => value.is_object() || value.is_array() || values.byte_offset() < text.len(),
        Some(Err(error)) => !error.is_eof(),
    }
}

/// The file and its name. [`ErrorKind::Invalid`] for all that is no description.
pub(super) fn of_file(text: &[u8]) -> Result<(PathBuf, Name)> {
    let object = object(text)?;
    let Some(path) = object.get("full_path") else { return Err(missing(&["full_path"], text)) };
    let path = PathBuf::from(filled("full_path", path)?);
    let others = ["basename", "extension", "gzip"];
    let lacking: Vec<&str> = others.into_iter().filter(|key| !object.contains_key(*key)).collect();
    let name = match lacking.as_slice() {
        [] => name_of(&object, "", "")?,
        // Only version 3 leaves all of them out.
        lacking if lacking.len() == others.len() => name_of_path(&path)?,
        lacking => return Err(missing(lacking, text)),
    };
    Ok((path, name))
}

/// The name of a stream; what is not said is the name of the job, and `dump`.
pub(super) fn of_stream(text: Option<&[u8]>, job: &str) -> Result<Name> {
    let object = text.map(object).transpose()?.unwrap_or_default();
    if object.contains_key("full_path") {
        return Err(Error::new(ErrorKind::Invalid, "`full_path`: the archive comes by standard output")
            .with_hint("Leave it out, or leave out `stream: yes`."));
    }
    name_of(&object, job, STREAM_EXTENSION)
}

fn object(text: &[u8]) -> Result<Map<String, Value>> {
    match serde_json::from_slice(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(no_description("a JSON value that is no object", text)),
        Err(_) if text.trim_ascii().is_empty() => Err(no_description("nothing", text)),
        Err(error) => Err(no_description(&format!("what is no JSON ({error})"), text)),
    }
}

fn no_description(what: &str, text: &[u8]) -> Error {
    let shown = shown(text);
    let shown = if shown.is_empty() { String::new() } else { format!(": `{shown}`") };
    Error::new(ErrorKind::Invalid, format!("it described its archive by {what}{shown}"))
        .with_hint("docs/external-modules.md says what a command has to print.")
}

fn missing(keys: &[&str], text: &[u8]) -> Error {
    let text = format!("`{}` is missing in `{}`", keys.join("`, `"), shown(text));
    Error::new(ErrorKind::Invalid, text)
        .with_hint("docs/external-modules.md says what a command has to print.")
}

fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let cut: String = text.trim().chars().take(SHOWN).collect();
    cut.escape_debug().to_string()
}

fn filled(key: &str, value: &Value) -> Result<String> {
    match value.as_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(Error::new(
            ErrorKind::Invalid,
            format!("`{key}` has to be a text that is not empty, and is `{value}`"),
        )),
    }
}

fn name_of(object: &Map<String, Value>, basename: &str, extension: &str) -> Result<Name> {
    let text = |key: &str, default: &str| {
        object.get(key).map_or_else(|| Ok(default.to_owned()), |value| filled(key, value))
    };
    let is_gzip = match object.get("gzip") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(is_gzip)) => *is_gzip,
        Some(other) => {
            let text = format!("`gzip` has to be `true` or `false`, and is `{other}`");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
    };
    let extension = text("extension", extension)?;
    let extension = extension.trim_start_matches('.');
    let gz = if is_gzip { ".gz" } else { "" };
    named(&text("basename", basename)?, &format!("{extension}{gz}"))
}

/// Takes the name of a file apart: `etcd.tar.gz` is `etcd` and `tar.gz`.
fn name_of_path(path: &Path) -> Result<Name> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut stem = name.as_str();
    while let Some((rest, end)) = stem.rsplit_once('.').filter(|(rest, _)| !rest.is_empty()) {
        stem = rest;
        if !WRAPPINGS.contains(&end) {
            break;
        }
    }
    let extensions = name[stem.len()..].trim_start_matches('.');
    named(stem, if extensions.is_empty() { NO_EXTENSION } else { extensions })
}

fn named(basename: &str, extensions: &str) -> Result<Name> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    if extensions.is_empty() || !extensions.chars().all(is_plain) || extensions.ends_with('.') {
        let text = format!("`extension` cannot be `{}`", extensions.escape_debug());
        return Err(Error::new(ErrorKind::Invalid, text)
            .with_hint("It may hold letters, digits, and `.`, `_`, `-`, `+`."));
    }
    Ok(Name { stem: naming::plain_target(basename).stem, extensions: extensions.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> String {
        match of_file(text.as_bytes()) {
            Ok((path, name)) => format!("{} {} {}", path.display(), name.stem, name.extensions),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_four_keys_of_version_2_name_an_archive() {
        let said = |extension: &str, gzip: &str| {
            format!(
                r#"{{"full_path": "/x/a", "basename": "et cd", "extension": "{extension}", "gzip": {gzip}}}"#
            )
        };
        assert_eq!(file(&said("tar", "false")), "/x/a et cd tar");
        assert_eq!(file(&format!("\n{}\n", said(".tar", "true"))), "/x/a et cd tar.gz");
        assert_eq!(file(&said("a/b", "true")), "`extension` cannot be `a/b.gz`");
        assert_eq!(file(&said("tar", "1")), "`gzip` has to be `true` or `false`, and is `1`");
        assert_eq!(file(&said("", "true")), "`extension` has to be a text that is not empty, and is `\"\"`");
        let odd = r#"{"full_path": "/x/a", "basename": "../b", "extension": "db", "gzip": false}"#;
        assert_eq!(file(odd), "/x/a ..%2Fb db");
    }

    #[test]
    fn the_one_key_of_version_3_names_it_by_its_file() {
        let said = |path: &str| file(&format!(r#"{{"full_path": "{path}"}}"#));
        assert_eq!(said("/x/etcd.tar.gz"), "/x/etcd.tar.gz etcd tar.gz");
        assert_eq!(said("/x/my.site.sql"), "/x/my.site.sql my.site sql");
        assert_eq!(said("/x/plain"), "/x/plain plain bin");
        assert_eq!(said("/x/.hidden"), "/x/.hidden .hidden bin");
        assert_eq!(said("/x/a.tar.xz.gpg"), "/x/a.tar.xz.gpg a tar.xz.gpg");
    }

    #[test]
    fn all_else_is_no_description_and_is_quoted() {
        assert_eq!(file(""), "it described its archive by nothing");
        assert!(file("done\n").starts_with("it described its archive by what is no JSON (expected"));
        assert!(file("done\n").ends_with(": `done`"));
        assert!(file("{} {}").contains("trailing characters"));
        assert_eq!(file("[1]"), "it described its archive by a JSON value that is no object: `[1]`");
        assert_eq!(file(r#"{"basename": "a"}"#), r#"`full_path` is missing in `{\"basename\": \"a\"}`"#);
        assert!(
            file(r#"{"full_path": "/x", "gzip": true}"#).starts_with("`basename`, `extension` is missing in")
        );
        assert!(file(r#"{"full_path": 1}"#).starts_with("`full_path` has to be a text"));
    }

    #[test]
    fn a_stream_is_named_by_what_is_said_and_else_by_its_job() {
        let stream = |text: Option<&str>| {
            let name = of_stream(text.map(str::as_bytes), "job").map_err(|e| e.to_string());
            name.map_or_else(|e| e, |name| format!("{} {}", name.stem, name.extensions))
        };
        assert_eq!(stream(None), "job dump");
        assert_eq!(stream(Some(r#"{"extension": "db"}"#)), "job db");
        assert_eq!(stream(Some(r#"{"basename": "b", "extension": "sql", "gzip": true}"#)), "b sql.gz");
        assert!(stream(Some(r#"{"full_path": "/x"}"#)).starts_with("`full_path`: the archive comes"));
        assert!(stream(Some("x")).contains("is no JSON"));
    }

    #[test]
    fn the_end_of_a_description_is_seen_while_it_comes() {
        for (text, whole) in
            [("", false), (" {", false), ("{\"a\": \"}\"", false), ("{\"a\": 1}", true), ("x", true)]
        {
            assert_eq!(is_whole(text.as_bytes()), whole, "{text}");
        }
    }
}
