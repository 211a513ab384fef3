//! One entry of a backed-up tree, as the walk finds it, the archive carries it and the index lists it.
//!
//! Paths are raw bytes, relative, without a leading or trailing `/` (`var/www/site1/a.txt`). The order of paths
//! everywhere is that of [`path_order`]: component by component, so that a directory is followed at once by all
//! that is below it.

use std::cmp::Ordering;

/// A point in time of the file system: seconds since the epoch (may be negative) and nanoseconds `0..1e9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileTime {
    pub sec: i64,
    pub nsec: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EntryKind {
    #[default]
    File,
    Dir,
    Symlink,
    /// A further name of a file that stands earlier in the same archive.
    HardLink,
    Fifo,
    CharDevice,
    BlockDevice,
}

/// What `stat` says, in the parts that a backup keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    pub kind: EntryKind,
    /// Permission bits including set-id and sticky (`0o7777`), no type bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of a regular file; 0 for all other kinds.
    pub size_bytes: u64,
    pub mtime: FileTime,
    pub ctime: FileTime,
    pub ino: u64,
    pub dev: u64,
    pub nlink: u64,
    pub rdev_major: u32,
    pub rdev_minor: u32,
}

/// What became of the entry while it was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EntryState {
    #[default]
    Sound,
    /// The file changed while it was read; what is stored is what was read.
    Racy,
    /// Bytes are missing (read error, shrunk) and were filled with zeros.
    Gap,
    /// In the index of an increment: the parent's state has the path, this one has it no more. Only `path` is told.
    Removed,
    /// It was there and could not be read: not in the archive, and in the state of an increment what the parent's has.
    /// Only `path` is told.
    Missing,
}

/// A line of the index: where the bytes of one path are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexEntry {
    pub path: Vec<u8>,
    pub meta: Meta,
    pub state: EntryState,
    /// Target of a symbolic link, or the path of the first name of a hard link; else empty.
    pub link: Vec<u8>,
    /// Offset of the member (its first header block, extended header included) in the plain tar stream.
    pub offset: u64,
    /// Bytes of the member in the plain tar stream: headers, data, padding.
    pub stored_bytes: u64,
}

impl IndexEntry {
    /// Whether the archive has a member for it.
    pub fn is_member(&self) -> bool {
        !matches!(self.state, EntryState::Removed | EntryState::Missing)
    }
}

/// Orders relative paths component by component (as if `/` sorted before every other byte).
pub fn path_order(a: &[u8], b: &[u8]) -> Ordering {
    let mut i = 0;
    loop {
        match (a.get(i), b.get(i)) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) if x == y => i += 1,
            (Some(b'/'), Some(_)) => return Ordering::Less,
            (Some(_), Some(b'/')) => return Ordering::Greater,
            (Some(x), Some(y)) => return x.cmp(y),
        }
    }
}
