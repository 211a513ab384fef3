//! The directory of blocks and the footer that leads to it.
//!
//! Blocks lie end to end from byte 0, so that the directory tells lengths only: offsets cannot overlap.

use std::cmp::Ordering;

use nxs_base::Result;
use nxs_base::entry::{path_order, shared_bytes};

use super::block::check_version;
use super::cursor::{Cursor, front_decode, put_varint};
use super::{
    FOOTER_BYTES, FOOTER_MAGIC, FORMAT_VERSION, FRAMES_PER_BLOCK, KIND_DIRECTORY, KIND_ENTRIES, KIND_FRAMES,
    KIND_HEADER, MAX_DIRECTORY_BYTES, MAX_PATH_BYTES, SKIPPABLE_MAGIC, corrupt, short_hash,
};

/// What a block is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BlockKey {
    Header,
    /// Its first path.
    Entries(Vec<u8>),
    /// Plain offset of its first frame.
    Frames(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockRecord {
    pub(super) key: BlockKey,
    pub(super) offset: u64,
    pub(super) stored_bytes: u32,
    /// Entries or frames in it; 0 for the header.
    pub(super) count: u64,
}

pub(super) fn encode_directory(blocks: &[BlockRecord]) -> Vec<u8> {
    let mut plain = vec![KIND_DIRECTORY];
    put_varint(&mut plain, blocks.len() as u64);
    let mut before: &[u8] = b"";
    for block in blocks {
        let kind = match block.key {
            BlockKey::Header => KIND_HEADER,
            BlockKey::Entries(_) => KIND_ENTRIES,
            BlockKey::Frames(_) => KIND_FRAMES,
        };
        plain.push(kind);
        put_varint(&mut plain, u64::from(block.stored_bytes));
        put_varint(&mut plain, block.count);
        match &block.key {
            BlockKey::Header => {}
            BlockKey::Entries(path) => {
                let shared = shared_bytes(before, path);
                put_varint(&mut plain, shared as u64);
                put_varint(&mut plain, (path.len() - shared) as u64);
                plain.extend_from_slice(&path[shared..]);
                before = path;
            }
            BlockKey::Frames(offset) => put_varint(&mut plain, *offset),
        }
    }
    plain
}

/// `end` is where the directory begins: the blocks must fill the file up to it. The order of kinds is checked, and
/// that paths and offsets ascend.
pub(super) fn decode_directory(plain: &[u8], end: u64) -> Result<Vec<BlockRecord>> {
    let mut cursor = Cursor::new(plain);
    if cursor.byte()? != KIND_DIRECTORY {
        return Err(corrupt("the footer does not lead to a directory"));
    }
    let count = cursor.varint()?;
    let mut blocks: Vec<BlockRecord> = Vec::new();
    let (mut offset, mut path, mut path_bytes) = (0u64, Vec::new(), 0);
    let mut last_kind = 0;
    for _ in 0..count {
        let kind = cursor.byte()?;
        let stored_bytes = cursor.varint_u32()?;
        let items = cursor.varint()?;
        let key = match kind {
            KIND_HEADER => BlockKey::Header,
            KIND_ENTRIES => {
                let (shared, length) = (cursor.length(MAX_PATH_BYTES)?, cursor.length(MAX_PATH_BYTES)?);
                let mut next: Vec<u8> = path.clone();
                front_decode(&mut next, shared, cursor.bytes(length)?)?;
                if last_kind == KIND_ENTRIES && path_order(&path, &next) != Ordering::Less {
                    return Err(corrupt("its entry blocks are out of order"));
                }
                path_bytes += next.len();
                if path_bytes > MAX_DIRECTORY_BYTES {
                    return Err(corrupt("the directory is too large"));
                }
                path.clone_from(&next);
                BlockKey::Entries(next)
            }
            KIND_FRAMES => {
                let next = cursor.varint()?;
                let ascends = match blocks.last() {
                    Some(BlockRecord { key: BlockKey::Frames(before), .. }) => *before < next,
                    _ => next == 0,
                };
                if !ascends || items > FRAMES_PER_BLOCK as u64 {
                    return Err(corrupt("its frame table is out of order"));
                }
                BlockKey::Frames(next)
            }
            _ => return Err(corrupt(format_args!("the directory names a block of unknown kind `{kind}`"))),
        };
        let is_header = kind == KIND_HEADER;
        if is_header != blocks.is_empty()
            || kind < last_kind
            || (items == 0) != is_header
            || stored_bytes == 0
        {
            return Err(corrupt("its blocks are out of order"));
        }
        blocks.push(BlockRecord { key, offset, stored_bytes, count: items });
        offset = offset.saturating_add(u64::from(stored_bytes));
        if offset > end {
            break;
        }
        last_kind = kind;
    }
    if !cursor.is_empty() || blocks.is_empty() || offset != end {
        return Err(corrupt("its blocks do not fill the file"));
    }
    Ok(blocks)
}

/// Where the directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) directory_offset: u64,
    pub(super) directory_bytes: u32,
    pub(super) directory_hash: [u8; 16],
}

impl Footer {
    pub(super) fn of(directory_offset: u64, stored: &[u8]) -> Result<Self> {
        let directory_bytes =
            u32::try_from(stored.len()).map_err(|_| super::invalid("its directory is too large"))?;
        Ok(Self { directory_offset, directory_bytes, directory_hash: short_hash(stored) })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FOOTER_BYTES);
        bytes.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
        bytes.extend_from_slice(&(FOOTER_BYTES as u32 - 8).to_le_bytes());
        bytes.extend_from_slice(FOOTER_MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&self.directory_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.directory_offset.to_le_bytes());
        bytes.extend_from_slice(&self.directory_hash);
        bytes
    }

    /// `bytes` are the last of a file of `file_bytes`; the directory must end where they begin.
    pub(super) fn decode(bytes: &[u8], file_bytes: u64) -> Result<Self> {
        let mut cursor = Cursor::new(bytes);
        let is_frame = cursor.u32()? == SKIPPABLE_MAGIC && cursor.u32()? == FOOTER_BYTES as u32 - 8;
        if !is_frame || cursor.array::<8>()? != *FOOTER_MAGIC {
            return Err(corrupt("it does not end with a footer"));
        }
        check_version(cursor.u16()?)?;
        if cursor.u16()? != 0 {
            return Err(corrupt("its footer has a reserved bit set"));
        }
        let directory_bytes = cursor.u32()?;
        let directory_offset = cursor.u64()?;
        let directory_hash = cursor.array()?;
        let end = directory_offset
            .checked_add(u64::from(directory_bytes))
            .and_then(|end| end.checked_add(FOOTER_BYTES as u64));
        if end != Some(file_bytes) || !cursor.is_empty() {
            return Err(corrupt("its footer does not fit its length"));
        }
        Ok(Self { directory_offset, directory_bytes, directory_hash })
    }
}
