//! Reads an index: by path, by prefix, by plain offset, or whole.
//!
//! Nothing that the bytes say is believed before it is bounded: every length has a limit, every order is checked,
//! and what does not fit is [`nxs_base::ErrorKind::Corrupt`], never a panic.

use std::cmp::Ordering;

use nxs_base::Result;
use nxs_base::entry::{IndexEntry, path_order};

use super::block::{decode_block, decode_frames, decode_header};
use super::directory::{BlockKey, BlockRecord, Footer, decode_directory};
use super::entries::EntryWalk;
use super::{FOOTER_BYTES, IndexHeader, MAX_BLOCK_BYTES, MAX_DIRECTORY_BYTES, ReadAt, corrupt, short_hash};
use crate::frames::FrameRecord;

/// How much is read from the end at first: footer and, mostly, the directory.
const TAIL_BYTES: u64 = 64 << 10;
/// How much is fetched at once when entries are read one after the other.
const FETCH_BYTES: u64 = 1 << 20;
/// How much in the second fetch after a leap, doubled with every one that follows; the first is one block.
const LEAP_FETCH_BYTES: u64 = 64 << 10;
const MAX_STORED_BLOCK_BYTES: u32 = MAX_BLOCK_BYTES as u32 + (64 << 10);

/// An open index. Holds header and directory; blocks are read when they are needed.
pub struct IndexReader<R> {
    pub(super) source: R,
    header: IndexHeader,
    entry_blocks: Vec<BlockRecord>,
    frame_blocks: Vec<BlockRecord>,
}

impl<R: ReadAt> IndexReader<R> {
    /// Reads the end of the file, the directory and the header.
    ///
    /// Fails with `Corrupt` when it is no index or damaged, with `Unsupported` when its version is another.
    pub fn open(source: R) -> Result<Self> {
        let file_bytes = source.len();
        if file_bytes < FOOTER_BYTES as u64 {
            return Err(corrupt("it is too short"));
        }
        let tail_offset = file_bytes - file_bytes.min(TAIL_BYTES);
        let tail = fetch(&source, tail_offset, file_bytes - tail_offset)?;
        let (before, footer) = tail.split_at(tail.len() - FOOTER_BYTES);
        let footer = Footer::decode(footer, file_bytes)?;
        let directory = if footer.directory_offset >= tail_offset {
            before[(footer.directory_offset - tail_offset) as usize..].to_vec()
        } else {
            fetch(&source, footer.directory_offset, u64::from(footer.directory_bytes))?
        };
        if short_hash(&directory) != footer.directory_hash {
            return Err(corrupt("the hash of its directory does not fit"));
        }
        let directory = decode_block(&directory, MAX_DIRECTORY_BYTES)?;
        let mut blocks = decode_directory(&directory, footer.directory_offset)?.into_iter();
        let first = blocks.next().ok_or_else(|| corrupt("it has no header"))?;
        let header = decode_header(&read_block(&source, &first)?)?;
        let (entry_blocks, frame_blocks): (Vec<_>, Vec<_>) =
            blocks.partition(|block| matches!(block.key, BlockKey::Entries(_)));
        if sum(&entry_blocks) != Some(header.entries) || sum(&frame_blocks) != Some(header.frames) {
            return Err(corrupt("its blocks do not hold as much as its header says"));
        }
        if header.frames == 0 && !header.is_foreign && (header.plain_bytes, header.stored_bytes) != (0, 0) {
            return Err(corrupt("it has no frame table"));
        }
        Ok(Self { source, header, entry_blocks, frame_blocks })
    }

    /// What it reads from.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// What the index says of its archive as a whole; its counts fit the blocks that the directory lists.
    pub fn header(&self) -> &IndexHeader {
        &self.header
    }

    /// Finds the entry of exactly this path, reading one block.
    pub fn find(&self, path: &[u8]) -> Result<Option<IndexEntry>> {
        let Some(position) = self.block_of(path) else { return Ok(None) };
        let block = &self.entry_blocks[position];
        let mut walk = EntryWalk::new(read_block(&self.source, block)?, block.count, key_path(block))?;
        while let Some(entry) = walk.next_entry()? {
            match path_order(&entry.path, path) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(Some(entry)),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// All entries in the order of [`path_order`]. After an error the iterator ends.
    pub fn entries(&self) -> Entries<'_, R> {
        Entries::new(self, 0, self.entry_blocks.len(), Vec::new())
    }

    /// The entry of `prefix` and all that is below it, in order; with an empty prefix all entries.
    ///
    /// `prefix` is a path without a trailing `/`: `a/b` yields `a/b` and `a/b/c`, not `a/bc`. Reads only blocks that
    /// may hold such entries.
    pub fn entries_under(&self, prefix: &[u8]) -> Entries<'_, R> {
        if prefix.is_empty() {
            return self.entries();
        }
        let start = self.block_of(prefix).unwrap_or(0);
        let end = self.entry_blocks.partition_point(|block| {
            let first = key_path(block);
            path_order(first, prefix) != Ordering::Greater || is_under(first, prefix)
        });
        Entries::new(self, start, end.max(start), prefix.to_vec())
    }

    /// The frames that hold any of the `length` plain bytes from `offset`, in order; none for a length of 0.
    pub fn frames_for(&self, offset: u64, length: u64) -> Result<Vec<FrameRecord>> {
        let end = offset.saturating_add(length);
        let after = self.frame_blocks.partition_point(|block| key_offset(block) <= offset);
        let mut found = Vec::new();
        for position in after.saturating_sub(1)..self.frame_blocks.len() {
            if length == 0 || key_offset(&self.frame_blocks[position]) >= end {
                break;
            }
            let frames = self.read_frames(position)?;
            found.extend(frames.iter().filter(|f| f.plain_offset < end && f.plain_end() > offset));
        }
        Ok(found)
    }

    /// The whole frame table.
    pub fn all_frames(&self) -> Result<Vec<FrameRecord>> {
        let mut all = Vec::new();
        for position in 0..self.frame_blocks.len() {
            all.append(&mut self.read_frames(position)?);
        }
        Ok(all)
    }

    /// Reads one block of the table, and checks that it ends where the next begins.
    fn read_frames(&self, position: usize) -> Result<Vec<FrameRecord>> {
        let block = &self.frame_blocks[position];
        let frames = decode_frames(&read_block(&self.source, block)?, block.count)?;
        let start = frames.first().map(|frame| frame.plain_offset);
        let end = frames.last().map(FrameRecord::plain_end);
        let next = self.frame_blocks.get(position + 1).map_or(self.header.plain_bytes, key_offset);
        let stored_fits = position + 1 < self.frame_blocks.len()
            || frames.last().map(FrameRecord::stored_end) == Some(self.header.stored_bytes);
        if start != Some(key_offset(block)) || end != Some(next) || !stored_fits {
            return Err(corrupt("its frame table has gaps"));
        }
        Ok(frames)
    }

    /// The last block that begins at or before `path`.
    fn block_of(&self, path: &[u8]) -> Option<usize> {
        self.entry_blocks
            .partition_point(|block| path_order(key_path(block), path) != Ordering::Greater)
            .checked_sub(1)
    }
}

/// Entries of consecutive blocks, fetched in pieces of about 1 MiB.
pub struct Entries<'a, R> {
    reader: &'a IndexReader<R>,
    next_block: usize,
    end_block: usize,
    prefix: Vec<u8>,
    fetched: Vec<u8>,
    fetched_offset: u64,
    /// How much to fetch at once.
    ahead_bytes: u64,
    walk: EntryWalk,
    last_path: Option<Vec<u8>>,
}

impl<'a, R: ReadAt> Entries<'a, R> {
    fn new(reader: &'a IndexReader<R>, next_block: usize, end_block: usize, prefix: Vec<u8>) -> Self {
        Self {
            reader,
            next_block,
            end_block,
            prefix,
            fetched: Vec::new(),
            fetched_offset: 0,
            ahead_bytes: FETCH_BYTES,
            walk: EntryWalk::default(),
            last_path: None,
        }
    }

    /// Leaps to the block that may hold `path`, if that is further on; reads none in between. The next entries may
    /// still be before `path`.
    pub fn skip_to(&mut self, path: &[u8]) {
        let block = self.reader.block_of(path).unwrap_or(0).min(self.end_block);
        if block >= self.next_block {
            self.next_block = block;
            self.walk = EntryWalk::default();
            self.ahead_bytes = 0;
        }
    }

    fn next_entry(&mut self) -> Result<Option<IndexEntry>> {
        loop {
            while let Some(entry) = self.walk.next_entry()? {
                self.last_path = Some(entry.path.clone());
                if self.prefix.is_empty() || is_under(&entry.path, &self.prefix) {
                    return Ok(Some(entry));
                }
                if path_order(&entry.path, &self.prefix) == Ordering::Greater {
                    return Ok(None);
                }
            }
            if self.next_block == self.end_block {
                return Ok(None);
            }
            self.open_block()?;
        }
    }

    fn open_block(&mut self) -> Result<()> {
        let blocks = &self.reader.entry_blocks[..self.end_block];
        let block = &blocks[self.next_block];
        let first_path = key_path(block);
        if self.last_path.as_ref().is_some_and(|last| path_order(last, first_path) != Ordering::Less) {
            return Err(corrupt("its entries are out of order"));
        }
        check_stored(block)?;
        let fetched_end = self.fetched_offset + self.fetched.len() as u64;
        let block_end = block.offset + u64::from(block.stored_bytes);
        if block_end > fetched_end {
            let mut end = block_end;
            for later in &blocks[self.next_block + 1..] {
                if later.offset + u64::from(later.stored_bytes) > block.offset + self.ahead_bytes {
                    break;
                }
                end = later.offset + u64::from(later.stored_bytes);
            }
            self.fetched = fetch(&self.reader.source, block.offset, end - block.offset)?;
            self.fetched_offset = block.offset;
            self.ahead_bytes = (self.ahead_bytes * 2).clamp(LEAP_FETCH_BYTES, FETCH_BYTES);
        }
        let start = (block.offset - self.fetched_offset) as usize;
        let stored = &self.fetched[start..start + block.stored_bytes as usize];
        let plain = decode_block(stored, MAX_BLOCK_BYTES)?;
        self.walk = EntryWalk::new(plain, block.count, first_path)?;
        self.next_block += 1;
        Ok(())
    }
}

impl<R: ReadAt> Iterator for Entries<'_, R> {
    type Item = Result<IndexEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_entry().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.next_block = self.end_block;
            self.walk = EntryWalk::default();
        }
        next
    }
}

/// Whether `path` is `prefix` or below it.
fn is_under(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

fn key_path(block: &BlockRecord) -> &[u8] {
    match &block.key {
        BlockKey::Entries(path) => path,
        _ => b"",
    }
}

fn key_offset(block: &BlockRecord) -> u64 {
    match block.key {
        BlockKey::Frames(offset) => offset,
        _ => 0,
    }
}

fn sum(blocks: &[BlockRecord]) -> Option<u64> {
    blocks.iter().try_fold(0u64, |sum, block| sum.checked_add(block.count))
}

fn check_stored(block: &BlockRecord) -> Result<()> {
    if block.stored_bytes > MAX_STORED_BLOCK_BYTES {
        return Err(corrupt("a block is too large"));
    }
    Ok(())
}

fn read_block<R: ReadAt>(source: &R, block: &BlockRecord) -> Result<Vec<u8>> {
    check_stored(block)?;
    decode_block(&fetch(source, block.offset, u64::from(block.stored_bytes))?, MAX_BLOCK_BYTES)
}

/// Reads exactly what was asked for, whatever the source thinks.
fn fetch<R: ReadAt>(source: &R, offset: u64, length: u64) -> Result<Vec<u8>> {
    let length = usize::try_from(length).map_err(|_| corrupt("a block is too large"))?;
    let bytes = source.read_at(offset, length)?;
    if bytes.len() != length {
        return Err(corrupt("the storage returned another number of bytes than it was asked for"));
    }
    Ok(bytes)
}
