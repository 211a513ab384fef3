//! Remote storages that are trees of files: the whole storage contract over a few operations on paths.
//!
//! A server of files implements [`FileServer`]; [`Tree`] makes a [`Storage`] of it: partial names and publishing,
//! missing and empty directories, links, recursive listings, sizes checked after each put, repetition after a cut
//! connection where it is safe. What is never repeated: a put of which a byte was taken from the source.

mod pending;
mod read;
pub(crate) mod retry;

use std::collections::HashSet;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use nxs_base::entry::FileTime;
use nxs_base::ports::storage::{Caps, ObjectInfo, ObjectKey, ObjectKind, PartTag, Pending, Storage};
use nxs_base::{Error, ErrorKind, Result};

use crate::links;
use pending::TreePending;
use read::Resuming;
use retry::Retry;

/// Links in a row that are followed.
const MAX_LINKS: usize = 16;

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Dir,
    /// A symbolic link with its text.
    Link(String),
    /// Sockets, devices and the like.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The last component.
    pub(crate) name: String,
    pub(crate) kind: EntryKind,
    pub(crate) size_bytes: u64,
    /// The same as often as it is asked for; a server that tells days only is told to the day.
    pub(crate) mtime: FileTime,
}

/// A server that holds files in directories. Paths are relative to the directory of the storage, which is `""`;
/// they have `/` between components, and no `.` or `..`. Errors name the path and the server; those of connections
/// are [`ErrorKind::Unreachable`] or [`ErrorKind::Timeout`].
pub(crate) trait FileServer: Send + Sync + 'static {
    fn caps(&self) -> Caps;

    /// Absolute path of the directory of the storage, for links that tell it.
    fn root(&self) -> Result<String>;

    /// Writes a file to its end and makes it durable as far as the server can. [`ErrorKind::NotFound`] if its
    /// directory is missing: then nothing was read from `data`. May replace a file.
    fn write(&self, path: &str, data: &mut dyn Read) -> Result<()>;

    /// Reads from the byte `start` on, at most to `end`. [`ErrorKind::NotFound`] if there is no such file.
    fn read(&self, path: &str, start: u64, end: Option<u64>) -> Result<Box<dyn Read + Send>>;

    /// What lies in a directory, all of it, without `.` and `..`. [`ErrorKind::NotFound`] if there is no such
    /// directory, and only then.
    fn list_dir(&self, path: &str) -> Result<Vec<Entry>>;

    /// What lies at a path; does not follow links. [`ErrorKind::NotFound`] if nothing.
    fn stat(&self, path: &str) -> Result<Entry>;

    /// [`ErrorKind::Exists`] if it is there; [`ErrorKind::NotFound`] if its parent is not. `""` is made with all
    /// that is missing above it.
    fn make_dir(&self, path: &str) -> Result<()>;

    /// Removes an empty directory, never one that is not.
    fn remove_dir(&self, path: &str) -> Result<()>;

    /// Removes a file or link. [`ErrorKind::NotFound`] if there is none.
    fn remove(&self, path: &str) -> Result<()>;

    /// Moves a file to a name that was free a moment ago; [`ErrorKind::Exists`] where the server finds it taken.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Moves a file or link over a file or link.
    fn replace(&self, from: &str, to: &str) -> Result<()>;

    /// Makes a symbolic link. Only with `caps().links`. [`ErrorKind::NotFound`] if its directory is missing.
    fn symlink(&self, path: &str, text: &str) -> Result<()>;

    /// Only asked with `caps().free_space`; none if this very server cannot tell.
    fn free_bytes(&self) -> Result<Option<u64>>;

    /// See [`Storage::fetch_command`].
    fn fetch_command(&self, path: &str) -> Option<String>;
}

/// A server of files as storage.
pub(crate) struct Tree<S> {
    name: String,
    server: Arc<S>,
    retry: Retry,
}

impl<S: FileServer> Tree<S> {
    pub(crate) fn new(name: &str, server: S, retry: Retry) -> Self {
        Self { name: name.into(), server: Arc::new(server), retry }
    }

    fn not_found(&self, key: &ObjectKey) -> Error {
        Error::new(ErrorKind::NotFound, format!("storage `{}` has no object `{key}`", self.name))
    }

    fn exists(&self, key: &ObjectKey) -> Error {
        Error::new(ErrorKind::Exists, format!("storage `{}` has an object `{key}` already", self.name))
    }

    fn look(&self, path: &str) -> Result<Option<Entry>> {
        look(&*self.server, self.retry, path)
    }

    /// The file or link of that name.
    fn find(&self, key: &ObjectKey) -> Result<Option<Entry>> {
        let found = self.look(key.as_str())?;
        Ok(found.filter(|entry| matches!(entry.kind, EntryKind::File | EntryKind::Link(_))))
    }

    /// The file that a link with this text leads to in the end.
    fn follow(&self, key: &ObjectKey, text: &str) -> Result<Option<ObjectKey>> {
        let root = self.server.root()?;
        let mut next = links::target(&root, key, text);
        for _ in 0..MAX_LINKS {
            let Some(key) = next else { return Ok(None) };
            next = match self.find(&key)?.map(|entry| entry.kind) {
                Some(EntryKind::File) => return Ok(Some(key)),
                Some(EntryKind::Link(text)) => links::target(&root, &key, &text),
                _ => return Ok(None),
            };
        }
        Ok(None)
    }

    fn info(&self, key: ObjectKey, entry: &Entry) -> Result<ObjectInfo> {
        let kind = match &entry.kind {
            EntryKind::Link(text) => ObjectKind::Link { target: self.follow(&key, text)? },
            _ => ObjectKind::File,
        };
        Ok(ObjectInfo { key, kind, size_bytes: entry.size_bytes, mtime: entry.mtime })
    }

    fn part(key: &ObjectKey, tag: &PartTag) -> String {
        let name = tag.part_name(key.file_name());
        if key.dir().is_empty() { name } else { format!("{}/{name}", key.dir()) }
    }

    /// Makes a link at `path`, with the directory it needs; nothing is there.
    fn make_link(&self, path: &str, text: &str) -> Result<()> {
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        self.retry.run(|tried| match self.server.symlink(path, text) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                make_dirs(&*self.server, dir)?;
                self.server.symlink(path, text)
            }
            // The try that was cut off may have made it.
            Err(e) if tried > 0 && e.kind() == ErrorKind::Exists => Ok(()),
            other => other,
        })
    }
}

impl<S: FileServer> Storage for Tree<S> {
    fn label(&self) -> &str {
        &self.name
    }

    fn caps(&self) -> Caps {
        self.server.caps()
    }

    fn stage(&self, key: &ObjectKey, tag: &PartTag, data: &mut dyn Read) -> Result<Box<dyn Pending>> {
        let part = Self::part(key, tag);
        Ok(Box::new(TreePending::fill(&self.server, self.retry, key, part, data)?))
    }

    fn put_replace(&self, key: &ObjectKey, tag: &PartTag, data: &[u8]) -> Result<()> {
        self.retry.run(|_| {
            let part = Self::part(key, tag);
            TreePending::fill(&self.server, self.retry, key, part, &mut &*data)?.publish(true)
        })
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Box<dyn Read + Send>> {
        let mut end = key.clone();
        if self.caps().links {
            end = match self.find(key)? {
                Some(Entry { kind: EntryKind::Link(text), .. }) => self.follow(key, &text)?,
                Some(_) => Some(end),
                None => None,
            }
            .ok_or_else(|| self.not_found(key))?;
        }
        let reader = Resuming::open(&self.server, self.retry, end.as_str(), range);
        Ok(Box::new(reader.map_err(|e| match e.kind() {
            ErrorKind::NotFound => self.not_found(key),
            _ => e,
        })?))
    }

    fn list(&self, dir: &str, each: &mut dyn FnMut(ObjectInfo) -> Result<()>) -> Result<()> {
        if !dir.is_empty() {
            ObjectKey::new(dir)?;
        }
        let mut dirs = vec![dir.to_owned()];
        let mut files = HashSet::new();
        let mut found_links = Vec::new();
        let is_linked = self.caps().links;
        while let Some(dir) = dirs.pop() {
            let entries = match self.retry.run(|_| self.server.list_dir(&dir)) {
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                other => other?,
            };
            for entry in entries {
                let path = if dir.is_empty() { entry.name.clone() } else { format!("{dir}/{}", entry.name) };
                let Ok(key) = ObjectKey::new(path) else { continue };
                match &entry.kind {
                    EntryKind::Dir => dirs.push(key.as_str().to_owned()),
                    EntryKind::File => {
                        if is_linked {
                            files.insert(key.clone());
                        }
                        each(self.info(key, &entry)?)?;
                    }
                    EntryKind::Link(_) => found_links.push((key, entry)),
                    EntryKind::Other => {}
                }
            }
        }
        for (key, entry) in found_links {
            let EntryKind::Link(text) = &entry.kind else { continue };
            let known = links::target(&self.server.root()?, &key, text).filter(|key| files.contains(key));
            let info = match known {
                Some(target) => ObjectInfo {
                    key,
                    kind: ObjectKind::Link { target: Some(target) },
                    size_bytes: entry.size_bytes,
                    mtime: entry.mtime,
                },
                None => self.info(key, &entry)?,
            };
            each(info)?;
        }
        Ok(())
    }

    fn stat(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        let entry = self.find(key)?.ok_or_else(|| self.not_found(key))?;
        self.info(key.clone(), &entry)
    }

    fn delete(&self, key: &ObjectKey) -> Result<()> {
        let removed = self.retry.run(|tried| match self.server.remove(key.as_str()) {
            // The try that was cut off may have removed it.
            Err(e) if tried > 0 && e.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        });
        removed.map_err(|e| if e.kind() == ErrorKind::NotFound { self.not_found(key) } else { e })?;
        prune(&*self.server, key.dir(), usize::MAX);
        Ok(())
    }

    /// A link keeps the object that it leads to: its text is written anew for its new place.
    fn rename(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        let source = self.find(from)?.ok_or_else(|| self.not_found(from))?;
        let there = self.look(to.as_str())?.map(|entry| entry.kind);
        let over_link = matches!(there, Some(EntryKind::Link(_)));
        if from == to || (there.is_some() && !over_link) {
            return Err(self.exists(to));
        }
        if let EntryKind::Link(text) = &source.kind {
            let text = match links::target(&self.server.root()?, from, text) {
                Some(target) => links::relative(to, &target),
                None => text.clone(),
            };
            if over_link {
                self.server.remove(to.as_str())?;
            }
            self.make_link(to.as_str(), &text)?;
            self.server.remove(from.as_str())?;
        } else {
            if from.dir() != to.dir() {
                self.retry.run(|_| make_dirs(&*self.server, to.dir()))?;
            }
            if over_link {
                self.server.replace(from.as_str(), to.as_str())?;
            } else {
                move_to_free(&*self.server, self.retry, from.as_str(), to.as_str())
                    .map_err(|e| if e.kind() == ErrorKind::Exists { self.exists(to) } else { e })?;
            }
        }
        if from.dir() != to.dir() {
            prune(&*self.server, from.dir(), usize::MAX);
        }
        Ok(())
    }

    fn link(&self, key: &ObjectKey, target: &ObjectKey) -> Result<()> {
        if !self.caps().links {
            let message = format!("storage `{}` has no links, so `{key}` cannot be one", self.name);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if key == target {
            return Err(Error::new(ErrorKind::Invalid, format!("`{key}` cannot be a link to itself")));
        }
        let text = links::relative(key, target);
        match self.look(key.as_str())?.map(|entry| entry.kind) {
            None => self.make_link(key.as_str(), &text),
            Some(EntryKind::Link(old)) if old == text => Ok(()),
            Some(EntryKind::Link(_)) => {
                let tag = PartTag { host: "link".into(), run_id: format!("{:x}", std::process::id()) };
                let part = Self::part(key, &tag);
                // What an earlier death left under this name.
                if self.look(&part)?.is_some() {
                    self.server.remove(&part)?;
                }
                self.make_link(&part, &text)?;
                self.server.replace(&part, key.as_str())
            }
            Some(_) => Err(self.exists(key)),
        }
    }

    fn is_dangling(&self, key: &ObjectKey) -> Result<bool> {
        let Some(Entry { kind: EntryKind::Link(text), .. }) = self.find(key)? else { return Ok(false) };
        let leads_inside = links::target(&self.server.root()?, key, &text).is_some();
        Ok(leads_inside && self.follow(key, &text)?.is_none())
    }

    /// Nobody can tell from afar.
    fn is_part_live(&self, _: &ObjectKey) -> bool {
        false
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        if !self.caps().free_space {
            return Ok(None);
        }
        self.retry.run(|_| self.server.free_bytes())
    }

    fn fetch_command(&self, key: &ObjectKey) -> Option<String> {
        self.server.fetch_command(key.as_str())
    }
}

/// What lies at a path, none if nothing.
fn look<S: FileServer>(server: &S, retry: Retry, path: &str) -> Result<Option<Entry>> {
    match retry.run(|_| server.stat(path)) {
        Ok(entry) => Ok(Some(entry)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Makes a directory with all that is missing above it; says how many were made.
fn make_dirs<S: FileServer>(server: &S, dir: &str) -> Result<usize> {
    let made = match server.make_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound && !dir.is_empty() => {
            let above = make_dirs(server, dir.rsplit_once('/').map_or("", |(parent, _)| parent))?;
            return match server.make_dir(dir) {
                Ok(()) => Ok(above + 1),
                Err(e) if e.kind() == ErrorKind::Exists => Ok(above),
                Err(e) => Err(e),
            };
        }
        Err(e) if e.kind() == ErrorKind::Exists => 0,
        other => {
            other?;
            1
        }
    };
    Ok(made)
}

/// Removes `dir` and its parents, at most `at_most` of them, as far as they are empty. Best effort: what cannot be
/// removed stays.
fn prune<S: FileServer>(server: &S, dir: &str, at_most: usize) {
    let mut dir = dir;
    for _ in 0..at_most {
        if dir.is_empty() || server.remove_dir(dir).is_err() {
            return;
        }
        dir = dir.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
}

/// Moves a file to a name where nothing is. A try that was cut off may have moved it: then it is looked for.
fn move_to_free<S: FileServer>(server: &S, retry: Retry, from: &str, to: &str) -> Result<()> {
    retry.run(|tried| {
        let outcome = server.rename(from, to);
        match outcome {
            Err(e) if tried > 0 && matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Exists) => {
                let gone = look(server, retry, from)?.is_none();
                if gone && look(server, retry, to)?.is_some() { Ok(()) } else { Err(e) }
            }
            other => other,
        }
    })
}
