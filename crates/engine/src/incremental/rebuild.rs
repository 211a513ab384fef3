//! Makes the index of an archive anew from the archive alone, in one pass: for one that was lost, and for the archives
//! of version 2, which never had one.
//!
//! Places and metadata of members come from the tar, removals of an increment from its lists of names against the state
//! of its parents, the frame table from the boundaries of the frames. Of version 2's archives the state file tells finer
//! times and is held against what the archives have. Memory: compressed runs of entries, and the lists of names. Where
//! indexes lie and who asks for one is `crate::restore::fetch`'s and `crate::job`'s.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::iter::Peekable;
use std::rc::Rc;

use nxs_archive::frames::{Codec, FrameRecord, FrameScanner, FrameTotals};
use nxs_archive::index::{IndexBytes, IndexReader, IndexStart, IndexWriter};
use nxs_archive::tar::{EntryHeader, TarReader, safe_path};
use nxs_base::entry::{EntryKind, EntryState, FileTime, IndexEntry, Meta, path_order};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::naming::{escape_component, unescape_component};
use nxs_base::ports::source::{Cancel, NoteKind};
use nxs_base::record::Record;
use nxs_sys::fsx;

use super::chain::id_of_entry;
use super::inc_state::read_state;
use super::runs::Runs;
use super::state::State;
use crate::pipeline::digest::Digest;
use crate::restore::fetch;
use crate::restore::select::Copy;

/// An index that was made anew.
pub struct Rebuilt {
    pub index: IndexBytes,
    /// The bytes are those that the record tells the digest of. False for archives without a record.
    pub is_as_recorded: bool,
}

impl Rebuilt {
    /// Opens it in memory.
    pub fn open(self) -> Result<IndexReader<Vec<u8>>> {
        IndexReader::open(self.index.into_vec())
    }
}

/// The times in one of version 2's state files, sorted.
pub struct Times(Runs);

impl Times {
    /// Reads a state file. [`ErrorKind::Corrupt`] if it is none, or cut.
    pub fn read(source: impl Read) -> Result<Self> {
        let mut runs = Runs::default();
        read_state(source, &mut |path, mtime| {
            let meta = Meta { mtime, ..Meta::default() };
            runs.push(IndexEntry { path, meta, ..IndexEntry::default() })
        })?;
        runs.close().map(Self)
    }
}

/// Reads the archive of `copy` from beginning to end and makes its index. `parents` are the indexes of its parents, the
/// nearest first; none for a full. Writes nothing.
///
/// Fails with [`ErrorKind::Corrupt`] if the archive is damaged or cut, with [`ErrorKind::NotFound`] if `times` know a file
/// that neither the archive nor its parents have.
pub fn rebuild(
    copy: &Copy,
    parents: &[&IndexReader<Vec<u8>>],
    times: Option<&Times>,
    cancel: &Cancel,
) -> Result<Rebuilt> {
    let read = Archive::read(copy, cancel)?;
    let Some(record) = copy.entry.record() else {
        let index = read.write(copy, parents, times, Mark::Foreign)?;
        return Ok(Rebuilt { index, is_as_recorded: false });
    };
    let index = read.write(copy, parents, None, Mark::None)?;
    if is_as_recorded(record, &index) {
        return Ok(Rebuilt { index, is_as_recorded: true });
    }
    let told = record.counts.get(NoteKind::Gap.name()).copied().unwrap_or(0);
    let all_racy = told > read.gaps;
    let index = read.write(copy, parents, None, Mark::Rebuilt { all_racy })?;
    Ok(Rebuilt { index, is_as_recorded: false })
}

/// Reads an archive whose members stand in any order from beginning to end, and holds it against its index.
pub(crate) fn compare(copy: &Copy, index: &IndexReader<Vec<u8>>, cancel: &Cancel) -> Result<()> {
    let read = Archive::read(copy, cancel).map_err(|e| {
        Error::new(e.kind(), format!("`{}` on {} is damaged", copy.entry.key, copy.storage_name))
            .with_source(e)
    })?;
    let differs = |path: &[u8]| {
        let text = format!("the index of `{}` is wrong about `{}`", copy.entry.key, fsx::show(path));
        Error::new(ErrorKind::Corrupt, text)
    };
    // The time may be finer in the index.
    let facts = |e: &IndexEntry| (e.meta.kind, e.meta.size_bytes, e.offset, e.stored_bytes, e.meta.mtime.sec);
    let mut told = index.entries().filter(|e| e.as_ref().map_or(true, |e| e.is_member()));
    for member in read.members.entries() {
        let member = member?;
        let entry = told.next().ok_or_else(|| differs(&member.path))??;
        if entry.path != member.path || facts(&entry) != facts(&member) {
            return Err(differs(&member.path));
        }
    }
    match told.next().transpose()? {
        Some(entry) => Err(differs(&entry.path)),
        None => Ok(()),
    }
}

fn is_as_recorded(record: &Record, index: &IndexBytes) -> bool {
    let mut digest = Digest::default();
    index.chunks().for_each(|chunk| digest.update(chunk));
    let found = digest.finish();
    record
        .index
        .as_ref()
        .is_some_and(|told| told.stored.sha256 == found.sha256 && told.stored.blake3 == found.blake3)
}

/// How an index is to be marked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    None,
    /// Another one than the record's. `all_racy`: some files have gaps, and nobody knows which.
    Rebuilt {
        all_racy: bool,
    },
    Foreign,
}

/// What an archive says of itself.
struct Archive {
    members: Runs,
    lists: HashMap<Vec<u8>, Names>,
    frames: Option<Vec<FrameRecord>>,
    totals: FrameTotals,
    /// Members that say so.
    gaps: u64,
}

impl Archive {
    fn read(copy: &Copy, cancel: &Cancel) -> Result<Self> {
        let is_ours = copy.entry.record().is_some();
        let digest = Rc::new(RefCell::new(Digest::default()));
        let stored = Watched { stored: copy.storage.get(&copy.entry.key, None)?, digest: Rc::clone(&digest) };
        let scanner = FrameScanner::new(fetch::codec_of(copy), stored);
        let mut tar = TarReader::new(BufReader::with_capacity(128 << 10, scanner.clone()));
        let (mut members, mut lists, mut gaps) = (Runs::default(), HashMap::new(), 0);
        let mut last: Option<Vec<u8>> = None;
        while let Some(mut header) = tar.next()? {
            cancel.check()?;
            scanner.member(header.offset, header.offset + header.stored_bytes());
            tar.skip_data()?;
            let names = header.dumpdir.take();
            let Some(entry) = entry_of(header, is_ours)? else { continue };
            // An index in path order tells the order of our members too.
            if is_ours && last.as_ref().is_some_and(|last| path_order(last, &entry.path).is_ge()) {
                let text = format!("`{}` has its members in another order than this program", copy.entry.key);
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
            last.get_or_insert_default().clone_from(&entry.path);
            gaps += u64::from(entry.state == EntryState::Gap);
            if let Some(names) = names {
                lists.insert(entry.path.clone(), Names::new(names)?);
            }
            members.push(entry)?;
        }
        // Other programs fill the archive up with zeros.
        let end = io::copy(&mut tar.into_inner(), &mut io::sink());
        end.map_err(|e| Error::from_io("cannot read the end of the archive", e))?;
        let (frames, totals) = scanner.finish();
        let digest = digest.take().finish();
        if let Some(told) = copy.entry.record().map(|record| &record.archive)
            && (told.bytes, &told.sha256, &told.blake3) != (digest.bytes, &digest.sha256, &digest.blake3)
        {
            let text = format!("`{}` is not what its record says", copy.entry.key);
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        if is_ours && frames.is_none() {
            let text = format!("`{}` is not made of frames of this program", copy.entry.key);
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        Ok(Self { members: members.close()?, lists, frames, totals, gaps })
    }

    fn write(
        &self,
        copy: &Copy,
        parents: &[&IndexReader<Vec<u8>>],
        times: Option<&Times>,
        mark: Mark,
    ) -> Result<IndexBytes> {
        let mut writer = IndexWriter::new(self.start(copy, parents)?)?;
        match mark {
            Mark::None => {}
            Mark::Rebuilt { .. } => writer = writer.rebuilt(),
            Mark::Foreign => writer = writer.foreign(),
        }
        let mut members = self.members.entries().peekable();
        let mut before =
            State::new(parents.iter().map(|p| p.entries())).map(|s| s.map(|s| s.entry)).peekable();
        let nothing = Runs::default();
        let mut known = times.map_or(&nothing, |t| &t.0).entries().peekable();
        let mut gone = Gone { lists: &self.lists, below: None };
        while let Some(path) = first_path(&mut members, &mut before) {
            missing_before(&mut known, Some(&path))?;
            let member = take(&mut members, &path)?;
            let old = take(&mut before, &path)?;
            let time = take(&mut known, &path)?.map(|t| t.meta.mtime);
            let mut is_there = true;
            if let Some(mut member) = member {
                gone.passes(&member);
                if mark == (Mark::Rebuilt { all_racy: true }) && is_sound_file(&member) {
                    member.state = EntryState::Racy;
                }
                if let Some(time) = time {
                    refine(&mut member.meta, time);
                }
                writer.push(&member)?;
            } else if let Some(old) = old.filter(|old| gone.takes(old)) {
                is_there = false;
                writer.push(&IndexEntry {
                    path: old.path,
                    state: EntryState::Removed,
                    ..IndexEntry::default()
                })?;
            }
            if time.is_some() && !is_there {
                return Err(is_missing(&path));
            }
        }
        missing_before(&mut known, None)?;
        match &self.frames {
            Some(frames) => writer.finish(frames, self.totals),
            None => writer.finish(&[], FrameTotals { frames: 0, ..self.totals }),
        }
    }

    fn start(&self, copy: &Copy, parents: &[&IndexReader<Vec<u8>>]) -> Result<IndexStart> {
        let id = id_of_entry(&copy.entry).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("`{}` has no name that an index can tell", copy.entry.key),
            )
        })?;
        let (codec, root) = match copy.entry.record() {
            Some(record) => (codec_of(copy, record), record.root.clone().into_bytes()),
            None => {
                let first = self.members.entries().next().transpose()?;
                let root = match (first, parents.first()) {
                    (Some(first), _) => root_text(&first.path),
                    (None, Some(parent)) => parent.header().root.clone(),
                    (None, None) => b"/".to_vec(),
                };
                (fetch::codec_of(copy), root)
            }
        };
        Ok(IndexStart { archive_id: id.0.to_be_bytes(), codec, root })
    }
}

/// Digests the stored bytes that pass.
struct Watched<R> {
    stored: R,
    digest: Rc<RefCell<Digest>>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.stored.read(buf)?;
        self.digest.borrow_mut().update(&buf[..n]);
        Ok(n)
    }
}

/// The line of a member; none for the directory of a foreign archive that has no name.
fn entry_of(header: EntryHeader, is_ours: bool) -> Result<Option<IndexEntry>> {
    let stored_bytes = header.stored_bytes();
    let (mut path, mut link) = (header.path, header.link);
    if !is_ours {
        if path.split(|b| *b == b'/').all(|c| c.is_empty() || c == b".") && header.meta.kind == EntryKind::Dir
        {
            return Ok(None);
        }
        path = safe_path(&path)?;
        if header.meta.kind == EntryKind::HardLink {
            link = safe_path(&link)?;
        }
    }
    let (meta, state, offset) = (header.meta, header.state, header.offset);
    Ok(Some(IndexEntry { path, meta, state, link, offset, stored_bytes }))
}

fn codec_of(copy: &Copy, record: &Record) -> Codec {
    let level = || record.compression.rsplit('-').next().and_then(|level| level.parse().ok());
    match fetch::codec_of(copy) {
        Codec::None => Codec::None,
        Codec::Gzip(usual) => Codec::Gzip(level().unwrap_or(usual)),
        Codec::Zstd(usual) => Codec::Zstd(level().unwrap_or(usual)),
    }
}

/// A path as records have it: absolute, and escaped where it is no text.
fn root_text(path: &[u8]) -> Vec<u8> {
    let components = path.split(|b| *b == b'/').map(|raw| match std::str::from_utf8(raw) {
        Ok(text) if unescape_component(text) == raw && !text.contains(char::is_control) => text.to_owned(),
        _ => escape_component(raw),
    });
    format!("/{}", components.collect::<Vec<_>>().join("/")).into_bytes()
}

fn is_sound_file(entry: &IndexEntry) -> bool {
    entry.meta.kind == EntryKind::File && entry.state == EntryState::Sound
}

/// Some tars have whole seconds alone. The state file's time counts if it is the same second: else the file changed
/// between the two.
fn refine(meta: &mut Meta, time: FileTime) {
    let is_file = matches!(meta.kind, EntryKind::File | EntryKind::HardLink);
    if is_file && meta.mtime.nsec == 0 && meta.mtime.sec == time.sec {
        meta.mtime = time;
    }
}

type Lines<I> = Peekable<I>;

fn first_path<A, B>(a: &mut Lines<A>, b: &mut Lines<B>) -> Option<Vec<u8>>
where
    A: Iterator<Item = Result<IndexEntry>>,
    B: Iterator<Item = Result<IndexEntry>>,
{
    // An error comes out as soon as its stream is asked.
    let path =
        |next: Option<&Result<IndexEntry>>| next.map(|e| e.as_ref().map_or(Vec::new(), |e| e.path.clone()));
    match (path(a.peek()), path(b.peek())) {
        (Some(a), Some(b)) => Some(if path_order(&b, &a).is_lt() { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// The next entry, if it is that of `path`, or an error.
fn take(
    lines: &mut Lines<impl Iterator<Item = Result<IndexEntry>>>,
    path: &[u8],
) -> Result<Option<IndexEntry>> {
    lines.next_if(|next| next.as_ref().map_or(true, |next| next.path == path)).transpose()
}

/// Fails if the state file has a path before `path` (none: at all), which then nobody has.
fn missing_before(
    known: &mut Lines<impl Iterator<Item = Result<IndexEntry>>>,
    path: Option<&[u8]>,
) -> Result<()> {
    let is_before = |next: &Result<IndexEntry>| {
        next.as_ref().map_or(true, |n| path.is_none_or(|p| path_order(&n.path, p).is_lt()))
    };
    match known.next_if(is_before).transpose()? {
        Some(entry) => Err(is_missing(&entry.path)),
        None => Ok(()),
    }
}

fn is_missing(path: &[u8]) -> Error {
    let text = format!("its state file knows `/{}`, which no archive of the chain has", fsx::show(path));
    Error::new(ErrorKind::NotFound, text)
}

/// Tells what of the parents' state an increment has removed, path by path in order.
struct Gone<'a> {
    lists: &'a HashMap<Vec<u8>, Names>,
    /// All below it went.
    below: Option<Vec<u8>>,
}

impl Gone<'_> {
    /// A member of the archive comes by.
    fn passes(&mut self, member: &IndexEntry) {
        if member.meta.kind != EntryKind::Dir {
            self.below = Some(member.path.clone());
        }
    }

    /// Whether a path that is no member is gone.
    fn takes(&mut self, old: &IndexEntry) -> bool {
        if self.below.as_ref().is_some_and(|gone| is_below(&old.path, gone)) {
            return true;
        }
        let (dir, name) = match old.path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&old.path[..slash], &old.path[slash + 1..]),
            None => (&b""[..], old.path.as_slice()),
        };
        let Some(list) = self.lists.get(dir) else { return false };
        let is_dir = old.meta.kind == EntryKind::Dir;
        let is_gone = match list.mark(name) {
            None => true,
            Some(b'D') => !is_dir,
            Some(b'Y') => is_dir,
            Some(_) => false,
        };
        if is_gone {
            self.below = Some(old.path.clone());
        }
        is_gone
    }
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// The list of names of a directory, in GNU's form.
struct Names {
    bytes: Vec<u8>,
    /// Where the marks stand, in the order of names.
    places: Vec<u32>,
}

impl Names {
    fn new(bytes: Vec<u8>) -> Result<Self> {
        let mut places = Vec::new();
        let mut at = 0;
        while bytes.get(at).is_some_and(|mark| *mark != 0) {
            let place = u32::try_from(at).ok();
            let length = bytes[at..].iter().position(|b| *b == 0);
            let (Some(place), Some(length)) = (place, length) else {
                return Err(Error::new(ErrorKind::Corrupt, "a list of names of a directory breaks off"));
            };
            places.push(place);
            at += length + 1;
        }
        let mut names = Self { bytes, places: Vec::new() };
        places.sort_by(|a, b| names.name(*a).cmp(names.name(*b)));
        names.places = places;
        Ok(names)
    }

    fn name(&self, place: u32) -> &[u8] {
        let rest = &self.bytes[place as usize + 1..];
        &rest[..rest.iter().position(|b| *b == 0).unwrap_or(rest.len())]
    }

    fn mark(&self, name: &[u8]) -> Option<u8> {
        let found = self.places.binary_search_by(|place| self.name(*place).cmp(name)).ok()?;
        Some(self.bytes[self.places[found] as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_are_searched_in_any_order() {
        let names = Names::new(b"Yb\0Da\0Nsome name\0\0".to_vec()).unwrap();
        let marks: Vec<_> =
            [&b"a"[..], b"b", b"some name", b"", b"c", b"some"].iter().map(|n| names.mark(n)).collect();
        assert_eq!(marks, [Some(b'D'), Some(b'Y'), Some(b'N'), None, None, None]);
        assert_eq!(Names::new(b"\0".to_vec()).unwrap().mark(b"a"), None);
        assert_eq!(Names::new(Vec::new()).unwrap().mark(b"a"), None);
        assert!(Names::new(b"Ya".to_vec()).is_err());
    }

    #[test]
    fn what_a_list_does_not_have_or_has_as_something_else_is_gone_with_all_below() {
        let entry = |path: &str, kind| IndexEntry {
            path: path.into(),
            meta: Meta { kind, ..Meta::default() },
            ..IndexEntry::default()
        };
        let (dir, file) = (EntryKind::Dir, EntryKind::File);
        let lists = HashMap::from([(b"r".to_vec(), Names::new(b"Da\0Nb\0Yc\0De\0\0".to_vec()).unwrap())]);
        let mut gone = Gone { lists: &lists, below: None };
        let table = [
            ("r/a", dir, false),
            ("r/a/x", file, false),
            ("r/b", file, false),
            ("r/c", dir, true),
            ("r/c/x", dir, true),
            ("r/c/x/y", file, true),
            ("r/c.x", file, true),
            ("r/d", file, true),
            ("r/e", file, true),
            ("s/x", file, false),
        ];
        for (path, kind, expected) in table {
            assert_eq!(gone.takes(&entry(path, kind)), expected, "{path}");
        }
        gone.passes(&entry("t", file));
        assert!(gone.takes(&entry("t/x", file)) && !gone.takes(&entry("u/x", file)));
    }

    #[test]
    fn a_root_is_told_as_records_tell_it() {
        assert_eq!(root_text(b"srv/data"), b"/srv/data");
        assert_eq!(root_text(b"srv/caf\xe9"), b"/srv/caf%E9");
    }
}
