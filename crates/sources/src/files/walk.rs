//! From the walk of the file system to batches of entries: applies the excludes and finds further names of files.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use nxs_base::entry::{EntryKind, Meta};
use nxs_base::ports::source::{Cancel, NoteKind};
use nxs_base::spec::FilesSource as FilesSpec;
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::fsx::{self, as_path};
use nxs_sys::walk::{Filter, Options, SOCKET, WalkItem, Walker};

use super::batch::{Batch, Work};
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
        let options = Options {
            one_file_system: self.spec.one_file_system,
            exclude_caches: self.spec.exclude_caches,
            exclude_if_present: self.spec.exclude_if_present.iter().map(|n| n.clone().into_bytes()).collect(),
            ..Options::default()
        };
        let mut filler = Filler::new(feed, self.member);
        for item in Walker::start(as_path(self.root), options, self.filter()) {
            cancel.check()?;
            if item.path.is_empty() && item.meta.ino != self.root_ino {
                let text =
                    format!("the target `{}` was replaced when it was to be read", fsx::show(self.root));
                return Err(item.error.unwrap_or_else(|| Error::new(ErrorKind::NotFound, text)));
            }
            if !filler.add(item) {
                return Ok(());
            }
        }
        filler.finish();
        Ok(())
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
        let mut note = None;
        let work = if item.left_out == Some(SOCKET) {
            Work::Lost { kind: NoteKind::Socket, reason: "is a socket".to_owned() }
        } else if let Some(error) = item.error {
            let is_gone = error.kind() == ErrorKind::NotFound;
            let kind = if is_gone { NoteKind::Vanished } else { NoteKind::Unreadable };
            // A directory that cannot be listed is saved as such; without metadata there is nothing to save.
            if item.meta.kind == EntryKind::Dir && item.meta.ino != 0 && !is_gone && !self.path.is_empty() {
                note = Some((kind, error.chain()));
                Work::HeaderOnly
            } else {
                Work::Lost { kind, reason: error.chain() }
            }
        } else if self.path.is_empty() {
            // The root of the file system has no name that a member could have.
            let Some(why) = item.left_out else { return true };
            Work::Lost { kind: NoteKind::LeftOut, reason: format!("content left out: {why}") }
        } else {
            note = item.left_out.map(|why| (NoteKind::LeftOut, format!("content left out: {why}")));
            self.work_of(&item.meta)
        };
        self.batch.push(&self.path, &[], item.meta, work, note);
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
