//! One entry block: up to about 32 KiB of entries, column by column.
//!
//! Columns of like bytes compress to about two thirds of what rows do. Every column is predicted from the entry
//! before, and the `same` byte says which predictions hold, so that most columns are empty most of the time. The
//! order and coding of the columns is the format: see `docs/format.md`.

use std::cmp::Ordering;

use nxs_base::entry::{EntryKind, EntryState, FileTime, IndexEntry, Meta, path_order, shared_bytes};
use nxs_base::{Error, ErrorKind, Result};

use super::cursor::{Cursor, front_decode, put_difference, put_varint};
use super::{KIND_ENTRIES, MAX_PATH_BYTES, corrupt};

/// The path is in this archive.
const OP_PRESENT: u8 = 0;
/// The parent's state has the path, this one has it no more. Only operation and path are told.
const OP_REMOVED: u8 = 1;
/// It was there and could not be read. Only operation and path are told.
const OP_MISSING: u8 = 2;

const KINDS: [EntryKind; 7] = [
    EntryKind::File,
    EntryKind::Dir,
    EntryKind::Symlink,
    EntryKind::HardLink,
    EntryKind::Fifo,
    EntryKind::CharDevice,
    EntryKind::BlockDevice,
];
const STATES: [EntryState; 3] = [EntryState::Sound, EntryState::Racy, EntryState::Gap];

const SHAPE_RESERVED: u8 = 0x20;
const SHAPE_LINK: u8 = 0x40;
const SHAPE_DEVICE: u8 = 0x80;

const SAME_OWNER: u8 = 0x01;
const SAME_MTIME: u8 = 0x02;
const MTIME_WHOLE: u8 = 0x04;
const CTIME_IS_MTIME: u8 = 0x08;
const SAME_CTIME: u8 = 0x10;
const NEXT_INO: u8 = 0x20;
const NEXT_OFFSET: u8 = 0x40;
const SAME_OVERHEAD: u8 = 0x80;

/// The columns, in the order in which they stand in a block.
#[derive(Clone, Copy)]
enum Column {
    Op,
    Shape,
    Same,
    PathLengths,
    PathBytes,
    Owner,
    Size,
    MtimeSec,
    MtimeNsec,
    CtimeSec,
    CtimeNsec,
    Ino,
    Offset,
    Overhead,
    Link,
    Device,
}
const COLUMNS: usize = 16;

/// What the next entry is predicted from; all zero at the start of a block.
#[derive(Default)]
struct Before {
    path: Vec<u8>,
    mtime: FileTime,
    ctime: FileTime,
    ino: u64,
    /// First byte after the member.
    end: u64,
    /// By kind: mode, uid, gid.
    owner: [[u32; 3]; KINDS.len()],
    /// By kind: bytes of the member beyond its padded size.
    overhead: [u64; KINDS.len()],
}

impl Before {
    fn take(&mut self, kind: usize, entry: &IndexEntry) {
        self.mtime = entry.meta.mtime;
        self.ctime = entry.meta.ctime;
        self.ino = entry.meta.ino;
        self.end = entry.offset.wrapping_add(entry.stored_bytes);
        self.owner[kind] = [entry.meta.mode, entry.meta.uid, entry.meta.gid];
        self.overhead[kind] = entry.stored_bytes.wrapping_sub(padded(entry.meta.size_bytes));
    }
}

/// A block that is being filled.
#[derive(Default)]
pub(super) struct EntryBlock {
    columns: [Vec<u8>; COLUMNS],
    count: u64,
    first_path: Vec<u8>,
    before: Before,
}

impl EntryBlock {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn first_path(&self) -> &[u8] {
        &self.first_path
    }

    /// Bytes of all columns.
    pub(super) fn plain_bytes(&self) -> usize {
        self.columns.iter().map(Vec::len).sum()
    }

    /// The caller has checked order and limits.
    pub(super) fn push(&mut self, entry: &IndexEntry) {
        let shared = shared_bytes(&self.before.path, &entry.path);
        self.push_path(&entry.path, shared);
        match entry.state {
            EntryState::Removed => self.columns[Column::Op as usize].push(OP_REMOVED),
            EntryState::Missing => self.columns[Column::Op as usize].push(OP_MISSING),
            _ => self.push_present(entry),
        }
        if self.count == 0 {
            self.first_path.clone_from(&entry.path);
        }
        self.count += 1;
        self.before.path.truncate(shared);
        self.before.path.extend_from_slice(&entry.path[shared..]);
    }

    fn push_path(&mut self, path: &[u8], shared: usize) {
        let lengths = &mut self.columns[Column::PathLengths as usize];
        put_varint(lengths, shared as u64);
        put_varint(lengths, (path.len() - shared) as u64);
        self.columns[Column::PathBytes as usize].extend_from_slice(&path[shared..]);
    }

    fn push_present(&mut self, entry: &IndexEntry) {
        let meta = &entry.meta;
        let kind = KINDS.iter().position(|k| *k == meta.kind).unwrap_or_default();
        let state = STATES.iter().position(|s| *s == entry.state).unwrap_or_default();
        let mut shape = kind as u8 | (state as u8) << 3;
        let before = &self.before;
        if !entry.link.is_empty() {
            shape |= SHAPE_LINK;
            let column = &mut self.columns[Column::Link as usize];
            put_varint(column, entry.link.len() as u64);
            column.extend_from_slice(&entry.link);
        }
        if (meta.rdev_major, meta.rdev_minor) != (0, 0) {
            shape |= SHAPE_DEVICE;
            let column = &mut self.columns[Column::Device as usize];
            put_varint(column, u64::from(meta.rdev_major));
            put_varint(column, u64::from(meta.rdev_minor));
        }
        put_varint(&mut self.columns[Column::Size as usize], meta.size_bytes);

        let mut same = 0;
        let owner = [meta.mode, meta.uid, meta.gid];
        if owner == before.owner[kind] {
            same |= SAME_OWNER;
        } else {
            owner.iter().for_each(|n| put_varint(&mut self.columns[Column::Owner as usize], u64::from(*n)));
        }
        same |= self.push_times(meta);
        let before = &self.before;
        if meta.ino == before.ino.wrapping_add(1) {
            same |= NEXT_INO;
        } else {
            put_difference(&mut self.columns[Column::Ino as usize], before.ino, meta.ino);
        }
        if entry.offset == before.end {
            same |= NEXT_OFFSET;
        } else {
            put_difference(&mut self.columns[Column::Offset as usize], before.end, entry.offset);
        }
        let overhead = entry.stored_bytes.wrapping_sub(padded(meta.size_bytes));
        if overhead == before.overhead[kind] {
            same |= SAME_OVERHEAD;
        } else {
            put_difference(&mut self.columns[Column::Overhead as usize], before.overhead[kind], overhead);
        }
        self.columns[Column::Op as usize].push(OP_PRESENT);
        self.columns[Column::Shape as usize].push(shape);
        self.columns[Column::Same as usize].push(same);
        self.before.take(kind, entry);
    }

    fn push_times(&mut self, meta: &Meta) -> u8 {
        let before = &self.before;
        let mut same = 0;
        if meta.mtime == before.mtime {
            same |= SAME_MTIME;
        } else {
            put_seconds(&mut self.columns[Column::MtimeSec as usize], before.mtime, meta.mtime);
            if meta.mtime.nsec == 0 {
                same |= MTIME_WHOLE;
            } else {
                self.columns[Column::MtimeNsec as usize].extend_from_slice(&meta.mtime.nsec.to_le_bytes());
            }
        }
        if meta.ctime == meta.mtime {
            same |= CTIME_IS_MTIME;
        } else if meta.ctime == before.ctime {
            same |= SAME_CTIME;
        } else {
            put_seconds(&mut self.columns[Column::CtimeSec as usize], before.ctime, meta.ctime);
            self.columns[Column::CtimeNsec as usize].extend_from_slice(&meta.ctime.nsec.to_le_bytes());
        }
        same
    }

    /// Returns the plain bytes of the block and makes it empty.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut plain = Vec::with_capacity(self.plain_bytes() + 64);
        plain.push(KIND_ENTRIES);
        put_varint(&mut plain, self.count);
        for column in &mut self.columns {
            put_varint(&mut plain, column.len() as u64);
            plain.append(column);
        }
        self.count = 0;
        self.before = Before::default();
        plain
    }
}

/// Reads the entries of a block one after the other, checking their order.
#[derive(Default)]
pub(super) struct EntryWalk {
    plain: Vec<u8>,
    /// Where in `plain` the unread rest of each column is.
    columns: [(usize, usize); COLUMNS],
    left: u64,
    is_first: bool,
    before: Before,
}

impl EntryWalk {
    /// `plain` is a whole block; `count` and `first_path` are what the directory says of it.
    pub(super) fn new(plain: Vec<u8>, count: u64, first_path: &[u8]) -> Result<Self> {
        let mut columns = [(0, 0); COLUMNS];
        let mut cursor = Cursor::new(&plain);
        if cursor.byte()? != KIND_ENTRIES || cursor.varint()? != count {
            return Err(corrupt("an entry block is not what the directory says"));
        }
        for column in &mut columns {
            let length = cursor.length(plain.len())?;
            let start = plain.len() - cursor.len();
            cursor.bytes(length)?;
            *column = (start, start + length);
        }
        if !cursor.is_empty() {
            return Err(corrupt("an entry block has bytes behind its columns"));
        }
        let walk = Self { plain, columns, left: count, is_first: true, before: Before::default() };
        // The first path stands in the block in full; it must be the one that the block was found by.
        let mut lengths = walk.cursor(Column::PathLengths);
        if lengths.varint()? != 0 || lengths.length(MAX_PATH_BYTES)? != first_path.len() {
            return Err(corrupt("an entry block does not begin with the path that the directory names"));
        }
        if walk.cursor(Column::PathBytes).bytes(first_path.len())? != first_path {
            return Err(corrupt("an entry block does not begin with the path that the directory names"));
        }
        Ok(walk)
    }

    fn cursor(&self, column: Column) -> Cursor<'_> {
        let (start, end) = self.columns[column as usize];
        Cursor::new(&self.plain[start..end])
    }

    /// Reads from a column and moves its position on.
    fn read<T>(&mut self, column: Column, read: impl FnOnce(&mut Cursor<'_>) -> Result<T>) -> Result<T> {
        let (start, end) = self.columns[column as usize];
        let mut cursor = Cursor::new(&self.plain[start..end]);
        let value = read(&mut cursor)?;
        let left = cursor.len();
        self.columns[column as usize].0 = end - left;
        Ok(value)
    }

    /// The next entry; at the end checks that no column has bytes left.
    pub(super) fn next_entry(&mut self) -> Result<Option<IndexEntry>> {
        if self.left == 0 {
            if self.columns.iter().any(|(start, end)| start != end) {
                return Err(corrupt("an entry block has bytes that no entry takes"));
            }
            return Ok(None);
        }
        self.left -= 1;
        let op = self.read(Column::Op, |c| c.byte())?;
        if matches!(op, OP_REMOVED | OP_MISSING) {
            let path = self.next_path()?;
            let state = if op == OP_REMOVED { EntryState::Removed } else { EntryState::Missing };
            return Ok(Some(IndexEntry { path, state, ..IndexEntry::default() }));
        }
        if op != OP_PRESENT {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("cannot read the index: operation `{op}` belongs to a newer format"),
            ));
        }
        let shape = self.read(Column::Shape, |c| c.byte())?;
        let same = self.read(Column::Same, |c| c.byte())?;
        let kind = usize::from(shape & 7);
        let (Some(entry_kind), Some(state)) = (KINDS.get(kind), STATES.get(usize::from(shape >> 3 & 3)))
        else {
            return Err(corrupt("an entry has no known type or state"));
        };
        if shape & SHAPE_RESERVED != 0 {
            return Err(corrupt("an entry has a reserved bit set"));
        }
        let path = self.next_path()?;
        let mut meta = Meta { kind: *entry_kind, ..Meta::default() };
        meta.size_bytes = self.read(Column::Size, |c| c.varint())?;
        let [mode, uid, gid] = if same & SAME_OWNER != 0 {
            self.before.owner[kind]
        } else {
            self.read(Column::Owner, |c| Ok([c.varint_u32()?, c.varint_u32()?, c.varint_u32()?]))?
        };
        (meta.mode, meta.uid, meta.gid) = (mode, uid, gid);
        (meta.mtime, meta.ctime) = self.next_times(same)?;
        let ino = self.before.ino;
        meta.ino = if same & NEXT_INO != 0 {
            ino.wrapping_add(1)
        } else {
            self.read(Column::Ino, |c| c.difference(ino))?
        };
        let end = self.before.end;
        let offset =
            if same & NEXT_OFFSET != 0 { end } else { self.read(Column::Offset, |c| c.difference(end))? };
        let usual = self.before.overhead[kind];
        let overhead = if same & SAME_OVERHEAD != 0 {
            usual
        } else {
            self.read(Column::Overhead, |c| c.difference(usual))?
        };
        let stored_bytes = overhead.wrapping_add(padded(meta.size_bytes));
        let mut link = Vec::new();
        if shape & SHAPE_LINK != 0 {
            link = self.read(Column::Link, |c| {
                let length = c.length(MAX_PATH_BYTES)?;
                Ok(c.bytes(length)?.to_vec())
            })?;
        }
        if shape & SHAPE_DEVICE != 0 {
            (meta.rdev_major, meta.rdev_minor) =
                self.read(Column::Device, |c| Ok((c.varint_u32()?, c.varint_u32()?)))?;
        }
        let entry = IndexEntry { path, meta, state: *state, link, offset, stored_bytes };
        self.before.take(kind, &entry);
        Ok(Some(entry))
    }

    fn next_path(&mut self) -> Result<Vec<u8>> {
        let (shared, length) =
            self.read(Column::PathLengths, |c| Ok((c.length(MAX_PATH_BYTES)?, c.length(MAX_PATH_BYTES)?)))?;
        let (start, end) = self.columns[Column::PathBytes as usize];
        let suffix = Cursor::new(&self.plain[start..end]).bytes(length)?;
        // What is shared cannot differ: only the ends are compared.
        let before = self.before.path.get(shared..).unwrap_or_default();
        if !self.is_first && path_order(before, suffix) != Ordering::Less {
            return Err(corrupt("its entries are out of order"));
        }
        front_decode(&mut self.before.path, shared, suffix)?;
        self.columns[Column::PathBytes as usize].0 = start + length;
        self.is_first = false;
        Ok(self.before.path.clone())
    }

    fn next_times(&mut self, same: u8) -> Result<(FileTime, FileTime)> {
        let (mut mtime, mut ctime) = (self.before.mtime, self.before.ctime);
        if same & SAME_MTIME == 0 {
            mtime.sec = self.read(Column::MtimeSec, |c| next_seconds(c, mtime))?;
            mtime.nsec =
                if same & MTIME_WHOLE != 0 { 0 } else { self.read(Column::MtimeNsec, next_nanoseconds)? };
        }
        if same & CTIME_IS_MTIME != 0 {
            ctime = mtime;
        } else if same & SAME_CTIME == 0 {
            ctime.sec = self.read(Column::CtimeSec, |c| next_seconds(c, ctime))?;
            ctime.nsec = self.read(Column::CtimeNsec, next_nanoseconds)?;
        }
        Ok((mtime, ctime))
    }
}

fn put_seconds(column: &mut Vec<u8>, old: FileTime, new: FileTime) {
    put_difference(column, old.sec.cast_unsigned(), new.sec.cast_unsigned());
}

fn next_seconds(cursor: &mut Cursor<'_>, old: FileTime) -> Result<i64> {
    cursor.difference(old.sec.cast_unsigned()).map(u64::cast_signed)
}

fn next_nanoseconds(cursor: &mut Cursor<'_>) -> Result<u32> {
    let nsec = cursor.u32()?;
    if nsec >= 1_000_000_000 {
        return Err(corrupt("a time has more than a second of nanoseconds"));
    }
    Ok(nsec)
}

/// `size` rounded up to whole tar blocks of 512 bytes, in wrapping arithmetic.
fn padded(size: u64) -> u64 {
    size.wrapping_add(511) & !511
}
