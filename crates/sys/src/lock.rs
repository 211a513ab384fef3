//! The lock that keeps two runs on one host apart. The kernel drops it with the process; the file stays.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nxs_base::{Error, ErrorKind, Result};
use rustix::fs::OFlags;

use crate::{fsx, host};

/// Why a lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it; `holder` is what it wrote into the file, one line, may be empty.
    Held {
        holder: String,
    },
    Other(Error),
}

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

/// The holder's text is cut here, read and written.
const MAX_HOLDER: u64 = 512;

impl RunLock {
    /// Takes the lock at `path` without waiting, making the file (0600) if needed, and writes the process id and
    /// `holder_text` into it. A link at `path`, or a file of another user, is refused.
    pub fn acquire(path: &Path, holder_text: &str) -> Result<Self, LockError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags(OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK))
            .open(path)
            .map_err(|e| other("open", path, e))?;
        let meta = file.metadata().map_err(|e| other("stat", path, e))?;
        if !meta.is_file() || meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(LockError::Other(
                Error::new(
                    ErrorKind::Denied,
                    format!("the lock file `{}` is not a file of this user", fsx::show_path(path)),
                )
                .with_hint("remove it if no other program needs it."),
            ));
        }
        let mut lock = take(file, path)?;
        lock.write_holder(holder_text).map_err(|e| other("write", path, e))?;
        Ok(lock)
    }

    fn write_holder(&mut self, text: &str) -> std::io::Result<()> {
        let line: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MAX_HOLDER as usize / 4 - 16)
            .collect();
        self._file.set_len(0)?;
        self._file.seek(SeekFrom::Start(0))?;
        writeln!(self._file, "{} {line}", std::process::id())
    }
}

/// Takes the lock of version 2 too, so that it and we never run at once: `/tmp/nxs-backup.lock`, only if it is there
/// as a regular file of root. Anything else under that name is not version 2's and is left alone (`Ok(None)`).
pub fn v2_lock() -> Result<Option<RunLock>, LockError> {
    v2_lock_at(Path::new("/tmp/nxs-backup.lock"), 0)
}

fn v2_lock_at(path: &Path, owner: u32) -> Result<Option<RunLock>, LockError> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags(OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK))
        .open(path);
    // Not there, a link, or not for us to open: not a lock that this user shares with version 2.
    let Ok(file) = opened else { return Ok(None) };
    let meta = file.metadata().map_err(|e| other("stat", path, e))?;
    if !meta.is_file() || meta.uid() != owner {
        return Ok(None);
    }
    take(file, path).map(Some)
}

/// Where the lock of this user lies: `/run/nxs-backup.lock` for root, else in the user's runtime directory, else
/// `/tmp/nxs-backup-<uid>.lock`.
pub fn default_path() -> PathBuf {
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    path_for(host::is_root(), rustix::process::geteuid().as_raw(), runtime_dir.as_deref())
}

fn path_for(is_root: bool, uid: u32, runtime_dir: Option<&Path>) -> PathBuf {
    match runtime_dir {
        _ if is_root => PathBuf::from("/run/nxs-backup.lock"),
        Some(dir) if dir.is_absolute() => dir.join("nxs-backup.lock"),
        _ => PathBuf::from(format!("/tmp/nxs-backup-{uid}.lock")),
    }
}

fn take(mut file: File, path: &Path) -> Result<RunLock, LockError> {
    if fsx::try_flock(&file).map_err(LockError::Other)? {
        return Ok(RunLock { _file: file });
    }
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(MAX_HOLDER).read_to_end(&mut bytes).map_err(|e| other("read", path, e))?;
    let holder = fsx::show(bytes.trim_ascii());
    Err(LockError::Held { holder })
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).expect("flags of open fit an int")
}

fn other(what: &str, path: &Path, error: std::io::Error) -> LockError {
    LockError::Other(Error::io(format!("cannot {what} the lock file `{}`", fsx::show_path(path)), error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn holder(error: LockError) -> String {
        match error {
            LockError::Held { holder } => holder,
            LockError::Other(e) => panic!("{e:?}"),
        }
    }

    #[test]
    fn a_second_run_learns_who_holds_the_lock_and_gets_it_once_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let first = RunLock::acquire(&path, "job shop\nsince noon").unwrap();
        let held = holder(RunLock::acquire(&path, "x").unwrap_err());
        assert_eq!(held, format!("{} job shop since noon", std::process::id()));
        drop(first);
        RunLock::acquire(&path, "y").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{} y\n", std::process::id()));
    }

    #[test]
    fn a_link_at_the_lock_path_is_refused_and_what_it_leads_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, path) = (dir.path().join("v"), dir.path().join("l"));
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(matches!(RunLock::acquire(&path, "x"), Err(LockError::Other(_))));
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn the_lock_of_version_2_is_taken_only_from_a_regular_file_of_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("l"), dir.path().join("link"));
        let me = rustix::process::geteuid().as_raw();
        assert!(v2_lock_at(&path, me).unwrap().is_none());
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(v2_lock_at(&link, me).unwrap().is_none());
        assert!(v2_lock_at(&path, me + 1).unwrap().is_none());
        let held = v2_lock_at(&path, me).unwrap();
        assert!(held.is_some());
        assert_eq!(holder(v2_lock_at(&path, me).unwrap_err()), "");
    }

    #[test]
    fn the_default_path_is_out_of_reach_of_other_users_where_possible() {
        let run = Path::new("/run/user/7");
        assert_eq!(path_for(true, 0, Some(run)), Path::new("/run/nxs-backup.lock"));
        assert_eq!(path_for(false, 7, Some(run)), Path::new("/run/user/7/nxs-backup.lock"));
        assert_eq!(path_for(false, 7, None), Path::new("/tmp/nxs-backup-7.lock"));
    }
}
