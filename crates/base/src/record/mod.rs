//! The record of a backup: its description beside the archive, written last, the commit point.
//!
//! One line of JSON, versioned, specified in `docs/format.md`; a second line is kept free for a detached signature
//! over the exact bytes of the first. A record holds no secret and no name from inside the backed-up tree. The wire
//! form is private to this module; where records lie is said by [`crate::layout`], reading them from a storage is
//! the catalog's job.

mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::calendar::Periods;
use crate::error::Result;

/// 128 random bits that name a backup; shown as 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId(pub u128);

impl BackupId {
    /// The inverse of `to_string`; exact.
    pub fn parse(text: &str) -> Option<Self> {
        let exact = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if exact { u128::from_str_radix(text, 16).ok().map(Self) } else { None }
    }
}

impl std::fmt::Display for BackupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Size and digests of a stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDigest {
    /// 64 lower-case hex digits.
    pub blake3: String,
    /// 64 lower-case hex digits.
    pub sha256: String,
    /// Bytes of the object as it lies on the storage.
    pub bytes: u64,
}

/// Size and digests of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexDigest {
    pub stored: StoredDigest,
    /// Bytes before compression.
    pub plain_bytes: u64,
}

/// A child program that took part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    pub name: String,
    pub version: String,
    pub exit_status: i32,
}

/// Whether the backup holds all that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    Complete,
    /// Intact, but entries are missing or damaged; the counts say how many.
    Gaps,
}

/// What an increment and its parents have to have in common: they continue one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOrigin {
    /// Stands for the server, its data directory, and what is copied of that; 32 lower-case hex digits.
    pub server: String,
    /// Start of the server by its own clock, seconds since 1970.
    pub up_since: i64,
    /// The program that copies, and its series: `mariadb-backup 10.11`.
    pub tool: String,
}

/// Where a physical copy of a database lies in the log of its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSpan {
    pub origin: LogOrigin,
    /// What changed since this position is in the copy; 0 for a full one.
    pub from: u64,
    /// What follows begins here.
    pub to: u64,
    /// What the copy is the difference to; none for a full one.
    pub parent: Option<ParentArchive>,
}

/// The archive that comes before an increment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentArchive {
    /// Its file name, which stays the same in whatever directory it lies.
    pub name: String,
    /// 64 lower-case hex digits.
    pub blake3: String,
}

impl LogOrigin {
    /// Why a copy of this origin cannot be gone on with now, if it cannot.
    pub fn broken_by(&self, now: &Self) -> Option<&'static str> {
        // A server tells its age in whole seconds.
        let is_up = self.up_since.abs_diff(now.up_since) <= 2;
        match () {
            () if self.server != now.server => {
                Some("the server, its data directory or `extra_keys` is not the same any more")
            }
            () if self.tool != now.tool => Some("the backup program is of another version"),
            // After a crash or a restore the same position may stand for something else.
            () if !is_up => Some("the server was started anew since then"),
            () => None,
        }
    }
}

/// The description of one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub id: BackupId,
    /// Name and version of the program: `nxs-backup 4.0.0`.
    pub program: String,
    pub server_name: String,
    /// Host name.
    pub host: String,
    pub job: String,
    /// Place in `sources`, from 0.
    pub source: usize,
    /// Short name of the target.
    pub target: String,
    /// Directory below `backup_dir`.
    pub part: String,
    /// What was saved, exactly: the absolute path (percent-escaped where not UTF-8) or the database.
    pub root: String,
    /// The job's type; may be one that this version does not know.
    pub kind: String,
    /// `full`, or the level of an increment.
    pub level: String,
    /// The backups that a restore needs before this one, nearest first.
    pub parents: Vec<BackupId>,
    pub started: Timestamp,
    pub finished: Timestamp,
    /// The start of the run in local time, which the periods and the name follow; whole seconds.
    pub local: DateTime,
    /// Bytes as the source gave them (tar stream, dump).
    pub plain_bytes: u64,
    pub compressed_bytes: u64,
    /// After encryption; the size of the archive.
    pub stored_bytes: u64,
    pub archive: StoredDigest,
    pub index: Option<IndexDigest>,
    /// `none`, `gzip`, `zstd`, with the level: `gzip-6`.
    pub compression: String,
    /// Public keys that can decrypt; empty = not encrypted.
    pub recipients: Vec<String>,
    pub tools: Vec<Tool>,
    pub completeness: Completeness,
    /// How many entries per note, by [`crate::ports::source::NoteKind::name`]; names unknown here are kept.
    pub counts: BTreeMap<String, u64>,
    /// The calendar periods of the day of birth, whatever was kept of them.
    pub periods: Periods,
    pub files: u64,
    pub dirs: u64,
    /// What stands in the last KiB of the plain bytes of a dump; none where the format itself tells its end.
    pub end_marker: Option<String>,
    /// Of physical copies of databases that increments can follow, and of such increments.
    pub log: Option<LogSpan>,
}

impl Record {
    /// The level of a backup that is no increment and has none.
    pub const FULL: &str = "full";
    /// The level of an increment of a physical copy, which lies where the full ones do.
    pub const INCREMENT: &str = "increment";
    /// Version of the wire form that is written.
    pub const FORMAT: u32 = 1;
    /// Upper bound of a record's object, both lines; larger ones are refused unread.
    pub const MAX_BYTES: u64 = 256 * 1024;

    /// The record as it is stored: one line, newline included.
    pub fn to_line(&self) -> String {
        wire::write(self)
    }

    /// Reads a stored record. What follows the first line (a signature) is not looked at; unknown fields are
    /// ignored.
    ///
    /// Fails with [`crate::ErrorKind::Unsupported`] for a later format, with [`crate::ErrorKind::Corrupt`] for
    /// everything else that is no record (cut, too large, contradictory). Never panics.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        wire::read(bytes)
    }

    pub fn is_complete(&self) -> bool {
        self.completeness == Completeness::Complete
    }

    /// Whether it lies in the directories of periods.
    pub fn is_discrete(&self) -> bool {
        self.level == Self::FULL || self.level == Self::INCREMENT
    }
}
