//! Reads a copy: its index with its digest checked, its archive as a stream of plain bytes, or just the frames that
//! one member needs.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::rc::Rc;
use std::sync::Arc;

use nxs_archive::frames::{Codec, FrameReader, FrameRecord, ParallelReader, decode_frame};
use nxs_archive::index::{IndexReader, ReadAt};
use nxs_base::entry::IndexEntry;
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::layout::discrete::CompressionSuffix;
use nxs_base::ports::storage::{ObjectKey, Storage};
use nxs_base::record::StoredDigest;

use nxs_sys::fsx;

use super::select::Copy;
use crate::incremental::chain::id_of_entry;
use crate::pipeline::digest::Digest;

const REBUILD: &str = "`nxs-backup index rebuild JOB` makes it again from the archive.";

/// Largest index that is read whole.
pub(crate) const MAX_INDEX_BYTES: u64 = 4 << 30;

/// An object read by ranges; counts what it reads.
pub struct RangedObject {
    storage: Arc<dyn Storage>,
    key: ObjectKey,
    bytes: u64,
    read_bytes: Cell<u64>,
}

impl RangedObject {
    pub fn new(storage: Arc<dyn Storage>, key: ObjectKey, bytes: u64) -> Self {
        Self { storage, key, bytes, read_bytes: Cell::new(0) }
    }

    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.get()
    }

    fn fetch(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let end = offset.saturating_add(len as u64);
        let mut reader = self.storage.get(&self.key, Some(offset..end))?;
        let mut bytes = Vec::new();
        let read = reader.by_ref().take(len as u64).read_to_end(&mut bytes);
        let read = read.map_err(|e| Error::from_io(format!("cannot read `{}`", self.key), e))?;
        self.read_bytes.set(self.read_bytes.get() + read as u64);
        if read != len {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("cannot read `{}`: it ends at byte {}, before {end}", self.key, offset + read as u64),
            ));
        }
        Ok(bytes)
    }
}

impl ReadAt for RangedObject {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.fetch(offset, len)
    }
}

/// The index of a copy for ranged reading; none where it has none.
pub fn open_index(copy: &Copy) -> Result<Option<IndexReader<RangedObject>>> {
    let Some(index) = &copy.entry.index else { return Ok(None) };
    let object = RangedObject::new(Arc::clone(&copy.storage), index.key.clone(), index.size_bytes);
    belonging(copy, IndexReader::open(object).map_err(|e| unusable(&index.key, e))?).map(Some)
}

/// Names the index that cannot be used.
fn unusable(key: &ObjectKey, error: Error) -> Error {
    if error.kind() != ErrorKind::Corrupt {
        return error;
    }
    Error::new(error.kind(), format!("the index `{key}` is damaged")).with_source(error).with_hint(REBUILD)
}

/// The index of a copy, whole and compared with its record; none where it has none.
pub fn load_index(copy: &Copy) -> Result<Option<IndexReader<Vec<u8>>>> {
    let Some(index) = &copy.entry.index else { return Ok(None) };
    if index.size_bytes > MAX_INDEX_BYTES {
        return Err(Error::new(ErrorKind::Corrupt, format!("the index `{}` is absurdly large", index.key)));
    }
    let mut bytes = Vec::new();
    copy.storage
        .get(&index.key, None)?
        .take(MAX_INDEX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::from_io(format!("cannot read `{}`", index.key), e))?;
    let mut digest = Digest::default();
    digest.update(&bytes);
    let digests = digest.finish();
    let key = &index.key;
    let index = IndexReader::open(bytes);
    if let Some(expected) = copy.entry.record().and_then(|r| r.index.as_ref())
        && (expected.stored.sha256 != digests.sha256 || expected.stored.blake3 != digests.blake3)
        // One that was made anew, and could not become the same, says so.
        && !index.as_ref().is_ok_and(|index| index.header().is_rebuilt)
    {
        let text = format!("the index `{key}` is not what its record says");
        return Err(Error::new(ErrorKind::Corrupt, text).with_hint(REBUILD));
    }
    belonging(copy, index.map_err(|e| unusable(key, e))?).map(Some)
}

/// Refuses the index of another backup.
fn belonging<R: ReadAt>(copy: &Copy, index: IndexReader<R>) -> Result<IndexReader<R>> {
    let header = index.header();
    let has_sizes = copy.entry.record().is_none_or(|record| {
        !header.is_rebuilt
            || (header.plain_bytes, header.stored_bytes) == (record.plain_bytes, record.compressed_bytes)
    });
    if has_sizes && id_of_entry(&copy.entry).is_none_or(|id| id.0.to_be_bytes() == header.archive_id) {
        return Ok(index);
    }
    let text = format!("the index beside `{}` is that of another backup", copy.entry.key);
    Err(Error::new(ErrorKind::Corrupt, text))
}

/// The codec that the archive's name tells.
pub fn codec_of(copy: &Copy) -> Codec {
    let suffix = copy.entry.suffix();
    match suffix.compression {
        // What a module of the user's encrypted is its own matter.
        _ if suffix.encrypted => Codec::None,
        CompressionSuffix::Gzip => Codec::Gzip(6),
        CompressionSuffix::Zstd => Codec::Zstd(3),
        CompressionSuffix::None => Codec::None,
    }
}

/// The whole archive as plain bytes: by the frame table in parallel, every frame checked, or as a plain stream.
pub fn open_plain(copy: &Copy, frames: Option<Vec<FrameRecord>>, workers: usize) -> Result<Box<dyn Read>> {
    let stored = copy.storage.get(&copy.entry.key, None)?;
    let codec = codec_of(copy);
    match frames {
        Some(frames) => Ok(Box::new(ParallelReader::new(codec, frames, workers, stored)?)),
        None => Ok(Box::new(buffered(FrameReader::new(codec, stored)?))),
    }
}

/// Headers are read in pieces of 512 bytes; the parallel reader has its frames at hand.
fn buffered<R: Read>(plain: R) -> io::BufReader<R> {
    io::BufReader::with_capacity(128 << 10, plain)
}

/// Like [`open_plain`]; without a frame table, what is read is compared with the record, where there is one: call
/// [`StoredCheck::finish`] once all was read.
pub fn open_checked(
    copy: &Copy,
    frames: Option<Vec<FrameRecord>>,
    workers: usize,
) -> Result<(Box<dyn Read>, StoredCheck)> {
    let expected = match (&frames, copy.entry.record()) {
        (None, Some(record)) => record.archive.clone(),
        _ => {
            return Ok((
                open_plain(copy, frames, workers)?,
                StoredCheck { expected: None, seen: Rc::default() },
            ));
        }
    };
    let seen = Rc::default();
    let stored = Watched { stored: copy.storage.get(&copy.entry.key, None)?, seen: Rc::clone(&seen) };
    let plain = FrameReader::new(codec_of(copy), stored)?;
    let name = copy.entry.key.to_string();
    Ok((Box::new(buffered(plain)), StoredCheck { expected: Some((name, expected)), seen }))
}

/// Whether an archive that was read without a frame table is what its record says.
pub struct StoredCheck {
    expected: Option<(String, StoredDigest)>,
    seen: Rc<RefCell<Digest>>,
}

impl StoredCheck {
    /// [`ErrorKind::Corrupt`] if it is not.
    pub fn finish(self) -> Result<()> {
        let Some((name, expected)) = self.expected else { return Ok(()) };
        let seen = self.seen.take().finish();
        if (seen.bytes, seen.sha256, seen.blake3) == (expected.bytes, expected.sha256, expected.blake3) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Corrupt, format!("the archive `{name}` is not what its record says")))
    }
}

/// Digests the stored bytes that pass.
struct Watched {
    stored: Box<dyn Read + Send>,
    seen: Rc<RefCell<Digest>>,
}

impl Read for Watched {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.stored.read(buf)?;
        self.seen.borrow_mut().update(&buf[..n]);
        Ok(n)
    }
}

/// Reads members by their place in the index, a frame at a time, keeping the last frame.
pub struct Members<'a, R> {
    archive: RangedObject,
    codec: Codec,
    index: &'a IndexReader<R>,
    /// The whole frame table, where many members are read.
    table: Option<Vec<FrameRecord>>,
    last: RefCell<Option<(FrameRecord, Arc<Vec<u8>>)>>,
    /// The last frame that could not be decoded: read once, however many members are in it.
    bad: RefCell<Option<(FrameRecord, String)>>,
}

impl<'a, R: ReadAt> Members<'a, R> {
    pub fn new(copy: &Copy, index: &'a IndexReader<R>) -> Self {
        let archive =
            RangedObject::new(Arc::clone(&copy.storage), copy.entry.key.clone(), copy.entry.size_bytes);
        Self {
            archive,
            codec: codec_of(copy),
            index,
            table: None,
            last: RefCell::new(None),
            bad: RefCell::new(None),
        }
    }

    /// As [`Self::new`], with the frame table at hand.
    pub fn with_table(copy: &Copy, index: &'a IndexReader<R>, table: Vec<FrameRecord>) -> Self {
        Self { table: Some(table), ..Self::new(copy, index) }
    }

    /// Stored bytes of the archive that were read.
    pub fn read_bytes(&self) -> u64 {
        self.archive.read_bytes()
    }

    /// Whether a frame of the archive could not be decoded.
    pub fn has_bad_frame(&self) -> bool {
        self.bad.borrow().is_some()
    }

    /// The plain bytes of one member: headers, data, padding.
    pub fn open<'m>(&'m self, entry: &IndexEntry) -> Result<MemberReader<'m, 'a, R>> {
        let mut frames = match &self.table {
            Some(table) => {
                let end = entry.offset.saturating_add(entry.stored_bytes);
                let first = table.partition_point(|f| f.plain_end() <= entry.offset);
                table[first..].iter().take_while(|f| f.plain_offset < end).copied().collect()
            }
            None => self.index.frames_for(entry.offset, entry.stored_bytes)?,
        };
        let end = entry.offset.saturating_add(entry.stored_bytes);
        if frames.last().is_none_or(|last| last.plain_end() < end) {
            let text = format!("the index places `{}` outside the archive", fsx::show(&entry.path));
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        frames.reverse();
        Ok(MemberReader { members: self, frames, at: entry.offset, end, frame: None })
    }

    fn frame(&self, record: &FrameRecord) -> Result<Arc<Vec<u8>>> {
        if let Some((known, plain)) = &*self.last.borrow()
            && known == record
        {
            return Ok(Arc::clone(plain));
        }
        if let Some((_, problem)) = self.bad.borrow().as_ref().filter(|(bad, _)| bad == record) {
            return Err(Error::new(ErrorKind::Corrupt, problem.clone()));
        }
        let stored = self.archive.fetch(record.stored_offset, record.stored_bytes as usize)?;
        let plain = match decode_frame(self.codec, record, stored) {
            Ok(plain) => Arc::new(plain),
            Err(error) => {
                *self.bad.borrow_mut() = Some((*record, error.chain()));
                return Err(error);
            }
        };
        *self.last.borrow_mut() = Some((*record, Arc::clone(&plain)));
        Ok(plain)
    }
}

/// The plain bytes of one member.
pub struct MemberReader<'m, 'a, R> {
    members: &'m Members<'a, R>,
    /// Still to come, the next one last.
    frames: Vec<FrameRecord>,
    at: u64,
    end: u64,
    frame: Option<(FrameRecord, Arc<Vec<u8>>)>,
}

impl<R: ReadAt> Read for MemberReader<'_, '_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.at >= self.end || buf.is_empty() {
                return Ok(0);
            }
            if let Some((record, plain)) = &self.frame
                && self.at < record.plain_end()
            {
                let start =
                    usize::try_from(self.at.saturating_sub(record.plain_offset)).unwrap_or(usize::MAX);
                let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
                let bytes = plain.get(start..).unwrap_or_default();
                let n = buf.len().min(bytes.len()).min(left);
                if n > 0 {
                    buf[..n].copy_from_slice(&bytes[..n]);
                    self.at += n as u64;
                    return Ok(n);
                }
            }
            let Some(record) = self.frames.pop() else {
                let message = format!("the index has no frame for plain byte {}", self.at);
                return Err(Error::new(ErrorKind::Corrupt, message).into_io());
            };
            let plain = self.members.frame(&record).map_err(Error::into_io)?;
            self.frame = Some((record, plain));
        }
    }
}
