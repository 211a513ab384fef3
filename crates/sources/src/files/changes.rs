//! The changes of one archive while they are being found, packed: a tree of which everything changed has as many as it
//! has entries.
//!
//! Each is known by its slot. Its name is kept below the directory that holds it, which has a slot too; names and
//! metadata are bytes in one piece. What counts as a change is `super::difference`'s matter.

use std::collections::HashMap;

use nxs_base::entry::{EntryKind, FileTime, Meta};
use nxs_base::ports::source::NoteKind;

use super::difference::{Change, Found, Reason};

/// What there is at a path, without what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Entry,
    Dir,
    Removed,
    Lost,
    /// A directory that did not change, for the names of what is in it.
    Unchanged,
}

#[derive(Debug)]
struct Slot {
    /// Where its bytes begin.
    at: usize,
    /// Slot of the directory that the name is below.
    dir: Option<u32>,
    kind: Kind,
    entry_kind: EntryKind,
    reason: Reason,
}

/// Changes in path order.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    slots: Vec<Slot>,
    packed: Vec<u8>,
    notes: HashMap<usize, (NoteKind, String)>,
    dumpdirs: HashMap<usize, Vec<u8>>,
    /// Weaker ones are passed over, but for their notes.
    least: Option<Reason>,
}

impl Changes {
    /// The slot of the next one.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Adds a change; `name` is below the directory `dir`, or the whole path.
    pub(super) fn push(&mut self, dir: Option<usize>, name: &[u8], meta: &Meta, kind: Kind, reason: Reason) {
        let at = self.packed.len();
        // A slot that no number tells is none: the name would be wrong, so it is the whole path then.
        let told = dir.and_then(|dir| u32::try_from(dir).ok());
        let whole = match (dir, told) {
            (Some(dir), None) => [&self.path(dir)[..], b"/", name].concat(),
            _ => Vec::new(),
        };
        let name = if whole.is_empty() { name } else { &whole };
        put(&mut self.packed, name.len() as u64);
        self.packed.extend_from_slice(name);
        if kind != Kind::Removed {
            put_meta(&mut self.packed, meta);
        }
        self.slots.push(Slot { at, dir: told, kind, entry_kind: meta.kind, reason });
    }

    /// Forgets the last one, which has neither note nor listing.
    pub(super) fn pop(&mut self) {
        if let Some(slot) = self.slots.pop() {
            self.packed.truncate(slot.at);
        }
    }

    pub(super) fn set_note(&mut self, slot: usize, note: (NoteKind, String)) {
        self.notes.insert(slot, note);
    }

    pub(super) fn has_note(&self, slot: usize) -> bool {
        self.notes.contains_key(&slot)
    }

    pub(super) fn set_dumpdir(&mut self, slot: usize, mut dumpdir: Vec<u8>) {
        dumpdir.shrink_to_fit();
        self.dumpdirs.insert(slot, dumpdir);
    }

    pub(super) fn dumpdir_mut(&mut self, slot: usize) -> Option<&mut Vec<u8>> {
        self.dumpdirs.get_mut(&slot)
    }

    pub(super) fn set_unchanged(&mut self, slot: usize) {
        self.slots[slot].kind = Kind::Unchanged;
    }

    /// Makes the reason no weaker than this; the reason.
    pub(super) fn strengthen(&mut self, slot: usize, reason: Reason) -> Reason {
        let kept = &mut self.slots[slot].reason;
        *kept = (*kept).max(reason);
        *kept
    }

    /// Last component of the path.
    pub(super) fn base_name(&self, slot: usize) -> &[u8] {
        let name = self.name(slot);
        name.rsplit(|b| *b == b'/').next().unwrap_or(name)
    }

    /// How many files are saved for this reason.
    pub(super) fn count_files(&self, reason: Reason) -> u64 {
        let is_one = |slot: &&Slot| slot.reason == reason && slot.entry_kind == EntryKind::File;
        self.slots.iter().filter(is_one).count() as u64
    }

    /// Ends it: reasons weaker than `least` are none.
    pub(super) fn close(&mut self, least: Reason) {
        self.least = Some(least);
    }

    fn name(&self, slot: usize) -> &[u8] {
        let mut bytes = &self.packed[self.slots[slot].at..];
        let len = usize::try_from(take(&mut bytes)).unwrap_or_default();
        &bytes[..len]
    }

    fn path(&self, slot: usize) -> Vec<u8> {
        let mut parts = vec![self.name(slot)];
        let mut dir = self.slots[slot].dir;
        while let Some(above) = dir.map(|dir| dir as usize) {
            parts.push(self.name(above));
            dir = self.slots[above].dir;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    fn take(&mut self, number: usize) -> Option<Change> {
        let slot = &self.slots[number];
        let note = self.notes.remove(&number);
        let is_weak = self.least.is_some_and(|least| slot.reason < least);
        if slot.kind == Kind::Unchanged || is_weak && note.is_none() {
            return None;
        }
        let dumpdir = self.dumpdirs.remove(&number).map(|mut dumpdir| {
            // The listing ends with an empty name.
            dumpdir.push(0);
            dumpdir
        });
        let found = match slot.kind {
            _ if is_weak => Found::Lost,
            Kind::Entry => Found::Entry,
            Kind::Dir => Found::Dir { dumpdir },
            Kind::Removed => Found::Removed,
            Kind::Lost | Kind::Unchanged => Found::Lost,
        };
        let meta = match slot.kind {
            Kind::Removed => Meta::default(),
            _ => {
                let mut bytes = &self.packed[slot.at..];
                let len = usize::try_from(take(&mut bytes)).unwrap_or_default();
                take_meta(&bytes[len..], slot.entry_kind)
            }
        };
        Some(Change { path: self.path(number), meta, found, note })
    }
}

impl IntoIterator for Changes {
    type Item = Change;
    type IntoIter = Taken;

    fn into_iter(self) -> Taken {
        Taken { changes: self, next: 0 }
    }
}

/// The changes one by one.
#[derive(Debug)]
pub(crate) struct Taken {
    changes: Changes,
    next: usize,
}

impl Iterator for Taken {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        while self.next < self.changes.len() {
            let slot = self.next;
            self.next += 1;
            if let Some(change) = self.changes.take(slot) {
                return Some(change);
            }
        }
        None
    }
}

fn put_meta(out: &mut Vec<u8>, meta: &Meta) {
    let Meta { kind: _, mode, uid, gid, size_bytes, mtime, ctime, ino, dev, nlink, rdev_major, rdev_minor } =
        *meta;
    for small in [mode, uid, gid, mtime.nsec, ctime.nsec, rdev_major, rdev_minor] {
        put(out, small.into());
    }
    for sec in [mtime.sec, ctime.sec] {
        // Small numbers on both sides of the epoch.
        put(out, ((sec << 1) ^ (sec >> 63)).cast_unsigned());
    }
    for wide in [size_bytes, ino, dev, nlink] {
        put(out, wide);
    }
}

fn take_meta(mut bytes: &[u8], kind: EntryKind) -> Meta {
    let mut small = || u32::try_from(take(&mut bytes)).unwrap_or_default();
    let [mode, uid, gid, mtime_nsec, ctime_nsec, rdev_major, rdev_minor] = std::array::from_fn(|_| small());
    let mut sec = || {
        let packed = take(&mut bytes);
        (packed >> 1).cast_signed() ^ -((packed & 1).cast_signed())
    };
    let [mtime_sec, ctime_sec] = std::array::from_fn(|_| sec());
    let [size_bytes, ino, dev, nlink] = std::array::from_fn(|_| take(&mut bytes));
    let mtime = FileTime { sec: mtime_sec, nsec: mtime_nsec };
    let ctime = FileTime { sec: ctime_sec, nsec: ctime_nsec };
    Meta { kind, mode, uid, gid, size_bytes, mtime, ctime, ino, dev, nlink, rdev_major, rdev_minor }
}

/// Seven bits a byte, the lowest first.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    while let Some((byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift >= 64 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(number: u64, kind: EntryKind) -> Meta {
        let (small, sec) = (number as u32, number.cast_signed());
        Meta {
            kind,
            mode: small,
            uid: small / 3,
            gid: small / 5,
            size_bytes: number,
            mtime: FileTime { sec, nsec: small / 7 },
            ctime: FileTime { sec: -(sec / 3), nsec: small / 11 },
            ino: number / 2,
            dev: number / 13,
            nlink: number / 17,
            rdev_major: small / 19,
            rdev_minor: small / 23,
        }
    }

    #[test]
    fn changes_come_out_as_they_went_in_with_their_whole_paths() {
        let numbers =
            (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1]).chain([u64::MAX, 0x0123_4567_89ab_cdef]);
        let mut changes = Changes::default();
        let mut expected = Vec::new();
        for number in numbers {
            let dir = changes.len();
            let (of_dir, of_file) = (meta(number, EntryKind::Dir), meta(!number, EntryKind::File));
            changes.push(None, format!("a/{number}").as_bytes(), &of_dir, Kind::Dir, Reason::Content);
            changes.push(Some(dir), b"b", &of_dir, Kind::Dir, Reason::None);
            changes.set_unchanged(dir + 1);
            changes.push(Some(dir + 1), b"gone", &of_dir, Kind::Dir, Reason::None);
            changes.pop();
            changes.push(Some(dir + 1), b"c/d", &of_file, Kind::Entry, Reason::Content);
            changes.push(Some(dir), b"e", &Meta::default(), Kind::Removed, Reason::Content);
            changes.set_dumpdir(dir, b"Ne".to_vec());
            expected.push((format!("a/{number}"), of_dir, Found::Dir { dumpdir: Some(b"Ne\0".to_vec()) }));
            expected.push((format!("a/{number}/b/c/d"), of_file, Found::Entry));
            expected.push((format!("a/{number}/e"), Meta::default(), Found::Removed));
        }
        let found = changes.into_iter().map(|c| (String::from_utf8(c.path).unwrap(), c.meta, c.found));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn weak_reasons_are_none_but_for_their_notes() {
        let mut changes = Changes::default();
        let reasons = [Reason::Inode, Reason::Metadata, Reason::Inode];
        for (reason, name) in reasons.into_iter().zip(["a", "b", "c"]) {
            changes.push(None, name.as_bytes(), &meta(1, EntryKind::File), Kind::Entry, reason);
        }
        changes.set_note(2, (NoteKind::Racy, "so".to_owned()));
        changes.close(Reason::Metadata);
        assert_eq!(changes.count_files(Reason::Metadata), 1);
        let found: Vec<_> = changes.into_iter().map(|c| (c.path, c.found, c.note.is_some())).collect();
        assert_eq!(found, [(b"b".to_vec(), Found::Entry, false), (b"c".to_vec(), Found::Lost, true)]);
    }
}
