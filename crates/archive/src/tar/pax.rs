//! Records of extended headers (`length keyword=value\n`): written, walked, and gathered for one member.
//!
//! Rules: POSIX.1-2001 pax, "pax Extended Header"; keywords of star (`SCHILY.*`) and GNU tar (`GNU.*`).
//! Values are raw bytes; no character set is converted.

use nxs_base::entry::{EntryState, FileTime};
use nxs_base::error::{Error, ErrorKind, Result};

use super::acl;
use super::sparse::{self, Extent};

pub(super) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";
pub(super) const DUMPDIR: &[u8] = b"GNU.dumpdir";

/// Decimal digits of `value` in the end of `buf`.
pub(super) fn decimal(buf: &mut [u8; 20], value: u64) -> &[u8] {
    let mut at = buf.len();
    let mut rest = value;
    loop {
        at -= 1;
        buf[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &buf[at..];
        }
    }
}

pub(super) fn put_decimal(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(decimal(&mut [0; 20], value));
}

/// Appends one record.
pub(super) fn put_record(out: &mut Vec<u8>, keyword: &[u8], value: &[u8]) {
    put_parts(out, &[keyword], &[value]);
}

/// Appends one record whose keyword and value come in parts.
pub(super) fn put_parts(out: &mut Vec<u8>, keyword: &[&[u8]], value: &[&[u8]]) {
    // The stated length counts its own digits.
    let rest: usize = keyword.iter().chain(value).map(|part| part.len()).sum::<usize>() + 3;
    let mut total = rest + 1;
    while total != rest + digits_of(total) {
        total = rest + digits_of(total);
    }
    put_decimal(out, total as u64);
    out.push(b' ');
    keyword.iter().for_each(|part| out.extend_from_slice(part));
    out.push(b'=');
    value.iter().for_each(|part| out.extend_from_slice(part));
    out.push(b'\n');
}

fn digits_of(value: usize) -> usize {
    value.checked_ilog10().map_or(1, |n| n as usize + 1)
}

pub(super) fn put_number_record(out: &mut Vec<u8>, keyword: &[u8], value: u64) {
    put_record(out, keyword, decimal(&mut [0; 20], value));
}

/// Appends a time as decimal seconds, without closing zeros. Negative times count from zero, as pax wants it.
pub(super) fn put_time_record(out: &mut Vec<u8>, keyword: &[u8], time: FileTime) {
    let nsec = time.nsec.min(999_999_999);
    let (negative, sec, nsec) = match (time.sec < 0, nsec) {
        (false, _) => (false, time.sec.unsigned_abs(), nsec),
        (true, 0) => (true, time.sec.unsigned_abs(), 0),
        (true, _) => (true, time.sec.unsigned_abs() - 1, 1_000_000_000 - nsec),
    };
    let mut text = [0_u8; 32];
    let mut at = 0;
    if negative {
        text[0] = b'-';
        at = 1;
    }
    let mut buf = [0; 20];
    let digits = decimal(&mut buf, sec);
    text[at..at + digits.len()].copy_from_slice(digits);
    at += digits.len();
    if nsec != 0 {
        text[at] = b'.';
        let mut rest = nsec;
        for place in text[at + 1..at + 10].iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        at += 10;
        while text[at - 1] == b'0' {
            at -= 1;
        }
    }
    put_record(out, keyword, &text[..at]);
}

/// Appends an extended attribute; `=` and `%` in its name are escaped as GNU tar does it.
pub(super) fn put_xattr_record(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if !name.iter().any(|b| matches!(b, b'=' | b'%')) {
        return put_parts(out, &[XATTR_PREFIX, name], &[value]);
    }
    let mut escaped = Vec::with_capacity(name.len() + 16);
    for &byte in name {
        match byte {
            b'=' => escaped.extend_from_slice(b"%3D"),
            b'%' => escaped.extend_from_slice(b"%25"),
            _ => escaped.push(byte),
        }
    }
    put_parts(out, &[XATTR_PREFIX, &escaped], &[value]);
}

fn xattr_name(escaped: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(b"%3D") {
            name.push(b'=');
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix(b"%25") {
            name.push(b'%');
            rest = tail;
        } else {
            name.push(first);
            rest = tail;
        }
    }
    name
}

/// One record as it stands at the front of some bytes.
pub(super) struct Record<'a> {
    pub(super) keyword: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) rest: &'a [u8],
}

/// Takes the first record off `bytes`.
pub(super) fn split_record(bytes: &[u8]) -> Result<Record<'_>> {
    let (len, head) = record_length(bytes)?;
    let record = bytes.get(..len).ok_or_else(|| malformed(bytes))?;
    let body = record[head..].strip_suffix(b"\n").ok_or_else(|| malformed(bytes))?;
    let equals = body.iter().position(|b| *b == b'=').filter(|at| *at > 0).ok_or_else(|| malformed(bytes))?;
    Ok(Record { keyword: &body[..equals], value: &body[equals + 1..], rest: &bytes[len..] })
}

/// The stated length of the first record and the bytes that its digits and the blank take.
fn record_length(bytes: &[u8]) -> Result<(usize, usize)> {
    let blank = bytes.iter().take(12).position(|b| *b == b' ').ok_or_else(|| malformed(bytes))?;
    let len =
        number(&bytes[..blank]).and_then(|n| usize::try_from(n).ok()).ok_or_else(|| malformed(bytes))?;
    if len <= blank + 1 {
        return Err(malformed(bytes));
    }
    Ok((len, blank + 1))
}

/// Whether the bytes are whole records followed by the beginning of a record of `keyword`.
pub(super) fn breaks_off_in(mut bytes: &[u8], keyword: &[u8]) -> Result<bool> {
    while !bytes.is_empty() {
        let (len, head) = record_length(bytes)?;
        if len > bytes.len() {
            return Ok(bytes[head..].strip_prefix(keyword).is_some_and(|b| b.starts_with(b"=")));
        }
        bytes = &bytes[len..];
    }
    Ok(false)
}

fn malformed(bytes: &[u8]) -> Error {
    let shown = &bytes[..bytes.len().min(32)];
    Error::new(ErrorKind::Corrupt, format!("malformed extended header record `{}`", shown.escape_ascii()))
}

/// Plain decimal digits, nothing else.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Decimal seconds with an optional sign and fraction; digits beyond nanoseconds are dropped (towards the past).
pub(super) fn time(text: &[u8]) -> Option<FileTime> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|b| *b == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    let sec = i64::try_from(number(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut nsec = (0..9).fold(0_u32, |n, i| n * 10 + fraction.get(i).map_or(0, |b| u32::from(b - b'0')));
    if !negative {
        return Some(FileTime { sec, nsec });
    }
    if fraction.iter().skip(9).any(|b| *b != b'0') {
        nsec += 1;
    }
    if nsec == 0 {
        Some(FileTime { sec: -sec, nsec })
    } else {
        Some(FileTime { sec: -sec - 1, nsec: 1_000_000_000 - nsec })
    }
}

/// What the records in front of one member say. An absent record leaves the word to the ustar header.
#[derive(Debug, Clone, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) uname: Option<Vec<u8>>,
    pub(super) gname: Option<Vec<u8>>,
    pub(super) mtime: Option<FileTime>,
    pub(super) ctime: Option<FileTime>,
    pub(super) ino: Option<u64>,
    pub(super) state: EntryState,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) acl_access: Option<Vec<u8>>,
    pub(super) acl_default: Option<Vec<u8>>,
    pub(super) dumpdir: Option<Vec<u8>>,
    pub(super) sparse: SparseRecords,
}

/// GNU's sparse records of all three PAX versions.
#[derive(Debug, Clone, Default)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// Version 0.0 and 0.1 state the map here; in 1.0 it stands before the data.
    pub(super) map: Option<Vec<Extent>>,
    next_offset: Option<u64>,
}

impl Pax {
    /// Adds all records of one extended header of a member.
    pub(super) fn add_local(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let record = split_record(bytes)?;
            self.add(record.keyword, record.value)?;
            bytes = record.rest;
        }
        Ok(())
    }

    /// Adds all records of a global header. Records that only make sense for one member are refused.
    pub(super) fn add_global(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let record = split_record(bytes)?;
            let keyword = record.keyword;
            let single = [&b"path"[..], b"linkpath", b"size", DUMPDIR].contains(&keyword)
                || keyword == b"RHT.security.selinux"
                || [&b"GNU.sparse."[..], b"SCHILY."].iter().any(|prefix| keyword.starts_with(prefix));
            if single {
                let text = format!("global header sets `{}` for all members", keyword.escape_ascii());
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
            self.add(keyword, record.value)?;
            bytes = record.rest;
        }
        Ok(())
    }

    fn add(&mut self, keyword: &[u8], value: &[u8]) -> Result<()> {
        let bad = || {
            let shown = &value[..value.len().min(64)];
            let text =
                format!("extended header has `{}` as `{}`", shown.escape_ascii(), keyword.escape_ascii());
            Error::new(ErrorKind::Corrupt, text)
        };
        // An empty value takes the record back.
        let bytes = || (!value.is_empty()).then(|| value.to_vec());
        let name = || if value.contains(&0) { Err(bad()) } else { Ok(bytes()) };
        let count = || if value.is_empty() { Ok(None) } else { number(value).map(Some).ok_or_else(bad) };
        let id = || count()?.map(|n| u32::try_from(n).map_err(|_| bad())).transpose();
        let moment = || if value.is_empty() { Ok(None) } else { time(value).map(Some).ok_or_else(bad) };
        match keyword {
            b"path" => self.path = name()?,
            b"linkpath" => self.linkpath = name()?,
            b"size" => self.size = count()?,
            b"uid" => self.uid = id()?,
            b"gid" => self.gid = id()?,
            b"uname" => self.uname = name()?,
            b"gname" => self.gname = name()?,
            b"mtime" => self.mtime = moment()?,
            b"ctime" => self.ctime = moment()?,
            b"comment" => self.add_comment(value),
            b"SCHILY.acl.access" => self.acl_access = bytes(),
            b"SCHILY.acl.default" => self.acl_default = bytes(),
            b"RHT.security.selinux" => {
                let context = value.strip_suffix(b"\0").unwrap_or(value);
                self.xattrs.push((b"security.selinux".to_vec(), context.to_vec()));
            }
            DUMPDIR => self.dumpdir = Some(value.to_vec()),
            b"GNU.sparse.major" => self.sparse.major = count()?,
            b"GNU.sparse.minor" => self.sparse.minor = count()?,
            b"GNU.sparse.name" => self.sparse.name = name()?,
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.real_size = count()?,
            b"GNU.sparse.map" => self.sparse.map = Some(sparse::parse_map_record(value).ok_or_else(bad)?),
            b"GNU.sparse.offset" => {
                if self.sparse.next_offset.is_some() {
                    return Err(bad());
                }
                self.sparse.next_offset = Some(number(value).ok_or_else(bad)?);
            }
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.next_offset.take().ok_or_else(bad)?;
                let len = number(value).ok_or_else(bad)?;
                self.sparse.map.get_or_insert_default().push(Extent { offset, len });
            }
            _ => {
                if let Some(escaped) = keyword.strip_prefix(XATTR_PREFIX) {
                    if escaped.is_empty() || escaped.contains(&0) {
                        return Err(bad());
                    }
                    self.xattrs.push((xattr_name(escaped), value.to_vec()));
                }
            }
        }
        Ok(())
    }

    /// Sorts the extended attributes by name; of two with the same name the later one stays. ACLs that came as raw
    /// attributes (GNU tar writes them twice) move to their own fields.
    pub(super) fn settle_xattrs(&mut self) -> Result<()> {
        if self.xattrs.is_empty() {
            return Ok(());
        }
        self.xattrs.reverse();
        self.xattrs.sort_by(|a, b| a.0.cmp(&b.0));
        self.xattrs.dedup_by(|later, kept| later.0 == kept.0);
        let acls = [
            (&b"system.posix_acl_access"[..], &mut self.acl_access),
            (b"system.posix_acl_default", &mut self.acl_default),
        ];
        for (name, text) in acls {
            if let Ok(at) = self.xattrs.binary_search_by(|x| x.0.as_slice().cmp(name)) {
                let (_, raw) = self.xattrs.remove(at);
                if text.is_none() {
                    *text = Some(acl::decode(&raw)?);
                }
            }
        }
        Ok(())
    }

    fn add_comment(&mut self, value: &[u8]) {
        let Some(words) = value.strip_prefix(b"nxs ") else { return };
        for word in words.split(|b| *b == b' ') {
            if let Some(ino) = word.strip_prefix(b"ino=") {
                self.ino = number(ino);
            } else if let Some(state) = word.strip_prefix(b"state=") {
                self.state = match state {
                    b"racy" => EntryState::Racy,
                    b"gap" => EntryState::Gap,
                    _ => EntryState::Sound,
                };
            }
        }
    }
}
