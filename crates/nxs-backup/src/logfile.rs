//! The log file: appended to, one write per line, never rotated by the program.
//!
//! Knows no sentences (that is `messages`). When the path no longer leads to the open file (logrotate moved it away),
//! the next line opens it anew. Devices (`/dev/stdout`) and pipes work as log file.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nxs_base::{Error, Result};

/// An open log file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    /// Whether it may be rotated: a regular file, and no stream of this process.
    regular: bool,
}

impl LogFile {
    /// Opens for appending. Makes the file (0640) and missing directories (0755).
    pub fn open(path: &Path) -> Result<Self> {
        let file = open(path)?;
        let meta = file.metadata().map_err(|e| failure(path, e))?;
        let regular = meta.is_file() && stream(path).is_none();
        Ok(Self { path: path.to_owned(), file, regular })
    }

    /// Appends `line` (with its line end) in one write, to the file that the path leads to now.
    pub fn append(&mut self, line: &str) -> Result<()> {
        if self.regular && self.is_moved() {
            self.file = open(&self.path)?;
        }
        self.file
            .write_all(line.as_bytes())
            .map_err(|e| Error::io(format!("cannot write to the log file `{}`", self.path.display()), e))
    }

    fn is_moved(&self) -> bool {
        match (std::fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(open)) => (there.dev(), there.ino()) != (open.dev(), open.ino()),
            _ => true,
        }
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(|e| failure(path, e))?;
    }
    if let Some(stream) = stream(path) {
        return stream.map_err(|e| failure(path, e));
    }
    OpenOptions::new().append(true).create(true).mode(0o640).open(path).map_err(|e| failure(path, e))
}

/// The streams of this process by their usual names. They are not opened anew: under systemd they are sockets, which
/// cannot be opened by name.
fn stream(path: &Path) -> Option<std::io::Result<File>> {
    let stream = match path.to_str()? {
        "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => std::io::stdout().as_fd().try_clone_to_owned(),
        "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => std::io::stderr().as_fd().try_clone_to_owned(),
        _ => return None,
    };
    Some(stream.map(File::from))
}

fn failure(path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("cannot open the log file `{}`", path.display()), error)
        .with_hint("Set `log_file` in `main` to a file that can be written.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_and_the_file_is_0640_in_directories_made_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/nxs.log");
        LogFile::open(&path).unwrap().append("one\n").unwrap();
        LogFile::open(&path).unwrap().append("two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777 & !0o640, 0);
    }

    #[test]
    fn after_logrotate_lines_go_to_the_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nxs.log");
        let mut log = LogFile::open(&path).unwrap();
        log.append("one\n").unwrap();
        std::fs::rename(&path, dir.path().join("nxs.log.1")).unwrap();
        log.append("two\n").unwrap();
        std::fs::rename(&path, dir.path().join("nxs.log.2")).unwrap();
        std::fs::write(&path, "").unwrap();
        log.append("three\n").unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("nxs.log.1")).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("nxs.log.2")).unwrap(), "two\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_device_works_as_log_file() {
        LogFile::open(Path::new("/dev/null")).unwrap().append("one\n").unwrap();
    }

    #[test]
    fn a_directory_is_refused_with_the_path_and_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let error = LogFile::open(dir.path()).unwrap_err();
        assert!(error.chain().contains(&format!("cannot open the log file `{}`", dir.path().display())));
        assert!(error.hint().is_some());
    }
}
