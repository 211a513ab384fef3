//! A second way out of a child: descriptor 3, on which it may say something of what it is about to print.
#![expect(unsafe_code, reason = "between fork and exec only bare system calls may be made")]

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::time::Instant;

use nxs_base::ports::source::Cancel;
use nxs_base::{Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::tail::Drain;
use super::{Child, TICK};

/// Under which number the child finds it.
const NUMBER: RawFd = 3;
/// What may come before the answer.
const MAX_BYTES: usize = 64 << 10;

/// Our end and that of the child.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let ends = std::io::pipe().map_err(|e| Error::io("cannot make a pipe for a child program", e))?;
    Ok((ends.0.into(), ends.1.into()))
}

/// Gives the child its end; below 0 if that failed.
///
/// # Safety
/// For use between fork and exec: what had number 3 until then is closed.
pub(super) unsafe fn give(end: RawFd) -> RawFd {
    // SAFETY: both calls take integers and touch no memory of ours.
    unsafe { if end == NUMBER { libc::fcntl(end, libc::F_SETFD, 0) } else { libc::dup2(end, NUMBER) } }
}

/// Our end of the pipe.
#[derive(Debug)]
pub(super) struct Side {
    pipe: Option<File>,
    late: Drain,
}

impl Side {
    pub(super) fn new(pipe: OwnedFd) -> Self {
        Self { pipe: Some(File::from(pipe)), late: Drain::default() }
    }

    pub(super) fn rest(mut self, until: Instant) -> Vec<String> {
        self.let_flow();
        self.late.take(until)
    }

    /// Whatever comes from now on is drained, so that it holds nobody up.
    fn let_flow(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            self.late.also(pipe);
        }
    }
}

impl Child {
    /// What it says on descriptor 3 ([`super::Tool::with_side`]) before its first output, up to where `is_whole`. None
    /// if it says nothing there. Waits for either; [`ErrorKind::Invalid`] for output in the middle of it.
    pub fn side_first(
        &mut self,
        is_whole: impl Fn(&[u8]) -> bool,
        cancel: &Cancel,
    ) -> Result<Option<Vec<u8>>> {
        let mut said = Vec::new();
        let Some(mut side) = self.side.take() else { return Ok(None) };
        let answer = self.listen(&mut side, &mut said, is_whole, cancel);
        side.let_flow();
        self.side = Some(side);
        answer?;
        Ok(Some(said).filter(|said| !said.trim_ascii().is_empty()))
    }

    fn listen(
        &mut self,
        side: &mut Side,
        said: &mut Vec<u8>,
        is_whole: impl Fn(&[u8]) -> bool,
        cancel: &Cancel,
    ) -> Result<()> {
        let (Some(pipe), Some(stdout)) = (&mut side.pipe, &self.stdout) else { return Ok(()) };
        let failed = |e: std::io::Error| Error::io(format!("cannot read from `{}`", self.name), e);
        let mut block = [0; 4096];
        loop {
            cancel.check()?;
            let (has_said, has_output) = wait(pipe, Some(stdout), TICK.as_nanos() as i64)?;
            // What was said before the output may have come after the first look.
            if has_said || (has_output && wait(pipe, None::<&std::process::ChildStdout>, 0)?.0) {
                match pipe.read(&mut block) {
                    Ok(0) => return Ok(()),
                    Ok(n) => said.extend_from_slice(&block[..n]),
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(e) => return Err(failed(e)),
                }
                if is_whole(said) {
                    return Ok(());
                }
                if said.len() > MAX_BYTES {
                    let text = format!("`{}` says more than {MAX_BYTES} bytes on descriptor 3", self.name);
                    return Err(Error::new(ErrorKind::Invalid, text));
                }
            } else if has_output && said.trim_ascii().is_empty() {
                return Ok(());
            } else if has_output {
                let text =
                    format!("`{}` began its output in the middle of what it says on descriptor 3", self.name);
                return Err(Error::new(ErrorKind::Invalid, text));
            } else if self.has_exited()? {
                // Whatever it left behind in its group may hold both pipes open for ever.
                self.kill_group()?;
            }
        }
    }
}

/// Which of the pipes has something, or is at its end.
fn wait(side: &File, stdout: Option<&impl AsFd>, nanos: i64) -> Result<(bool, bool)> {
    let mut fds = vec![PollFd::new(side, PollFlags::IN)];
    fds.extend(stdout.map(|stdout| PollFd::new(stdout, PollFlags::IN)));
    match rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: nanos })) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok((false, false)),
        Err(e) => return Err(Error::io("cannot wait for a pipe", e.into())),
    }
    let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
    Ok((is_ready(&fds[0]), fds.get(1).is_some_and(is_ready)))
}
