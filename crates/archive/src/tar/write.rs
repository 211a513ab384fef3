//! Builds the bytes in front of a member's data: extended header, ustar header, map of a sparse file.
//!
//! No I/O and no allocation besides the caller's buffer. Each member gets an extended header: times to the
//! nanosecond, `ctime`, and a `comment` with what PAX cannot hold (inode, state), on all of which GNU tar is silent.
//! Names travel as raw bytes, without a character set. The reader is `read`.

use nxs_base::entry::{EntryKind, EntryState, FileTime, Meta};
use nxs_base::error::{Error, ErrorKind, Result};

use super::block::{self, put_octal, put_text};
use super::pax::{decimal, put_number_record, put_parts, put_record, put_time_record, put_xattr_record};
use super::sparse::{self, Extent};
use super::{BLOCK, MAX_DUMPDIR_BYTES, MAX_NAME_BYTES, MAX_PAX_BYTES, pax};

/// The end of an archive: two blocks of zeros.
pub const TRAILER: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// One member to write. Data of a regular file follows the header bytes, see [`DataPlan`].
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Relative, without a trailing `/`, also for directories.
    pub path: &'a [u8],
    /// `size_bytes` is the full size of the file, holes included; counts for regular files only.
    pub meta: &'a Meta,
    /// Target of a symbolic link, or the path of the first name of a hard link; else empty.
    pub link: &'a [u8],
    /// Name of the owner; empty when there is none.
    pub uname: &'a [u8],
    /// Name of the group; empty when there is none.
    pub gname: &'a [u8],
    /// Full names (`user.x`, `security.capability`) with raw values; ACLs stand in their own fields.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
    /// Text form, see [`super::acl`].
    pub acl_access: Option<&'a [u8]>,
    pub acl_default: Option<&'a [u8]>,
    /// Where a regular file has data: ascending, in whole blocks save at the end of the file, see
    /// [`super::align_extents`]. Only these bytes follow. `None` for a file without holes.
    pub sparse: Option<&'a [Extent]>,
    pub state: EntryState,
    /// Content of a directory in GNU's form (`Yname\0Dname\0…\0`); with it `tar -xG` applies deletions.
    pub dumpdir: Option<&'a [u8]>,
}

/// What has to follow the header bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataPlan {
    /// Bytes of content: the whole file, or its extents one after the other; 0 for all but regular files.
    pub data_bytes: u64,
    /// Zeros after the content, fewer than a block.
    pub padding: usize,
}

/// Zeros that fill `len` bytes up to whole blocks.
pub fn padding(len: u64) -> usize {
    const UNIT: u64 = BLOCK as u64;
    ((UNIT - len % UNIT) % UNIT) as usize
}

/// Appends the header bytes of one member to `out`, always whole blocks; returns what has to follow.
/// Fails on names with NUL, empty or overlong names, extents out of order, and headers over the limits of the
/// reader; `out` is then as it was.
pub fn header(out: &mut Vec<u8>, m: &Member<'_>) -> Result<DataPlan> {
    let start = out.len();
    let plan = append(out, m);
    if plan.is_err() {
        out.truncate(start);
    }
    plan
}

fn append(out: &mut Vec<u8>, m: &Member<'_>) -> Result<DataPlan> {
    check_names(m)?;
    let meta = m.meta;
    let data_bytes = data_bytes(m)?;
    // Extents without a hole between them are a plain file.
    let holes = m.sparse.filter(|_| data_bytes != meta.size_bytes);

    let x_start = out.len();
    out.resize(x_start + BLOCK, 0);
    let mut scratch = [0_u8; BLOCK];
    let ustar = &mut scratch;

    let is_dir = meta.kind == EntryKind::Dir;
    if let Some(extents) = holes {
        put_record(out, b"GNU.sparse.major", b"1");
        put_record(out, b"GNU.sparse.minor", b"0");
        put_record(out, b"GNU.sparse.name", m.path);
        put_number_record(out, b"GNU.sparse.realsize", meta.size_bytes);
        let base = m.path.rsplit(|b| *b == b'/').next().unwrap_or(m.path);
        put_text(&mut ustar[block::NAME], b"GNUSparseFile.0/");
        put_text(&mut ustar[16..block::NAME.end], base);
        if extents.len() > sparse::MAX_EXTENTS {
            return Err(sparse::too_many());
        }
    } else if !put_name(ustar, m.path, is_dir) {
        // The name field keeps the beginning, for readers without PAX.
        put_text(&mut ustar[block::NAME], m.path);
        put_parts(out, &[b"path"], &[m.path, if is_dir { b"/" } else { b"" }]);
    }
    if m.link.len() > block::LINK.len() {
        put_record(out, b"linkpath", m.link);
    }
    put_text(&mut ustar[block::LINK], m.link);

    put_octal(&mut ustar[block::MODE], u64::from(meta.mode & 0o7777));
    put_id(out, ustar, &block::UID, b"uid", meta.uid);
    put_id(out, ustar, &block::GID, b"gid", meta.gid);
    put_owner(out, ustar, &block::UNAME, b"uname", m.uname);
    put_owner(out, ustar, &block::GNAME, b"gname", m.gname);
    put_mtime(out, ustar, meta.mtime);
    put_time_record(out, b"ctime", meta.ctime);
    put_comment(out, meta.ino, m.state);

    put_octal(&mut ustar[block::DEV_MAJOR], 0);
    put_octal(&mut ustar[block::DEV_MINOR], 0);
    ustar[block::TYPE] = match meta.kind {
        EntryKind::File => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Dir => b'5',
        EntryKind::Fifo => b'6',
    };
    if matches!(meta.kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
        put_device(ustar, m)?;
    }

    put_attributes(out, m, x_start + BLOCK)?;

    // The map counts as data of the member.
    let map_bytes = holes.map_or(0, |extents| sparse::map_bytes(extents, meta.size_bytes));
    let stored = data_bytes + map_bytes;
    if stored > block::MAX_OCTAL_12 {
        put_number_record(out, b"size", stored);
        put_octal(&mut ustar[block::SIZE], 0);
    } else {
        put_octal(&mut ustar[block::SIZE], stored);
    }
    close(out, ustar, x_start);
    if let Some(extents) = holes {
        sparse::put_map(out, extents, meta.size_bytes);
    }
    Ok(DataPlan { data_bytes, padding: padding(data_bytes) })
}

fn check_names(m: &Member<'_>) -> Result<()> {
    let broken = |what: &str| {
        let text = format!("cannot write `{}` to a tar: {what}", String::from_utf8_lossy(m.path));
        Err(Error::new(ErrorKind::Invalid, text))
    };
    if m.path.is_empty() || m.path.ends_with(b"/") {
        return broken("its path is empty or ends in `/`");
    }
    if m.path.len() > MAX_NAME_BYTES || m.link.len() > MAX_NAME_BYTES {
        return broken("its path or link is too long");
    }
    let names = [m.path, m.link, m.uname, m.gname];
    if names.iter().any(|name| name.contains(&0)) || m.xattrs.iter().any(|(name, _)| name.contains(&0)) {
        return broken("a name has a NUL byte");
    }
    if m.xattrs.iter().any(|(name, _)| name.is_empty()) {
        return broken("an extended attribute has no name");
    }
    match (m.meta.kind, m.link.is_empty()) {
        (EntryKind::Symlink | EntryKind::HardLink, true) => broken("it is a link without a target"),
        (EntryKind::Symlink | EntryKind::HardLink, false) | (_, true) => Ok(()),
        (_, false) => broken("it is no link and has a target"),
    }
}

/// Bytes of content that follow the header.
fn data_bytes(m: &Member<'_>) -> Result<u64> {
    if m.meta.kind != EntryKind::File {
        return Ok(0);
    }
    let size = m.meta.size_bytes;
    let invalid = |what: &str| {
        let text = format!("cannot write `{}` to a tar: {what}", String::from_utf8_lossy(m.path));
        Err(Error::new(ErrorKind::Invalid, text))
    };
    if size > i64::MAX as u64 {
        return invalid("its size is out of range");
    }
    let Some(extents) = m.sparse else { return Ok(size) };
    let filled = || extents.iter().filter(|e| e.len != 0);
    let inner = filled().count().saturating_sub(1);
    if filled().take(inner).any(|e| padding(e.len) != 0) {
        return invalid("an extent is not made of whole blocks");
    }
    match sparse::check(extents, size) {
        Ok(total) => Ok(total),
        Err(_) => invalid("its extents overlap or leave the file"),
    }
}

/// Puts the path into the name field, or into prefix and name; `false` if it does not fit.
fn put_name(ustar: &mut [u8; BLOCK], path: &[u8], is_dir: bool) -> bool {
    let len = path.len() + usize::from(is_dir);
    if len <= block::NAME.len() {
        put_text(&mut ustar[block::NAME], path);
        if is_dir {
            ustar[path.len()] = b'/';
        }
        return true;
    }
    if len > block::PREFIX.len() + 1 + block::NAME.len() {
        return false;
    }
    // The first `/` that leaves at most 100 bytes for the name leaves the shortest prefix.
    let from = len - block::NAME.len() - 1;
    let Some(at) = path[from..].iter().position(|b| *b == b'/').map(|at| from + at) else { return false };
    if at == 0 || at > block::PREFIX.len() {
        return false;
    }
    let name = &path[at + 1..];
    put_text(&mut ustar[block::PREFIX], &path[..at]);
    put_text(&mut ustar[block::NAME], name);
    if is_dir {
        ustar[name.len()] = b'/';
    }
    true
}

/// An id that the field cannot hold goes into a record; the field then says the greatest that it can.
fn put_id(out: &mut Vec<u8>, ustar: &mut [u8; BLOCK], field: &block::Field, keyword: &[u8], id: u32) {
    let id = u64::from(id);
    if id > block::MAX_OCTAL_8 {
        put_number_record(out, keyword, id);
    }
    put_octal(&mut ustar[field.clone()], id.min(block::MAX_OCTAL_8));
}

/// The field needs room for a NUL.
fn put_owner(out: &mut Vec<u8>, ustar: &mut [u8; BLOCK], field: &block::Field, keyword: &[u8], name: &[u8]) {
    if name.len() < field.len() {
        put_text(&mut ustar[field.clone()], name);
    } else {
        put_record(out, keyword, name);
    }
}

fn put_mtime(out: &mut Vec<u8>, ustar: &mut [u8; BLOCK], mtime: FileTime) {
    let seconds = u64::try_from(mtime.sec).unwrap_or(0);
    if mtime.nsec != 0 || mtime.sec < 0 || seconds > block::MAX_OCTAL_12 {
        put_time_record(out, b"mtime", mtime);
    }
    put_octal(&mut ustar[block::MTIME], seconds.min(block::MAX_OCTAL_12));
}

fn put_comment(out: &mut Vec<u8>, ino: u64, state: EntryState) {
    let state: &[u8] = match state {
        // What is removed or missing is no member.
        EntryState::Sound | EntryState::Removed | EntryState::Missing => b"",
        EntryState::Racy => b" state=racy",
        EntryState::Gap => b" state=gap",
    };
    put_parts(out, &[b"comment"], &[b"nxs ino=", decimal(&mut [0; 20], ino), state]);
}

fn put_device(ustar: &mut [u8; BLOCK], m: &Member<'_>) -> Result<()> {
    for (field, number) in [(block::DEV_MAJOR, m.meta.rdev_major), (block::DEV_MINOR, m.meta.rdev_minor)] {
        let number = u64::from(number);
        if number > block::MAX_OCTAL_8 {
            let path = String::from_utf8_lossy(m.path);
            let text = format!("cannot write device `{path}` to a tar: number {number} is too large");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        put_octal(&mut ustar[field], number);
    }
    Ok(())
}

/// Appends extended attributes, ACLs and dumpdir, and holds all records against the limits of the reader.
fn put_attributes(out: &mut Vec<u8>, m: &Member<'_>, records_start: usize) -> Result<()> {
    let acls = [(&b"SCHILY.acl.access"[..], m.acl_access), (b"SCHILY.acl.default", m.acl_default)];
    for (keyword, text) in acls {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            put_record(out, keyword, text);
        }
    }
    for (name, value) in m.xattrs {
        put_xattr_record(out, name, value);
    }
    let dumpdir = m.dumpdir.filter(|_| m.meta.kind == EntryKind::Dir);
    // With room for the record of the size.
    let too_large = out.len() - records_start > MAX_PAX_BYTES - 64
        || dumpdir.is_some_and(|names| names.len() > MAX_DUMPDIR_BYTES - MAX_PAX_BYTES);
    if too_large {
        let path = String::from_utf8_lossy(m.path);
        let text = format!("cannot write `{path}` to a tar: its extended attributes or names are too large");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    if let Some(names) = dumpdir {
        put_record(out, pax::DUMPDIR, names);
    }
    Ok(())
}

/// Fills in the extended header's own block, pads its records, appends the ustar block.
fn close(out: &mut Vec<u8>, ustar: &mut [u8; BLOCK], x_start: usize) {
    let records = out.len() - x_start - BLOCK;
    out.resize(x_start + BLOCK + records.next_multiple_of(BLOCK), 0);

    let x = &mut out[x_start..x_start + BLOCK];
    put_text(&mut x[block::NAME], b"././@PaxHeader");
    put_octal(&mut x[block::MODE], 0o644);
    for field in [block::UID, block::GID, block::MTIME, block::DEV_MAJOR, block::DEV_MINOR] {
        put_octal(&mut x[field], 0);
    }
    put_octal(&mut x[block::SIZE], records as u64);
    x[block::TYPE] = b'x';
    x[block::MAGIC].copy_from_slice(block::MAGIC_POSIX);
    block::seal(x);

    ustar[block::MAGIC].copy_from_slice(block::MAGIC_POSIX);
    block::seal(ustar);
    out.extend_from_slice(ustar);
}
