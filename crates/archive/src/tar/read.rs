//! Takes a tar stream apart, member by member, in constant memory and without trust in what it says.
//!
//! Reads what this program, its version 2 (Python's tarfile) and GNU tar write: ustar, old GNU and PAX. Anything
//! doubtful is an error: the point is to never restore something other than what was saved. Names are reported as
//! they stand; whoever extracts passes them through [`safe_path`]. The writer is `write`.

use std::io::{ErrorKind as IoKind, Read};

use nxs_base::entry::{EntryKind, EntryState, FileTime, Meta};
use nxs_base::error::{Error, ErrorKind, Result};

use super::block::{self, number, text};
use super::pax::{self, Pax};
use super::sparse::{self, Extent, MapParser};
use super::write::padding;
use super::{BLOCK, MAX_DUMPDIR_BYTES, MAX_NAME_BYTES, MAX_PAX_BYTES};

/// What the headers of one member say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntryHeader {
    /// As it stands in the archive, without closing `/`: may be absolute, may hold `..`.
    pub path: Vec<u8>,
    /// `size_bytes` is the size of the restored file, holes included. `ctime` and `ino` are 0 where the archive does
    /// not tell; `dev` and `nlink` always are.
    pub meta: Meta,
    pub state: EntryState,
    /// Target of a symbolic link, or the first name of a hard link, as it stands; else empty.
    pub link: Vec<u8>,
    pub uname: Vec<u8>,
    pub gname: Vec<u8>,
    /// Full names with raw values, sorted by name; never ACLs.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Text form, see [`super::acl`].
    pub acl_access: Option<Vec<u8>>,
    pub acl_default: Option<Vec<u8>>,
    /// Where the data bytes belong, ascending, none empty; `None` for a file without holes.
    pub sparse: Option<Vec<Extent>>,
    /// Content of a directory, in GNU's form.
    pub dumpdir: Option<Vec<u8>>,
    /// Bytes that [`TarReader::read_data`] gives: the file, or its extents one after the other.
    pub data_bytes: u64,
    /// Where the first header of the member starts in the stream.
    pub offset: u64,
    /// Where its data bytes start in the stream.
    pub data_offset: u64,
}

impl EntryHeader {
    /// Bytes of the member in the stream: headers, data, padding.
    pub fn stored_bytes(&self) -> u64 {
        self.data_offset - self.offset + self.data_bytes + padding(self.data_bytes) as u64
    }
}

/// A reader of tar members. Reads headers in blocks of 512 bytes, so `R` had better be buffered.
/// After an error it gives nothing but errors.
#[derive(Debug)]
pub struct TarReader<R> {
    inner: R,
    /// Bytes taken from `inner`.
    pos: u64,
    data_left: u64,
    pad_left: u64,
    global: Pax,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Ended,
    Broken,
}

impl<R: Read> TarReader<R> {
    /// Reads from the current place of `inner`, which must be the start of a member.
    pub fn new(inner: R) -> Self {
        Self { inner, pos: 0, data_left: 0, pad_left: 0, global: Pax::default(), state: State::Reading }
    }

    /// Goes on to the next member, past what is left of the current one; `None` at the end mark of the archive.
    /// Fails with `Corrupt` on damaged, doubtful or cut-off archives, with `Unsupported` on members of types that
    /// no backup holds.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend the data in between")]
    pub fn next(&mut self) -> Result<Option<EntryHeader>> {
        match self.state {
            State::Ended => return Ok(None),
            State::Broken => return Err(corrupt(self.pos, "nothing can be read after an error")),
            State::Reading => {}
        }
        let entry = self.skip_data().and_then(|()| self.next_member());
        match &entry {
            Ok(Some(_)) => {}
            Ok(None) => self.state = State::Ended,
            Err(_) => self.state = State::Broken,
        }
        entry
    }

    /// Fills the front of `buf` with data of the current member; 0 at its end (or for an empty `buf`).
    pub fn read_data(&mut self, buf: &mut [u8]) -> Result<usize> {
        if self.state == State::Broken {
            return Err(corrupt(self.pos, "nothing can be read after an error"));
        }
        let want = buf.len().min(usize::try_from(self.data_left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let got = self.read_some(&mut buf[..want]);
        match got {
            Ok(n) => self.data_left -= n as u64,
            Err(_) => self.state = State::Broken,
        }
        got
    }

    /// Passes over what is left of the current member's data and its padding.
    pub fn skip_data(&mut self) -> Result<()> {
        let mut left = self.data_left + self.pad_left;
        let mut scratch = [0; 16 << 10];
        while left > 0 {
            let want = scratch.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let got = self.read_some(&mut scratch[..want]);
            let Ok(n) = got else {
                self.state = State::Broken;
                return got.map(drop);
            };
            left -= n as u64;
        }
        self.data_left = 0;
        self.pad_left = 0;
        Ok(())
    }

    /// Bytes taken from the stream so far.
    pub fn position(&self) -> u64 {
        self.pos
    }

    /// Gives the stream back, as far as it was read.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn next_member(&mut self) -> Result<Option<EntryHeader>> {
        let mut member = Pending { pax: self.global.clone(), offset: None, ..Pending::default() };
        loop {
            let at = self.pos;
            let header = self.read_block()?;
            if header == [0; BLOCK] {
                if member.offset.is_some() {
                    return Err(corrupt(at, "archive ends after an extended header"));
                }
                if self.read_block()? != [0; BLOCK] {
                    return Err(corrupt(at, "a single block of zeros stands between members"));
                }
                return Ok(None);
            }
            if !block::checksum_fits(&header) {
                return Err(corrupt(at, "header checksum does not fit"));
            }
            let size = field_u64(&header, block::SIZE, at)?;
            match header[block::TYPE] {
                b'x' | b'X' => {
                    member.offset.get_or_insert(at);
                    let records = self.read_records(size, MAX_PAX_BYTES - member.record_bytes, at)?;
                    // A dumpdir that is larger than all else ends the header, and is not counted.
                    member.record_bytes += records.len().min(MAX_PAX_BYTES - member.record_bytes);
                    member.pax.add_local(&records).map_err(|e| located(at, e))?;
                }
                b'g' => {
                    let records = self.read_records(size, MAX_GLOBAL_BYTES, at)?;
                    // Records of the member that came before a global header stay in force.
                    if member.offset.is_some() {
                        return Err(corrupt(at, "a global header stands inside a member"));
                    }
                    self.global.add_global(&records).map_err(|e| located(at, e))?;
                    member.pax = self.global.clone();
                }
                b'L' => {
                    member.offset.get_or_insert(at);
                    member.long_name = Some(self.read_long_name(size, at)?);
                }
                b'K' => {
                    member.offset.get_or_insert(at);
                    member.long_link = Some(self.read_long_name(size, at)?);
                }
                // A volume label is a header without a member.
                b'V' if size == 0 && member.offset.is_none() => {}
                _ => {
                    member.offset.get_or_insert(at);
                    return self.finish_member(member, &header, size, at).map(Some);
                }
            }
        }
    }

    /// Reads the content of an extended header of at most `room` bytes; only a dumpdir may make it larger.
    fn read_records(&mut self, size: u64, room: usize, at: u64) -> Result<Vec<u8>> {
        let total = usize::try_from(size).ok().filter(|n| *n <= MAX_DUMPDIR_BYTES);
        let Some(total) = total else { return Err(corrupt(at, "extended header is absurdly large")) };
        let mut records = Vec::new();
        self.read_into(&mut records, total.min(room))?;
        if total > room {
            if !pax::breaks_off_in(&records, pax::DUMPDIR).map_err(|e| located(at, e))? {
                return Err(corrupt(at, "extended header is absurdly large"));
            }
            self.read_into(&mut records, total - room)?;
        }
        self.read_padding(size)?;
        Ok(records)
    }

    fn read_long_name(&mut self, size: u64, at: u64) -> Result<Vec<u8>> {
        let Some(len) = usize::try_from(size).ok().filter(|n| *n <= MAX_NAME_BYTES) else {
            return Err(corrupt(at, "long name is absurdly long"));
        };
        let mut name = Vec::new();
        self.read_into(&mut name, len)?;
        self.read_padding(size)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        if name.is_empty() || name.contains(&0) {
            return Err(corrupt(at, "long name is empty or has a NUL byte"));
        }
        Ok(name)
    }

    fn finish_member(
        &mut self,
        member: Pending,
        header: &[u8; BLOCK],
        header_size: u64,
        at: u64,
    ) -> Result<EntryHeader> {
        let Pending { mut pax, offset, long_name, long_link, .. } = member;
        // Wherever a record states the size, it says how much is stored, for all kinds of members alike.
        let stored = pax.size.unwrap_or(header_size);
        if stored > i64::MAX as u64 || self.pos.checked_add(stored).is_none_or(|end| end > i64::MAX as u64) {
            return Err(corrupt(at, "size of the member is out of range"));
        }
        pax.settle_xattrs().map_err(|e| located(at, e))?;

        let sparse_name = pax.sparse.name.take();
        let raw_path = sparse_name.or(pax.path).or(long_name).unwrap_or_else(|| header_path(header));
        let kind = kind_of(header[block::TYPE], &raw_path, at)?;
        let link = if matches!(kind, EntryKind::Symlink | EntryKind::HardLink) {
            pax.linkpath.or(long_link).unwrap_or_else(|| text(&header[block::LINK]).to_vec())
        } else {
            Vec::new()
        };
        let path = without_closing_slashes(raw_path);
        if path.is_empty() {
            return Err(corrupt(at, "member has no name"));
        }
        if link.is_empty() && matches!(kind, EntryKind::Symlink | EntryKind::HardLink) {
            return Err(corrupt(at, "link has no target"));
        }

        let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        let device = |field| if is_device { field_u32(header, field, at) } else { Ok(0) };
        let is_ustar = header[block::MAGIC.start..].starts_with(b"ustar");
        let name_of = |field: block::Field| if is_ustar { text(&header[field]).to_vec() } else { Vec::new() };
        let mtime = match pax.mtime {
            Some(time) => time,
            None => FileTime { sec: field_i64(header, block::MTIME, at)?, nsec: 0 },
        };
        let meta = Meta {
            kind,
            mode: u32::try_from(field_i64(header, block::MODE, at)? & 0o7777).unwrap_or(0),
            uid: pax.uid.map_or_else(|| field_u32(header, block::UID, at), Ok)?,
            gid: pax.gid.map_or_else(|| field_u32(header, block::GID, at), Ok)?,
            mtime,
            ctime: pax.ctime.unwrap_or_default(),
            ino: pax.ino.unwrap_or(0),
            rdev_major: device(block::DEV_MAJOR)?,
            rdev_minor: device(block::DEV_MINOR)?,
            ..Meta::default()
        };
        let mut entry = EntryHeader {
            path,
            meta,
            state: pax.state,
            link,
            uname: pax.uname.unwrap_or_else(|| name_of(block::UNAME)),
            gname: pax.gname.unwrap_or_else(|| name_of(block::GNAME)),
            xattrs: pax.xattrs,
            acl_access: pax.acl_access,
            acl_default: pax.acl_default,
            dumpdir: pax.dumpdir.filter(|_| kind == EntryKind::Dir),
            offset: offset.unwrap_or(at),
            ..EntryHeader::default()
        };
        self.open_data(&mut entry, header, pax.sparse, stored, at)?;
        Ok(entry)
    }

    /// Settles what the stored bytes are: content, packed extents, or names of a directory.
    fn open_data(
        &mut self,
        entry: &mut EntryHeader,
        header: &[u8; BLOCK],
        records: pax::SparseRecords,
        stored: u64,
        at: u64,
    ) -> Result<()> {
        entry.data_bytes = stored;
        entry.data_offset = self.pos;
        if header[block::TYPE] == b'D' {
            let Some(len) = usize::try_from(stored).ok().filter(|n| *n <= MAX_DUMPDIR_BYTES) else {
                return Err(corrupt(at, "list of names of a directory is absurdly large"));
            };
            let mut names = Vec::new();
            self.read_into(&mut names, len)?;
            self.read_padding(stored)?;
            entry.dumpdir = Some(names);
            entry.data_bytes = 0;
            entry.data_offset = self.pos;
            return Ok(());
        }
        if entry.meta.kind != EntryKind::File {
            // Tars differ on whether such data is there: whoever reads on would read names out of content.
            return if stored == 0 {
                Ok(())
            } else {
                Err(corrupt(at, "a member without content states a size"))
            };
        }
        entry.meta.size_bytes = stored;
        let is_old_sparse = header[block::TYPE] == b'S';
        let map = match (records.major, records.minor) {
            // Only here the map is part of the stored bytes.
            (Some(1), Some(0)) => {
                let map = self.read_map(stored, at)?;
                entry.data_bytes = stored - (self.pos - entry.data_offset);
                Some(map)
            }
            (None | Some(0), _) if is_old_sparse => Some(self.read_old_map(header, at)?),
            (None | Some(0), _) => records.map,
            _ => {
                let text = format!("tar member at byte {at} is sparse in an unknown version of the format");
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
        };
        entry.data_offset = self.pos;
        if let Some(mut extents) = map {
            let real_size = match records.real_size {
                Some(size) => size,
                None if is_old_sparse => field_u64(header, OLD_REAL_SIZE, at)?,
                None => return Err(corrupt(at, "sparse file does not state its size")),
            };
            if real_size > i64::MAX as u64 {
                return Err(corrupt(at, "size of a sparse file is out of range"));
            }
            let total = sparse::check(&extents, real_size).map_err(|e| located(at, e))?;
            if total != entry.data_bytes {
                return Err(corrupt(at, "map of a sparse file does not fit its data"));
            }
            extents.retain(|extent| extent.len != 0);
            entry.meta.size_bytes = real_size;
            entry.sparse = Some(extents);
        }
        self.data_left = entry.data_bytes;
        self.pad_left = padding(entry.data_bytes) as u64;
        Ok(())
    }

    fn read_map(&mut self, stored: u64, at: u64) -> Result<Vec<Extent>> {
        let mut parser = MapParser::default();
        let mut left = stored;
        loop {
            left = left
                .checked_sub(BLOCK as u64)
                .ok_or_else(|| corrupt(at, "map of a sparse file is longer than its data"))?;
            let block = self.read_block()?;
            if let Some(extents) = parser.feed(&block).map_err(|e| located(at, e))? {
                return Ok(extents);
            }
        }
    }

    fn read_old_map(&mut self, header: &[u8; BLOCK], at: u64) -> Result<Vec<Extent>> {
        let mut extents = Vec::new();
        sparse::add_old_gnu(&mut extents, &header[386..482]).map_err(|e| located(at, e))?;
        let mut goes_on = header[482] != 0;
        while goes_on {
            let more = self.read_block()?;
            sparse::add_old_gnu(&mut extents, &more[..504]).map_err(|e| located(at, e))?;
            goes_on = more[504] != 0;
        }
        Ok(extents)
    }

    fn read_block(&mut self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            filled += self.read_some(&mut block[filled..])?;
        }
        Ok(block)
    }

    /// Appends `len` bytes; memory grows with what comes, not with what was promised.
    fn read_into(&mut self, out: &mut Vec<u8>, len: usize) -> Result<()> {
        let mut left = len;
        while left > 0 {
            let start = out.len();
            out.resize(start + left.min(64 << 10), 0);
            let got = self.read_some(&mut out[start..])?;
            out.truncate(start + got);
            left -= got;
        }
        Ok(())
    }

    fn read_padding(&mut self, len: u64) -> Result<()> {
        let mut scratch = [0; BLOCK];
        let mut left = padding(len);
        while left > 0 {
            left -= self.read_some(&mut scratch[..left])?;
        }
        Ok(())
    }

    /// At least one byte; the end of the stream is an error.
    fn read_some(&mut self, buf: &mut [u8]) -> Result<usize> {
        loop {
            match self.inner.read(buf) {
                Ok(0) => return Err(corrupt(self.pos, "archive breaks off")),
                Ok(n) => {
                    self.pos += n as u64;
                    return Ok(n);
                }
                Err(error) if error.kind() == IoKind::Interrupted => {}
                Err(error) => return Err(Error::from_io("cannot read the tar stream", error)),
            }
        }
    }
}

/// Turns a name out of an archive into a relative path that stays below where it is put: leading `/` and all `.` and
/// empty components go. Refuses `..`, NUL, and names of which nothing is left (`.`, `/`).
pub fn safe_path(path: &[u8]) -> Result<Vec<u8>> {
    let refused = |why: &str| {
        let text =
            format!("refused to use the name `{}` out of an archive: {why}", String::from_utf8_lossy(path));
        Err(Error::new(ErrorKind::Invalid, text))
    };
    if path.contains(&0) {
        return refused("it has a NUL byte");
    }
    let mut safe = Vec::with_capacity(path.len());
    for component in path.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return refused("it has a `..`"),
            _ => {
                if !safe.is_empty() {
                    safe.push(b'/');
                }
                safe.extend_from_slice(component);
            }
        }
    }
    if safe.is_empty() { refused("nothing is left of it") } else { Ok(safe) }
}

/// What came before a member's own header.
#[derive(Default)]
struct Pending {
    pax: Pax,
    /// Of all extended headers together.
    record_bytes: usize,
    offset: Option<u64>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

/// Most bytes of a global header: its records are copied for every member.
const MAX_GLOBAL_BYTES: usize = 64 << 10;

/// Real size of a sparse file in an old GNU header.
const OLD_REAL_SIZE: block::Field = 483..495;

fn header_path(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(&header[block::NAME]);
    // Old GNU headers keep other things where the prefix is.
    let prefix =
        if header[block::MAGIC.start..].starts_with(b"ustar\0") { text(&header[block::PREFIX]) } else { b"" };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

fn kind_of(typeflag: u8, path: &[u8], at: u64) -> Result<EntryKind> {
    Ok(match typeflag {
        // Before ustar, a directory was told by its name.
        b'0' | 0 if path.ends_with(b"/") => EntryKind::Dir,
        b'0' | 0 | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' | b'D' => EntryKind::Dir,
        b'6' => EntryKind::Fifo,
        other => {
            let text = format!("tar member at byte {at} is of unknown type `{}`", [other].escape_ascii());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
    })
}

fn without_closing_slashes(mut path: Vec<u8>) -> Vec<u8> {
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    path
}

fn field_i64(header: &[u8; BLOCK], field: block::Field, at: u64) -> Result<i64> {
    number(&header[field]).map(|n| n.unwrap_or(0)).map_err(|e| located(at, e))
}

fn field_u64(header: &[u8; BLOCK], field: block::Field, at: u64) -> Result<u64> {
    u64::try_from(field_i64(header, field, at)?).map_err(|_| corrupt(at, "header has a negative size"))
}

fn field_u32(header: &[u8; BLOCK], field: block::Field, at: u64) -> Result<u32> {
    u32::try_from(field_i64(header, field, at)?).map_err(|_| corrupt(at, "header has an id out of range"))
}

fn corrupt(at: u64, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("cannot read the tar at byte {at}: {what}"))
}

fn located(at: u64, error: Error) -> Error {
    Error::new(error.kind(), format!("cannot read the tar at byte {at}: {error}"))
}
