//! A partial object of a local storage: made, filled, made durable, published under its final name or removed.
//!
//! The file stays locked (`flock`) as long as it is open, so that others can tell a writer that lives from what a
//! killed one left behind. File systems that know no `flock` go without.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use nxs_base::ports::storage::{ObjectKey, PartTag, Pending};
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::{direct, writeback};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::dirs::Root;

/// Bytes per `write` call through the cache.
const BLOCK: usize = 1 << 20;
/// Bytes per `write` call past the cache, each of which waits for the device.
const DIRECT_BLOCK: usize = 4 << 20;
/// Bytes from which on an object is written past the cache, or, where that cannot be, the kernel is asked again and again to begin
/// writing: the wait at the end is for the last of them alone.
const AHEAD_BYTES: u64 = 8 << 20;
/// Tries to enter a directory that a concurrent `delete` may remove because it is still empty.
pub(super) const TRIES: usize = 16;

/// How an object is being written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Through the cache: it may yet turn out to be large.
    Cache,
    /// Through the cache: its file system knows no other way.
    CacheOnly,
    /// Past the cache, in whole blocks.
    Direct,
}

pub(super) struct LocalPending {
    root: Root,
    label: String,
    key: ObjectKey,
    dir: OwnedFd,
    new_dirs: usize,
    part: String,
    file: File,
    size_bytes: u64,
    done: bool,
}

impl LocalPending {
    /// Makes the empty partial object beside `key`, with its directories, for the owner alone (0600), locked.
    pub(super) fn create(root: &Root, label: &str, key: &ObjectKey, tag: &PartTag) -> Result<Self> {
        let failed =
            |e: io::Error| full_hint(Error::io(format!("cannot write `{key}` to storage `{label}`"), e));
        let part = tag.part_name(key.file_name());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..TRIES {
            let made = match root.make_dir(key.dir()) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(failed)?,
            };
            let opened = rustix::fs::openat(&made.fd, &part, flags, Mode::RUSR | Mode::WUSR);
            let file = match opened {
                Ok(fd) => File::from(fd),
                Err(Errno::NOENT) => continue,
                Err(e) => {
                    root.prune(key.dir(), made.new_dirs);
                    return Err(failed(e.into()));
                }
            };
            let pending = Self {
                root: root.clone(),
                label: label.to_owned(),
                key: key.clone(),
                dir: made.fd,
                new_dirs: made.new_dirs,
                part: part.clone(),
                file,
                size_bytes: 0,
                done: false,
            };
            match rustix::fs::flock(&pending.file, FlockOperation::LockExclusive) {
                Ok(()) | Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(e) => return Err(failed(e.into())),
            }
            // A sweeper may have taken it for dead before it was locked.
            let stat = rustix::fs::fstat(&pending.file).map_err(|e| failed(e.into()))?;
            if stat.st_nlink > 0 {
                return Ok(pending);
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            format!(
                "cannot write `{key}` to storage `{label}`: its directory is being removed again and again"
            ),
        ))
    }

    /// Copies `data` to its end into the object and makes it durable.
    ///
    /// What is large goes past the page cache where the file system can: a copy less, and the site keeps its cache.
    pub(super) fn fill(&mut self, data: &mut dyn Read) -> Result<()> {
        let mut space = vec![0; DIRECT_BLOCK + direct::ALIGN_BYTES];
        let skipped = space.as_ptr().addr().wrapping_neg() % direct::ALIGN_BYTES;
        let mut started_bytes = self.size_bytes;
        let mut way = Way::Cache;
        loop {
            let len = if way == Way::Direct { DIRECT_BLOCK } else { BLOCK };
            let block = &mut space[skipped..skipped + len];
            let filled = read_block(data, block)
                .map_err(|e| Error::from_io(format!("cannot read what `{}` is to hold", self.key), e))?;
            if filled < len && way == Way::Direct {
                direct::stop(&self.file).map_err(|e| self.failed("write", e))?;
            }
            self.file.write_all(&block[..filled]).map_err(|e| self.failed("write", e))?;
            self.size_bytes += filled as u64;
            if filled < len {
                break;
            }
            let ahead = self.size_bytes - started_bytes >= AHEAD_BYTES;
            if way == Way::Cache && ahead && self.size_bytes.is_multiple_of(direct::ALIGN_BYTES as u64) {
                way = if direct::start(&self.file) { Way::Direct } else { Way::CacheOnly };
            }
            if ahead && way == Way::CacheOnly {
                writeback::start(&self.file, started_bytes..self.size_bytes);
                started_bytes = self.size_bytes;
            }
        }
        self.file.sync_all().map_err(|e| self.failed("write", e))
    }

    /// Publishes; with `replace`, over whatever file or link is there.
    pub(super) fn publish(mut self, replace: bool) -> Result<()> {
        let name = self.key.file_name();
        let moved = if replace {
            rustix::fs::renameat(&self.dir, &self.part, &self.dir, name).map_err(Into::into)
        } else {
            rename_noreplace(&self.dir, &self.part, &self.dir, name)
        };
        moved.map_err(|e| self.failed("publish", e))?;
        self.done = true;
        rustix::fs::fsync(&self.dir).map_err(|e| self.failed("publish", e.into()))
    }

    fn failed(&self, what: &str, e: io::Error) -> Error {
        full_hint(Error::io(format!("cannot {what} `{}` to storage `{}`", self.key, self.label), e))
    }
}

impl Pending for LocalPending {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn commit(self: Box<Self>) -> Result<()> {
        self.publish(false)
    }
}

impl Drop for LocalPending {
    fn drop(&mut self) {
        // Best effort: a partial that stays is swept later.
        if !self.done && rustix::fs::unlinkat(&self.dir, &self.part, AtFlags::empty()).is_ok() {
            self.root.prune(self.key.dir(), self.new_dirs);
        }
    }
}

/// Renames without ever replacing. Where the kernel or the file system cannot do that in one step, by a hard link;
/// where there are none either (FAT, some FUSE file systems), by looking first.
pub(super) fn rename_noreplace(from_dir: &OwnedFd, from: &str, to_dir: &OwnedFd, to: &str) -> io::Result<()> {
    match rustix::fs::renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        other => return other.map_err(Into::into),
    }
    match rustix::fs::linkat(from_dir, from, to_dir, to, AtFlags::empty()) {
        Ok(()) => return rustix::fs::unlinkat(from_dir, from, AtFlags::empty()).map_err(Into::into),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {}
        Err(e) => return Err(e.into()),
    }
    match rustix::fs::statat(to_dir, to, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST.into()),
        Err(Errno::NOENT) => rustix::fs::renameat(from_dir, from, to_dir, to).map_err(Into::into),
        Err(e) => Err(e.into()),
    }
}

/// Whether another open description holds the lock of the file `name` in `dir`.
pub(super) fn is_locked(dir: &OwnedFd, name: &str) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(fd) = rustix::fs::openat(dir, name, flags, Mode::empty()) else {
        return false;
    };
    matches!(rustix::fs::flock(&fd, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
}

/// Free bytes for an ordinary user on the file system of the nearest directory that exists at or above `path`.
pub(super) fn free_bytes(path: &std::path::Path) -> io::Result<u64> {
    for dir in path.ancestors() {
        let dir = if dir.as_os_str().is_empty() { std::path::Path::new(".") } else { dir };
        match rustix::fs::openat(CWD, dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => {
                let stat = rustix::fs::fstatvfs(fd)?;
                return Ok(stat.f_bavail.saturating_mul(stat.f_frsize));
            }
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(Errno::NOENT.into())
}

fn read_block(data: &mut dyn Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match data.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

pub(super) fn full_hint(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Full => {
            error.with_hint("Free room on that file system, raise the quota, or keep fewer backups.")
        }
        _ => error,
    }
}
