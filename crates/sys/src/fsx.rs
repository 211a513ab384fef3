//! Thin wrappers around file calls whose errors carry the path. Follow symbolic links where the system call does.
//!
//! Not for trees that others can write to (see `safe`) and not for walking (see `walk`).

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nxs_base::{Error, ErrorKind, Result};
use rustix::fs::{CWD, FlockOperation, RenameFlags};

/// Renders raw bytes of a path for messages: control bytes and bytes that are not UTF-8 as `%XX`, `%` stays.
pub fn show(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| text.push_str(&format!("%{b:02X}")));
            } else {
                text.push(c);
            }
        }
        chunk.invalid().iter().for_each(|b| text.push_str(&format!("%{b:02X}")));
    }
    text
}

/// [`show`] for a `Path`.
pub fn show_path(path: &Path) -> String {
    show(path.as_os_str().as_bytes())
}

/// A path of raw bytes as the standard library takes it.
pub fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn tried(what: &str, path: &Path, error: impl Into<io::Error>) -> Error {
    Error::io(format!("cannot {what} `{}`", show_path(path)), error.into())
}

/// Opens for reading, close-on-exec.
pub fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| tried("open", path, e))
}

/// Makes a new file with `mode` (before the umask). [`ErrorKind::Exists`] if there is anything, a link included.
pub fn create_new(path: &Path, mode: u32) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .read(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|e| tried("create", path, e))
}

/// Reads a whole file. For files whose size the program itself bounds; else [`read_capped`].
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| tried("read", path, e))
}

/// Reads a whole file of at most `max_bytes`; [`ErrorKind::Full`] never, [`ErrorKind::Invalid`] if it is larger.
pub fn read_capped(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?
        .take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| tried("read", path, e))?;
    if bytes.len() as u64 > max_bytes {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("`{}` is larger than {max_bytes} bytes", show_path(path)),
        ));
    }
    Ok(bytes)
}

/// Replaces the contents of a file in place, neither atomic nor durable; see [`atomic_write`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|e| tried("write", path, e))
}

/// Writes a file so that `path` holds either what it held or all of `bytes`, durable when it returns.
/// The file has exactly `mode`. The temporary file beside it is removed on failure.
pub fn atomic_write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| Error::new(ErrorKind::Invalid, format!("`{}` names no file", show_path(path))))?;
    let mut temp_name = OsStr::from_bytes(b".").to_os_string();
    temp_name.push(name);
    temp_name.push(format!(".{}.tmp", crate::host::run_id()?));
    let temp = parent_of(path).join(temp_name);
    let written = write_new(&temp, bytes, mode).and_then(|()| rename(&temp, path));
    if let Err(error) = written {
        // The first error is the one to report; a temporary file that could not be made cannot be removed either.
        std::fs::remove_file(&temp).unwrap_or_default();
        return Err(error);
    }
    fsync_dir(parent_of(path))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut file = create_new(path, mode & 0o700)?;
    file.write_all(bytes).map_err(|e| tried("write", path, e))?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))
        .map_err(|e| tried("set the mode of", path, e))?;
    file.sync_all().map_err(|e| tried("sync", path, e))
}

/// The directory that holds `path` (`.` for a bare name).
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

/// Makes a directory and all that lead to it, each new one with `mode` (before the umask).
pub fn create_dir_all(path: &Path, mode: u32) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|e| tried("make the directory", path, e))
}

/// Makes data and metadata of an open file durable; `path` is for the message.
pub fn fsync(file: &File, path: &Path) -> Result<()> {
    file.sync_all().map_err(|e| tried("sync", path, e))
}

/// Makes the names in a directory durable. File systems that cannot (`EINVAL`, some network ones) are let pass.
pub fn fsync_dir(path: &Path) -> Result<()> {
    match rustix::fs::fsync(open(path)?) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTSUP) => Ok(()),
        Err(e) => Err(tried("sync the directory", path, e)),
    }
}

/// Moves, replacing what is at `to`. Atomic, not durable before [`fsync_dir`].
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|e| two("move", from, to, e))
}

/// Moves, never replacing: [`ErrorKind::Exists`]. Where the file system lacks the call, a hard link and an unlink
/// do it (regular files; both names exist for a moment).
pub fn rename_noreplace(from: &Path, to: &Path) -> Result<()> {
    use rustix::io::Errno;
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            std::fs::hard_link(from, to).map_err(|e| two("move", from, to, e))?;
            remove_file(from)
        }
        Err(e) => Err(two("move", from, to, e)),
    }
}

/// Makes a further name of a file; never replaces ([`ErrorKind::Exists`]).
pub fn hard_link(from: &Path, to: &Path) -> Result<()> {
    std::fs::hard_link(from, to).map_err(|e| two("link", from, to, e))
}

/// Makes a symbolic link at `link` that says `target`; never replaces.
pub fn symlink(target: &Path, link: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, link).map_err(|e| tried("make the link", link, e))
}

/// What a symbolic link says.
pub fn readlink(path: &Path) -> Result<PathBuf> {
    std::fs::read_link(path).map_err(|e| tried("read the link", path, e))
}

/// Removes a name that is no directory (the link, not what it leads to).
pub fn remove_file(path: &Path) -> Result<()> {
    std::fs::remove_file(path).map_err(|e| tried("remove", path, e))
}

/// Removes an empty directory.
pub fn remove_dir(path: &Path) -> Result<()> {
    std::fs::remove_dir(path).map_err(|e| tried("remove the directory", path, e))
}

/// `stat` without following a link at the end of the path.
pub fn lstat(path: &Path) -> Result<std::fs::Metadata> {
    std::fs::symlink_metadata(path).map_err(|e| tried("stat", path, e))
}

/// `stat`, following links.
pub fn stat(path: &Path) -> Result<std::fs::Metadata> {
    std::fs::metadata(path).map_err(|e| tried("stat", path, e))
}

/// Names in a directory, sorted by raw bytes.
pub fn list_dir(path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| tried("list", path, e))? {
        names.push(entry.map_err(|e| tried("list", path, e))?.file_name().as_bytes().to_vec());
    }
    names.sort_unstable();
    Ok(names)
}

/// Bytes that this user can still write to the file system of `path`.
pub fn free_bytes(path: &Path) -> Result<u64> {
    let s = rustix::fs::statvfs(path).map_err(|e| tried("ask the free space of", path, e))?;
    Ok(s.f_bavail.saturating_mul(s.f_frsize))
}

/// Whether users other than owner and group may read the file.
pub fn is_world_readable(path: &Path) -> Result<bool> {
    Ok(stat(path)?.permissions().mode() & 0o004 != 0)
}

/// Takes an exclusive lock on the open file without waiting; false if another open file holds it.
/// The lock goes with the last descriptor.
pub fn try_flock(file: &File) -> Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(Error::io("cannot lock a file", e.into())),
    }
}

fn two(what: &str, from: &Path, to: &Path, error: impl Into<io::Error>) -> Error {
    Error::io(format!("cannot {what} `{}` to `{}`", show_path(from), show_path(to)), error.into())
}

#[cfg(test)]
mod tests;
