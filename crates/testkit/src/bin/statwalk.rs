//! The least that a look at a tree costs: `statwalk DIR [THREADS]` lists every directory and asks `stat` of every entry.
//!
//! The rival of an increment where nothing changed. It keeps nothing, compares nothing, sorts nothing and knows no order;
//! as many threads as the program's walk has (twice the processors, at most 8) share a stack of directories. Says how
//! many entries there were.

use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, openat, statat};

const BUFFER_BYTES: usize = 64 << 10;

/// A directory to read: its parent and its name there.
type Task = (Arc<OwnedFd>, Vec<u8>);

#[derive(Default)]
struct Stack {
    tasks: Vec<Task>,
    /// Threads that read a directory, which may have more below it.
    busy: usize,
    failed: Option<String>,
}

#[derive(Default)]
struct Shared {
    stack: Mutex<Stack>,
    came: Condvar,
}

fn main() -> ExitCode {
    let (out, is_fine) = match run() {
        Ok(entries) => (format!("{entries} entries"), true),
        Err(message) => (format!("statwalk: {message}"), false),
    };
    let printed = writeln!(std::io::stdout(), "{out}").is_ok();
    if printed && is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run() -> Result<u64, String> {
    let usage = "usage: statwalk DIR [THREADS]";
    let mut words = std::env::args().skip(1);
    let root = words.next().ok_or(usage)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = words.next().map_or(Ok((processors * 2).min(8)), |w| w.parse().map_err(|_| usage))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = openat(CWD, &root, flags, Mode::empty()).map_err(|e| format!("cannot open `{root}`: {e}"))?;
    let shared = Shared::default();
    shared.stack.lock().unwrap_or_else(PoisonError::into_inner).tasks.push((Arc::new(top), b".".to_vec()));
    let entries = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&shared))).collect();
        running.into_iter().map(|t| t.join().unwrap_or(0)).sum()
    });
    let stack = shared.stack.into_inner().unwrap_or_else(PoisonError::into_inner);
    stack.failed.map_or(Ok(entries), Err)
}

/// Life of one thread. Returns the number of entries that it asked of.
fn work(shared: &Shared) -> u64 {
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
    let mut entries = 0;
    let mut below = Vec::new();
    let mut stack = shared.stack.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Some((parent, name)) = stack.tasks.pop() else {
            if stack.busy == 0 || stack.failed.is_some() {
                shared.came.notify_all();
                return entries;
            }
            stack = shared.came.wait(stack).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        stack.busy += 1;
        drop(stack);
        let read = read(&parent, &name, &mut buffer, &mut below);
        stack = shared.stack.lock().unwrap_or_else(PoisonError::into_inner);
        stack.busy -= 1;
        match read {
            Ok(found) => entries += found,
            Err(e) => stack.failed = Some(format!("cannot read `{}`: {e}", name.escape_ascii())),
        }
        let is_new = !below.is_empty();
        stack.tasks.append(&mut below);
        if is_new || stack.busy == 0 {
            shared.came.notify_all();
        }
    }
}

fn read(
    parent: &OwnedFd,
    name: &[u8],
    buffer: &mut [MaybeUninit<u8>],
    below: &mut Vec<Task>,
) -> rustix::io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let dir = Arc::new(openat(parent, name, flags, Mode::empty())?);
    let mut entries = 0;
    let mut listing = RawDir::new(dir.as_fd(), buffer);
    while let Some(entry) = listing.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)?;
        entries += 1;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            below.push((Arc::clone(&dir), name.to_bytes().to_vec()));
        }
    }
    Ok(entries)
}
