//! From the walk of the file system to batches of entries: applies the excludes and finds further names of files.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use nxs_base::entry::{EntryKind, Meta, path_order};
use nxs_base::ports::source::{Cancel, NoteKind};
use nxs_base::spec::FilesSource as FilesSpec;
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::fsx::{self, as_path};
use nxs_sys::walk::{Filter, Options, SOCKET, WalkItem, Walker};

use super::batch::{Batch, Use, Work};
use super::changes::Changes;
use super::difference::{Change, Differ, Found, Seeing, Seen};
use super::exclude::Excludes;
use super::queue::Feed;

/// A walk of one target.
pub(crate) struct Walk<'a> {
    /// Path of the root directory, without links.
    pub(crate) root: &'a [u8],
    /// Number of the root directory, to tell whether it is still the same.
    pub(crate) root_ino: u64,
    /// Member path of the root.
    pub(crate) member: &'a [u8],
    pub(crate) spec: &'a FilesSpec,
    pub(crate) excludes: &'a Arc<Excludes>,
}

impl Walk<'_> {
    /// Pushes all entries in order; ends early when nobody takes them any more or when cancelled. Fails if the root
    /// is gone or another.
    pub(crate) fn run(&self, feed: Feed<Batch>, cancel: &Cancel) -> Result<()> {
        let mut filler = Filler::new(feed, self.member);
        let is_over = self.each(cancel, |item| Ok(filler.add(item)))?;
        if is_over {
            filler.finish();
        }
        Ok(())
    }

    /// Compares all entries with the baselines. Fails as [`Self::run`], and on errors of a baseline.
    pub(crate) fn compare(&self, differs: &mut [Differ<'_>], cancel: &Cancel) -> Result<()> {
        let mut path = Vec::new();
        self.each(cancel, |item| {
            join(&mut path, self.member, &item.path);
            let meta = item.meta;
            let (state, note) = match look(&path, item) {
                Look::Nothing => return Ok(true),
                Look::Lost { kind, reason, is_there } => {
                    (if is_there { Seeing::Unknown } else { Seeing::Absent }, Some((kind, reason)))
                }
                Look::Unlisted { note } => (Seeing::Unlisted, Some(note)),
                Look::Whole { note } => (Seeing::Whole, note),
            };
            for differ in &mut *differs {
                differ.add(Seen { path: &path, meta, note: note.clone(), state })?;
            }
            Ok(true)
        })?;
        Ok(())
    }

    /// Calls `take` with all entries, until it answers false; whether all came.
    fn each(&self, cancel: &Cancel, mut take: impl FnMut(WalkItem) -> Result<bool>) -> Result<bool> {
        let options = Options {
            one_file_system: self.spec.one_file_system,
            exclude_caches: self.spec.exclude_caches,
            exclude_if_present: self.spec.exclude_if_present.iter().map(|n| n.clone().into_bytes()).collect(),
            ..Options::default()
        };
        for item in Walker::start(as_path(self.root), options, self.filter()) {
            cancel.check()?;
            if item.path.is_empty() && item.meta.ino != self.root_ino {
                let text =
                    format!("the target `{}` was replaced when it was to be read", fsx::show(self.root));
                return Err(item.error.unwrap_or_else(|| Error::new(ErrorKind::NotFound, text)));
            }
            if !take(item)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn filter(&self) -> Arc<Filter> {
        if self.excludes.is_empty() {
            return Arc::new(|_, _| true);
        }
        let excludes = Arc::clone(self.excludes);
        let member = self.member.to_vec();
        Arc::new(move |below, meta| {
            thread_local!(static PATH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
            PATH.with_borrow_mut(|path| {
                join(path, &member, below);
                !excludes.is_excluded(&member, path, meta.kind == EntryKind::Dir)
            })
        })
    }
}

/// What the walk says of an entry.
enum Look {
    /// The root of the file system has no name that a member could have.
    Nothing,
    /// Not to be saved; `is_there` says that something is.
    Lost {
        kind: NoteKind,
        reason: String,
        is_there: bool,
    },
    /// A directory that could not be listed (whole). It is saved as such.
    Unlisted {
        note: (NoteKind, String),
    },
    Whole {
        note: Option<(NoteKind, String)>,
    },
}

fn look(path: &[u8], item: WalkItem) -> Look {
    if item.left_out == Some(SOCKET) {
        return Look::Lost { kind: NoteKind::Socket, reason: "is a socket".to_owned(), is_there: false };
    }
    if let Some(error) = item.error {
        let is_gone = error.kind() == ErrorKind::NotFound;
        let kind = if is_gone { NoteKind::Vanished } else { NoteKind::Unreadable };
        // Without metadata there is nothing to save.
        if item.meta.kind == EntryKind::Dir && item.meta.ino != 0 && !is_gone && !path.is_empty() {
            return Look::Unlisted { note: (kind, error.chain()) };
        }
        return Look::Lost { kind, reason: error.chain(), is_there: !is_gone };
    }
    let left_out = item.left_out.map(|why| (NoteKind::LeftOut, format!("content left out: {why}")));
    match left_out {
        Some((kind, reason)) if path.is_empty() => Look::Lost { kind, reason, is_there: false },
        None if path.is_empty() => Look::Nothing,
        note => Look::Whole { note },
    }
}

/// Pushes the changes of all lanes in order, what several of them save as one item; ends early when nobody takes them
/// any more.
pub(crate) fn feed_changes(lanes: Vec<Changes>, feed: Feed<Batch>) {
    let mut filler = Filler::new(feed, &[]);
    let mut lanes: Vec<_> = lanes.into_iter().map(|changes| changes.into_iter().peekable()).collect();
    loop {
        let mut first: Option<(usize, &Change)> = None;
        for (number, lane) in lanes.iter_mut().enumerate() {
            if let Some(change) = lane.peek()
                && first.is_none_or(|(_, known)| path_order(&change.path, &known.path) == Ordering::Less)
            {
                first = Some((number, change));
            }
        }
        let Some(first) = first.map(|(number, _)| number) else { break };
        let Some(mut change) = lanes[first].next() else { break };
        let mut uses = Vec::new();
        for (lane, changes) in lanes.iter_mut().enumerate().skip(first + 1) {
            if let Some(mut same) = changes.next_if(|other| other.reads_as(&change)) {
                uses.push(Use { lane, dumpdir: same.take_dumpdir() });
            }
        }
        let dumpdir = change.take_dumpdir();
        if first > 0 || dumpdir.is_some() || !uses.is_empty() {
            uses.insert(0, Use { lane: first, dumpdir });
        }
        if !filler.add_change(change, uses) {
            return;
        }
    }
    filler.finish();
}

/// Makes `path` the member path of what is `below` the root `member`.
fn join(path: &mut Vec<u8>, member: &[u8], below: &[u8]) {
    path.clear();
    path.extend_from_slice(member);
    if !member.is_empty() && !below.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(below);
}

/// Fills batches and hands on the full ones.
struct Filler<'a> {
    feed: Feed<Batch>,
    batch: Batch,
    member: &'a [u8],
    path: Vec<u8>,
    /// Files (and what else is no directory) with several names that came already.
    seen: HashSet<(u64, u64)>,
}

impl<'a> Filler<'a> {
    fn new(feed: Feed<Batch>, member: &'a [u8]) -> Self {
        let batch = Batch::default();
        Self { feed, batch, member, path: Vec::new(), seen: HashSet::new() }
    }

    /// False when nobody takes batches any more.
    fn add(&mut self, item: WalkItem) -> bool {
        join(&mut self.path, self.member, &item.path);
        let meta = item.meta;
        let (work, note) = match look(&self.path, item) {
            Look::Nothing => return true,
            Look::Lost { kind, reason, .. } => (Work::Lost { kind, reason }, None),
            Look::Unlisted { note } => (Work::HeaderOnly, Some(note)),
            Look::Whole { note } => (self.work_of(&meta), note),
        };
        self.push(meta, work, note)
    }

    /// Adds a change to these archives. False when nobody takes batches any more.
    fn add_change(&mut self, change: Change, uses: Vec<Use>) -> bool {
        self.path = change.path;
        let (work, note) = match change.found {
            Found::Removed => (Work::Removed, change.note),
            Found::Lost => match change.note {
                Some((kind, reason)) => (Work::Lost { kind, reason }, None),
                None => return true,
            },
            Found::Dir { .. } => (Work::HeaderOnly, change.note),
            Found::Entry => (self.work_of(&change.meta), change.note),
        };
        self.batch.push(&self.path, &[], change.meta, work, note);
        self.batch.use_in(uses);
        self.hand_on()
    }

    fn push(&mut self, meta: Meta, work: Work, note: Option<(NoteKind, String)>) -> bool {
        self.batch.push(&self.path, &[], meta, work, note);
        self.hand_on()
    }

    /// Hands on the batch if it is full.
    fn hand_on(&mut self) -> bool {
        if !self.batch.is_full() {
            return true;
        }
        let mut next = self.feed.empty();
        next.clear();
        self.feed.push(std::mem::replace(&mut self.batch, next))
    }

    fn work_of(&mut self, meta: &Meta) -> Work {
        if meta.kind != EntryKind::Dir && meta.nlink > 1 && !self.seen.insert((meta.dev, meta.ino)) {
            Work::FurtherName
        } else {
            Work::of(meta.kind)
        }
    }

    /// Hands on what is left.
    fn finish(self) {
        self.feed.push(self.batch);
    }
}
