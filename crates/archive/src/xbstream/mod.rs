//! Reads xbstream, the form in which `mariadb-backup` and `xtrabackup` write a backup to a pipe: chunks of several
//! files, one after the other.
//!
//! A push parser without I/O: bytes in, pieces of files out, whatever the cuts between the bytes. It judges what can be
//! judged: magic, types, paths, that the chunks of a file follow each other, the CRC-32 of every chunk, that each file
//! ends, and that the stream ends after a chunk. What the files are is for those who ask for it.
//!
//! A chunk: `XBSTCK01`, one byte of flags, one of type, length of the path (u32), the path; numbers are little endian.
//! Then by type. `P` payload: length (u64), offset (u64), CRC-32 (u32), bytes. `E` end of the file: nothing. `S` of
//! Percona's tool: number of stretches (u32), length, offset, CRC-32 over what follows, stretches (skip u32, length u32),
//! bytes. `S` of MariaDB's: offset (u64), where the next payload stands. `R` rename: length of the new path (u32), the
//! new path. `D` remove: nothing.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use libdeflater::Crc;
use nxs_base::error::{Error, ErrorKind, Result};

const MAGIC: &[u8; 8] = b"XBSTCK01";
/// Magic, flags, type, length of the path.
const FIXED_BYTES: usize = 14;
/// The writers know 512.
const MAX_PATH_BYTES: usize = 1024;
/// A chunk of Percona's tool holds 10 MiB in pages of 1 KiB at least.
const MAX_STRETCHES: usize = 1 << 16;
/// Files that may be open at the same time: as many as threads copy, and the log.
const MAX_OPEN: usize = 4096;
/// The chunk says the file anew from its beginning.
const FLAG_REWRITE: u8 = 2;

/// What a stream says of its files.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of a file. Only the end of the file, or of the stream, says that they were right.
    Data { path: &'a [u8], offset: u64, bytes: &'a [u8] },
    /// What came of this file before does not count: it follows anew.
    Again { path: &'a [u8] },
    /// The file is complete; it may never have had a byte. `size` counts holes at its end.
    End { path: &'a [u8], size: u64 },
    /// A complete file gets another name.
    Renamed { from: &'a [u8], to: &'a [u8] },
    /// A complete file goes.
    Removed { path: &'a [u8] },
}

/// Takes the pieces in order.
pub type Taker<'t> = &'t mut dyn FnMut(Piece<'_>) -> Result<()>;

/// What a whole stream had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Ends of files.
    pub files: u64,
    pub bytes: u64,
}

/// The parser. Memory: one header, and what is open.
#[derive(Debug, Default)]
pub struct Parser {
    /// The header of the chunk as far as it came.
    head: Vec<u8>,
    body: Option<Body>,
    /// Where the next payload of each open file stands.
    open: BTreeMap<Vec<u8>, u64>,
    /// Bytes of the stream before the chunk.
    at: u64,
    /// Bytes of the chunk so far.
    taken: u64,
    totals: Totals,
}

/// The payload of a chunk, on its way.
#[derive(Debug)]
struct Body {
    path: Vec<u8>,
    /// Where the next byte stands.
    offset: u64,
    left: u64,
    /// Stretches still to come: skip, length. Empty for a plain payload.
    stretches: std::collections::VecDeque<(u32, u32)>,
    /// Left of the first stretch; all that is left in a plain payload.
    stretch_left: u64,
    is_sparse: bool,
    crc: Crc32,
    expected: u32,
}

/// [`Crc`] has no `Debug`.
struct Crc32(Crc);

impl std::fmt::Debug for Crc32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0.sum())
    }
}

/// A header that is complete.
enum Head {
    Payload { length: u64, offset: u64, crc: u32 },
    Sparse { length: u64, offset: u64, crc: u32, map: Vec<u8> },
    Seek(u64),
    End,
    Rename(Vec<u8>),
    Remove,
}

impl Parser {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, any number of them. Fails with [`ErrorKind::Corrupt`] at the first byte that cannot be, or with
    /// what `taker` fails with; it is of no use then.
    pub fn push(&mut self, mut bytes: &[u8], taker: Taker<'_>) -> Result<()> {
        while !bytes.is_empty() {
            let used = match self.body {
                Some(_) => self.push_body(bytes, taker)?,
                None => self.push_head(bytes, taker)?,
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// Says that there are no more bytes. [`ErrorKind::Corrupt`] within a chunk, with a file that did not end, and for a
    /// stream without a file.
    pub fn finish(self) -> Result<Totals> {
        if !self.head.is_empty() || self.body.is_some() {
            return Err(self.corrupt("is cut"));
        }
        if let Some(path) = self.open.keys().next() {
            let text = format!("{} files have no end, `{}` among them", self.open.len(), path.escape_ascii());
            return Err(self.corrupt(&text));
        }
        if self.totals.files == 0 {
            return Err(self.corrupt("holds no file"));
        }
        Ok(self.totals)
    }

    /// Returns how many bytes it took.
    fn push_head(&mut self, bytes: &[u8], taker: Taker<'_>) -> Result<usize> {
        let mut used = 0;
        loop {
            let needed = self.needed()?;
            if self.head.len() >= needed {
                break;
            }
            let n = (needed - self.head.len()).min(bytes.len() - used);
            if n == 0 {
                return Ok(used);
            }
            self.head.extend_from_slice(&bytes[used..used + n]);
            self.taken += n as u64;
            used += n;
        }
        let path_end = FIXED_BYTES + self.path_len();
        let path = plain_path(&self.head[FIXED_BYTES..path_end]).ok_or_else(|| {
            let path = self.head[FIXED_BYTES..path_end].escape_ascii();
            self.corrupt(&format!("names a file `{path}`"))
        })?;
        let path = path.to_vec();
        let head = self.read_head(&self.head[path_end..])?;
        self.begin(path, head, taker)?;
        Ok(used)
    }

    /// How long the header is, as far as that is known by now.
    fn needed(&self) -> Result<usize> {
        let known = self.head.len().min(MAGIC.len());
        if self.head[..known] != MAGIC[..known] {
            return Err(self.corrupt("has something else where a chunk should begin"));
        }
        if self.head.len() < FIXED_BYTES {
            return Ok(FIXED_BYTES);
        }
        if self.path_len() > MAX_PATH_BYTES {
            return Err(self.corrupt(&format!("names a file with {} bytes", self.path_len())));
        }
        let path_end = FIXED_BYTES + self.path_len();
        let rest = self.head.get(path_end..).unwrap_or_default();
        let more = match self.head[9] {
            b'P' => 20,
            b'E' | b'D' => 0,
            b'R' => {
                4 + rest.first_chunk().map_or(0, |n| u32::from_le_bytes(*n) as usize).min(MAX_PATH_BYTES + 1)
            }
            b'S' if rest.len() < 16 || is_seek(rest) => 16,
            b'S' => {
                let stretches = number32(rest) as usize;
                if stretches > MAX_STRETCHES {
                    return Err(self.corrupt(&format!("has a chunk of {stretches} stretches")));
                }
                24 + 8 * stretches
            }
            kind => {
                return Err(self.corrupt(&format!("has a chunk of the type `{}`", kind.escape_ascii())));
            }
        };
        Ok(path_end + more)
    }

    fn path_len(&self) -> usize {
        number32(&self.head[10..]) as usize
    }

    /// What stands behind the path.
    fn read_head(&self, rest: &[u8]) -> Result<Head> {
        Ok(match self.head[9] {
            b'P' => Head::Payload {
                length: number64(rest),
                offset: number64(&rest[8..]),
                crc: number32(&rest[16..]),
            },
            b'E' => Head::End,
            b'D' => Head::Remove,
            b'R' => match plain_path(&rest[4..]) {
                Some(path) => Head::Rename(path.to_vec()),
                None => return Err(self.corrupt(&format!("names a file `{}`", rest[4..].escape_ascii()))),
            },
            _ if is_seek(rest) => Head::Seek(number64(rest)),
            _ => Head::Sparse {
                length: number64(&rest[4..]),
                offset: number64(&rest[12..]),
                crc: number32(&rest[20..]),
                map: rest[24..].to_vec(),
            },
        })
    }

    fn begin(&mut self, path: Vec<u8>, head: Head, taker: Taker<'_>) -> Result<()> {
        let is_rewrite = self.head[8] & FLAG_REWRITE != 0;
        match head {
            Head::Payload { length, offset, crc } => {
                self.place(&path, offset, length, is_rewrite, taker)?;
                self.body = Some(Body {
                    path,
                    offset,
                    left: length,
                    stretches: [].into(),
                    stretch_left: length,
                    is_sparse: false,
                    crc: Crc32(Crc::new()),
                    expected: crc,
                });
            }
            Head::Sparse { length, offset, crc, map } => {
                self.place(&path, offset, length, is_rewrite, taker)?;
                let stretches: std::collections::VecDeque<(u32, u32)> =
                    map.chunks_exact(8).map(|pair| (number32(pair), number32(&pair[4..]))).collect();
                let sum: u64 = stretches.iter().map(|(_, len)| u64::from(*len)).sum();
                let skipped: u64 = stretches.iter().map(|(skip, _)| u64::from(*skip)).sum();
                if sum != length || offset.checked_add(length).and_then(|n| n.checked_add(skipped)).is_none()
                {
                    return Err(self.corrupt("has a sparse chunk whose stretches are not its bytes"));
                }
                let mut crc32 = Crc::new();
                crc32.update(&map);
                let mut body = Body {
                    path,
                    offset,
                    left: length,
                    stretches,
                    stretch_left: 0,
                    is_sparse: true,
                    crc: Crc32(crc32),
                    expected: crc,
                };
                body.next_stretch();
                self.body = Some(body);
            }
            Head::Seek(offset) => {
                self.open_file(path, offset)?;
                // What was looked at to tell it from the other kind begins the next chunk.
                self.next_chunk();
                self.at -= MAGIC.len() as u64;
                self.taken = MAGIC.len() as u64;
                self.head.extend_from_slice(MAGIC);
                return Ok(());
            }
            Head::End => {
                let size = self.open.remove(&path).unwrap_or(0);
                self.totals.files += 1;
                taker(Piece::End { path: &path, size })?;
            }
            Head::Rename(_) | Head::Remove if self.open.contains_key(&path) => {
                return Err(
                    self.corrupt(&format!("moves or removes `{}`, which did not end", path.escape_ascii()))
                );
            }
            Head::Rename(to) => taker(Piece::Renamed { from: &path, to: &to })?,
            Head::Remove => taker(Piece::Removed { path: &path })?,
        }
        match &self.body {
            Some(body) if body.left > 0 => {
                self.head.clear();
                Ok(())
            }
            Some(_) => self.end_body(),
            None => {
                self.next_chunk();
                Ok(())
            }
        }
    }

    /// Whether a payload can stand there: where the one before it ended.
    fn place(
        &mut self,
        path: &[u8],
        offset: u64,
        length: u64,
        is_rewrite: bool,
        taker: Taker<'_>,
    ) -> Result<()> {
        if offset.checked_add(length).is_none() {
            return Err(self.corrupt("has a chunk beyond the end of any file"));
        }
        let stands = self.open.get(path).copied();
        if is_rewrite && stands.is_none() {
            taker(Piece::Again { path })?;
        }
        if offset != stands.unwrap_or(0) {
            let text = format!(
                "has a chunk of `{}` for byte {offset}, where byte {} should follow",
                path.escape_ascii(),
                stands.unwrap_or(0)
            );
            return Err(self.corrupt(&text));
        }
        self.open_file(path.to_vec(), offset)
    }

    fn open_file(&mut self, path: Vec<u8>, offset: u64) -> Result<()> {
        self.open.insert(path, offset);
        if self.open.len() > MAX_OPEN {
            return Err(self.corrupt("has too many files open at once"));
        }
        Ok(())
    }

    fn push_body(&mut self, bytes: &[u8], taker: Taker<'_>) -> Result<usize> {
        let Some(body) = &mut self.body else { return Ok(0) };
        let n = usize::try_from(body.stretch_left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let bytes = &bytes[..n];
        body.crc.0.update(bytes);
        taker(Piece::Data { path: &body.path, offset: body.offset, bytes })?;
        body.offset += n as u64;
        body.left -= n as u64;
        body.stretch_left -= n as u64;
        self.taken += n as u64;
        self.totals.bytes += n as u64;
        if body.stretch_left == 0 {
            body.next_stretch();
        }
        if body.left == 0 {
            self.end_body()?;
        }
        Ok(n)
    }

    fn end_body(&mut self) -> Result<()> {
        let Some(mut body) = self.body.take() else { return Ok(()) };
        if body.crc.0.sum() != body.expected {
            let text = format!("has a chunk of `{}` with another checksum", body.path.escape_ascii());
            return Err(self.corrupt(&text));
        }
        // Holes after the last byte.
        body.next_stretch();
        if let Some(stands) = self.open.get_mut(&body.path) {
            *stands = body.offset;
        }
        self.next_chunk();
        Ok(())
    }

    fn next_chunk(&mut self) {
        self.head.clear();
        self.at += self.taken;
        self.taken = 0;
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::new(ErrorKind::Corrupt, format!("the xbstream {what}, in the chunk at byte {}", self.at))
    }
}

impl Body {
    /// Goes over what is skipped, up to the next byte.
    fn next_stretch(&mut self) {
        while self.is_sparse && self.stretch_left == 0 {
            let Some((skip, length)) = self.stretches.pop_front() else { return };
            self.offset += u64::from(skip);
            self.stretch_left = u64::from(length);
        }
    }
}

/// Whether the next chunk begins where the other kind of `S` has a length and an offset.
fn is_seek(rest: &[u8]) -> bool {
    rest.get(8..16).is_some_and(|bytes| bytes == MAGIC)
}

/// The path without a leading `./`; none unless it stays where it is unpacked.
fn plain_path(path: &[u8]) -> Option<&[u8]> {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let is_plain = |name: &[u8]| !name.is_empty() && name != b"." && name != b"..";
    let good = path.len() <= MAX_PATH_BYTES && !path.contains(&0) && path.split(|b| *b == b'/').all(is_plain);
    good.then_some(path)
}

/// The first four bytes.
fn number32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The first eight bytes.
fn number64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
