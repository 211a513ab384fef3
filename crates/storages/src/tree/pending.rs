//! A partial object on a server of files: filled, its size checked, published under its final name or removed.

use std::io::{self, Read};
use std::sync::Arc;

use nxs_base::ports::storage::{ObjectKey, Pending};
use nxs_base::{Error, ErrorKind, Result};

use super::retry::Retry;
use super::{FileServer, look, make_dirs, move_to_free, prune};

pub(super) struct TreePending<S: FileServer> {
    server: Arc<S>,
    retry: Retry,
    key: ObjectKey,
    part: String,
    new_dirs: usize,
    size_bytes: u64,
    done: bool,
}

/// Counts what was taken from the source, and keeps its error apart from those of the server.
struct Source<'a> {
    inner: &'a mut dyn Read,
    key: &'a ObjectKey,
    was_asked: bool,
    bytes: u64,
    failed: Option<Error>,
}

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.was_asked = true;
        loop {
            match self.inner.read(buf) {
                Ok(n) => {
                    self.bytes += n as u64;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let kind = e.kind();
                    let message = format!("cannot read what `{}` is to hold", self.key);
                    self.failed = Some(Error::from_io(message, e));
                    return Err(kind.into());
                }
            }
        }
    }
}

impl<S: FileServer> TreePending<S> {
    /// Writes `data` to its end under the partial name. Tried again only as long as nothing was taken from `data`.
    pub(super) fn fill(
        server: &Arc<S>,
        retry: Retry,
        key: &ObjectKey,
        part: String,
        data: &mut dyn Read,
    ) -> Result<Self> {
        let mut pending = Self {
            server: Arc::clone(server),
            retry,
            key: key.clone(),
            part,
            new_dirs: 0,
            size_bytes: 0,
            // Until something may lie there.
            done: true,
        };
        let mut source = Source { inner: data, key, was_asked: false, bytes: 0, failed: None };
        let mut lasting = None;
        let written = retry.run(|_| {
            let mut outcome = server.write(&pending.part, &mut source);
            if matches!(&outcome, Err(e) if e.kind() == ErrorKind::NotFound && !source.was_asked) {
                pending.new_dirs += make_dirs(&**server, key.dir())?;
                outcome = server.write(&pending.part, &mut source);
            }
            if source.was_asked
                && let Err(error) = outcome
            {
                lasting = Some(error);
                return Ok(());
            }
            outcome
        });
        pending.done = false;
        let failed = source.failed.take().or(lasting);
        failed.map_or(written, Err)?;
        let arrived = look(&**server, retry, &pending.part)?.map_or(0, |entry| entry.size_bytes);
        if arrived != source.bytes {
            let message =
                format!("cannot store `{key}`: {arrived} bytes arrived, {} were sent", source.bytes);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        pending.size_bytes = arrived;
        Ok(pending)
    }

    /// Publishes; with `replace`, over whatever file or link is there.
    pub(super) fn publish(mut self, replace: bool) -> Result<()> {
        let to = self.key.as_str();
        if replace {
            self.server.replace(&self.part, to)?;
        } else {
            let exists = || {
                let message = format!("an object `{to}` is there already, nothing is replaced");
                Error::new(ErrorKind::Exists, message)
            };
            if look(&*self.server, self.retry, to)?.is_some() {
                return Err(exists());
            }
            let moved = move_to_free(&*self.server, self.retry, &self.part, to);
            moved.map_err(|e| if e.kind() == ErrorKind::Exists { exists() } else { e })?;
        }
        self.done = true;
        Ok(())
    }
}

impl<S: FileServer> Pending for TreePending<S> {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn commit(self: Box<Self>) -> Result<()> {
        self.publish(false)
    }
}

impl<S: FileServer> Drop for TreePending<S> {
    fn drop(&mut self) {
        // Best effort: a partial that stays is swept later.
        if !self.done {
            let gone = self.retry.run(|_| match self.server.remove(&self.part) {
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
                other => other,
            });
            if gone.is_ok() {
                prune(&*self.server, self.key.dir(), self.new_dirs);
            }
        }
    }
}
