//! The file that a command made: opened without following a link, read as it is, and removed once it is stored.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nxs_base::ports::source::{Artefact, Cancel, DumpReport, Sink};
use nxs_base::{Error, ErrorKind, Result};
use rustix::fs::OFlags;

/// What is read at once.
const BLOCK_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct MadeFile {
    path: PathBuf,
    file: File,
    state: State,
    report: DumpReport,
}

/// What tells that nobody touched it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    bytes: u64,
    mtime: (i64, i64),
}

impl State {
    fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

impl MadeFile {
    /// Refuses all but a regular file with something in it, below `within` if that is said.
    pub(super) fn open(path: &Path, within: Option<&Path>, report: DumpReport) -> Result<Self> {
        let shown = shown(path);
        let invalid = |why: &str| Error::new(ErrorKind::Invalid, format!("`full_path` `{shown}` {why}"));
        if !path.is_absolute() || path.components().any(|c| c == Component::ParentDir) {
            return Err(invalid("is not an absolute path without `..`"));
        }
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let opened = File::options().read(true).custom_flags(flags).open(path);
        let file = opened.map_err(|e| match e.raw_os_error() {
            Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
                invalid("is a symbolic link, and no archive")
            }
            _ => Error::io(format!("cannot open `full_path` `{shown}`"), e),
        })?;
        let meta = file.metadata().map_err(|e| Error::io(format!("cannot look at `{shown}`"), e))?;
        if meta.is_dir() {
            return Err(invalid("is a directory, and no archive"));
        }
        if !meta.is_file() {
            return Err(invalid("is no regular file"));
        }
        if meta.len() == 0 {
            return Err(invalid("is empty"));
        }
        if let Some(within) = within {
            let real = |path: &Path| {
                path.canonicalize().map_err(|e| Error::io(format!("cannot look at `{}`", path.display()), e))
            };
            if !real(path)?.starts_with(real(within)?) {
                let text = format!("is outside of `tmp_dir`, `{}`", within.display());
                return Err(
                    invalid(&text).with_hint("Write to $NXS_TMP_DIR, or leave `tmp_dir` out of the job.")
                );
            }
        }
        Ok(Self { path: path.to_owned(), file, state: State::of(&meta), report })
    }

    /// Pushes its bytes. [`ErrorKind::Corrupt`] if something changed it meanwhile.
    pub(super) fn read(&mut self, sink: &mut dyn Sink, cancel: &Cancel) -> Result<DumpReport> {
        let shown = shown(&self.path);
        sink.begin(Artefact { has_index: false, expected_bytes: Some(self.state.bytes) })?;
        let mut block = vec![0; BLOCK_BYTES];
        let mut bytes = 0;
        loop {
            cancel.check()?;
            match self.file.read(&mut block) {
                Ok(0) => break,
                Ok(n) => {
                    sink.write(&block[..n])?;
                    bytes += n as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(format!("cannot read `{shown}`"), e)),
            }
        }
        let meta = self.file.metadata().map_err(|e| Error::io(format!("cannot look at `{shown}`"), e))?;
        if bytes != self.state.bytes || State::of(&meta) != self.state {
            let text = format!("`{shown}` changed while it was read: the command had not ended writing it");
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        Ok(self.report.clone())
    }

    /// Removes it, unless something else has its name by now.
    pub(super) fn remove(self) -> Result<()> {
        let path = shown(&self.path);
        let failed = |e| Error::io(format!("cannot remove `{path}`, which is stored by now"), e);
        let meta = std::fs::symlink_metadata(&self.path).map_err(failed)?;
        if (meta.dev(), meta.ino()) != (self.state.device, self.state.inode) {
            let text = format!("`{path}` is another file by now, and stays");
            return Err(Error::new(ErrorKind::Exists, text));
        }
        std::fs::remove_file(&self.path).map_err(failed)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}
