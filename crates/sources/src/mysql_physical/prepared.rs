//! A copy that is made consistent before it is stored: into a directory below `tmp_dir`, and from there as a tar, in v2's
//! form. The directory goes whatever happens; what a run that died left there, the next one sweeps.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use nxs_archive::tar::{self, Member, TRAILER};
use nxs_base::entry::{EntryKind, EntryState};
use nxs_base::ports::source::{Artefact, Cancel, Sink};
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::fsx;
use nxs_sys::safe::{self, Root};

const PREFIX: &str = "nxs-prepare-";
const BLOCK_BYTES: usize = 512 << 10;
static ZEROS: [u8; tar::BLOCK] = [0; tar::BLOCK];

/// A directory of this run alone, removed with all that is in it.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    /// Locked as long as this lives.
    _lock: File,
    is_over: bool,
}

impl Scratch {
    pub(super) fn new(tmp_dir: &Path) -> Result<Self> {
        fsx::create_dir_all(tmp_dir, 0o700)?;
        let path = tmp_dir.join(format!("{PREFIX}{}", nxs_sys::host::run_id()?));
        fsx::create_dir_all(&path, 0o700)?;
        let lock = fsx::open(&path)?;
        if !fsx::try_flock(&lock)? {
            return Err(Error::new(ErrorKind::Busy, format!("`{}` is in use", path.display())));
        }
        Ok(Self { path, _lock: lock, is_over: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, and says what went wrong.
    pub(super) fn close(mut self) -> Result<()> {
        self.is_over = true;
        remove(&self.path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_over {
            // Nobody is left to tell of it; the next run tries again.
            drop(remove(&self.path));
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    std::fs::remove_dir_all(path).map_err(|e| Error::io(format!("cannot remove `{}`", path.display()), e))
}

/// Removes what runs that died left in `tmp_dir`; how many they were.
pub(super) fn sweep(tmp_dir: &Path) -> Result<usize> {
    let mut swept = 0;
    let names = match fsx::list_dir(tmp_dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    for name in names.iter().filter(|name| name.starts_with(PREFIX.as_bytes())) {
        let path = tmp_dir.join(fsx::as_path(name));
        let is_dead = fsx::open(&path).is_ok_and(|file| fsx::try_flock(&file).unwrap_or(false));
        if is_dead {
            remove(&path)?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// Writes the directory as a tar, in the order of the names. Returns the number of its files.
pub(super) fn write_tar(dir: &Path, sink: &mut dyn Sink, cancel: &Cancel) -> Result<u64> {
    sink.begin(Artefact { has_index: false, expected_bytes: None })?;
    let root = Root::open(dir)?;
    let files = write_below(&root, b"", sink, cancel)?;
    sink.write(&TRAILER)?;
    Ok(files)
}

fn write_below(root: &Root, rel: &[u8], sink: &mut dyn Sink, cancel: &Cancel) -> Result<u64> {
    let dir = root.dir(rel, false)?;
    let mut files = 0;
    for name in safe::list(&dir)? {
        let path = if rel.is_empty() { name.clone() } else { [rel, b"/", &name].concat() };
        let meta = safe::stat(&dir, &name)?;
        if !matches!(meta.kind, EntryKind::Dir | EntryKind::File) {
            let text = format!("`{}` in the copy is no file", path.escape_ascii());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let mut header = Vec::new();
        let plan = tar::header(&mut header, &member(&path, &meta))?;
        sink.cut_here()?;
        sink.write(&header)?;
        if meta.kind == EntryKind::Dir {
            files += write_below(root, &path, sink, cancel)?;
            continue;
        }
        files += 1;
        copy_file(safe::open_file(&dir, &name)?, &path, plan.data_bytes, sink, cancel)?;
        sink.write(&ZEROS[..plan.padding])?;
    }
    Ok(files)
}

fn member<'a>(path: &'a [u8], meta: &'a nxs_base::entry::Meta) -> Member<'a> {
    Member {
        path,
        meta,
        link: b"",
        uname: b"",
        gname: b"",
        xattrs: &[],
        acl_access: None,
        acl_default: None,
        sparse: None,
        state: EntryState::Sound,
        dumpdir: None,
    }
}

fn copy_file(mut file: File, path: &[u8], bytes: u64, sink: &mut dyn Sink, cancel: &Cancel) -> Result<()> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut left = bytes;
    while left > 0 {
        cancel.check()?;
        let most = usize::try_from(left).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
        let failed = |e| Error::io(format!("cannot read `{}` of the copy", path.escape_ascii()), e);
        let n = file.read(&mut block[..most]).map_err(failed)?;
        if n == 0 {
            let text = format!("`{}` of the copy became shorter while it was read", path.escape_ascii());
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        sink.write(&block[..n])?;
        left -= n as u64;
    }
    Ok(())
}
