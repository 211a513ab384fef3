//! Puts members of an archive into a directory, never anywhere else.
//!
//! Every directory on the way is opened beneath the target without following links, every name is made anew and
//! exclusively. Small files are written by several threads; directories get their metadata last, deepest first.
//! What single entries suffer is collected, the rest goes on; a full disk ends it. Which members come is decided
//! by the caller.

mod place;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nxs_archive::tar::read::{EntryHeader, TarReader, safe_path};
use nxs_base::entry::{EntryKind, Meta};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::ports::source::Cancel;
use nxs_sys::safe::{self, Root};
use nxs_sys::{fsx, host, users::Users};

use place::{Facts, Place, Writer};

/// Files up to this size are read whole and written by the helpers.
const SMALL_BYTES: u64 = 512 << 10;
/// Small files that wait for a helper.
const QUEUE: usize = 64;
const HELPERS: usize = 2;
/// Problems that are kept word by word.
const MAX_PROBLEMS: usize = 200;

/// How to extract.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Existing files are replaced (by rename), existing directories kept.
    pub in_place: bool,
    /// Leading bytes of every path to leave out (`var/www/site1`); entries outside are refused.
    pub strip: Option<Vec<u8>>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    pub files: u64,
    pub dirs: u64,
    pub bytes: u64,
    /// The first problems, with escaped paths.
    pub problems: Vec<String>,
    pub problem_count: u64,
}

struct Job {
    place: Place,
    facts: Facts,
    data: Vec<u8>,
}

#[derive(Default)]
struct Tally {
    problems: Vec<String>,
    count: u64,
    full: Option<Error>,
}

impl Tally {
    fn add(&mut self, path: &[u8], error: Error) {
        self.count += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(format!("{}: {}", fsx::show(path), error.chain()));
        }
        if error.kind() == ErrorKind::Full {
            self.full.get_or_insert(error);
        }
    }
}

/// An extraction under way.
pub struct Extractor<'a> {
    root: Root,
    options: Options,
    cancel: &'a Cancel,
    writer: Arc<Writer>,
    tally: Arc<Mutex<Tally>>,
    jobs: Option<SyncSender<Job>>,
    helpers: Vec<JoinHandle<()>>,
    /// The directory that the last entry lay in.
    last_dir: Option<(Vec<u8>, Arc<OwnedFd>)>,
    dirs: Vec<(Vec<u8>, Facts)>,
    links: Vec<(Vec<u8>, Vec<u8>)>,
    done: Extracted,
    buffer: Vec<u8>,
}

impl<'a> Extractor<'a> {
    /// `to` is made if it is missing. Unless `in_place`, nothing that is there is replaced.
    pub fn open(to: &Path, options: Options, cancel: &'a Cancel) -> Result<Self> {
        fsx::create_dir_all(to, 0o755)?;
        let root = Root::open(to)?;
        let writer =
            Arc::new(Writer { in_place: options.in_place, as_root: host::is_root(), users: Users::new() });
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (jobs, queue) = sync_channel::<Job>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        let mut helpers = Vec::new();
        for _ in 0..HELPERS {
            let (queue, writer, tally) = (Arc::clone(&queue), Arc::clone(&writer), Arc::clone(&tally));
            let helper = std::thread::Builder::new()
                .name("restore".into())
                .spawn(move || help(&queue, &writer, &tally))
                .map_err(|e| Error::io("cannot start a thread", e))?;
            helpers.push(helper);
        }
        Ok(Self {
            root,
            options,
            cancel,
            writer,
            tally,
            jobs: Some(jobs),
            helpers,
            last_dir: None,
            dirs: Vec::new(),
            links: Vec::new(),
            done: Extracted::default(),
            buffer: vec![0; 256 << 10],
        })
    }

    /// Extracts one member whose data `tar` gives next, under `path` (that of the archive unless the caller renames).
    /// `Err` ends the whole extraction; an entry's own problem is collected.
    pub fn entry<R: Read>(&mut self, header: EntryHeader, path: &[u8], tar: &mut TarReader<R>) -> Result<()> {
        self.cancel.check()?;
        let at = match self.local_path(path) {
            Ok(at) => at,
            Err(error) => {
                self.problem(path, error);
                return tar.skip_data();
            }
        };
        if header.meta.kind == EntryKind::File {
            return self.file(header, &at, tar);
        }
        tar.skip_data()?;
        let made = self.other(header, &at);
        self.collect(&at, made)
    }

    /// Makes a directory whose member is not read, with the metadata that the index knows.
    pub fn dir(&mut self, path: &[u8], meta: &Meta) -> Result<()> {
        let at = match self.local_path(path) {
            Ok(at) => at,
            // Above what is stripped.
            Err(_) => return Ok(()),
        };
        let header = EntryHeader { path: path.to_vec(), meta: *meta, ..EntryHeader::default() };
        let made = self.other(header, &at);
        self.collect(path, made)
    }

    fn local_path(&self, path: &[u8]) -> Result<Vec<u8>> {
        let safe = safe_path(path)?;
        let Some(strip) = &self.options.strip else { return Ok(safe) };
        match safe.strip_prefix(strip.as_slice()) {
            Some([]) => Ok(Vec::new()),
            Some([b'/', rest @ ..]) => Ok(rest.to_vec()),
            _ if strip.is_empty() => Ok(safe),
            _ => {
                Err(Error::new(ErrorKind::Invalid, format!("`{}` lies outside the target", fsx::show(&safe))))
            }
        }
    }

    fn file<R: Read>(&mut self, header: EntryHeader, at: &[u8], tar: &mut TarReader<R>) -> Result<()> {
        let place = match self.place(at) {
            Ok(place) => place,
            Err(error) => {
                self.collect(at, Err(error))?;
                return tar.skip_data();
            }
        };
        self.done.files += 1;
        self.done.bytes += header.data_bytes;
        let data_bytes = header.data_bytes;
        let facts = Facts::from(header);
        if data_bytes <= SMALL_BYTES {
            let mut data = vec![0; usize::try_from(data_bytes).unwrap_or(0)];
            fill(tar, &mut data)?;
            let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Job { place, facts, data }).is_ok());
            if !sent {
                return Err(Error::new(ErrorKind::Other, "the writing threads ended early"));
            }
            return self.check_full();
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut left = data_bytes;
        let written = self.writer.file(&place, &facts, |out| {
            while left > 0 {
                self.cancel.check()?;
                let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                fill(tar, &mut buffer[..want])?;
                left -= want as u64;
                out(&buffer[..want])?;
            }
            Ok(())
        });
        self.buffer = buffer;
        tar.skip_data()?;
        self.collect(at, written)
    }

    fn other(&mut self, header: EntryHeader, at: &[u8]) -> Result<()> {
        let kind = header.meta.kind;
        if kind == EntryKind::Dir {
            self.last_dir = None;
            if !at.is_empty() {
                let place = self.place(at)?;
                self.writer.dir(&place)?;
            }
            self.done.dirs += 1;
            self.dirs.push((at.to_vec(), Facts::from(header)));
            return Ok(());
        }
        if kind == EntryKind::HardLink {
            let to = self.local_path(&header.link)?;
            self.links.push((at.to_vec(), to));
            return Ok(());
        }
        let place = self.place(at)?;
        self.writer.special(&place, &Facts::from(header))?;
        self.done.files += 1;
        Ok(())
    }

    /// The open directory and the name in it; missing directories are made.
    fn place(&mut self, at: &[u8]) -> Result<Place> {
        let (dir, name) = match at.iter().rposition(|b| *b == b'/') {
            Some(i) => (&at[..i], &at[i + 1..]),
            None => (&at[..0], at),
        };
        if name.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "an entry without a name"));
        }
        if let Some((path, fd)) = &self.last_dir
            && path == dir
        {
            return Ok(Place { dir: Arc::clone(fd), name: name.to_vec() });
        }
        let fd = Arc::new(self.root.dir(dir, true)?);
        self.last_dir = Some((dir.to_vec(), Arc::clone(&fd)));
        Ok(Place { dir: fd, name: name.to_vec() })
    }

    fn problem(&self, path: &[u8], error: Error) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).add(path, error);
    }

    /// Keeps an entry's problem; a stream that broke, a full disk and a cancel are the whole extraction's.
    fn collect(&mut self, path: &[u8], made: Result<()>) -> Result<()> {
        match made {
            Ok(()) => self.check_full(),
            Err(e) if matches!(e.kind(), ErrorKind::Full | ErrorKind::Cancelled | ErrorKind::Corrupt) => {
                Err(e)
            }
            Err(e) => {
                self.problem(path, e);
                Ok(())
            }
        }
    }

    fn check_full(&self) -> Result<()> {
        match self.tally.lock().unwrap_or_else(PoisonError::into_inner).full.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Waits for the helpers, makes hard links, then gives directories their metadata.
    pub fn finish(mut self) -> Result<Extracted> {
        self.join();
        self.check_full()?;
        for (at, to) in std::mem::take(&mut self.links) {
            let made = self.link(&at, &to);
            self.collect(&at, made)?;
            self.done.files += 1;
        }
        self.last_dir = None;
        for (at, facts) in std::mem::take(&mut self.dirs).into_iter().rev() {
            let made = self.root.dir(&at, false).and_then(|fd| self.writer.finish_dir(fd, &facts));
            self.collect(&at, made)?;
        }
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = std::mem::take(&mut self.done);
        done.problems = std::mem::take(&mut tally.problems);
        done.problem_count = tally.count;
        Ok(done)
    }

    fn link(&mut self, at: &[u8], to: &[u8]) -> Result<()> {
        let old = self.place(to)?;
        let new = self.place(at)?;
        if self.options.in_place {
            self.writer.clear(&new)?;
        }
        safe::link(&old.dir, &old.name, &new.dir, &new.name)
    }

    fn join(&mut self) {
        self.jobs = None;
        for helper in self.helpers.drain(..) {
            if helper.join().is_err() {
                let error = Error::new(ErrorKind::Other, "a writing thread panicked");
                self.tally.lock().unwrap_or_else(PoisonError::into_inner).full.get_or_insert(error);
            }
        }
    }
}

impl Drop for Extractor<'_> {
    fn drop(&mut self) {
        self.join();
    }
}

fn fill<R: Read>(tar: &mut TarReader<R>, mut buf: &mut [u8]) -> Result<()> {
    while !buf.is_empty() {
        let n = tar.read_data(buf)?;
        if n == 0 {
            return Err(Error::new(ErrorKind::Corrupt, "a member ends before its size"));
        }
        buf = &mut buf[n..];
    }
    Ok(())
}

fn help(queue: &Mutex<Receiver<Job>>, writer: &Writer, tally: &Mutex<Tally>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        if let Err(error) = writer.file(&job.place, &job.facts, |out| out(&job.data)) {
            tally.lock().unwrap_or_else(PoisonError::into_inner).add(&job.place.name, error);
        }
    }
}
