//! What changed in a tree since a baseline: the walk merge-joined with the entries of the parent's state, both in
//! path order.
//!
//! The whole difference is found before anything of it is emitted, because a group of hard links is saved whole as
//! soon as one of its names is saved. Memory: one change each for what is to be saved, for every name of files with
//! several names, and for the directories on the way; nothing for what did not change. Reading and writing of what
//! changed are `super::batch`'s and `super::emit`'s.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::iter::Peekable;

use nxs_base::Result;
use nxs_base::entry::{EntryKind, EntryState, FileTime, IndexEntry, Meta, path_order};
use nxs_base::ports::source::{Baseline, NoteKind};

use super::changes::{Changes, Kind};

/// One name in the listing of a directory, in GNU's form.
const IS_DIR: u8 = b'D';
const IN_ARCHIVE: u8 = b'Y';
const NOT_IN_ARCHIVE: u8 = b'N';

/// How much modification times from v2's archives may differ: they went through a float.
const FLOAT_SLACK_NANOS: i128 = 2_000;

/// Share of entries that differ by inode alone from which on inodes are not trusted: a tree that was copied or
/// mounted anew.
const INODE_ONLY_PERCENT: u64 = 90;

/// Why something is saved; the weakest reason first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// Nothing yet: kept because it may have to be saved for the sake of another name.
    None,
    /// Only its inode is another.
    Inode,
    /// Owner, mode, attributes or links (ctime).
    Metadata,
    Content,
}

/// What there is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// To be saved as it is.
    Entry,
    /// A directory with its listing; none if it could not be listed whole.
    Dir { dumpdir: Option<Vec<u8>> },
    /// Gone, or left out by now.
    Removed,
    /// Nothing to save, only to be told.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Member path.
    pub(crate) path: Vec<u8>,
    pub(crate) meta: Meta,
    pub(crate) found: Found,
    pub(crate) note: Option<(NoteKind, String)>,
}

impl Change {
    /// Whether both are saved alike, but for what a directory lists.
    pub(crate) fn reads_as(&self, other: &Self) -> bool {
        let is_alike = matches!(
            (&self.found, &other.found),
            (Found::Entry, Found::Entry) | (Found::Dir { .. }, Found::Dir { .. })
        );
        is_alike && self.path == other.path
    }

    pub(crate) fn take_dumpdir(&mut self) -> Option<Vec<u8>> {
        if let Found::Dir { dumpdir } = &mut self.found { dumpdir.take() } else { None }
    }
}

/// The difference, in path order.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    pub(crate) changes: Changes,
    /// Entries of the walk.
    pub(crate) seen: u64,
    /// Regular files that are saved whole for a change of metadata alone.
    pub(crate) metadata_only: u64,
    /// Inodes were left out of the comparison.
    pub(crate) ignored_inodes: bool,
}

/// A directory whose content is passing by.
struct Open {
    path_len: usize,
    /// Its change.
    slot: usize,
    reason: Reason,
    /// Of the group names in it, which keep its listing.
    has_groups: bool,
    /// Its names, or which of them are directories, are others than in the baseline. Else nothing in it is to be
    /// deleted by who unpacks the archives one after the other, and its member needs no listing.
    lists_anew: bool,
    dumpdir: Vec<u8>,
}

/// A name of a file that has several.
struct Name {
    /// The change of the name.
    slot: usize,
    /// The change of its directory.
    dir: Option<usize>,
}

#[derive(Default)]
struct Group {
    reason: Option<Reason>,
    names: Vec<Name>,
}

/// Finds the difference to one baseline.
pub(crate) struct Differ<'a> {
    baseline: Peekable<Baseline<'a>>,
    changes: Changes,
    /// Directories from the root to where the walk is; `path` is that of the last one.
    open: Vec<Open>,
    path: Vec<u8>,
    groups: HashMap<(u64, u64), Group>,
    /// Entries of this directory are left as the baseline has them: it could not be listed.
    opaque: Option<Vec<u8>>,
    seen: u64,
    compared: u64,
    inode_only: u64,
}

/// What the walk says of one entry.
pub(crate) struct Seen<'a> {
    /// Member path.
    pub(crate) path: &'a [u8],
    pub(crate) meta: Meta,
    /// To be told of it.
    pub(crate) note: Option<(NoteKind, String)>,
    pub(crate) state: Seeing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seeing {
    /// Can be saved.
    Whole,
    /// A directory that could not be listed (whole).
    Unlisted,
    /// Is there, but nothing is known of it.
    Unknown,
    /// Is not to be saved: a socket, or gone by now.
    Absent,
}

impl<'a> Differ<'a> {
    pub(crate) fn new(baseline: Baseline<'a>) -> Self {
        Self {
            baseline: baseline.peekable(),
            changes: Changes::default(),
            open: Vec::new(),
            path: Vec::new(),
            groups: HashMap::new(),
            opaque: None,
            seen: 0,
            compared: 0,
            inode_only: 0,
        }
    }

    /// Takes the next entry of the walk. Fails on errors of the baseline only.
    pub(crate) fn add(&mut self, seen: Seen<'_>) -> Result<()> {
        self.seen += 1;
        let base = self.catch_up(Some(seen.path))?;
        self.close_to(seen.path);
        match seen.state {
            Seeing::Absent => {
                if base.is_some() {
                    self.removed(seen.path);
                }
                self.lost(seen);
            }
            Seeing::Unknown => {
                // Tried again by the next run, because the baseline's entry stays what it is.
                self.list(seen.path, NOT_IN_ARCHIVE);
                self.leave(seen.path);
                self.lost(seen);
            }
            Seeing::Whole | Seeing::Unlisted => self.present(seen, base.as_ref()),
        }
        Ok(())
    }

    /// The entries of the baseline before `path` are gone; the one of `path` itself is returned.
    fn catch_up(&mut self, path: Option<&[u8]>) -> Result<Option<IndexEntry>> {
        loop {
            let order = match (self.baseline.peek(), path) {
                (None, _) => return Ok(None),
                (Some(Err(_)), _) | (Some(Ok(_)), None) => Ordering::Less,
                (Some(Ok(base)), Some(path)) => path_order(&base.path, path),
            };
            if order == Ordering::Greater {
                return Ok(None);
            }
            let Some(base) = self.baseline.next().transpose()? else { return Ok(None) };
            if order == Ordering::Equal {
                return Ok(Some(base));
            }
            if self.opaque.as_ref().is_some_and(|opaque| is_below(&base.path, opaque)) {
                continue;
            }
            self.close_to(&base.path);
            self.removed(&base.path);
        }
    }

    /// Keeps what the baseline has below `path`.
    fn leave(&mut self, path: &[u8]) {
        if !self.opaque.as_ref().is_some_and(|opaque| is_below(path, opaque)) {
            self.opaque = Some(path.to_vec());
        }
    }

    /// Leaves the directories that `path` is not in.
    fn close_to(&mut self, path: &[u8]) {
        while let Some(open) = self.open.last() {
            let dir = &self.path[..open.path_len];
            if is_below(path, dir) {
                break;
            }
            self.close();
        }
    }

    fn close(&mut self) {
        let Some(open) = self.open.pop() else { return };
        self.path.truncate(self.open.last().map_or(0, |o| o.path_len));
        let reason = self.changes.strengthen(open.slot, open.reason);
        if reason > Reason::None || self.changes.has_note(open.slot) || open.has_groups {
            if open.lists_anew {
                self.changes.set_dumpdir(open.slot, open.dumpdir);
            }
        } else if open.slot + 1 == self.changes.len() {
            self.changes.pop();
        } else {
            self.changes.set_unchanged(open.slot);
        }
    }

    /// The open directory that `path` lies directly in.
    fn parent(&mut self, path: &[u8]) -> Option<&mut Open> {
        let dir_len = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
        self.open.last_mut().filter(|open| open.path_len == dir_len)
    }

    fn touch_parent(&mut self, path: &[u8], reason: Reason) {
        if let Some(open) = self.parent(path) {
            open.reason = open.reason.max(reason);
        }
    }

    fn list_parent_anew(&mut self, path: &[u8]) {
        if let Some(open) = self.parent(path) {
            open.lists_anew = true;
        }
    }

    /// Adds the name to the listing of its directory.
    fn list(&mut self, path: &[u8], mark: u8) {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
        if let Some(Open { dumpdir, .. }) = self.parent(path) {
            dumpdir.push(mark);
            dumpdir.extend_from_slice(name);
            dumpdir.push(0);
        }
    }

    /// Adds a change below the directory that is open; its slot.
    fn push(&mut self, path: &[u8], meta: &Meta, kind: Kind, reason: Reason) -> usize {
        let slot = self.changes.len();
        match self.open.last() {
            Some(open) if open.path_len > 0 => {
                self.changes.push(Some(open.slot), &path[open.path_len + 1..], meta, kind, reason);
            }
            _ => self.changes.push(None, path, meta, kind, reason),
        }
        slot
    }

    fn removed(&mut self, path: &[u8]) {
        self.touch_parent(path, Reason::Content);
        self.list_parent_anew(path);
        self.push(path, &Meta::default(), Kind::Removed, Reason::Content);
    }

    fn lost(&mut self, seen: Seen<'_>) {
        if let Some(note) = seen.note {
            let slot = self.push(seen.path, &seen.meta, Kind::Lost, Reason::Content);
            self.changes.set_note(slot, note);
        }
    }

    fn present(&mut self, seen: Seen<'_>, base: Option<&IndexEntry>) {
        let reason = match base {
            None => Reason::Content,
            Some(base) => {
                self.compared += 1;
                difference(base, &seen.meta)
            }
        };
        self.inode_only += u64::from(reason == Reason::Inode);
        let is_dir = seen.meta.kind == EntryKind::Dir;
        let has_names = !is_dir && seen.meta.nlink > 1;
        let mark = match (is_dir, reason) {
            (true, _) => IS_DIR,
            (false, Reason::None) => NOT_IN_ARCHIVE,
            (false, _) => IN_ARCHIVE,
        };
        self.list(seen.path, mark);
        // What is saved in a directory changes its time on extraction. A changed directory lists its names anew,
        // but leaves the one above alone unless it is new there or became a directory.
        let is_same_dir = is_dir && base.is_some_and(|b| b.meta.kind == EntryKind::Dir);
        if !is_same_dir {
            self.touch_parent(seen.path, reason);
        }
        // What version 2 lists is not trusted to be what its archives bring back.
        let is_known = base.is_some_and(|b| (b.meta.kind == EntryKind::Dir) == is_dir && !is_from_v2(b));
        if !is_known {
            self.list_parent_anew(seen.path);
        }
        let is_unlisted = seen.state == Seeing::Unlisted;
        if is_unlisted {
            self.leave(seen.path);
        }
        if reason == Reason::None && !is_dir && !has_names && seen.note.is_none() {
            return;
        }
        let slot = self.push(seen.path, &seen.meta, if is_dir { Kind::Dir } else { Kind::Entry }, reason);
        if let Some(note) = seen.note {
            self.changes.set_note(slot, note);
        }
        if is_dir && !is_unlisted {
            self.path.clear();
            self.path.extend_from_slice(seen.path);
            let path_len = seen.path.len();
            self.open.push(Open {
                path_len,
                slot,
                reason,
                has_groups: false,
                lists_anew: !is_known,
                dumpdir: Vec::new(),
            });
        }
        if has_names {
            let dir = self.parent(seen.path).map(|open| {
                open.has_groups = true;
                open.slot
            });
            let group = self.groups.entry((seen.meta.dev, seen.meta.ino)).or_default();
            group.reason = group.reason.max(Some(reason));
            group.names.push(Name { slot, dir });
        }
    }

    /// Ends the comparison.
    pub(crate) fn finish(mut self) -> Result<Difference> {
        self.catch_up(None)?;
        while !self.open.is_empty() {
            self.close();
        }
        let ignored_inodes =
            self.inode_only > 0 && self.inode_only * 100 > self.compared * INODE_ONLY_PERCENT;
        let least = if ignored_inodes { Reason::Metadata } else { Reason::Inode };
        for group in std::mem::take(&mut self.groups).into_values() {
            let Some(reason) = group.reason.filter(|r| *r >= least) else { continue };
            for name in group.names {
                self.save_for_group(&name, reason);
            }
        }
        self.changes.close(least);
        let metadata_only = self.changes.count_files(Reason::Metadata);
        Ok(Difference { seen: self.seen, ignored_inodes, changes: self.changes, metadata_only })
    }

    fn save_for_group(&mut self, name: &Name, reason: Reason) {
        self.changes.strengthen(name.slot, reason);
        let Some(dir) = name.dir else { return };
        self.changes.strengthen(dir, reason);
        let base = self.changes.base_name(name.slot).to_vec();
        if let Some(dumpdir) = self.changes.dumpdir_mut(dir) {
            mark_in_archive(dumpdir, &base);
        }
    }
}

/// Changes the mark of one name.
fn mark_in_archive(dumpdir: &mut [u8], name: &[u8]) {
    let mut at = 0;
    while let Some(len) = dumpdir[at..].iter().position(|b| *b == 0) {
        if dumpdir[at + 1..at + len] == *name {
            dumpdir[at] = IN_ARCHIVE;
            return;
        }
        at += len + 1;
    }
}

/// Whether `path` is below `dir`; the empty path is the root of all.
fn is_below(path: &[u8], dir: &[u8]) -> bool {
    match path.strip_prefix(dir) {
        Some(rest) => dir.is_empty() && !rest.is_empty() || rest.first() == Some(&b'/'),
        None => false,
    }
}

/// Entries of version 2 have neither `ctime` nor inode.
fn is_from_v2(base: &IndexEntry) -> bool {
    base.meta.ctime == FileTime::default() && base.meta.ino == 0
}

/// What is different between the baseline's entry and what is there now.
fn difference(base: &IndexEntry, now: &Meta) -> Reason {
    // A further name of a file stands as such in the baseline.
    let is_link = base.meta.kind == EntryKind::HardLink;
    let same_kind = base.meta.kind == now.kind || is_link && now.kind != EntryKind::Dir;
    let same_size = now.kind != EntryKind::File || is_link || base.meta.size_bytes == now.size_bytes;
    if !same_kind || !same_size || base.state != EntryState::Sound {
        return Reason::Content;
    }
    if is_from_v2(base) {
        let is_same = same_float(base.meta.mtime, now.mtime) && now.kind != EntryKind::Symlink;
        let same_owner = (base.meta.mode, base.meta.uid, base.meta.gid) == (now.mode, now.uid, now.gid);
        return match (is_same, same_owner) {
            (false, _) => Reason::Content,
            (true, false) => Reason::Metadata,
            (true, true) => Reason::None,
        };
    }
    if base.meta.mtime != now.mtime {
        Reason::Content
    } else if base.meta.ctime != now.ctime {
        Reason::Metadata
    } else if base.meta.ino != now.ino {
        Reason::Inode
    } else {
        Reason::None
    }
}

fn same_float(a: FileTime, b: FileTime) -> bool {
    let nanos = |t: FileTime| i128::from(t.sec) * 1_000_000_000 + i128::from(t.nsec);
    (nanos(a) - nanos(b)).abs() <= FLOAT_SLACK_NANOS
}
