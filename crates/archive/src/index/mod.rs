//! The index of an archive (`.nxs.idx`): what is in it, and where the bytes are.
//!
//! A sequence of zstd frames (`zstd -d` opens it whole) with a skippable frame as footer: header block, entry blocks,
//! frame table blocks, directory block. [`IndexWriter`] makes it while entries come by, holding only compressed
//! blocks; [`IndexReader`] finds one path by reading footer, directory, header and one block. Not here: comparing
//! and merging of indexes, encryption. Format, exact to the byte: `docs/format.md`, "Index".

mod block;
mod cursor;
mod directory;
mod entries;
mod read;
mod write;

#[cfg(test)]
mod tests;

use nxs_base::{Error, ErrorKind, Result};

use crate::frames::Codec;

pub use read::{Entries, IndexReader};
pub use write::{IndexBytes, IndexBytesReader, IndexStart, IndexWriter};

/// Version of the format that this program writes, and the only one that it reads.
pub const FORMAT_VERSION: u16 = 1;
/// Longest path, link target or root in an index.
pub const MAX_PATH_BYTES: usize = 0xffff;

/// Plain size at which an entry block is closed.
const ENTRY_BLOCK_BYTES: usize = 32 << 10;
const FRAMES_PER_BLOCK: usize = 4096;
/// Most plain bytes of a block other than the directory.
const MAX_BLOCK_BYTES: usize = 1 << 20;
/// Most plain bytes of the directory, and of all paths in it together.
const MAX_DIRECTORY_BYTES: usize = 64 << 20;
const ZSTD_LEVEL: i32 = 6;

const KIND_HEADER: u8 = 1;
const KIND_ENTRIES: u8 = 2;
const KIND_FRAMES: u8 = 3;
const KIND_DIRECTORY: u8 = 4;

const HEADER_MAGIC: &[u8; 8] = b"nxs-idx\n";
const FOOTER_MAGIC: &[u8; 8] = b"nxsidx\r\n";
/// One of the sixteen magics of skippable zstd frames.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a5b;
const FOOTER_BYTES: usize = 48;

/// What an index says of its archive as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexHeader {
    /// [`FORMAT_VERSION`].
    pub version: u16,
    /// The id of the archive, as in its record.
    pub archive_id: [u8; 16],
    /// How the frames are compressed.
    pub codec: Codec,
    /// Of the plain tar stream.
    pub plain_bytes: u64,
    /// Of the stored stream before encryption.
    pub stored_bytes: u64,
    /// All entries, of every kind.
    pub entries: u64,
    /// Entries that are regular files or further names of them.
    pub files: u64,
    pub dirs: u64,
    /// Lines of the frame table.
    pub frames: u64,
    /// Made anew from the archive: what the record says of the index is said of another writing of it.
    pub is_rebuilt: bool,
    /// The archive is another program's: members stand in any order, of several with one path the last one counts,
    /// and there may be no frame table, in which case the archive can only be read from its beginning.
    pub is_foreign: bool,
    /// What was saved, as the record's `root` has it: the absolute path, escaped where it is not UTF-8.
    pub root: Vec<u8>,
}

/// Bytes that can be read anywhere: an index in memory, in a local file, on a storage.
pub trait ReadAt {
    /// Bytes that there are, from offset 0.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns exactly `length` bytes from `offset`; fails when they are not there. A reader never asks for more
    /// than lies between `offset` and `len()`.
    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>>;
}

impl ReadAt for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(length)?))
            .map(<[u8]>::to_vec)
            .ok_or_else(|| {
                corrupt(format_args!("it ends before byte {}", offset.saturating_add(length as u64)))
            })
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        ReadAt::len(self.as_slice())
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.as_slice().read_at(offset, length)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        (**self).read_at(offset, length)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        (**self).read_at(offset, length)
    }
}

fn corrupt(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("cannot read the index: {why}"))
}

fn invalid(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("cannot write the index: {why}"))
}

fn short_hash(bytes: &[u8]) -> [u8; 16] {
    crate::frames::plain_hash(bytes)
}
