//! The storage port: a dumb object store. No rotation, no naming, no retry: those exist once, in the engine.

use std::io::Read;
use std::ops::Range;

use crate::entry::FileTime;
use crate::error::{Error, ErrorKind, Result};

/// The name of an object: relative, `/` between components; no empty, `.` or `..` component, no control byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    pub fn new(key: impl Into<String>) -> Result<Self> {
        let key = key.into();
        let bad = key.is_empty()
            || key.bytes().any(|b| b < 0x20 || b == 0x7f)
            || key.split('/').any(|c| c.is_empty() || c == "." || c == "..");
        if bad {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("`{}` cannot name an object", key.escape_debug()),
            ));
        }
        Ok(Self(key))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// All but the last component, without a trailing `/`; empty at the root.
    pub fn dir(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(d, _)| d)
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a storage can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caps {
    /// `link` works; lower periods are links.
    pub links: bool,
    /// `free_bytes` answers.
    pub free_space: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectKind {
    File,
    /// A link; `target` is the key it leads to, or none if it dangles or leads out of the storage.
    Link {
        target: Option<ObjectKey>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    pub key: ObjectKey,
    pub kind: ObjectKind,
    /// Bytes of the object (of the link itself for links).
    pub size_bytes: u64,
    pub mtime: FileTime,
}

/// Which run writes: the middle part of the names of partial objects, `.<final>.<host>.<run-id>.nxs-part`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartTag {
    /// Host name, made safe (letters, digits, `-`, `_`).
    pub host: String,
    /// Hex.
    pub run_id: String,
}

pub const PART_SUFFIX: &str = ".nxs-part";

/// Bytes that a component of a key may have on the file systems there are.
pub const MAX_COMPONENT_BYTES: usize = 255;

/// What stands in the name of a partial object for a final name that would make it too long: `~` and 32 hex digits.
pub fn name_digest(name: &str) -> String {
    let digest = blake3::hash(name.as_bytes()).to_hex();
    format!("~{}", &digest[..32])
}

/// Whether a name, as [`PartTag::parse`] returns it, is a [`name_digest`].
pub fn is_name_digest(name: &str) -> bool {
    let hex = |text: &str| text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    name.strip_prefix('~').is_some_and(hex)
}

impl PartTag {
    /// Name of the partial object for the final name `name` (a single component). A name that would become longer
    /// than [`MAX_COMPONENT_BYTES`] is told by its [`name_digest`] instead, and so is one that looks like a digest.
    pub fn part_name(&self, name: &str) -> String {
        let with = |name: &str| format!(".{name}.{}.{}{PART_SUFFIX}", self.host, self.run_id);
        let plain = with(name);
        if plain.len() <= MAX_COMPONENT_BYTES && !is_name_digest(name) {
            plain
        } else {
            with(&name_digest(name))
        }
    }

    /// The inverse of [`PartTag::part_name`]: final name (or its [`name_digest`], see [`is_name_digest`]) and tag, or
    /// none if `name` is no partial's name.
    pub fn parse(name: &str) -> Option<(&str, PartTag)> {
        let rest = name.strip_prefix('.')?.strip_suffix(PART_SUFFIX)?;
        let (rest, run_id) = rest.rsplit_once('.')?;
        let (name, host) = rest.rsplit_once('.')?;
        if name.is_empty() || host.is_empty() || run_id.is_empty() {
            return None;
        }
        Some((name, PartTag { host: host.into(), run_id: run_id.into() }))
    }
}

/// An object that is complete and durable under its partial name, and not yet published.
/// Dropping it without `commit` removes the partial (best effort).
pub trait Pending: Send {
    fn size_bytes(&self) -> u64;

    /// Publishes under the final name, atomically, durable when it returns. Never replaces: [`ErrorKind::Exists`].
    fn commit(self: Box<Self>) -> Result<()>;
}

/// An object store. All calls block. Keys are below the configured `backup_dir`.
pub trait Storage: Send + Sync {
    /// What it is called in messages: `local`, `scp storage(host)`.
    fn label(&self) -> &str;

    fn caps(&self) -> Caps;

    /// Reads `data` to its end into a partial object beside `key`, makes it durable, and returns it unpublished.
    /// Missing directories are made. An error from `data` aborts and leaves no partial. Length is not known before.
    fn stage(&self, key: &ObjectKey, tag: &PartTag, data: &mut dyn Read) -> Result<Box<dyn Pending>>;

    /// Writes a small object, replacing what is there, atomically. Only for `RESTORE.md` and the adoption list.
    fn put_replace(&self, key: &ObjectKey, tag: &PartTag, data: &[u8]) -> Result<()>;

    /// Reads an object, following links, or the given byte range of it (cut at its end).
    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Box<dyn Read + Send>>;

    /// Lists every object at and below the directory `dir` (`""` = all), links and partials included, in no
    /// particular order. `site1` never yields `site10/…`. A missing directory is an empty list. Fails rather than
    /// leave something out.
    fn list(&self, dir: &str, each: &mut dyn FnMut(ObjectInfo) -> Result<()>) -> Result<()>;

    /// Does not follow links. [`ErrorKind::NotFound`] if absent.
    fn stat(&self, key: &ObjectKey) -> Result<ObjectInfo>;

    /// Removes one object (the link, not what it leads to). [`ErrorKind::NotFound`] if absent.
    /// Directories that became empty are removed too.
    fn delete(&self, key: &ObjectKey) -> Result<()>;

    /// Moves an object. Never replaces a file ([`ErrorKind::Exists`]); replaces a link at `to`.
    fn rename(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()>;

    /// Makes `key` a link to `target`, replacing a link that is there, never a file. Only with `caps().links`.
    fn link(&self, key: &ObjectKey, target: &ObjectKey) -> Result<()>;

    /// Whether `key` is a link whose target would lie inside the storage and is not there. A link that leads out of
    /// the storage does not dangle: nobody here can know what it is for. False if there is no such link.
    fn is_dangling(&self, key: &ObjectKey) -> Result<bool> {
        match self.stat(key) {
            Ok(info) => Ok(matches!(info.kind, ObjectKind::Link { target: None })),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Whether a process still writes under this partial name (then it must not be swept). False if unknown.
    fn is_part_live(&self, key: &ObjectKey) -> bool;

    /// Bytes that can still be written, if the storage can tell.
    fn free_bytes(&self) -> Result<Option<u64>>;

    /// A shell command of stock programs that downloads an object to its key below the current directory, and asks
    /// for the password if there is one; none where the storage is a directory of this host. Opens nothing.
    fn fetch_command(&self, _key: &ObjectKey) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag() -> PartTag {
        PartTag { host: "h".repeat(64), run_id: "0123456789abcdef0123456789abcdef".into() }
    }

    #[test]
    fn a_partial_tells_its_final_name_as_long_as_that_fits() {
        let name = "site1_2026-01-02_03-04.tar.gz";
        let part = tag().part_name(name);
        assert_eq!(PartTag::parse(&part), Some((name, tag())));
        for len in [1, 140, 147, 148, 149, 200, 255] {
            let name = "n".repeat(len);
            let part = tag().part_name(&name);
            assert!(part.len() <= MAX_COMPONENT_BYTES, "{len}: {}", part.len());
            let (told, of) = PartTag::parse(&part).unwrap();
            assert_eq!(of, tag());
            assert_eq!(is_name_digest(told), len > 147, "{len}");
            assert_eq!(told, if len > 147 { name_digest(&name) } else { name });
        }
    }

    #[test]
    fn a_name_that_looks_like_a_digest_is_told_by_its_own() {
        let name = name_digest("x");
        let part = tag().part_name(&name);
        let (told, _) = PartTag::parse(&part).unwrap();
        assert_eq!(told, name_digest(&name));
        assert!(!is_name_digest("~0123") && !is_name_digest(&name.to_uppercase()));
    }

    #[test]
    fn long_names_that_differ_at_their_end_alone_have_different_partials() {
        let long = "x".repeat(240);
        assert_ne!(tag().part_name(&format!("{long}.nxs.json")), tag().part_name(&format!("{long}.nxs.idx")));
    }
}
