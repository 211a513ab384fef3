//! Walks the directories of a local storage by descriptors, one component at a time and never through a symbolic
//! link, so that no call leaves the backup directory. Knows directories only; objects are `mod.rs`.
//!
//! The backup directory itself may be, and may be reached through, a symbolic link: it is the administrator's.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The backup directory.
#[derive(Debug, Clone)]
pub(super) struct Root {
    path: PathBuf,
}

/// A directory that is there now.
pub(super) struct MadeDir {
    pub(super) fd: OwnedFd,
    /// How many of its last components did not exist before.
    pub(super) new_dirs: usize,
}

impl Root {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn open(&self) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(CWD, &self.path, DIR, Mode::empty())
    }

    /// Opens the directory `dir` (`""` = the root).
    pub(super) fn open_dir(&self, dir: &str) -> Result<OwnedFd, Errno> {
        let mut fd = self.open()?;
        for part in components(dir) {
            fd = open_child(&fd, part)?;
        }
        Ok(fd)
    }

    /// Opens the directory `dir` and makes what is missing of it, durably.
    pub(super) fn make_dir(&self, dir: &str) -> io::Result<MadeDir> {
        let mut fd = match self.open() {
            Err(Errno::NOENT) => {
                make_all(&self.path)?;
                self.open()?
            }
            other => other?,
        };
        let mut new_dirs = 0;
        for part in components(dir) {
            fd = match open_child(&fd, part) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&fd, part, Mode::RWXU) {
                        Ok(()) => new_dirs += 1,
                        Err(Errno::EXIST) => {}
                        Err(e) => return Err(e.into()),
                    }
                    rustix::fs::fsync(&fd)?;
                    open_child(&fd, part)?
                }
                other => other?,
            };
        }
        Ok(MadeDir { fd, new_dirs })
    }

    /// Removes `dir` and its parents below the root, at most `at_most` of them, as far as they are empty.
    /// Best effort: what cannot be removed stays.
    pub(super) fn prune(&self, dir: &str, at_most: usize) {
        let mut dir = dir;
        for _ in 0..at_most {
            if dir.is_empty() {
                return;
            }
            let (parent, name) = dir.rsplit_once('/').unwrap_or(("", dir));
            let removed =
                self.open_dir(parent).and_then(|fd| rustix::fs::unlinkat(fd, name, AtFlags::REMOVEDIR));
            if removed.is_err() {
                return;
            }
            dir = parent;
        }
    }
}

fn components(dir: &str) -> impl Iterator<Item = &str> {
    dir.split('/').filter(|part| !part.is_empty())
}

fn open_child(fd: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(fd, name, DIR | OFlags::NOFOLLOW, Mode::empty())
}

/// Makes a directory (for the owner alone) with all its parents (as the umask says); each new name is durable when it
/// returns.
fn make_all(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
    for dir in missing.into_iter().rev() {
        let mode = if dir == path { 0o700 } else { 0o777 };
        match fs::DirBuilder::new().mode(mode).create(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}
