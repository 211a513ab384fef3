//! Child programs: started with arguments and never by a shell, in a process group of their own that ends with us.
//!
//! What they print is read in large blocks, what they complain of is kept (its end), and their exit status is judged
//! only after the last byte. Secrets go by an inherited file in memory ([`Tool::secret_file`]) or the environment
//! ([`Tool::secret_env`]), never by an argument. Which program does what is the sources' matter.
#![expect(unsafe_code, reason = "what has to be set between fork and exec has no safe wrapper")]

mod side;
mod tail;

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nxs_base::ports::source::Cancel;
use nxs_base::secret::Secret;
use nxs_base::{Error, ErrorKind, Result};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use side::Side;
use tail::Drain;

/// How often a wait looks whether the run was cancelled.
const TICK: Duration = Duration::from_millis(100);
/// What a pipe is asked to hold; the kernel may give less.
const PIPE_BYTES: libc::c_int = 1 << 20;
/// Variables that every child gets, beside those that open with `LC_`. All others may hold secrets of ours.
const KEPT: [&str; 15] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TZDIR",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "OPENSSL_CONF",
];

/// The first of these programs that is in `PATH`, with its path.
pub fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let is_program = |path: &PathBuf| {
        let is_file = std::fs::metadata(path).is_ok_and(|meta| meta.is_file());
        is_file && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    names.iter().find_map(|name| dirs.iter().map(|dir| dir.join(name)).find(is_program))
}

/// A program that is about to run.
#[derive(Debug)]
pub struct Tool {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, Secret)>,
    files: Vec<OwnedFd>,
    /// What it is called in messages, where that is not the name of its file.
    title: Option<String>,
    /// Whether it gets our whole environment.
    is_of_the_house: bool,
    has_side: bool,
}

impl Tool {
    /// A path, or a name that is looked for in `PATH`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            files: Vec::new(),
            title: None,
            is_of_the_house: false,
            has_side: false,
        }
    }

    /// A command line of the administrator's, for `/bin/sh -c`; `title` names it in messages. It gets our whole
    /// environment, as from a scheduler.
    pub fn shell(line: &str, title: &str) -> Self {
        let shell = Self::new("/bin/sh").arg("-c").arg(line);
        Self { title: Some(title.to_owned()), is_of_the_house: true, ..shell }
    }

    /// What it is called in messages: the last component of its path, if nothing else was said.
    pub fn name(&self) -> String {
        if let Some(title) = &self.title {
            return title.clone();
        }
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable for this child alone.
    pub fn secret_env(mut self, name: impl Into<OsString>, value: Secret) -> Self {
        self.env.push((name.into(), value));
        self
    }

    /// Puts a text into a file in memory that only this child inherits, and answers with the path under which it finds
    /// it. Owner and mode are those of a private file: clients ignore option files that others could write.
    pub fn secret_file(&mut self, content: &Secret) -> Result<String> {
        let failed = |e: std::io::Error| Error::io("cannot make a private file for a child program", e);
        let fd = rustix::fs::memfd_create("options", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
        rustix::fs::fchmod(&fd, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .map_err(|e| failed(e.into()))?;
        let mut file = std::fs::File::from(fd);
        file.write_all(content.expose().as_bytes()).map_err(failed)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.files.push(file.into());
        Ok(path)
    }

    /// Opens a pipe for it as descriptor 3: see [`Child::side_first`].
    pub fn with_side(mut self) -> Self {
        self.has_side = true;
        self
    }

    /// Starts it; we read what it prints. Its standard input is empty.
    pub fn spawn(self) -> Result<Child> {
        self.start(Stdio::null())
    }

    /// Starts it; it reads what we write. What it prints is kept with its complaints.
    pub fn spawn_fed(self) -> Result<FedChild> {
        let mut child = self.start(Stdio::piped())?;
        let lost = || Error::new(ErrorKind::Other, format!("no pipe leads to `{}`", child.name));
        let stdin = child.process.stdin.take().ok_or_else(lost)?;
        rustix::io::ioctl_fionbio(&stdin, true).map_err(|e| Error::io("cannot set up a pipe", e.into()))?;
        if let Some(stdout) = child.stdout.take() {
            child.complaints.also(stdout);
        }
        Ok(FedChild { child, stdin: Some(stdin) })
    }

    /// Runs it to its end. [`ErrorKind::Tool`] unless it ended well; [`ErrorKind::Invalid`] for more than `max_bytes`.
    pub fn output(self, max_bytes: usize, cancel: &Cancel) -> Result<Vec<u8>> {
        let mut child = self.spawn()?;
        let mut all = Vec::new();
        let mut block = vec![0; 64 << 10];
        loop {
            match child.read(&mut block, cancel)? {
                0 => break,
                n if all.len() + n > max_bytes => {
                    let text = format!("`{}` printed more than {max_bytes} bytes", child.name);
                    return Err(Error::new(ErrorKind::Invalid, text));
                }
                n => all.extend_from_slice(&block[..n]),
            }
        }
        child.finish(cancel)?.judged()?;
        Ok(all)
    }

    fn start(self, stdin: Stdio) -> Result<Child> {
        let name = self.name();
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| self.is_of_the_house || is_kept(name)));
        command.envs(self.env.iter().map(|(name, value)| (name, value.expose())));
        command.process_group(0).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let parent = rustix::process::getpid();
        let files: Vec<libc::c_int> = self.files.iter().map(AsRawFd::as_raw_fd).collect();
        let side = self.has_side.then(side::pipe).transpose()?;
        let side_end = side.as_ref().map(|(_, end)| end.as_raw_fd());
        let set_up = move || {
            // SAFETY: both calls take integers and touch no memory of ours.
            let died_before = unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0
                    || libc::getppid() != parent.as_raw_nonzero().get()
            };
            if died_before {
                return Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
            }
            for fd in &files {
                // SAFETY: takes integers; the descriptor is open, since `self.files` lives until after the spawn.
                if unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } != 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            match side_end {
                // SAFETY: takes integers. Descriptor 3 is none that the start itself needs: one end of the pipe has it,
                // or something that was open before.
                Some(fd) if unsafe { side::give(fd) } < 0 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            }
        };
        // SAFETY: the closure makes only system calls that may be made between fork and exec, and allocates nothing.
        unsafe { command.pre_exec(set_up) };
        let mut process = command.spawn().map_err(|e| cannot_run(&self.program, e))?;
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        if let Some(stdout) = &stdout {
            // SAFETY: takes integers; the descriptor is open. A refusal only means smaller blocks.
            unsafe { libc::fcntl(stdout.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) };
        }
        let mut complaints = Drain::default();
        if let Some(stderr) = stderr {
            complaints.also(stderr);
        }
        let side = side.map(|(pipe, _)| Side::new(pipe));
        Ok(Child { name, process, stdout, side, complaints, is_over: false })
    }
}

fn is_kept(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| KEPT.contains(&name) || name.starts_with("LC_"))
}

fn cannot_run(program: &Path, error: std::io::Error) -> Error {
    let text = format!("cannot run `{}`", program.display());
    Error::new(ErrorKind::Tool, text).with_source(error)
}

/// A running program whose output we read. Dropped, it is killed with all of its group.
///
/// It also dies with the thread that started it: that thread has to stay until the end.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    stdout: Option<ChildStdout>,
    side: Option<Side>,
    complaints: Drain,
    is_over: bool,
}

impl Child {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Reads what it printed next; 0 when there is no more. Waits, and looks meanwhile whether the run was cancelled.
    pub fn read(&mut self, buf: &mut [u8], cancel: &Cancel) -> Result<usize> {
        loop {
            let Some(stdout) = &mut self.stdout else { return Ok(0) };
            if !is_ready(stdout.as_fd(), rustix::event::PollFlags::IN, cancel)? {
                // Whatever it left behind in its group may hold the pipe open for ever.
                if self.has_exited()? {
                    self.kill_group()?;
                }
                continue;
            }
            match stdout.read(buf) {
                Ok(n) => return Ok(n),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(format!("cannot read from `{}`", self.name), e)),
            }
        }
    }

    /// Waits for its end, then kills what it left behind in its group.
    pub fn finish(mut self, cancel: &Cancel) -> Result<Ended> {
        // Nothing of its output is missed: the caller read to the end, or does not want it.
        self.stdout = None;
        let mut pause = Duration::from_millis(1);
        while !self.has_exited()? {
            cancel.check()?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(TICK);
        }
        let status = self.end()?;
        let until = Instant::now() + Duration::from_secs(2);
        let said = self.complaints.take(until);
        let beside = self.side.take().map(|side| side.rest(until)).unwrap_or_default();
        Ok(Ended { name: self.name.clone(), status, said, beside })
    }

    /// Whether it is a zombie by now; its id stays taken.
    fn has_exited(&self) -> Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        rustix::process::waitid(WaitId::Pid(self.pid()), options)
            .map(|status| status.is_some())
            .map_err(|e| Error::io(format!("cannot wait for `{}`", self.name), e.into()))
    }

    /// Kills the group while the id of its leader is still taken, and takes the status.
    fn end(&mut self) -> Result<ExitStatus> {
        self.is_over = true;
        self.kill_group()?;
        self.process.wait().map_err(|e| Error::io(format!("cannot wait for `{}`", self.name), e))
    }

    fn kill_group(&self) -> Result<()> {
        match rustix::process::kill_process_group(self.pid(), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH | rustix::io::Errno::PERM) => Ok(()),
            Err(e) => Err(Error::io(format!("cannot end `{}`", self.name), e.into())),
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.is_over {
            // Nobody is left to tell of it.
            drop(self.end());
        }
    }
}

/// A running program that reads what we write. Dropped, it is killed with all of its group.
#[derive(Debug)]
pub struct FedChild {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl FedChild {
    /// Writes all of it. Fails if the program went away: [`FedChild::finish`] then knows why.
    pub fn write(&mut self, mut bytes: &[u8], cancel: &Cancel) -> Result<()> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        while !bytes.is_empty() {
            if !is_ready(stdin.as_fd(), rustix::event::PollFlags::OUT, cancel)? {
                continue;
            }
            match stdin.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e)
                    if matches!(
                        e.kind(),
                        std::io::ErrorKind::Interrupted | std::io::ErrorKind::WouldBlock
                    ) => {}
                Err(e) => return Err(Error::io(format!("cannot write to `{}`", self.child.name), e)),
            }
        }
        Ok(())
    }

    /// Ends its input and waits for it.
    pub fn finish(mut self, cancel: &Cancel) -> Result<Ended> {
        self.stdin = None;
        self.child.finish(cancel)
    }
}

/// Waits for a tick at most until the pipe can be used, or has lost its other end.
fn is_ready(fd: BorrowedFd<'_>, what: rustix::event::PollFlags, cancel: &Cancel) -> Result<bool> {
    cancel.check()?;
    let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: TICK.as_nanos() as _ };
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, what)];
    match rustix::event::poll(&mut fds, Some(&tick)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(false),
        Ok(_) => Ok(true),
        Err(e) => Err(Error::io("cannot wait for a pipe", e.into())),
    }
}

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Ended {
    pub name: String,
    pub status: ExitStatus,
    /// The last lines of its complaints, in order; empty lines left out.
    pub said: Vec<String>,
    /// What came on descriptor 3 after [`Child::side_first`] had its answer.
    pub beside: Vec<String>,
}

impl Ended {
    /// [`ErrorKind::Tool`] with its last words unless it ended with 0.
    pub fn judged(&self) -> Result<()> {
        if self.status.success() { Ok(()) } else { Err(self.failure()) }
    }

    /// The error that says how it ended.
    pub fn failure(&self) -> Error {
        const SHOWN: usize = 5;
        let last = &self.said[self.said.len().saturating_sub(SHOWN)..];
        let words = if last.is_empty() { String::new() } else { format!(": {}", last.join("; ")) };
        Error::new(ErrorKind::Tool, format!("`{}` ended with {}{words}", self.name, status_text(self.status)))
    }

    /// 0 to 255, or minus the signal.
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.status.code().or_else(|| self.status.signal().map(|s| -s)).unwrap_or(-1)
    }
}

fn status_text(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
