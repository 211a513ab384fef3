//! Writes an index while the archive is made: entries one by one, frames at the end.
//!
//! Holds one open block (about 32 KiB, and its columns) and the compressed blocks; what is returned are those same
//! blocks, so that memory does not double at the end.

use std::cmp::Ordering;
use std::io::{self, Read};

use nxs_base::Result;
use nxs_base::entry::{EntryKind, IndexEntry, path_order};

use super::block::{BlockEncoder, encode_frames, encode_header};
use super::directory::{BlockKey, BlockRecord, Footer, encode_directory};
use super::entries::EntryBlock;
use super::{
    ENTRY_BLOCK_BYTES, FORMAT_VERSION, FRAMES_PER_BLOCK, IndexHeader, MAX_DIRECTORY_BYTES, MAX_PATH_BYTES,
    invalid,
};
use crate::frames::{Codec, FrameRecord, FrameTotals, MAX_PLAIN_BYTES, MAX_STORED_BYTES};

/// What is known of the archive before its first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexStart {
    /// The id in the record, first digits first.
    pub archive_id: [u8; 16],
    /// How the frames will be compressed.
    pub codec: Codec,
    /// What is saved, as the record's `root` has it.
    pub root: Vec<u8>,
}

/// Takes the entries of one archive and yields its index.
pub struct IndexWriter {
    header: IndexHeader,
    encoder: BlockEncoder,
    block: EntryBlock,
    last_path: Option<Vec<u8>>,
    chunks: Vec<Vec<u8>>,
    blocks: Vec<BlockRecord>,
    directory_path_bytes: usize,
    /// Bytes of all blocks before compression.
    plain_bytes: u64,
}

impl IndexWriter {
    /// Fails on a level that the codec does not have and on a root longer than [`MAX_PATH_BYTES`].
    pub fn new(start: IndexStart) -> Result<Self> {
        start.codec.check_level()?;
        if start.root.len() > MAX_PATH_BYTES {
            return Err(invalid("the root is too long"));
        }
        Ok(Self {
            header: IndexHeader {
                version: FORMAT_VERSION,
                archive_id: start.archive_id,
                codec: start.codec,
                plain_bytes: 0,
                stored_bytes: 0,
                entries: 0,
                files: 0,
                dirs: 0,
                frames: 0,
                is_rebuilt: false,
                is_foreign: false,
                root: start.root,
            },
            encoder: BlockEncoder::new()?,
            block: EntryBlock::default(),
            last_path: None,
            chunks: Vec::new(),
            blocks: Vec::new(),
            directory_path_bytes: 0,
            plain_bytes: 0,
        })
    }

    /// Says that the index is made anew and is not the one that the record tells the digest of.
    pub fn rebuilt(mut self) -> Self {
        self.header.is_rebuilt = true;
        self
    }

    /// Says that the archive is another program's, see [`IndexHeader::is_foreign`].
    pub fn foreign(mut self) -> Self {
        self.header.is_foreign = true;
        self
    }

    /// Adds an entry, in the order of [`path_order`], each path once. `dev` and `nlink` are not kept.
    ///
    /// Refuses entries out of order, paths and links longer than [`MAX_PATH_BYTES`], and nanoseconds of a second or
    /// more; the index then stays as it was.
    pub fn push(&mut self, entry: &IndexEntry) -> Result<()> {
        let name = || String::from_utf8_lossy(&entry.path).escape_debug().to_string();
        if entry.path.len() > MAX_PATH_BYTES || entry.link.len() > MAX_PATH_BYTES {
            return Err(invalid(format_args!("`{:.100}…` has a path or link that is too long", name())));
        }
        if entry.meta.mtime.nsec >= 1_000_000_000 || entry.meta.ctime.nsec >= 1_000_000_000 {
            return Err(invalid(format_args!("`{}` has a time that is none", name())));
        }
        if let Some(last) = &mut self.last_path {
            if path_order(last, &entry.path) != Ordering::Less {
                let last = String::from_utf8_lossy(last).escape_debug().to_string();
                return Err(invalid(format_args!("`{}` does not come after `{last}`", name())));
            }
            last.clone_from(&entry.path);
        } else {
            self.last_path = Some(entry.path.clone());
        }
        self.block.push(entry);
        self.header.entries += 1;
        match entry.meta.kind {
            _ if !entry.is_member() => {}
            EntryKind::File | EntryKind::HardLink => self.header.files += 1,
            EntryKind::Dir => self.header.dirs += 1,
            _ => {}
        }
        if self.block.plain_bytes() >= ENTRY_BLOCK_BYTES {
            self.close_block()?;
        }
        Ok(())
    }

    /// Entries pushed so far.
    pub fn entries(&self) -> u64 {
        self.header.entries
    }

    /// Bytes held: compressed blocks and their directory.
    pub fn held_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(Vec::len).sum();
        chunks + self.directory_path_bytes + self.blocks.len() * size_of::<BlockRecord>()
    }

    /// Completes the index. `frames` is the whole frame table, and `totals` its sums.
    ///
    /// Fails when the frames are not consecutive from 0 or do not add up to `totals`. Only for a foreign archive there
    /// may be none at all.
    pub fn finish(mut self, frames: &[FrameRecord], totals: FrameTotals) -> Result<IndexBytes> {
        if !(self.header.is_foreign && frames.is_empty() && totals.frames == 0) {
            check_frames(frames, totals)?;
        }
        self.close_block()?;
        for part in frames.chunks(FRAMES_PER_BLOCK) {
            let key = BlockKey::Frames(part[0].plain_offset);
            self.add_block(key, part.len() as u64, &encode_frames(part))?;
        }
        self.header.plain_bytes = totals.plain_bytes;
        self.header.stored_bytes = totals.stored_bytes;
        self.header.frames = totals.frames;
        let header = encode_header(&self.header);
        self.plain_bytes += header.len() as u64;
        let header = self.encoder.encode(&header)?;
        let record =
            BlockRecord { key: BlockKey::Header, offset: 0, stored_bytes: header.len() as u32, count: 0 };
        self.blocks.insert(0, record);
        self.chunks.insert(0, header);

        let directory = encode_directory(&self.blocks);
        if directory.len() > MAX_DIRECTORY_BYTES {
            return Err(invalid("it has too many blocks"));
        }
        let plain_bytes = self.plain_bytes + directory.len() as u64;
        let directory = self.encoder.encode(&directory)?;
        let footer = Footer::of(total_bytes(&self.chunks), &directory)?.encode();
        self.chunks.push(directory);
        self.chunks.push(footer);
        let total_bytes = total_bytes(&self.chunks);
        Ok(IndexBytes { header: self.header, chunks: self.chunks, total_bytes, plain_bytes })
    }

    fn close_block(&mut self) -> Result<()> {
        let count = self.block.count();
        if count == 0 {
            return Ok(());
        }
        let first_path = self.block.first_path().to_vec();
        self.directory_path_bytes += first_path.len();
        if self.directory_path_bytes > MAX_DIRECTORY_BYTES {
            return Err(invalid("it has too many blocks"));
        }
        let plain = self.block.take();
        self.add_block(BlockKey::Entries(first_path), count, &plain)
    }

    fn add_block(&mut self, key: BlockKey, count: u64, plain: &[u8]) -> Result<()> {
        self.plain_bytes += plain.len() as u64;
        let stored = self.encoder.encode(plain)?;
        let stored_bytes = stored.len() as u32;
        // Offsets follow from the lengths: the directory keeps none.
        self.blocks.push(BlockRecord { key, offset: 0, stored_bytes, count });
        self.chunks.push(stored);
        Ok(())
    }
}

fn total_bytes(chunks: &[Vec<u8>]) -> u64 {
    chunks.iter().map(|chunk| chunk.len() as u64).sum()
}

fn check_frames(frames: &[FrameRecord], totals: FrameTotals) -> Result<()> {
    let mut sums = FrameTotals::default();
    for frame in frames {
        let follows = frame.stored_offset == sums.stored_bytes && frame.plain_offset == sums.plain_bytes;
        let is_empty = frame.stored_bytes == 0 || (frame.plain_bytes == 0 && frames.len() > 1);
        if !follows
            || is_empty
            || frame.plain_bytes > MAX_PLAIN_BYTES
            || frame.stored_bytes > MAX_STORED_BYTES
        {
            return Err(invalid(format_args!("frame {} does not follow the one before", sums.frames)));
        }
        sums.stored_bytes += u64::from(frame.stored_bytes);
        sums.plain_bytes += u64::from(frame.plain_bytes);
        sums.frames += 1;
    }
    if sums != totals {
        return Err(invalid("its frames do not add up to the archive"));
    }
    Ok(())
}

/// A complete index, in the pieces in which it was made.
#[derive(Debug, Clone)]
pub struct IndexBytes {
    header: IndexHeader,
    chunks: Vec<Vec<u8>>,
    total_bytes: u64,
    plain_bytes: u64,
}

impl IndexBytes {
    /// The header as it is written.
    pub fn header(&self) -> &IndexHeader {
        &self.header
    }

    /// Bytes after decompression, as `zstd -d` gives them.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Length of the whole index.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The bytes in order.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().map(Vec::as_slice)
    }

    /// Reads it from the beginning; may be called again for every storage.
    pub fn reader(&self) -> IndexBytesReader<'_> {
        IndexBytesReader { chunks: &self.chunks, position: 0 }
    }

    /// Joins the pieces, freeing each as it is copied.
    pub fn into_vec(self) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.total_bytes as usize);
        self.chunks.into_iter().for_each(|chunk| whole.extend_from_slice(&chunk));
        whole
    }
}

/// Reads the pieces of an index as one stream.
#[derive(Debug, Clone)]
pub struct IndexBytesReader<'a> {
    chunks: &'a [Vec<u8>],
    position: usize,
}

impl Read for IndexBytesReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some((first, rest)) = self.chunks.split_first() {
            let left = &first[self.position..];
            if left.is_empty() {
                self.chunks = rest;
                self.position = 0;
                continue;
            }
            let count = left.len().min(buffer.len());
            buffer[..count].copy_from_slice(&left[..count]);
            self.position += count;
            return Ok(count);
        }
        Ok(0)
    }
}
