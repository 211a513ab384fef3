//! Entries on their way from the walk to the archive, in batches that reader threads fill with the bytes of small
//! files and with extended attributes.
//!
//! A batch owns its memory (names and data in one piece each) and is used again. Order is kept by the queue
//! (`super::queue`); what the archive says is decided in `super::emit`.

use std::io;
use std::ops::Range;

use nxs_base::entry::{EntryKind, EntryState, Meta};
use nxs_base::ports::source::NoteKind;
use nxs_base::{Error, ErrorKind, Result};
use rustix::io::Errno;

use super::open::{OpenFiles, ReadFile, Xattrs};

/// Files up to this size are read ahead as a whole.
pub(crate) const SMALL_FILE_BYTES: u64 = 256 << 10;

/// Entries of a full batch.
pub(crate) const BATCH_ENTRIES: usize = 256;

/// Bytes of file data after which a batch is full. A file that grew meanwhile is not read ahead beyond it.
pub(crate) const BATCH_BYTES: u64 = 1 << 20;

/// What is known of an entry, and what is still to be done for it.
#[derive(Debug)]
pub(crate) enum Work {
    /// Not a regular file: its header is all.
    HeaderOnly,
    /// A regular file that waits for a reader.
    Unread,
    /// A further name of what came before, if that could be saved.
    FurtherName,
    /// The whole content, in the batch's data.
    Loaded { data: Range<usize>, state: EntryState },
    /// To be read while it is written.
    Stream,
    /// Gone since the parent's state: a line of the index alone.
    Removed,
    /// Not to be saved, and why.
    Lost { kind: NoteKind, reason: String },
}

impl Work {
    /// What an entry of this kind needs first.
    pub(crate) fn of(kind: EntryKind) -> Self {
        if kind == EntryKind::File { Self::Unread } else { Self::HeaderOnly }
    }
}

/// An archive that an item goes into.
#[derive(Debug, Default)]
pub(crate) struct Use {
    /// Its place among those of one walk.
    pub(crate) lane: usize,
    /// Listing of the directory in GNU's form, as this archive has it.
    pub(crate) dumpdir: Option<Vec<u8>>,
}

/// The only archive.
static ALONE: [Use; 1] = [Use { lane: 0, dumpdir: None }];

#[derive(Debug)]
pub(crate) struct Item {
    path: Range<usize>,
    link: Range<usize>,
    /// Empty where there is one archive and nothing to say of it.
    uses: Range<usize>,
    pub(crate) meta: Meta,
    pub(crate) work: Work,
    pub(crate) xattrs: Xattrs,
    /// What else is to be said of it; the entry is saved all the same.
    pub(crate) note: Option<(NoteKind, String)>,
}

#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) items: Vec<Item>,
    names: Vec<u8>,
    uses: Vec<Use>,
    /// Keeps its length when used again, so that it need not be cleared.
    data: Vec<u8>,
    used_bytes: usize,
    /// Bytes that the entries so far will need, by the walk.
    expected_bytes: u64,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.names.clear();
        self.uses.clear();
        self.used_bytes = 0;
        self.expected_bytes = 0;
    }

    pub(crate) fn push(
        &mut self,
        path: &[u8],
        link: &[u8],
        meta: Meta,
        work: Work,
        note: Option<(NoteKind, String)>,
    ) {
        let path = self.add_name(path);
        let link = self.add_name(link);
        if matches!(work, Work::Unread) && meta.size_bytes <= SMALL_FILE_BYTES {
            self.expected_bytes += meta.size_bytes;
        }
        self.items.push(Item { path, link, uses: 0..0, meta, work, xattrs: Xattrs::new(), note });
    }

    /// Says which archives the item pushed last goes into; without it there is but one.
    pub(crate) fn use_in(&mut self, uses: impl IntoIterator<Item = Use>) {
        let start = self.uses.len();
        self.uses.extend(uses);
        if let Some(item) = self.items.last_mut() {
            item.uses = start..self.uses.len();
        }
    }

    /// Where the item goes.
    pub(crate) fn uses(&self, item: &Item) -> &[Use] {
        if item.uses.is_empty() { &ALONE } else { &self.uses[item.uses.clone()] }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= BATCH_ENTRIES || self.expected_bytes + SMALL_FILE_BYTES > BATCH_BYTES
    }

    pub(crate) fn path(&self, item: &Item) -> &[u8] {
        &self.names[item.path.clone()]
    }

    pub(crate) fn link(&self, item: &Item) -> &[u8] {
        &self.names[item.link.clone()]
    }

    pub(crate) fn data(&self, range: &Range<usize>) -> &[u8] {
        &self.data[range.clone()]
    }

    fn add_name(&mut self, name: &[u8]) -> Range<usize> {
        let start = self.names.len();
        self.names.extend_from_slice(name);
        start..self.names.len()
    }

    /// Reads what can be read ahead. `root_bytes` is the length of the root's member path.
    pub(crate) fn load(&mut self, opener: &impl OpenFiles, root_bytes: usize) {
        for item in &mut self.items {
            let below = below_root(&self.names[item.path.clone()], root_bytes);
            let mut room = Room { data: &mut self.data, used_bytes: &mut self.used_bytes };
            match item.work {
                Work::Unread if item.meta.size_bytes > SMALL_FILE_BYTES => item.work = Work::Stream,
                Work::Unread if item.meta.size_bytes > 0 => load_file(item, opener, below, &mut room),
                Work::Unread => {
                    item.work = Work::Loaded { data: 0..0, state: EntryState::Sound };
                    read_xattrs_by_path(item, opener, below);
                }
                Work::FurtherName if item.meta.kind == EntryKind::File => {}
                // The first name of what is no file may be missing: then this one takes its place.
                Work::HeaderOnly | Work::FurtherName => {
                    if item.meta.kind == EntryKind::Symlink && item.link.is_empty() {
                        match opener.read_link(below) {
                            Ok(link) => add_link(&mut self.names, item, &link),
                            Err(error) => {
                                item.work = lost_link(&error);
                                continue;
                            }
                        }
                    }
                    let below = below_root(&self.names[item.path.clone()], root_bytes);
                    read_xattrs_by_path(item, opener, below);
                }
                Work::Loaded { .. } | Work::Stream | Work::Removed | Work::Lost { .. } => {}
            }
        }
    }
}

/// The part of a member path that is relative to the root of the target.
pub(crate) fn below_root(path: &[u8], root_bytes: usize) -> &[u8] {
    match root_bytes {
        0 => path,
        _ => path.get(root_bytes + 1..).unwrap_or_default(),
    }
}

/// Whether a file is the same and unchanged between two looks. Device numbers come from two calls and may differ.
pub(crate) fn is_unchanged(a: &Meta, b: &Meta) -> bool {
    a.ino == b.ino && a.size_bytes == b.size_bytes && a.mtime == b.mtime && a.ctime == b.ctime
}

/// How an entry that could not be opened is noted.
pub(crate) fn lost(tried: &str, error: &io::Error) -> Work {
    let is_one_of = |list: &[Errno]| list.iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()));
    if is_one_of(&[Errno::NXIO]) {
        // A socket was put in its place.
        return replaced();
    }
    let is_gone = is_one_of(&[Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::XDEV, Errno::STALE]);
    let kind = if is_gone { NoteKind::Vanished } else { NoteKind::Unreadable };
    Work::Lost { kind, reason: format!("{tried}: {error}") }
}

fn lost_link(error: &io::Error) -> Work {
    if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) {
        let reason = "is no longer a symbolic link".to_owned();
        return Work::Lost { kind: NoteKind::Vanished, reason };
    }
    lost("cannot read the link", error)
}

/// A file that is something else by now.
pub(crate) fn replaced() -> Work {
    Work::Lost { kind: NoteKind::Vanished, reason: "is no longer a regular file".to_owned() }
}

/// Free memory of a batch.
struct Room<'a> {
    data: &'a mut Vec<u8>,
    used_bytes: &'a mut usize,
}

impl Room<'_> {
    fn take(&mut self, length: usize) -> Option<(Range<usize>, &mut [u8])> {
        let range = *self.used_bytes..*self.used_bytes + length;
        if range.end as u64 > BATCH_BYTES + SMALL_FILE_BYTES {
            return None;
        }
        if range.end > self.data.len() {
            self.data.resize(range.end, 0);
        }
        Some((range.clone(), &mut self.data[range]))
    }
}

fn load_file(item: &mut Item, opener: &impl OpenFiles, below: &[u8], room: &mut Room<'_>) {
    let file = match opener.open(below) {
        Ok(file) => file,
        Err(error) => {
            item.work = lost("cannot open", &error);
            return;
        }
    };
    item.work = match read_whole(&file, &mut item.meta, room) {
        Ok(work) => work,
        // The one who streams it knows how to read around a bad spot.
        Err(_) => Work::Stream,
    };
    if matches!(item.work, Work::Loaded { .. }) {
        set_xattrs(item, file.xattrs());
    }
}

/// Reads a file between two looks at it, a second time if it changed since the walk or meanwhile.
fn read_whole(file: &impl ReadFile, meta: &mut Meta, room: &mut Room<'_>) -> io::Result<Work> {
    for is_last_try in [false, true] {
        let length = usize::try_from(meta.size_bytes).unwrap_or(usize::MAX);
        let Some((range, buffer)) = room.take(length) else { return Ok(Work::Stream) };
        let got = fill(file, buffer)?;
        let after = file.stat()?;
        if !after.is_regular {
            return Ok(replaced());
        }
        if after.meta.size_bytes > SMALL_FILE_BYTES {
            return Ok(Work::Stream);
        }
        // Fewer blocks than bytes may be compression, too.
        if after.may_have_holes && file.extents(after.meta.size_bytes).is_some() {
            return Ok(Work::Stream);
        }
        let is_whole = got == length;
        let unchanged = is_unchanged(meta, &after.meta);
        if unchanged && is_whole || is_last_try {
            let state = match (is_whole, unchanged) {
                (false, _) => EntryState::Gap,
                (true, false) => EntryState::Racy,
                (true, true) => EntryState::Sound,
            };
            buffer[got..].fill(0);
            if unchanged {
                *meta = after.meta;
            }
            *room.used_bytes = range.end;
            return Ok(Work::Loaded { data: range, state });
        }
        *meta = after.meta;
    }
    Ok(Work::Stream)
}

/// Reads from the beginning until the buffer is full or the file ends.
fn fill(file: &impl ReadFile, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], got as u64)? {
            0 => break,
            n => got += n,
        }
    }
    Ok(got)
}

fn read_xattrs_by_path(item: &mut Item, opener: &impl OpenFiles, below: &[u8]) {
    let result = opener.xattrs(below);
    if !result.as_ref().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
        set_xattrs(item, result);
    } else if item.meta.kind == EntryKind::Dir {
        // Saved all the same: what was in it may have been read before it went.
        let reason = "was gone when its attributes were to be read".to_owned();
        item.note = item.note.take().or(Some((NoteKind::Vanished, reason)));
    } else {
        let reason = "was gone when it was to be saved".to_owned();
        item.work = Work::Lost { kind: NoteKind::Vanished, reason };
    }
}

fn set_xattrs(item: &mut Item, result: Result<Xattrs>) {
    match result {
        Ok(xattrs) => item.xattrs = xattrs,
        Err(error) => item.note = item.note.take().or_else(|| Some(no_attributes(&error))),
    }
}

/// The note on an entry whose attributes cannot be read.
pub(crate) fn no_attributes(error: &Error) -> (NoteKind, String) {
    (NoteKind::Unreadable, format!("saved without its attributes: {}", error.chain()))
}

fn add_link(names: &mut Vec<u8>, item: &mut Item, link: &[u8]) {
    let start = names.len();
    names.extend_from_slice(link);
    item.link = start..names.len();
}
