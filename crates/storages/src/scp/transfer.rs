//! Bytes of files over SFTP, with many requests on their way at once.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use nxs_base::{Error, ErrorKind, Result};

use super::error::{Task, full_or};
use super::wire::{self, Answer, Request};
use super::{Account, Session};
use crate::net::Server;
use crate::pool::Pool;

/// Bytes of a request that every server takes.
pub(super) const SMALL: usize = 32 << 10;

/// Most bytes of a request, for servers that say what they take.
pub(super) const LARGE: usize = 255 << 10;

/// Bytes on their way.
const AT_ONCE_BYTES: usize = 8 << 20;

/// How long a disk may take to write what it was given before.
const SYNC: Duration = Duration::from_secs(1800);

/// Writes a file anew, for the owner alone, and makes it durable.
pub(super) fn write(task: Task<'_>, session: &mut Session, full: &str, data: &mut dyn Read) -> Result<()> {
    let flags = wire::FLAG_WRITE | wire::FLAG_CREATE | wire::FLAG_TRUNCATE;
    let request = Request::new(wire::SSH_FXP_OPEN).text(full).number(flags).mode(0o600);
    let handle = match task.ask(session, request)? {
        Answer::Handle(handle) => handle,
        other => {
            let error = task.refused(&other);
            return Err(full_or(task, session, full, error));
        }
    };
    let written = fill(task, session, full, &handle, data);
    if session.talk.is_broken {
        return written;
    }
    let synced = written.and_then(|()| sync(task, session, full, &handle));
    let closed = task.done(session, Request::new(wire::SSH_FXP_CLOSE).text(&handle));
    synced.and(closed.map_err(|error| full_or(task, session, full, error)))
}

fn fill(task: Task<'_>, session: &mut Session, full: &str, handle: &[u8], data: &mut dyn Read) -> Result<()> {
    let most = session.write_bytes;
    let at_once = AT_ONCE_BYTES / most;
    let mut asked = VecDeque::with_capacity(at_once);
    let mut offset = 0;
    let mut failed = None;
    loop {
        let request = match Request::write(handle, offset, most, |block| read_block(data, block)) {
            Ok(Some((request, n))) => {
                offset += n as u64;
                request
            }
            Ok(None) => break,
            Err(e) => {
                failed = Some(Error::from_io(format!("cannot {} {}", task.what, task.server), e));
                break;
            }
        };
        asked.push_back(session.talk.send(request).map_err(|e| task.io(e))?);
        if asked.len() >= at_once
            && let Some(id) = asked.pop_front()
            && let Err(error) = settled(task, session, id)?
        {
            failed = Some(full_or(task, session, full, error));
            break;
        }
    }
    for id in asked {
        if let Err(error) = settled(task, session, id)?
            && failed.is_none()
        {
            failed = Some(full_or(task, session, full, error));
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Takes the answer to a write. The outer error means that the connection is gone.
fn settled(task: Task<'_>, session: &mut Session, id: u32) -> Result<Result<()>> {
    let answer = session.talk.answer(id, None).map_err(|e| task.io(e))?;
    Ok(match answer {
        Answer::Status { code: wire::OK, .. } => Ok(()),
        other => Err(task.refused(&other)),
    })
}

fn sync(task: Task<'_>, session: &mut Session, full: &str, handle: &[u8]) -> Result<()> {
    if !session.talk.knows(wire::FSYNC) {
        return Ok(());
    }
    let done = task.done_within(session, Request::extended(wire::FSYNC).text(handle), Some(SYNC));
    done.map_err(|error| full_or(task, session, full, error))
}

/// Fills the block, so that every write is as large as it may be.
fn read_block(data: &mut dyn Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match data.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Opens a file to read; [`ErrorKind::NotFound`] for what is none.
pub(super) fn open_to_read(task: Task<'_>, session: &mut Session, full: &str) -> Result<Vec<u8>> {
    let request = Request::new(wire::SSH_FXP_OPEN).text(full).number(wire::FLAG_READ).no_attributes();
    match task.ask(session, request)? {
        Answer::Handle(handle) => Ok(handle),
        other => Err(task.refused(&other)),
    }
}

/// A request for bytes on its way.
struct Asked {
    id: u32,
    offset: u64,
    len: usize,
}

/// The data of one file on its way here.
pub(super) struct Download {
    pool: Arc<Pool<Account>>,
    server: Server,
    what: String,
    session: Option<Session>,
    handle: Vec<u8>,
    asked: VecDeque<Asked>,
    /// Requests that may be on their way: few at first, since most reads are short.
    at_once: usize,
    next: u64,
    end: u64,
    data: Vec<u8>,
    pos: usize,
}

impl Download {
    pub(super) fn new(
        pool: Arc<Pool<Account>>,
        server: Server,
        what: String,
        opened: (Session, Vec<u8>),
        range: (u64, Option<u64>),
    ) -> Self {
        let (session, handle) = opened;
        Self {
            pool,
            server,
            what,
            session: Some(session),
            handle,
            asked: VecDeque::new(),
            at_once: 2,
            next: range.0,
            end: range.1.unwrap_or(u64::MAX),
            data: Vec::new(),
            pos: 0,
        }
    }

    /// Gets the next piece; empty at the end.
    fn more(&mut self) -> Result<()> {
        let task = Task { server: &self.server, what: &self.what };
        self.data.clear();
        self.pos = 0;
        let Some(session) = &mut self.session else { return Ok(()) };
        let most = session.read_bytes;
        while self.asked.len() < self.at_once && self.next < self.end {
            let len = most.min(usize::try_from(self.end - self.next).unwrap_or(most));
            let request = Request::new(wire::SSH_FXP_READ).text(&self.handle);
            let id = session.talk.send(request.long(self.next).number(len as u32)).map_err(|e| task.io(e))?;
            self.asked.push_back(Asked { id, offset: self.next, len });
            self.next = self.next.saturating_add(len as u64);
        }
        self.at_once = (self.at_once * 2).min(AT_ONCE_BYTES / most);
        let Some(Asked { id, offset, len }) = self.asked.pop_front() else {
            self.close();
            return Ok(());
        };
        match session.talk.answer(id, None).map_err(|e| task.io(e))? {
            Answer::Data(data) if data.is_empty() || data.len() > len => {
                Err(task.error(ErrorKind::Other, "it sent another number of bytes than it was asked for"))
            }
            Answer::Data(data) => {
                if data.len() < len {
                    // What was asked for behind the gap is thrown away and asked for again.
                    for Asked { id, .. } in self.asked.drain(..) {
                        session.talk.answer(id, None).map_err(|e| task.io(e))?;
                    }
                    self.next = offset + data.len() as u64;
                    self.at_once = 1;
                }
                self.data = data;
                Ok(())
            }
            Answer::Status { code: wire::EOF, .. } => {
                self.close();
                Ok(())
            }
            other => Err(task.refused(&other)),
        }
    }

    /// Closes the file and gives the connection back.
    fn close(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        let task = Task { server: &self.server, what: &self.what };
        let mut is_fine = !session.talk.is_broken;
        for Asked { id, .. } in self.asked.drain(..) {
            is_fine = is_fine && session.talk.answer(id, None).is_ok();
        }
        is_fine =
            is_fine && task.done(&mut session, Request::new(wire::SSH_FXP_CLOSE).text(&self.handle)).is_ok();
        if is_fine {
            self.pool.put_back(session);
        }
    }
}

impl Read for Download {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.pos == self.data.len() {
            self.more().map_err(Error::into_io)?;
        }
        let n = buf.len().min(self.data.len() - self.pos);
        buf[..n].copy_from_slice(&self.data[self.pos..self.pos + n]);
        self.pos += n;
        Ok(n)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.close();
    }
}
