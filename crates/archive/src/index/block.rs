//! Plain bytes of a block to a zstd frame and back; the header block and the frame table blocks.

use std::cell::RefCell;

use nxs_base::{Error, ErrorKind, Result};
use zstd::bulk::Decompressor;
use zstd::zstd_safe::{CParameter, get_frame_content_size};

use super::cursor::{Cursor, put_varint};
use super::{
    FORMAT_VERSION, FRAMES_PER_BLOCK, HEADER_MAGIC, IndexHeader, KIND_FRAMES, KIND_HEADER, MAX_PATH_BYTES,
    ZSTD_LEVEL, corrupt,
};
use crate::frames::{Codec, FrameRecord, MAX_PLAIN_BYTES, MAX_STORED_BYTES};

/// The index was made anew from its archive.
const FLAG_REBUILT: u16 = 1;
/// The archive is another program's.
const FLAG_FOREIGN: u16 = 2;

/// Compresses blocks, with one context for all.
pub(super) struct BlockEncoder(zstd::bulk::Compressor<'static>);

impl BlockEncoder {
    pub(super) fn new() -> Result<Self> {
        let build = || {
            let mut context = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
            context.set_parameter(CParameter::ChecksumFlag(true))?;
            Ok(context)
        };
        build().map(Self).map_err(|e| Error::io("cannot set up zstd for the index", e))
    }

    pub(super) fn encode(&mut self, plain: &[u8]) -> Result<Vec<u8>> {
        let mut stored =
            self.0.compress(plain).map_err(|e| Error::io("cannot compress a block of the index", e))?;
        stored.shrink_to_fit();
        Ok(stored)
    }
}

/// Decompresses a block of at most `limit` plain bytes; it must be one frame that tells its size.
pub(super) fn decode_block(stored: &[u8], limit: usize) -> Result<Vec<u8>> {
    let told = get_frame_content_size(stored).ok().flatten();
    let length = told
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| *length <= limit)
        .ok_or_else(|| corrupt("a block is no zstd frame, or too large"))?;
    // One context for all blocks of a thread: to set one up costs as much as a block.
    thread_local!(static CONTEXT: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) });
    let decompress = |context: &mut Option<Decompressor<'static>>| -> std::io::Result<Vec<u8>> {
        let context = match context {
            Some(context) => context,
            None => context.insert(Decompressor::new()?),
        };
        context.decompress(stored, length)
    };
    let plain = CONTEXT
        .with_borrow_mut(decompress)
        .map_err(|e| corrupt("a block does not decompress").with_source(e))?;
    if plain.len() != length {
        return Err(corrupt("a block has another length than it tells"));
    }
    Ok(plain)
}

pub(super) fn encode_header(header: &IndexHeader) -> Vec<u8> {
    let (codec, level) = match header.codec {
        Codec::None => (0, 0),
        Codec::Gzip(level) => (1, level),
        Codec::Zstd(level) => (2, level),
    };
    let mut plain = vec![KIND_HEADER];
    plain.extend_from_slice(HEADER_MAGIC);
    plain.extend_from_slice(&header.version.to_le_bytes());
    plain.extend_from_slice(&header.archive_id);
    plain.extend_from_slice(&[codec, level]);
    for number in
        [header.plain_bytes, header.stored_bytes, header.entries, header.files, header.dirs, header.frames]
    {
        plain.extend_from_slice(&number.to_le_bytes());
    }
    let flags =
        if header.is_rebuilt { FLAG_REBUILT } else { 0 } | if header.is_foreign { FLAG_FOREIGN } else { 0 };
    plain.extend_from_slice(&flags.to_le_bytes());
    plain.extend_from_slice(&(header.root.len() as u32).to_le_bytes());
    plain.extend_from_slice(&header.root);
    plain
}

pub(super) fn decode_header(plain: &[u8]) -> Result<IndexHeader> {
    let mut cursor = Cursor::new(plain);
    if cursor.byte()? != KIND_HEADER || cursor.array::<8>()? != *HEADER_MAGIC {
        return Err(corrupt("it does not begin with a header"));
    }
    let version = cursor.u16()?;
    check_version(version)?;
    let archive_id = cursor.array()?;
    let codec = match cursor.array::<2>()? {
        [0, 0] => Codec::None,
        [1, level] => Codec::Gzip(level),
        [2, level] => Codec::Zstd(level),
        [codec, _] => return Err(corrupt(format_args!("codec `{codec}` is unknown"))),
    };
    codec.check_level().map_err(corrupt)?;
    let [plain_bytes, stored_bytes, entries, files, dirs, frames] =
        [cursor.u64()?, cursor.u64()?, cursor.u64()?, cursor.u64()?, cursor.u64()?, cursor.u64()?];
    let flags = cursor.u16()?;
    if flags & !(FLAG_REBUILT | FLAG_FOREIGN) != 0 {
        return Err(corrupt("the header has flags that version 1 does not know"));
    }
    let header = IndexHeader {
        version,
        archive_id,
        codec,
        plain_bytes,
        stored_bytes,
        entries,
        files,
        dirs,
        frames,
        is_rebuilt: flags & FLAG_REBUILT != 0,
        is_foreign: flags & FLAG_FOREIGN != 0,
        root: {
            let length = cursor.u32()? as usize;
            if length > MAX_PATH_BYTES {
                return Err(corrupt("the root is too long"));
            }
            cursor.bytes(length)?.to_vec()
        },
    };
    if !cursor.is_empty() {
        return Err(corrupt("the header has bytes behind its fields"));
    }
    Ok(header)
}

pub(super) fn check_version(version: u16) -> Result<()> {
    if version == FORMAT_VERSION {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("cannot read the index: its format has version {version}"),
    )
    .with_hint("A newer program wrote it; use that one."))
}

/// `frames` are consecutive and not more than fit.
pub(super) fn encode_frames(frames: &[FrameRecord]) -> Vec<u8> {
    let mut plain = vec![KIND_FRAMES];
    put_varint(&mut plain, frames.len() as u64);
    let first = frames.first().copied().unwrap_or_default();
    put_varint(&mut plain, first.stored_offset);
    put_varint(&mut plain, first.plain_offset);
    frames.iter().for_each(|frame| put_varint(&mut plain, u64::from(frame.stored_bytes)));
    frames.iter().for_each(|frame| put_varint(&mut plain, u64::from(frame.plain_bytes)));
    frames.iter().for_each(|frame| plain.extend_from_slice(&frame.hash));
    plain
}

pub(super) fn decode_frames(plain: &[u8], count: u64) -> Result<Vec<FrameRecord>> {
    let mut cursor = Cursor::new(plain);
    if cursor.byte()? != KIND_FRAMES || cursor.varint()? != count || count > FRAMES_PER_BLOCK as u64 {
        return Err(corrupt("a block of the frame table is not what the directory says"));
    }
    let too_far = || corrupt("a frame lies beyond 2^64 bytes");
    let (mut stored_offset, mut plain_offset) = (cursor.varint()?, cursor.varint()?);
    let mut frames = Vec::new();
    for _ in 0..count {
        let stored_bytes = cursor.length(MAX_STORED_BYTES as usize)? as u32;
        frames.push(FrameRecord { stored_offset, stored_bytes, ..FrameRecord::default() });
        stored_offset = stored_offset.checked_add(u64::from(stored_bytes)).ok_or_else(too_far)?;
    }
    for frame in &mut frames {
        frame.plain_offset = plain_offset;
        frame.plain_bytes = cursor.length(MAX_PLAIN_BYTES as usize)? as u32;
        plain_offset = frame.plain_offset.checked_add(u64::from(frame.plain_bytes)).ok_or_else(too_far)?;
    }
    for frame in &mut frames {
        frame.hash = cursor.array()?;
    }
    if !cursor.is_empty() {
        return Err(corrupt("a block of the frame table has bytes behind its frames"));
    }
    Ok(frames)
}
