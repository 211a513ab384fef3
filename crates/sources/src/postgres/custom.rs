//! The custom format of `pg_dump`, as far as it tells whether a stream of it is whole: a header, a table of contents, and
//! a block for every entry that has data. There is no trailer: the last block ends the archive.

use nxs_base::{Error, ErrorKind, Result};

pub(super) const MAGIC: &[u8] = b"PGDMP";
/// Minor versions of the format that are known: those of PostgreSQL 9.0 to 18.
const KNOWN: std::ops::RangeInclusive<u8> = 12..=16;
/// Upper bound of one entry of the table of contents.
const MAX_ENTRY_BYTES: usize = 1 << 30;
const DATA: u8 = 1;
const BLOBS: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Head,
    Entry,
    /// What opens a block; the archive may end here.
    Kind,
    Id,
    /// Number of a large object, 0 after the last one.
    Blob,
    /// Length of a piece, 0 after the last one.
    Piece,
    /// Of a version that nobody here knows.
    Unknown,
}

/// Follows a stream.
#[derive(Debug)]
pub(super) struct CustomFormat {
    step: Step,
    /// Bytes that are not whole yet.
    held: Vec<u8>,
    /// Bytes of a piece that are still to come.
    skip: u64,
    minor: u8,
    int_bytes: usize,
    offset_bytes: usize,
    entries: u64,
    /// Entries with data.
    announced: u64,
    blocks: u64,
    in_blobs: bool,
}

impl Default for CustomFormat {
    fn default() -> Self {
        Self {
            step: Step::Head,
            held: Vec::new(),
            skip: 0,
            minor: 0,
            int_bytes: 4,
            offset_bytes: 8,
            entries: 0,
            announced: 0,
            blocks: 0,
            in_blobs: false,
        }
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the archive of `pg_dump` is damaged: {what}"))
}

/// Reads from the start of bytes; none where they end too early.
struct Cursor<'a> {
    rest: &'a [u8],
    int_bytes: usize,
}

impl Cursor<'_> {
    fn take(&mut self, n: usize) -> Option<&[u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn int(&mut self) -> Option<i64> {
        let int_bytes = self.int_bytes;
        self.take(1 + int_bytes).map(int)
    }

    /// Its length; none of its bytes matter.
    fn text(&mut self) -> Option<Option<usize>> {
        match usize::try_from(self.int()?) {
            Ok(length) => self.take(length).map(|_| Some(length)),
            Err(_) => Some(None),
        }
    }

    fn texts(&mut self, n: usize) -> Option<()> {
        (0..n).try_for_each(|_| self.text().map(|_| ()))
    }
}

/// A sign and little-endian digits.
fn int(bytes: &[u8]) -> i64 {
    let value = bytes[1..].iter().rev().fold(0_i64, |value, byte| (value << 8) | i64::from(*byte));
    if bytes[0] == 0 { value } else { -value }
}

impl CustomFormat {
    /// Looks at the next bytes. [`ErrorKind::Corrupt`] for what is no archive.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        if matches!(self.step, Step::Head | Step::Entry) {
            self.held.extend_from_slice(bytes);
            let held = std::mem::take(&mut self.held);
            let used = self.contents(&held)?;
            if matches!(self.step, Step::Head | Step::Entry) {
                self.held = held[used..].to_vec();
                if self.held.len() > MAX_ENTRY_BYTES {
                    return Err(corrupt("an entry without end"));
                }
                return Ok(());
            }
            return self.push(&held[used..]);
        }
        while !bytes.is_empty() && self.step != Step::Unknown {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len() as u64);
                self.skip -= n;
                bytes = &bytes[n as usize..];
                continue;
            }
            let wanted = if self.step == Step::Kind { 1 } else { 1 + self.int_bytes };
            let n = (wanted - self.held.len()).min(bytes.len());
            self.held.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.held.len() == wanted {
                let held = std::mem::take(&mut self.held);
                self.advance(&held)?;
            }
        }
        Ok(())
    }

    /// The stream is over. [`ErrorKind::Corrupt`] unless all that was announced came, to its end.
    pub(super) fn finish(&self, program: &str) -> Result<()> {
        let is_whole = match self.step {
            Step::Unknown => true,
            step => step == Step::Kind && self.held.is_empty() && self.blocks == self.announced,
        };
        if is_whole {
            return Ok(());
        }
        let text = format!(
            "the output of `{program}` was cut: {} of {} tables are in it to their end",
            self.blocks, self.announced
        );
        Err(Error::new(ErrorKind::Corrupt, text))
    }

    /// Reads header and entries as far as they are whole, and says how many bytes that took.
    fn contents(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut used = 0;
        while matches!(self.step, Step::Head | Step::Entry) {
            let mut cursor = Cursor { rest: &bytes[used..], int_bytes: self.int_bytes };
            let read =
                if self.step == Step::Head { self.head(&mut cursor)? } else { self.entry(&mut cursor) };
            if read.is_none() {
                break;
            }
            used = bytes.len() - cursor.rest.len();
        }
        Ok(used)
    }

    fn head(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<()>> {
        let known = cursor.rest.len().min(MAGIC.len());
        if cursor.rest[..known] != MAGIC[..known] {
            return Err(corrupt("it does not open with `PGDMP`"));
        }
        let Some(fixed) = cursor.take(MAGIC.len() + 6) else { return Ok(None) };
        let [major, minor, _, int_bytes, offset_bytes, format] = fixed[MAGIC.len()..] else {
            return Ok(None);
        };
        if format != 1 || !matches!(int_bytes, 1..=8) {
            return Err(corrupt("it is of another format"));
        }
        if major != 1 || !KNOWN.contains(&minor) {
            self.step = Step::Unknown;
            return Ok(Some(()));
        }
        (self.minor, self.int_bytes, self.offset_bytes) =
            (minor, usize::from(int_bytes), usize::from(offset_bytes));
        cursor.int_bytes = self.int_bytes;
        let compression = if minor >= 15 { cursor.byte().map(drop) } else { cursor.int().map(drop) };
        let mut rest = || {
            compression?;
            (0..7).try_for_each(|_| cursor.int().map(drop))?;
            cursor.texts(3)?;
            cursor.int()
        };
        let Some(entries) = rest() else { return Ok(None) };
        self.entries = u64::try_from(entries).map_err(|_| corrupt("a count below 0"))?;
        self.step = if self.entries == 0 { Step::Kind } else { Step::Entry };
        Ok(Some(()))
    }

    fn entry(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.int()?;
        let has_data = cursor.int()? != 0;
        // Two ids, name and kind; section; definition, removal, copy statement, schema, tablespace.
        cursor.texts(4)?;
        cursor.int()?;
        cursor.texts(5)?;
        if self.minor >= 14 {
            cursor.text()?;
        }
        if self.minor >= 16 {
            cursor.int()?;
        }
        cursor.texts(2)?;
        // What it depends on.
        while cursor.text()?.is_some() {}
        cursor.take(1 + self.offset_bytes)?;
        self.announced += u64::from(has_data);
        self.entries -= 1;
        if self.entries == 0 {
            self.step = Step::Kind;
        }
        Some(())
    }

    fn advance(&mut self, held: &[u8]) -> Result<()> {
        let value = || int(held);
        self.step = match self.step {
            Step::Kind => {
                self.in_blobs = match held[0] {
                    DATA => false,
                    BLOBS => true,
                    _ => return Err(corrupt("a block of a kind that nobody knows")),
                };
                Step::Id
            }
            Step::Id if self.in_blobs => Step::Blob,
            Step::Id => Step::Piece,
            Step::Blob if value() != 0 => Step::Piece,
            Step::Piece if value() != 0 => {
                self.skip = u64::try_from(value()).map_err(|_| corrupt("a length below 0"))?;
                Step::Piece
            }
            Step::Piece if self.in_blobs => Step::Blob,
            _ => {
                self.blocks += 1;
                Step::Kind
            }
        };
        Ok(())
    }
}
