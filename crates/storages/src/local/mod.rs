//! The local storage: objects are files below `backup_dir`, links are relative symbolic links.
//!
//! Every call starts at a descriptor of `backup_dir` and walks down without following symbolic links, so that
//! nothing outside is read or written, whoever may have put links into the tree. Files and directories are made for
//! the owner alone (0600, 0700), for backups hold secrets; what is there already keeps its mode. Links of older versions (absolute, beginning with `backup_dir`) are
//! understood. Names that no [`ObjectKey`] can hold (not UTF-8, control bytes) and objects that are neither files
//! nor links cannot be ours: they are treated as not there, and a directory that holds one is never removed.
//!
//! `dirs.rs` walks and makes directories, `pending.rs` writes partial objects.

mod dirs;
mod pending;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nxs_base::entry::FileTime;
use nxs_base::ports::storage::{Caps, ObjectInfo, ObjectKey, ObjectKind, PartTag, Pending, Storage};
use nxs_base::{Error, ErrorKind, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::links::relative;
use dirs::Root;
use pending::LocalPending;

/// Links in a row that are followed.
const MAX_LINKS: usize = 16;

/// A directory of this host as object store.
#[derive(Debug)]
pub struct LocalStorage {
    name: String,
    root: Root,
}

impl LocalStorage {
    /// Opens the directory, which need not exist yet: the first write makes it. `name` is what messages call it.
    /// [`ErrorKind::Invalid`] where no directory can be: it, or something above it, is a file.
    pub fn open(name: impl Into<String>, backup_dir: PathBuf) -> Result<Self> {
        let storage = Self::new(name, backup_dir);
        storage.check_root().map(|()| storage)
    }

    /// The same without a look at the disk.
    pub fn new(name: impl Into<String>, backup_dir: PathBuf) -> Self {
        Self { name: name.into(), root: Root::new(backup_dir) }
    }

    fn failed(&self, what: &str, key: &str, e: impl Into<io::Error>) -> Error {
        let message = format!("cannot {what} `{key}` on storage `{}`", self.name);
        pending::full_hint(Error::io(message, e.into()))
    }

    /// Whether there is, or can be, a directory.
    fn check_root(&self) -> Result<()> {
        let path = self.root.path();
        // What cannot be looked at shows with the first call.
        let file = path.ancestors().find(|above| std::fs::metadata(above).is_ok_and(|meta| !meta.is_dir()));
        let Some(file) = file else { return Ok(()) };
        let what = if file == path { "it is a file" } else { "it lies below a file" };
        let text = format!("storage `{}` cannot use the directory `{}`: {what}", self.name, path.display());
        let hint = format!("Set `backup_dir` to a directory, or move `{}` away.", file.display());
        Err(Error::new(ErrorKind::Invalid, text).with_hint(hint))
    }

    fn not_found(&self, key: &ObjectKey) -> Error {
        Error::new(ErrorKind::NotFound, format!("storage `{}` has no object `{key}`", self.name))
    }

    fn exists(&self, key: &ObjectKey) -> Error {
        Error::new(ErrorKind::Exists, format!("storage `{}` has an object `{key}` already", self.name))
    }

    /// The directory and the state of an object; none if there is no file or link of that name.
    fn find(&self, key: &ObjectKey) -> Result<Option<(OwnedFd, Stat)>, Errno> {
        let found = self.root.open_dir(key.dir()).and_then(|dir| {
            let stat = rustix::fs::statat(&dir, key.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((dir, stat))
        });
        match found {
            Ok((dir, stat)) => Ok(is_object(&stat).then_some((dir, stat))),
            Err(e) if is_absence(e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What the link `key` in `dir` says, read as a key.
    fn link_target(&self, dir: &OwnedFd, key: &ObjectKey) -> Result<(Vec<u8>, Option<ObjectKey>), Errno> {
        let text = rustix::fs::readlinkat(dir, key.file_name(), Vec::new())?.into_bytes();
        let target = self.key_of_link(key, &text);
        Ok((text, target))
    }

    /// Reads the text of the link `key` as a key of this storage, without looking at the disk further than at the
    /// real name of the root.
    fn key_of_link(&self, key: &ObjectKey, text: &[u8]) -> Option<ObjectKey> {
        let path = Path::new(std::ffi::OsStr::from_bytes(text));
        let mut parts: Vec<&str> = Vec::new();
        let below = if path.is_absolute() {
            let real = self.root.path().canonicalize().ok();
            path.strip_prefix(self.root.path()).ok().or_else(|| path.strip_prefix(real.as_deref()?).ok())?
        } else {
            parts.extend(key.dir().split('/').filter(|p| !p.is_empty()));
            path
        };
        for component in below.components() {
            match component {
                Component::Normal(part) => parts.push(part.to_str()?),
                Component::CurDir => {}
                Component::ParentDir => drop(parts.pop()?),
                Component::RootDir | Component::Prefix(_) => return None,
            }
        }
        ObjectKey::new(parts.join("/")).ok()
    }

    /// The file that `key` is or leads to.
    fn follow(&self, key: &ObjectKey) -> Result<Option<(OwnedFd, ObjectKey)>, Errno> {
        let mut key = key.clone();
        for _ in 0..MAX_LINKS {
            let Some((dir, stat)) = self.find(&key)? else { return Ok(None) };
            if !is_link(&stat) {
                return Ok(Some((dir, key)));
            }
            match self.link_target(&dir, &key) {
                Ok((_, Some(next))) => key = next,
                Ok((_, None)) => return Ok(None),
                Err(Errno::NOENT | Errno::INVAL) => {} // replaced meanwhile: look again
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    fn info(&self, key: ObjectKey, stat: &Stat) -> Result<ObjectInfo> {
        let kind = if is_link(stat) {
            let end = self.follow(&key).map_err(|e| self.failed("follow", key.as_str(), e))?;
            ObjectKind::Link { target: end.map(|(_, key)| key) }
        } else {
            ObjectKind::File
        };
        let mtime = FileTime { sec: stat.st_mtime, nsec: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
        Ok(ObjectInfo { key, kind, size_bytes: u64::try_from(stat.st_size).unwrap_or(0), mtime })
    }

    /// Lists one directory; pushes its subdirectories to `dirs`.
    fn list_one(
        &self,
        dir: &str,
        dirs: &mut Vec<String>,
        each: &mut dyn FnMut(ObjectInfo) -> Result<()>,
    ) -> Result<()> {
        let place = self.root.path().join(dir);
        let failed = |e: Errno| {
            let error = self.failed("list", place.to_string_lossy().trim_end_matches('/'), e);
            match error.kind() {
                ErrorKind::Denied => error.with_hint("Run as root, or as a user that may read all of it."),
                _ => error,
            }
        };
        let fd = match self.root.open_dir(dir) {
            Err(e) if is_absence(e) => return if dir.is_empty() { self.check_root() } else { Ok(()) },
            // Made by the file system at the root of a disk, for root alone; a target of that name would be readable.
            Err(Errno::ACCESS) if dir == "lost+found" => return Ok(()),
            other => other.map_err(failed)?,
        };
        for entry in Dir::read_from(&fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
            let Ok(key) = ObjectKey::new(path) else { continue }; // `.`, `..`, control bytes
            let stat = match rustix::fs::statat(&fd, key.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue, // gone meanwhile
                other => other.map_err(failed)?,
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => dirs.push(key.as_str().to_owned()),
                FileType::RegularFile | FileType::Symlink => each(self.info(key, &stat)?)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Runs `act` in the directory of `key`, made if missing; again if a concurrent `delete` removed it meanwhile.
    /// If `act` fails for another reason, directories that were made for it go again.
    fn in_made_dir<T>(&self, key: &ObjectKey, act: impl Fn(&OwnedFd) -> io::Result<T>) -> io::Result<T> {
        let mut last = Errno::NOENT.into();
        for _ in 0..pending::TRIES {
            match self.root.make_dir(key.dir()) {
                Ok(made) => match act(&made.fd) {
                    Ok(done) => {
                        rustix::fs::fsync(&made.fd)?;
                        return Ok(done);
                    }
                    Err(e) => {
                        self.root.prune(key.dir(), made.new_dirs);
                        last = e;
                    }
                },
                Err(e) => last = e,
            }
            if last.kind() != io::ErrorKind::NotFound {
                break;
            }
        }
        Err(last)
    }

    /// Makes `key` a symbolic link with that text; replaces a link, never a file.
    fn place_link(&self, key: &ObjectKey, text: &[u8]) -> io::Result<()> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        self.in_made_dir(key, |dir| {
            // Where nothing is there yet, one step does it.
            match rustix::fs::symlinkat(text, dir, key.file_name()) {
                Err(Errno::EXIST) => {}
                other => return other.map_err(Into::into),
            }
            loop {
                let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
                let run_id = format!("{:x}-{serial:x}", std::process::id());
                let tag = PartTag { host: this_host(), run_id };
                let temp = tag.part_name(key.file_name());
                match rustix::fs::symlinkat(text, dir, &temp) {
                    Err(Errno::EXIST) => continue,
                    other => other?,
                }
                let placed = rename_over_link(dir, &temp, dir, key.file_name());
                if placed.is_err() {
                    rustix::fs::unlinkat(dir, &temp, AtFlags::empty())?;
                }
                return placed;
            }
        })
    }
}

impl Storage for LocalStorage {
    fn label(&self) -> &str {
        &self.name
    }

    fn caps(&self) -> Caps {
        Caps { links: true, free_space: true }
    }

    fn stage(&self, key: &ObjectKey, tag: &PartTag, data: &mut dyn Read) -> Result<Box<dyn Pending>> {
        let mut pending = LocalPending::create(&self.root, &self.name, key, tag)?;
        pending.fill(data)?;
        Ok(Box::new(pending))
    }

    fn put_replace(&self, key: &ObjectKey, tag: &PartTag, mut data: &[u8]) -> Result<()> {
        let mut pending = LocalPending::create(&self.root, &self.name, key, tag)?;
        pending.fill(&mut data)?;
        pending.publish(true)
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Box<dyn Read + Send>> {
        let failed = |e: io::Error| self.failed("read", key.as_str(), e);
        let Some((dir, end)) = self.follow(key).map_err(|e| failed(e.into()))? else {
            return Err(self.not_found(key));
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(dir, end.file_name(), flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        let mut file = File::from(fd);
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(self.not_found(key));
        }
        let Some(range) = range else { return Ok(Box::new(file)) };
        file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
        Ok(Box::new(file.take(range.end.saturating_sub(range.start))))
    }

    fn list(&self, dir: &str, each: &mut dyn FnMut(ObjectInfo) -> Result<()>) -> Result<()> {
        if !dir.is_empty() {
            ObjectKey::new(dir)?;
        }
        let mut dirs = vec![dir.to_owned()];
        while let Some(dir) = dirs.pop() {
            self.list_one(&dir, &mut dirs, each)?;
        }
        Ok(())
    }

    fn stat(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        let found = self.find(key).map_err(|e| self.failed("look at", key.as_str(), e))?;
        let (_, stat) = found.ok_or_else(|| self.not_found(key))?;
        self.info(key.clone(), &stat)
    }

    fn delete(&self, key: &ObjectKey) -> Result<()> {
        let found = self.find(key).map_err(|e| self.failed("delete", key.as_str(), e))?;
        let (dir, _) = found.ok_or_else(|| self.not_found(key))?;
        rustix::fs::unlinkat(&dir, key.file_name(), AtFlags::empty())
            .map_err(|e| self.failed("delete", key.as_str(), e))?;
        self.root.prune(key.dir(), usize::MAX);
        Ok(())
    }

    /// A link keeps the object that it leads to: its text is written anew for its new place.
    /// The new name is durable when it returns.
    fn rename(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::AlreadyExists => self.exists(to),
            _ => self.failed("move", &format!("{from}` to `{to}"), e),
        };
        let found = self.find(from).map_err(|e| failed(e.into()))?;
        let (from_dir, stat) = found.ok_or_else(|| self.not_found(from))?;
        if from == to {
            return Err(self.exists(to));
        }
        if is_link(&stat) {
            let (text, target) = self.link_target(&from_dir, from).map_err(|e| failed(e.into()))?;
            let text = target.map_or(text, |target| relative(to, &target).into_bytes());
            self.place_link(to, &text).map_err(failed)?;
            rustix::fs::unlinkat(&from_dir, from.file_name(), AtFlags::empty())
                .map_err(|e| failed(e.into()))?;
        } else {
            let act =
                |to_dir: &OwnedFd| rename_over_link(&from_dir, from.file_name(), to_dir, to.file_name());
            self.in_made_dir(to, act).map_err(failed)?;
        }
        rustix::fs::fsync(&from_dir).map_err(|e| failed(e.into()))?;
        self.root.prune(from.dir(), usize::MAX);
        Ok(())
    }

    fn link(&self, key: &ObjectKey, target: &ObjectKey) -> Result<()> {
        if key == target {
            return Err(Error::new(ErrorKind::Invalid, format!("`{key}` cannot be a link to itself")));
        }
        self.place_link(key, relative(key, target).as_bytes()).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => self.exists(key),
            _ => self.failed("link", &format!("{key}` to `{target}"), e),
        })
    }

    /// What the kernel finds at the end of the link counts: a directory on the way may be a link of the administrator.
    fn is_dangling(&self, key: &ObjectKey) -> Result<bool> {
        let failed = |e: Errno| self.failed("follow", key.as_str(), e);
        let Some((dir, stat)) = self.find(key).map_err(failed)? else { return Ok(false) };
        if !is_link(&stat) {
            return Ok(false);
        }
        let leads_inside = match self.link_target(&dir, key) {
            Ok((_, target)) => target.is_some(),
            Err(Errno::NOENT | Errno::INVAL) => false, // replaced meanwhile
            Err(e) => return Err(failed(e)),
        };
        if !leads_inside {
            return Ok(false);
        }
        match rustix::fs::statat(&dir, key.file_name(), AtFlags::empty()) {
            Ok(_) => Ok(false),
            Err(e) if is_absence(e) => Ok(true),
            Err(e) => Err(failed(e)),
        }
    }

    fn is_part_live(&self, key: &ObjectKey) -> bool {
        self.root.open_dir(key.dir()).is_ok_and(|dir| pending::is_locked(&dir, key.file_name()))
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        pending::free_bytes(self.root.path())
            .map(Some)
            .map_err(|e| self.failed("ask for the free room of", &self.root.path().display().to_string(), e))
    }
}

/// Renames; replaces a link at `to`, never anything else. That what is replaced is a link is looked up before: a
/// file that another program puts there in that moment would be lost, one that this program puts there is not, since
/// runs that share a storage hold its lock.
fn rename_over_link(from_dir: &OwnedFd, from: &str, to_dir: &OwnedFd, to: &str) -> io::Result<()> {
    let done = pending::rename_noreplace(from_dir, from, to_dir, to);
    if !matches!(&done, Err(e) if e.kind() == io::ErrorKind::AlreadyExists) {
        return done;
    }
    match rustix::fs::statat(to_dir, to, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if is_link(&stat) => rustix::fs::renameat(from_dir, from, to_dir, to).map_err(Into::into),
        _ => done,
    }
}

/// The name of this host as it stands in names of partial objects, so that its next run sweeps what a death left.
fn this_host() -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    rustix::system::uname().nodename().to_string_lossy().chars().map(safe).collect()
}

fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

fn is_object(stat: &Stat) -> bool {
    matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Symlink)
}

/// Whether an error of a lookup says that no such object can be: a component is missing, a file, or a link.
fn is_absence(e: Errno) -> bool {
    matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}
