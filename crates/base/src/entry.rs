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
    let i = shared_bytes(a, b);
    match (a.get(i), b.get(i)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(b'/'), Some(_)) => Ordering::Less,
        (Some(_), Some(b'/')) => Ordering::Greater,
        (Some(x), Some(y)) => x.cmp(y),
    }
}

/// How many first bytes two paths have in common. Looks at eight at once: a walk compares every path with an index.
pub fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    let (words, others) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    for (n, (x, y)) in words.iter().zip(others).enumerate() {
        let differing = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differing != 0 {
            return n * 8 + differing.trailing_zeros() as usize / 8;
        }
    }
    let at = words.len().min(others.len()) * 8;
    at + a[at..].iter().zip(&b[at..]).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn paths_are_ordered_as_their_components_are(a in "[ab/.]{0,20}", b in "[ab/.]{0,20}") {
            let components = |path: &str| path.split('/').map(|c| c.as_bytes().to_vec()).collect::<Vec<_>>();
            prop_assert_eq!(path_order(a.as_bytes(), b.as_bytes()), components(&a).cmp(&components(&b)));
        }

        #[test]
        fn what_is_shared_is_found_byte_by_byte_and_word_by_word(p in "[xy]{0,20}", a in "[xy]{0,3}", b in "[xy]{0,12}") {
            let (a, b) = (format!("{p}{a}"), format!("{p}{b}"));
            let shared = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
            prop_assert_eq!(shared_bytes(a.as_bytes(), b.as_bytes()), shared);
        }
    }
}
