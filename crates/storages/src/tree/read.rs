//! Reading an object to its end although the connection is cut on the way: goes on behind the last byte that came.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use nxs_base::{Error, Result};

use super::FileServer;
use super::retry::Retry;

pub(super) struct Resuming<S> {
    server: Arc<S>,
    retry: Retry,
    path: String,
    next: u64,
    end: Option<u64>,
    stream: Box<dyn Read + Send>,
    /// Cuts survived without a byte between them.
    cuts: u32,
}

/// Cuts in a row that are survived.
const MAX_CUTS: u32 = 3;

impl<S: FileServer> Resuming<S> {
    pub(super) fn open(server: &Arc<S>, retry: Retry, path: &str, range: Option<Range<u64>>) -> Result<Self> {
        let (next, end) = range.map_or((0, None), |r| (r.start, Some(r.end.max(r.start))));
        let stream = retry.run(|_| server.read(path, next, end))?;
        Ok(Self { server: Arc::clone(server), retry, path: path.to_owned(), next, end, stream, cuts: 0 })
    }
}

impl<S: FileServer> Read for Resuming<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.end.map_or(u64::MAX, |end| end - self.next);
        let most = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        loop {
            let error = match self.stream.read(&mut buf[..most]) {
                Ok(n) => {
                    self.next += n as u64;
                    self.cuts = if n == 0 { self.cuts } else { 0 };
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Error::from_io(format!("cannot read `{}`", self.path), e),
            };
            if !error.kind().is_transient() || self.cuts == MAX_CUTS {
                return Err(error.into_io());
            }
            self.cuts += 1;
            let again = self.retry.run(|_| self.server.read(&self.path, self.next, self.end));
            self.stream = again.map_err(Error::into_io)?;
        }
    }
}
