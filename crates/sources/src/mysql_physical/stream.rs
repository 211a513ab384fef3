//! A stream of the backup program while it flows: whether it is whole, and what it says of itself.

use nxs_archive::xbstream::{Parser, Piece, Totals};
use nxs_base::{Error, ErrorKind, Result};

/// Names of the file with the log sequence numbers, and of that with the description: MariaDB 11 has its own.
pub(super) const CHECKPOINTS: [&str; 2] = ["xtrabackup_checkpoints", "mariadb_backup_checkpoints"];
pub(super) const INFO: [&str; 2] = ["xtrabackup_info", "mariadb_backup_info"];
/// Upper bound of each of them.
const MAX_NOTE_BYTES: usize = 64 << 10;

/// What a whole stream was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) totals: Totals,
    pub(super) checkpoints: Notes,
    pub(super) info: Notes,
}

/// Lines `key = value`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Notes(String);

impl Notes {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self(String::from_utf8_lossy(bytes).into_owned())
    }

    pub(super) fn value(&self, key: &str) -> Option<&str> {
        let mut lines = self.0.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.value(key)?.parse().ok()
    }
}

/// Judges a stream block by block.
#[derive(Debug, Default)]
pub(super) struct Watch {
    parser: Parser,
    checkpoints: Option<Vec<u8>>,
    info: Option<Vec<u8>>,
    /// Whether they ended.
    ended: [bool; 2],
}

impl Watch {
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let (checkpoints, info, ended) = (&mut self.checkpoints, &mut self.info, &mut self.ended);
        let mut note = |path: &[u8], bytes: Option<&[u8]>| {
            let is = |names: [&str; 2]| names.iter().any(|name| name.as_bytes() == path);
            let (kept, ended) = match () {
                () if is(CHECKPOINTS) => (&mut *checkpoints, &mut ended[0]),
                () if is(INFO) => (&mut *info, &mut ended[1]),
                () => return,
            };
            let kept = kept.get_or_insert_default();
            match bytes {
                Some(bytes) => kept.extend_from_slice(&bytes[..bytes.len().min(MAX_NOTE_BYTES - kept.len())]),
                None => *ended = true,
            }
        };
        self.parser.push(bytes, &mut |piece| {
            match piece {
                Piece::Data { path, bytes, .. } => note(path, Some(bytes)),
                Piece::End { path, .. } => note(path, None),
                Piece::Again { .. } | Piece::Renamed { .. } | Piece::Removed { .. } => {}
            }
            Ok(())
        })
    }

    /// [`ErrorKind::Corrupt`] unless the stream ended as a whole backup does.
    pub(super) fn finish(self) -> Result<Facts> {
        let totals = self.parser.finish()?;
        let missing = |names: [&str; 2]| {
            Error::new(
                ErrorKind::Corrupt,
                format!("the xbstream has no `{}`, which every backup ends with", names[0]),
            )
        };
        let note = |kept: Option<Vec<u8>>, ended: bool, names| match kept {
            Some(bytes) if ended => Ok(Notes::parse(&bytes)),
            _ => Err(missing(names)),
        };
        let facts = Facts {
            totals,
            checkpoints: note(self.checkpoints, self.ended[0], CHECKPOINTS)?,
            info: note(self.info, self.ended[1], INFO)?,
        };
        if facts.checkpoints.number("to_lsn").is_none() {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("`{}` of the xbstream names no `to_lsn`", CHECKPOINTS[0]),
            ));
        }
        Ok(facts)
    }
}
