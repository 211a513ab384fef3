//! Walks a tree in the order of [`nxs_base::entry::path_order`], while threads read ahead.
//!
//! Directories are read by worker threads, always the one next that the consumer will need first (`queue`), until
//! enough is read ahead; one that nobody took, the consumer reads itself. So a walk never waits for room and goes on
//! with no thread at all. Opening files is not done here (see `safe::Root`, `file_read`); no link is ever followed
//! but the root's own.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nxs_base::entry::{EntryKind, Meta};
use nxs_base::{Error, ErrorKind};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use self::listing::{Dir, IS_MARKER, IS_SOCKET, LEFT_OUT_DEVICE, Reader, Scratch, Trouble};
use self::queue::{Queue, READING, Task, UNREAD};
use crate::{fsx, host, meta};

mod listing;
mod queue;

/// Values of [`WalkItem::left_out`].
pub const OTHER_FILE_SYSTEM: &str = "on another file system";
/// A directory with a `CACHEDIR.TAG`; the tag itself follows.
pub const CACHE_DIR: &str = "cache directory";
/// A directory with one of [`Options::exclude_if_present`]; that entry itself follows (if it is a directory, it alone).
pub const MARKED: &str = "holds an exclusion marker";
/// A socket, which no archive can hold.
pub const SOCKET: &str = "socket";

/// Decides on one entry: its path relative to the root and its metadata. False leaves it out, with all that is below.
/// Called from several threads, in no particular order; not for the root.
pub type Filter = dyn Fn(&[u8], &Meta) -> bool + Send + Sync;

#[derive(Debug, Clone)]
pub struct Options {
    /// Threads that read ahead; 0: the consumer reads all.
    pub threads: usize,
    /// Entries that may be read ahead of the consumer. A single directory may exceed it.
    pub max_ahead: usize,
    /// Do not descend into directories on another device than the root's.
    pub one_file_system: bool,
    /// Of directories with a `CACHEDIR.TAG` that begins with the standard signature, take the tag alone.
    pub exclude_caches: bool,
    /// Of directories that hold an entry of one of these names, take that entry alone.
    pub exclude_if_present: Vec<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: (host::cpu_count() * 2).min(8),
            max_ahead: 50_000,
            one_file_system: false,
            exclude_caches: false,
            exclude_if_present: Vec::new(),
        }
    }
}

/// One entry of the tree.
#[derive(Debug)]
pub struct WalkItem {
    /// Relative to the root; empty for the root itself.
    pub path: Vec<u8>,
    /// As it was when the directory was read; a directory's is older than its listing. Only the kind is known where
    /// `stat` failed; sockets show as FIFOs.
    pub meta: Meta,
    /// The entry could not be asked, or the directory not be read (whole). Of kind `NotFound` if it vanished or is
    /// something else by now.
    pub error: Option<Error>,
    /// Why a directory is not descended into, or (socket) the entry not be saved.
    pub left_out: Option<&'static str>,
}

/// A walk under way: an iterator in path order. Dropping it ends the threads.
pub struct Walker {
    root: PathBuf,
    state: State,
    threads: Vec<JoinHandle<()>>,
}

enum State {
    /// Only the root remains to be told.
    Single(Box<WalkItem>),
    Running(Box<Running>),
    Over,
}

struct Running {
    shared: Arc<Shared>,
    scratch: Scratch,
    /// Listings on the way from the root to where the consumer is.
    stack: Vec<Frame>,
    path: Vec<u8>,
    /// The root, until it is told.
    root: Option<(Meta, Arc<Dir>)>,
}

struct Frame {
    dir: Arc<Dir>,
    next_entry: usize,
    next_child: usize,
    path_len: usize,
}

struct Shared {
    reader: Reader,
    plan: Mutex<Plan>,
    work_came: Condvar,
    listing_came: Condvar,
}

struct Plan {
    queue: Queue,
    /// Threads that wait for work or room.
    idle: usize,
    /// The consumer waits for this child (address of the listing and number).
    wanted: Option<(usize, u32)>,
    panic: Option<Box<dyn Any + Send>>,
}

impl Walker {
    /// Starts to walk `root`, whose own link is followed. Whatever is wrong with it is in the first item.
    pub fn start(root: &Path, options: Options, filter: Arc<Filter>) -> Self {
        let mut walker = Self { root: root.to_path_buf(), state: State::Over, threads: Vec::new() };
        let n_threads = options.threads;
        walker.state = match begin(root, options, filter) {
            Ok(running) => {
                // A thread that cannot be had is not missed: the consumer reads what nobody took.
                let has_more = |r: &Running| r.root.as_ref().is_some_and(|(_, d)| !d.children.is_empty());
                let n_threads = if has_more(&running) { n_threads } else { 0 };
                for _ in 0..n_threads {
                    let shared = Arc::clone(&running.shared);
                    let builder = std::thread::Builder::new().name("nxs-walk".into());
                    walker.threads.extend(builder.spawn(move || shared.work()).ok());
                }
                State::Running(running)
            }
            Err(single) => State::Single(single),
        };
        walker
    }
}

fn begin(root: &Path, options: Options, filter: Arc<Filter>) -> Result<Box<Running>, Box<WalkItem>> {
    let single = |meta, error| Box::new(WalkItem { path: Vec::new(), meta, error, left_out: None });
    let failed = |what: &str, meta, e: Errno| {
        let message = format!("cannot {what} `{}`", fsx::show_path(root));
        single(meta, Some(Error::io(message, e.into())))
    };
    let stat = rustix::fs::stat(root).map_err(|e| failed("stat", Meta::default(), e))?;
    let (root_meta, is_socket) = meta::from_stat(&stat);
    if root_meta.kind != EntryKind::Dir {
        let mut item = single(root_meta, None);
        item.left_out = is_socket.then_some(SOCKET);
        return Err(item);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(root, flags, Mode::empty())
        .map_err(|e| failed("read the directory", root_meta, e))?;
    let reader = Reader::new(fd, root_meta.dev, options, filter);
    let mut scratch = Scratch::new();
    let (dir, context) = reader.read_root(root_meta.uid, &mut scratch);
    let dir = Arc::new(dir);
    let plan = Plan { queue: Queue::new(&dir, context), idle: 0, wanted: None, panic: None };
    let shared =
        Shared { reader, plan: Mutex::new(plan), work_came: Condvar::new(), listing_came: Condvar::new() };
    Ok(Box::new(Running {
        shared: Arc::new(shared),
        scratch,
        stack: Vec::new(),
        path: Vec::new(),
        root: Some((root_meta, dir)),
    }))
}

impl Iterator for Walker {
    type Item = WalkItem;

    fn next(&mut self) -> Option<WalkItem> {
        if let State::Running(running) = &mut self.state
            && let Some(item) = running.next(&self.root)
        {
            return Some(item);
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Single(item) => Some(*item),
            State::Running(running) => {
                running.shared.stop();
                None
            }
            State::Over => None,
        }
    }
}

impl Drop for Walker {
    fn drop(&mut self) {
        if let State::Running(running) = &self.state {
            running.shared.stop();
        }
        for thread in self.threads.drain(..) {
            // A panic of a worker was passed on to the consumer, if it still was there.
            thread.join().unwrap_or_default();
        }
    }
}

impl Running {
    fn next(&mut self, root: &Path) -> Option<WalkItem> {
        if let Some((meta, dir)) = self.root.take() {
            return Some(self.enter(dir, meta, root));
        }
        loop {
            let frame = self.stack.last_mut()?;
            let Some(entry) = frame.dir.entries.get(frame.next_entry) else {
                self.stack.pop();
                continue;
            };
            frame.next_entry += 1;
            self.path.truncate(frame.path_len);
            listing::push_name(&mut self.path, frame.dir.name(entry));
            let meta = frame.dir.meta(entry);
            if entry.flags & listing::DESCEND != 0 {
                let child = frame.next_child as u32;
                frame.next_child += 1;
                let parent = Arc::clone(&frame.dir);
                let dir = self.shared.listing(&parent, child, &mut self.scratch);
                return Some(self.enter(dir, meta, root));
            }
            let error = frame.dir.failure(entry).map(|e| about("stat", root, &self.path, e));
            let left_out = match entry.flags {
                f if f & LEFT_OUT_DEVICE != 0 => Some(OTHER_FILE_SYSTEM),
                f if f & IS_MARKER != 0 => Some(MARKED),
                f if f & IS_SOCKET != 0 => Some(SOCKET),
                _ => None,
            };
            return Some(WalkItem { path: self.path.clone(), meta, error, left_out });
        }
    }

    /// Tells of the directory at `self.path` and goes into it.
    fn enter(&mut self, dir: Arc<Dir>, meta: Meta, root: &Path) -> WalkItem {
        let error = dir.trouble.map(|t| match t {
            Trouble::Open(e @ (Errno::NOTDIR | Errno::LOOP)) => {
                let path = fsx::show_path(&root.join(fsx::as_path(&self.path)));
                Error::new(ErrorKind::NotFound, format!("`{path}` is no longer a directory"))
                    .with_source(std::io::Error::from(e))
            }
            Trouble::Open(e) => about("read the directory", root, &self.path, e),
            Trouble::List(e) => about("list all of the directory", root, &self.path, e),
        });
        let item = WalkItem { path: self.path.clone(), meta, error, left_out: dir.left_out };
        if !dir.entries.is_empty() {
            self.stack.push(Frame { dir, next_entry: 0, next_child: 0, path_len: self.path.len() });
        }
        item
    }
}

fn about(what: &str, root: &Path, path: &[u8], errno: Errno) -> Error {
    let full = root.join(fsx::as_path(path));
    Error::io(format!("cannot {what} `{}`", fsx::show_path(&full)), errno.into())
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        // Under the lock, so that no thread misses it between its check and its wait.
        let _plan = self.plan();
        self.reader.stop.store(true, Ordering::Relaxed);
        self.work_came.notify_all();
    }

    /// Life of a thread that reads ahead.
    fn work(&self) {
        let mut scratch = Scratch::new();
        let mut plan = self.plan();
        while !self.reader.stop.load(Ordering::Relaxed) {
            let has_room = plan.queue.ahead < self.reader.options.max_ahead;
            let Some(task) = has_room.then(|| plan.queue.take()).flatten() else {
                plan.idle += 1;
                plan = self.work_came.wait(plan).unwrap_or_else(PoisonError::into_inner);
                plan.idle -= 1;
                continue;
            };
            drop(plan);
            let read = catch_unwind(AssertUnwindSafe(|| self.read(&task, &mut scratch)));
            plan = self.plan();
            if let Err(panic) = read {
                plan.panic = Some(panic);
                self.listing_came.notify_one();
                return;
            }
        }
    }

    /// Reads a directory and files the listing.
    fn read(&self, task: &Task, scratch: &mut Scratch) {
        let entry = task.dir.children[task.child as usize].entry;
        let (dir, context) = self.reader.read_child(&task.dir, entry, &task.context, scratch);
        let mut plan = self.plan();
        let below = plan.queue.finish(task, dir, context);
        if plan.wanted == Some((Arc::as_ptr(&task.dir) as usize, task.child)) {
            plan.wanted = None;
            self.listing_came.notify_one();
        }
        if plan.idle > 0 && below > 0 && plan.queue.ahead < self.reader.options.max_ahead {
            for _ in 0..plan.idle.min(below) {
                self.work_came.notify_one();
            }
        }
    }

    /// The listing of a child: waits for the thread that reads it, or reads it here if nobody has begun.
    fn listing(&self, parent: &Arc<Dir>, child: u32, scratch: &mut Scratch) -> Arc<Dir> {
        let mut plan = self.plan();
        loop {
            let state = parent.children[child as usize].state.load(Ordering::Relaxed);
            match state {
                // All before it is consumed, so the first unread directory is this one.
                UNREAD => {
                    let task = plan.queue.take().expect("an unread directory is in the queue");
                    drop(plan);
                    self.read(&task, scratch);
                    plan = self.plan();
                }
                READING => {
                    if let Some(panic) = plan.panic.take() {
                        drop(plan);
                        resume_unwind(panic);
                    }
                    plan.wanted = Some((Arc::as_ptr(parent) as usize, child));
                    plan = self.listing_came.wait(plan).unwrap_or_else(PoisonError::into_inner);
                }
                finished => {
                    let low = self.reader.options.max_ahead / 2;
                    let before = plan.queue.ahead;
                    let dir = plan.queue.consume(finished).expect("a listing is consumed once");
                    if plan.idle > 0 && before > low && plan.queue.ahead <= low && plan.queue.has_work() {
                        self.work_came.notify_all();
                    }
                    return dir;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
