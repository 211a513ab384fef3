//! From the kernel's `stat` to [`Meta`]. Pure mapping; neighbours: `walk`, `safe`, `file_read`.

use nxs_base::entry::{EntryKind, FileTime, Meta};
use rustix::fs::{FileType, Stat};

/// Maps `stat`, and says whether it is a socket (which [`EntryKind`] cannot; its kind is then `Fifo`).
/// Sizes of all but regular files are 0.
pub fn from_stat(stat: &Stat) -> (Meta, bool) {
    let file_type = FileType::from_raw_mode(stat.st_mode);
    let (kind, is_socket) = match file_type {
        FileType::RegularFile => (EntryKind::File, false),
        FileType::Directory => (EntryKind::Dir, false),
        FileType::Symlink => (EntryKind::Symlink, false),
        FileType::CharacterDevice => (EntryKind::CharDevice, false),
        FileType::BlockDevice => (EntryKind::BlockDevice, false),
        FileType::Fifo => (EntryKind::Fifo, false),
        _ => (EntryKind::Fifo, true),
    };
    let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
    let rdev = if is_device { wide(stat.st_rdev) } else { 0 };
    let meta = Meta {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size_bytes: if kind == EntryKind::File { wide(stat.st_size) } else { 0 },
        mtime: FileTime { sec: signed(stat.st_mtime), nsec: narrow(stat.st_mtime_nsec) },
        ctime: FileTime { sec: signed(stat.st_ctime), nsec: narrow(stat.st_ctime_nsec) },
        ino: wide(stat.st_ino),
        dev: wide(stat.st_dev),
        nlink: wide(stat.st_nlink),
        rdev_major: rustix::fs::major(rdev),
        rdev_minor: rustix::fs::minor(rdev),
    };
    (meta, is_socket)
}

/// The fields of `stat` differ in width between architectures; none holds a value that does not fit.
pub(crate) fn wide<T: TryInto<u64>>(value: T) -> u64 {
    value.try_into().unwrap_or(0)
}

fn signed<T: TryInto<i64>>(value: T) -> i64 {
    value.try_into().unwrap_or(0)
}

fn narrow<T: TryInto<u32>>(value: T) -> u32 {
    value.try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_its_numbers_and_no_size() {
        let (meta, is_socket) = from_stat(&rustix::fs::stat("/dev/null").unwrap());
        assert_eq!((meta.kind, meta.size_bytes), (EntryKind::CharDevice, 0));
        assert_eq!((meta.rdev_major, meta.rdev_minor), (1, 3));
        assert!(!is_socket);
    }

    #[test]
    fn a_socket_is_told_from_a_fifo() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(from_stat(&rustix::fs::lstat(&path).unwrap()).1);
    }
}
