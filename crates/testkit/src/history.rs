//! A tree that lives: random changes as they happen to the files of a web project, from a seed.
//!
//! Every kind of change that an incremental backup must notice: content with its time put back, metadata alone,
//! renames of files and of whole directories, names of hard links that come and go, types that swap, attributes,
//! owners, holes, times alone. The history is
//! the same for the same seed, whatever happens between its steps.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, utimensat};
use rustix::io::Errno;

use crate::rng::Rng;

/// Names that tools stumble over.
const ODD: [&[u8]; 8] = [b"a b", b"\xff\xfe", b"new\nline", "größe".as_bytes(), b"-rf", b"*", b"%41", b"x=y"];

/// The history of one tree.
#[derive(Debug)]
pub struct History {
    root: PathBuf,
    rng: Rng,
    /// Names given so far.
    count: u64,
}

impl History {
    /// `root` is an existing directory.
    pub fn new(root: &Path, seed: u64) -> Self {
        Self { root: root.to_path_buf(), rng: Rng::new(seed), count: 0 }
    }

    /// Makes so many random changes.
    pub fn change(&mut self, changes: u64) -> io::Result<()> {
        for _ in 0..changes {
            self.one()?;
        }
        Ok(())
    }

    fn one(&mut self) -> io::Result<()> {
        let (dirs, others) = self.entries()?;
        let dir = dirs[self.rng.below(dirs.len() as u64) as usize].clone();
        if others.len() < 4 || self.rng.percent(15) {
            return self.create(&dir, &others);
        }
        let other = others[self.rng.below(others.len() as u64) as usize].clone();
        let sub = dirs.get(1 + self.rng.below(dirs.len() as u64) as usize).cloned();
        match (self.rng.below(18), sub) {
            (0, _) => self.create(&dir, &others),
            (1, _) => fs::create_dir(self.name(&dir)),
            (2 | 3, _) => self.rewrite(&other, false),
            (4, _) => self.rewrite(&other, true),
            (5, _) => self.mode(&other),
            (6, Some(sub)) => self.mode(&sub),
            (7, _) => fs::remove_file(&other),
            (8, Some(sub)) => fs::remove_dir_all(sub),
            (9, _) => {
                let to = self.name(&dir);
                fs::rename(&other, to)
            }
            (10, Some(sub)) => {
                let to = self.name(&self.root.clone());
                fs::rename(&sub, to)
            }
            // Replaced in one step, as editors do.
            (11, _) => {
                let new = self.name(&self.root.clone());
                self.write(&new)?;
                fs::rename(&new, &other)
            }
            (12, _) => {
                let to = self.name(&dir);
                fs::hard_link(&other, to)
            }
            (14, _) => self.attribute(&other),
            (15, _) => self.cut_or_grow(&other),
            (16, Some(sub)) => self.time(&sub),
            (16, None) => self.time(&other),
            (17, _) => self.owner(&other),
            (13, Some(sub)) if self.rng.percent(50) => {
                fs::remove_dir_all(&sub)?;
                self.write(&sub)
            }
            _ => {
                fs::remove_file(&other)?;
                fs::create_dir(&other)?;
                let inside = self.name(&other);
                self.write(&inside)
            }
        }
    }

    /// All directories, the root first, and all other entries; in the order of their names.
    fn entries(&self) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let (mut dirs, mut others) = (vec![self.root.clone()], Vec::new());
        let mut at = 0;
        while at < dirs.len() {
            let mut names: Vec<PathBuf> =
                fs::read_dir(&dirs[at])?.map(|e| e.map(|e| e.path())).collect::<io::Result<_>>()?;
            names.sort();
            for path in names {
                if fs::symlink_metadata(&path)?.is_dir() {
                    dirs.push(path);
                } else {
                    others.push(path);
                }
            }
            at += 1;
        }
        Ok((dirs, others))
    }

    fn name(&mut self, dir: &Path) -> PathBuf {
        self.count += 1;
        let mut name = match self.rng.below(5) {
            0 => ODD[self.rng.below(ODD.len() as u64) as usize].to_vec(),
            _ => vec![b'a' + self.rng.below(6) as u8],
        };
        name.extend_from_slice(self.count.to_string().as_bytes());
        dir.join(OsStr::from_bytes(&name))
    }

    fn create(&mut self, dir: &Path, others: &[PathBuf]) -> io::Result<()> {
        let path = self.name(dir);
        match self.rng.below(8) {
            0 => symlink(self.name(dir), path),
            1 if !others.is_empty() => {
                fs::hard_link(&others[self.rng.below(others.len() as u64) as usize], path)
            }
            2 => fs::create_dir(path),
            _ => self.write(&path),
        }
    }

    fn write(&mut self, path: &Path) -> io::Result<()> {
        let mut bytes = vec![0; self.rng.below(3000) as usize];
        self.rng.fill(&mut bytes);
        fs::write(path, bytes)
    }

    /// New content; with its old time and size put back, so that only `ctime` tells.
    fn rewrite(&mut self, path: &Path, is_hidden: bool) -> io::Result<()> {
        let before = fs::symlink_metadata(path)?;
        if !before.is_file() {
            return Ok(());
        }
        let size = if is_hidden { before.len() as usize } else { self.rng.below(3000) as usize };
        let mut bytes = vec![0; size];
        self.rng.fill(&mut bytes);
        fs::write(path, bytes)?;
        if is_hidden {
            use std::os::unix::fs::MetadataExt;
            let time = Timespec { tv_sec: before.mtime(), tv_nsec: before.mtime_nsec() };
            let times = Timestamps { last_access: time, last_modification: time };
            utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// An extended attribute set, changed or removed; nothing where the file system has none.
    fn attribute(&mut self, path: &Path) -> io::Result<()> {
        if !fs::symlink_metadata(path)?.is_file() {
            return Ok(());
        }
        let value = [self.rng.below(4) as u8];
        let done = match value[0] {
            0 => rustix::fs::lremovexattr(path, "user.note"),
            _ => rustix::fs::lsetxattr(path, "user.note", &value, XattrFlags::empty()),
        };
        match done {
            Err(Errno::NOTSUP | Errno::NODATA) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Shorter, or longer by a hole.
    fn cut_or_grow(&mut self, path: &Path) -> io::Result<()> {
        if !fs::symlink_metadata(path)?.is_file() {
            return Ok(());
        }
        let size = self.rng.below(3) * self.rng.below(100_000);
        fs::OpenOptions::new().write(true).open(path)?.set_len(size)
    }

    /// Another modification time and nothing else, some of them before the epoch or of the same second.
    fn time(&mut self, path: &Path) -> io::Result<()> {
        let tv_sec = [1_700_000_000, 1_700_000_000, 3, -3][self.rng.below(4) as usize];
        let time = Timespec { tv_sec, tv_nsec: self.rng.below(1_000_000_000) as i64 };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Another owner, where that is allowed.
    fn owner(&mut self, path: &Path) -> io::Result<()> {
        let (uid, gid) = (1000 + self.rng.below(3) as u32, 1000 + self.rng.below(3) as u32);
        match std::os::unix::fs::lchown(path, Some(uid), Some(gid)) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            other => other,
        }
    }

    fn mode(&mut self, path: &Path) -> io::Result<()> {
        if fs::symlink_metadata(path)?.is_symlink() {
            return Ok(());
        }
        let mode = [0o644, 0o600, 0o755, 0o700, 0o750][self.rng.below(5) as usize];
        fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o600))
    }
}
