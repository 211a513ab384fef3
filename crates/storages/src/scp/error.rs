//! From answers of SFTP servers to kinds of errors. Version 3 has few codes: what a mere failure was is found out by
//! asking for the free room.

use std::io;
use std::time::Duration;

use nxs_base::{Error, ErrorKind, Result};

use super::Session;
use super::wire::{self, Answer, Reader, Request};
use crate::net::Server;

/// Below this many bytes a failed write is taken for a full disk.
const HARDLY_ANY_BYTES: u64 = 1 << 20;

/// What is being done, for questions and the errors that they end with.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) server: &'a Server,
    /// Ends with its preposition: `write `x` to`.
    pub(super) what: &'a str,
}

impl Task<'_> {
    pub(super) fn error(self, kind: ErrorKind, why: &str) -> Error {
        self.server.error(kind, self.what, why)
    }

    /// The error that the end of a line is.
    pub(super) fn io(self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.error(ErrorKind::Unreachable, &error.to_string()),
            io::ErrorKind::TimedOut => self.error(ErrorKind::Timeout, "it says nothing any more"),
            _ => self.server.io(self.what, error),
        }
    }

    /// The error that an answer is.
    pub(super) fn refused(self, answer: &Answer) -> Error {
        let Answer::Status { code, message } = answer else {
            return self.error(ErrorKind::Other, "its answer is of another kind than the question");
        };
        let words = message.to_ascii_lowercase();
        let kind = match *code {
            wire::NO_SUCH_FILE => ErrorKind::NotFound,
            wire::PERMISSION_DENIED => ErrorKind::Denied,
            wire::BAD_MESSAGE => ErrorKind::Invalid,
            wire::NO_CONNECTION | wire::CONNECTION_LOST => ErrorKind::Unreachable,
            wire::UNSUPPORTED => ErrorKind::Unsupported,
            _ if words.contains("quota") || words.contains("no space") => ErrorKind::Full,
            _ => ErrorKind::Other,
        };
        let shown: String =
            message.chars().map(|c| if c.is_control() || c == '`' { ' ' } else { c }).collect();
        self.error(kind, &format!("it answered `{}` ({code})", shown.trim()))
    }

    pub(super) fn ask(self, session: &mut Session, request: Request) -> Result<Answer> {
        session.talk.ask(request, None).map_err(|e| self.io(e))
    }

    /// Asks what is answered with a mere status.
    pub(super) fn done(self, session: &mut Session, request: Request) -> Result<()> {
        self.done_within(session, request, None)
    }

    /// The same, and waits that long for the answer.
    pub(super) fn done_within(
        self,
        session: &mut Session,
        request: Request,
        patience: Option<Duration>,
    ) -> Result<()> {
        match session.talk.ask(request, patience).map_err(|e| self.io(e))? {
            Answer::Status { code: wire::OK, .. } => Ok(()),
            other => Err(self.refused(&other)),
        }
    }
}

/// Room on the file system of a path.
pub(super) struct Room {
    pub(super) free_bytes: u64,
    is_out_of_files: bool,
    is_read_only: bool,
}

/// Asks for the room; none if the server cannot tell.
pub(super) fn room(task: Task<'_>, session: &mut Session, full: &str) -> Result<Option<Room>> {
    if !session.talk.knows(wire::STATVFS) {
        return Ok(None);
    }
    let answer = task.ask(session, Request::extended(wire::STATVFS).text(full))?;
    let Answer::Extended(bytes) = answer else { return Err(task.refused(&answer)) };
    let mut reader = Reader(&bytes);
    let mut numbers = [0; 11];
    for number in &mut numbers {
        *number = reader.long().map_err(|e| task.io(e))?;
    }
    let [_, fragment, _, _, blocks, files, _, free_files, _, flags, _] = numbers;
    Ok(Some(Room {
        free_bytes: blocks.saturating_mul(fragment),
        // Some file systems count no files at all.
        is_out_of_files: files > 0 && free_files == 0,
        is_read_only: flags & 1 != 0,
    }))
}

/// What a mere failure to write at `full` was, as far as the room tells.
pub(super) fn full_or(task: Task<'_>, session: &mut Session, full: &str, error: Error) -> Error {
    const HINT: &str = "Free room there, raise the quota, or keep fewer backups.";
    match error.kind() {
        ErrorKind::Full => return error.with_hint(HINT),
        ErrorKind::Other if !session.talk.is_broken => {}
        _ => return error,
    }
    let dir = full.rsplit_once('/').map_or("/", |(dir, _)| if dir.is_empty() { "/" } else { dir });
    match room(task, session, dir) {
        Ok(Some(room)) if room.is_read_only => task.error(ErrorKind::Denied, "its file system is read-only"),
        Ok(Some(room)) if room.free_bytes < HARDLY_ANY_BYTES || room.is_out_of_files => {
            task.error(ErrorKind::Full, "its disk is full").with_hint(HINT)
        }
        _ => error.with_hint("SFTP does not tell a quota that is used up from other failures: look there."),
    }
}
