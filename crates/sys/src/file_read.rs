//! Reading files for a backup: without touching access times, knowing holes, without filling the page cache.

use std::fs::File;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::path::Path;

use nxs_base::{Error, Result};
use rustix::fs::{Advice, CWD, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::fsx;

/// Opens for reading without following a link at the end, without waiting for the other end of a FIFO, and without
/// changing the access time where that is allowed (owner or root).
pub fn open_noatime(path: &Path) -> Result<File> {
    open_noatime_at(CWD, path)
        .map_err(|e| Error::io(format!("cannot open `{}`", fsx::show_path(path)), e.into()))
}

/// As [`open_noatime`], relative to the directory `dir`. The bare system error, for callers that know more.
pub fn open_noatime_at(dir: impl AsFd, path: &Path) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let dir = dir.as_fd();
    match rustix::fs::openat(dir, path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(dir, path, flags, Mode::empty()).map(File::from),
        other => other.map(File::from),
    }
}

/// Where the data of a sparse file lies: `(offset, bytes)`, ascending, not touching, within `size_bytes`. None if the
/// file has no holes or the file system does not say: then all of it is data. An empty list: all is hole.
pub fn extents(file: impl AsFd, size_bytes: u64) -> Option<Vec<(u64, u64)>> {
    let fd = file.as_fd();
    let stat = rustix::fs::fstat(fd).ok()?;
    if crate::meta::wide(stat.st_blocks).saturating_mul(512) >= size_bytes {
        return None;
    }
    let found = seek_extents(fd, size_bytes);
    // Restore the offset, so that plain reads begin at the start whatever was asked before.
    rustix::fs::seek(fd, SeekFrom::Start(0)).ok()?;
    found.filter(|list| list.as_slice() != [(0, size_bytes)])
}

fn seek_extents(fd: impl AsFd, size_bytes: u64) -> Option<Vec<(u64, u64)>> {
    let fd = fd.as_fd();
    let mut list: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    while at < size_bytes {
        let start = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(_) => return None,
        };
        if start >= size_bytes {
            break;
        }
        let end = match rustix::fs::seek(fd, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size_bytes),
            // Cut shorter meanwhile: what is left is for the reader to find out.
            Err(Errno::NXIO) => size_bytes,
            Err(_) => return None,
        };
        if end <= start {
            return None;
        }
        list.push((start, end - start));
        at = end;
    }
    Some(list)
}

/// Says that the file will be read from begin to end. Advice only: refusal is no error.
pub fn will_read_through(file: impl AsFd) {
    advise(file, 0, 0, Advice::Sequential);
}

/// Asks the kernel to read the range ahead; `len` 0 means to the end.
pub fn will_need(file: impl AsFd, offset: u64, len: u64) {
    advise(file, offset, len, Advice::WillNeed);
}

/// Says that the range will not be needed in the page cache any more; `len` 0 means to the end.
pub fn done_with(file: impl AsFd, offset: u64, len: u64) {
    advise(file, offset, len, Advice::DontNeed);
}

fn advise(file: impl AsFd, offset: u64, len: u64, advice: Advice) {
    rustix::fs::fadvise(file, offset, NonZeroU64::new(len), advice).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom as Std, Write};

    use super::*;

    fn file(write: impl FnOnce(&mut File)) -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = File::create(&path).unwrap();
        write(&mut file);
        file.sync_all().unwrap();
        (dir, open_noatime(&path).unwrap())
    }

    #[test]
    fn a_dense_file_has_no_extents() {
        let (_dir, f) = file(|f| f.write_all(&[1; 10_000]).unwrap());
        assert_eq!(extents(&f, 10_000), None);
    }

    #[test]
    fn the_data_of_a_sparse_file_is_found_and_reading_still_begins_at_the_start() {
        const MIB: u64 = 1 << 20;
        let (_dir, mut f) = file(|f| {
            f.seek(Std::Start(4 * MIB)).unwrap();
            f.write_all(b"data").unwrap();
            f.set_len(16 * MIB).unwrap();
        });
        let list = extents(&f, 16 * MIB).unwrap();
        assert_eq!(list.len(), 1);
        let (start, len) = list[0];
        assert!(start <= 4 * MIB && start + len >= 4 * MIB + 4 && len < MIB);
        let mut all = Vec::new();
        f.read_to_end(&mut all).unwrap();
        assert_eq!(all.len() as u64, 16 * MIB);
    }

    #[test]
    fn a_file_that_is_one_hole_has_an_empty_list() {
        let (_dir, f) = file(|f| f.set_len(1 << 20).unwrap());
        assert_eq!(extents(&f, 1 << 20), Some(vec![]));
    }

    #[test]
    fn a_link_is_not_opened_and_a_fifo_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let (link, fifo) = (dir.path().join("l"), dir.path().join("p"));
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        open_noatime(&link).unwrap_err();
        rustix::fs::mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
        open_noatime(&fifo).unwrap();
    }

    #[test]
    fn advice_on_any_file_is_harmless() {
        let (_dir, f) = file(|f| f.write_all(b"abc").unwrap());
        will_read_through(&f);
        will_need(&f, 0, 2);
        done_with(&f, 0, 0);
    }
}
