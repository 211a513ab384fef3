//! Writes entries as members of the archive and lines of the index, in the order in which they come.
//!
//! Streams big and sparse files itself; small ones come loaded (`super::batch`). Decides what an error means for the
//! backup: a note, a gap filled with zeros, or (sink and cancellation only) the end. The bytes of headers are
//! `nxs_archive::tar`'s affair.

use std::collections::HashMap;

use nxs_archive::tar::{self, Extent, Member, acl};
use nxs_base::entry::{EntryKind, EntryState, FileTime, IndexEntry, Meta};
use nxs_base::ports::source::{Cancel, DumpReport, NoteKind, Sink};
use nxs_base::{Error, Result};
use nxs_sys::fsx;
use nxs_sys::users::Users;

use super::batch::{self, Batch, Item, Work};
use super::open::{ACL_ACCESS, ACL_DEFAULT, OpenFiles, ReadFile, Xattrs};

/// Bytes of one read of a streamed file.
const BLOCK_BYTES: usize = 512 << 10;

/// Bytes that are given up after a read error before reading goes on.
const SKIP_BYTES: usize = 4 << 10;

/// Read errors in one file after which the rest of it is given up.
const MAX_BAD_SPOTS: u32 = 256;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes one archive.
pub(crate) struct Emitter<'a, O> {
    sink: &'a mut dyn Sink,
    opener: &'a O,
    cancel: &'a Cancel,
    owners: Owners<'a>,
    root_bytes: usize,
    /// Bytes of the archive so far.
    offset: u64,
    header: Vec<u8>,
    block: Vec<u8>,
    line: IndexEntry,
    /// First names of what has several, by device and inode.
    first_names: HashMap<(u64, u64), Vec<u8>>,
    /// What changed since then may change again without a trace: the next increment saves it anew.
    racy_since: Option<FileTime>,
    report: DumpReport,
}

/// What is written of one member, its content aside.
struct Head<'a> {
    path: &'a [u8],
    link: &'a [u8],
    meta: Meta,
    xattrs: &'a mut Xattrs,
    extents: Option<&'a [Extent]>,
    state: EntryState,
    dumpdir: Option<&'a [u8]>,
}

impl<'a, O: OpenFiles> Emitter<'a, O> {
    /// `root_bytes` is the length of the root's member path.
    pub(crate) fn new(
        sink: &'a mut dyn Sink,
        opener: &'a O,
        cancel: &'a Cancel,
        users: &'a Users,
        root_bytes: usize,
    ) -> Self {
        Self {
            sink,
            opener,
            cancel,
            owners: Owners { users, user_names: HashMap::new(), group_names: HashMap::new() },
            root_bytes,
            offset: 0,
            header: Vec::with_capacity(4096),
            block: Vec::new(),
            line: IndexEntry::default(),
            first_names: HashMap::new(),
            racy_since: None,
            report: DumpReport::default(),
        }
    }

    /// Marks entries that changed since `moment` (by the clock of their file system) as racy, for the sake of later
    /// increments.
    pub(crate) fn racy_since(self, moment: Option<FileTime>) -> Self {
        Self { racy_since: moment, ..self }
    }

    /// Writes all entries of a batch.
    pub(crate) fn batch(&mut self, batch: &mut Batch) -> Result<()> {
        let mut items = std::mem::take(&mut batch.items);
        for item in &mut items {
            self.cancel.check()?;
            self.item(batch, item)?;
        }
        batch.items = items;
        Ok(())
    }

    /// Ends the archive and gives the report.
    pub(crate) fn finish(self) -> Result<DumpReport> {
        self.sink.write(&tar::TRAILER)?;
        Ok(self.report)
    }

    fn item(&mut self, batch: &Batch, item: &mut Item) -> Result<()> {
        let (path, link) = (batch.path(item), batch.link(item));
        if let Some((kind, reason)) = item.note.take() {
            self.note(kind, path, &reason);
        }
        match &item.work {
            Work::Lost { kind, reason } => {
                self.note(*kind, path, reason);
                self.missing(path, *kind)
            }
            Work::Loaded { data, state } => {
                match state {
                    EntryState::Sound | EntryState::Removed | EntryState::Missing => {}
                    EntryState::Racy => self.note(NoteKind::Racy, path, "changed while it was read"),
                    EntryState::Gap => self.note(NoteKind::Gap, path, "became shorter while it was read"),
                }
                let meta = item.meta;
                let head = Head {
                    path,
                    link,
                    meta,
                    xattrs: &mut item.xattrs,
                    extents: None,
                    state: *state,
                    dumpdir: None,
                };
                self.loaded(head, batch.data(data))
            }
            Work::HeaderOnly => self.without_content(path, link, item),
            Work::Listing { .. } => self.listing(path, item),
            Work::Removed => self.no_member(path, EntryState::Removed),
            Work::FurtherName => match self.first_names.remove_entry(&(item.meta.dev, item.meta.ino)) {
                Some((id, first)) => {
                    let result = self.further_name(path, &first, item);
                    self.first_names.insert(id, first);
                    result
                }
                None if item.meta.kind == EntryKind::File => self.stream(path, item),
                None => self.without_content(path, link, item),
            },
            Work::Unread | Work::Stream => self.stream(path, item),
        }
    }

    fn without_content(&mut self, path: &[u8], link: &[u8], item: &mut Item) -> Result<()> {
        let (meta, xattrs, state) = (item.meta, &mut item.xattrs, EntryState::Sound);
        self.loaded(Head { path, link, meta, xattrs, extents: None, state, dumpdir: None }, &[])
    }

    fn listing(&mut self, path: &[u8], item: &mut Item) -> Result<()> {
        let Work::Listing { dumpdir } = &item.work else { return Ok(()) };
        let (meta, xattrs, state) = (item.meta, &mut item.xattrs, EntryState::Sound);
        self.loaded(Head { path, link: &[], meta, xattrs, extents: None, state, dumpdir: Some(dumpdir) }, &[])
    }

    fn further_name(&mut self, path: &[u8], first: &[u8], item: &mut Item) -> Result<()> {
        let meta = Meta { kind: EntryKind::HardLink, size_bytes: 0, ..item.meta };
        let (xattrs, state) = (&mut item.xattrs, EntryState::Sound);
        self.loaded(Head { path, link: first, meta, xattrs, extents: None, state, dumpdir: None }, &[])
    }

    /// Writes a member whose content is at hand.
    fn loaded(&mut self, head: Head<'_>, data: &[u8]) -> Result<()> {
        let Some(start) = self.begin(head)? else { return Ok(()) };
        if !data.is_empty() {
            self.write(data)?;
        }
        self.end(start)
    }

    /// Reads a file while it is written.
    fn stream(&mut self, path: &[u8], item: &mut Item) -> Result<()> {
        let file = match self.opener.open(batch::below_root(path, self.root_bytes)) {
            Ok(file) => file,
            Err(error) => return self.lost(path, batch::lost("cannot open", &error)),
        };
        let before = match file.stat() {
            Ok(stat) if stat.is_regular => stat,
            Ok(_) => return self.lost(path, batch::replaced()),
            Err(error) => return self.lost(path, batch::lost("cannot stat", &error)),
        };
        let size_bytes = before.meta.size_bytes;
        file.advise_sequential();
        match file.xattrs() {
            Ok(xattrs) => item.xattrs = xattrs,
            Err(error) => {
                let (kind, reason) = batch::no_attributes(&error);
                self.note(kind, path, &reason);
            }
        }
        let extents = if before.may_have_holes { find_extents(&file, size_bytes) } else { None };
        let whole = [Extent { offset: 0, len: size_bytes }];
        let head = Head {
            path,
            link: &[],
            meta: before.meta,
            xattrs: &mut item.xattrs,
            extents: extents.as_deref(),
            state: EntryState::Sound,
            dumpdir: None,
        };
        let Some(start) = self.begin(head)? else { return Ok(()) };
        let mut damage = None;
        for extent in extents.as_deref().unwrap_or(&whole) {
            self.copy(&file, *extent, &mut damage)?;
        }
        let is_unchanged = file.stat().is_ok_and(|after| batch::is_unchanged(&before.meta, &after.meta));
        if let Some(reason) = damage {
            self.line.state = EntryState::Gap;
            self.note(NoteKind::Gap, path, &reason);
        } else if !is_unchanged {
            self.line.state = EntryState::Racy;
            self.note(NoteKind::Racy, path, "changed while it was read");
        }
        self.end(start)
    }

    /// Copies one stretch of a file; what cannot be read is zeros, and `damage` says why.
    fn copy(&mut self, file: &impl ReadFile, extent: Extent, damage: &mut Option<String>) -> Result<()> {
        let mut block = std::mem::take(&mut self.block);
        block.resize(BLOCK_BYTES, 0);
        let (mut at, end) = (extent.offset, extent.offset + extent.len);
        let mut bad_spots = 0;
        while at < end {
            self.cancel.check()?;
            let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(BLOCK_BYTES);
            let length = if bad_spots > 0 { length.min(SKIP_BYTES) } else { length };
            match file.read_at(&mut block[..length], at) {
                Ok(0) => {
                    damage.get_or_insert_with(|| {
                        format!("became shorter while it was read, by {} bytes", end - at)
                    });
                    self.write_zeros(end - at)?;
                    at = end;
                }
                Ok(n) => {
                    self.write(&block[..n])?;
                    at += n as u64;
                }
                Err(error) if bad_spots == 0 && length > SKIP_BYTES => {
                    // Once more in small steps, to lose no more than is bad.
                    bad_spots = 1;
                    damage.get_or_insert_with(|| format!("cannot read at byte {at}: {error}"));
                }
                Err(error) => {
                    bad_spots += 1;
                    damage.get_or_insert_with(|| format!("cannot read at byte {at}: {error}"));
                    let skipped = if bad_spots > MAX_BAD_SPOTS { end - at } else { length as u64 };
                    self.write_zeros(skipped)?;
                    at += skipped;
                }
            }
        }
        self.block = block;
        Ok(())
    }

    /// Writes the header and prepares the line of the index. None if the entry cannot be put into a tar at all.
    fn begin(&mut self, head: Head<'_>) -> Result<Option<Begun>> {
        let (access, default) = take_acls(head.xattrs);
        self.header.clear();
        let meta = &head.meta;
        let is_link = meta.kind == EntryKind::HardLink;
        // The archive tells it too, so that its index can be made anew.
        let state = match head.state {
            EntryState::Sound if self.racy_since.is_some_and(|r| meta.ctime >= r) => EntryState::Racy,
            state => state,
        };
        let (user, group) = self.owners.names(meta.uid, meta.gid);
        let member = Member {
            path: head.path,
            meta,
            link: head.link,
            uname: user,
            gname: group,
            xattrs: if is_link { &[] } else { head.xattrs },
            acl_access: access.as_deref(),
            acl_default: default.as_deref(),
            sparse: head.extents,
            state,
            dumpdir: head.dumpdir,
        };
        let has_attributes = !member.xattrs.is_empty() || access.is_some() || default.is_some();
        let plan = match tar::header(&mut self.header, &member) {
            Ok(plan) => plan,
            Err(error) => {
                // Attributes that no archive can hold must not cost the content.
                let bare = Member { xattrs: &[], acl_access: None, acl_default: None, ..member };
                let second = has_attributes.then(|| tar::header(&mut self.header, &bare).ok()).flatten();
                let what = if second.is_some() { "saved without its attributes: " } else { "" };
                self.note(NoteKind::Unreadable, head.path, &format!("{what}{}", error.chain()));
                let Some(plan) = second else {
                    self.no_member(head.path, EntryState::Missing)?;
                    return Ok(None);
                };
                plan
            }
        };
        match meta.kind {
            EntryKind::Dir => self.report.dirs += 1,
            _ => self.report.files += 1,
        }
        if !matches!(meta.kind, EntryKind::Dir | EntryKind::HardLink) && meta.nlink > 1 {
            self.first_names.entry((meta.dev, meta.ino)).or_insert_with(|| head.path.to_vec());
        }
        replace(&mut self.line.path, head.path);
        replace(&mut self.line.link, head.link);
        self.line.meta = head.meta;
        self.line.state = state;
        self.line.offset = self.offset;
        self.sink.cut_here()?;
        let header = std::mem::take(&mut self.header);
        self.write(&header)?;
        self.header = header;
        Ok(Some(Begun { content_end: self.offset + plan.data_bytes, padding: plan.padding }))
    }

    fn end(&mut self, begun: Begun) -> Result<()> {
        debug_assert_eq!(self.offset, begun.content_end, "content of `{}`", fsx::show(&self.line.path));
        self.write_zeros(begun.padding as u64)?;
        self.line.stored_bytes = self.offset - self.line.offset;
        self.sink.entry(&self.line)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.offset += bytes.len() as u64;
        self.sink.write(bytes)
    }

    fn write_zeros(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            if count > ZEROS.len() as u64 {
                self.cancel.check()?;
            }
            let n = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
            self.write(&ZEROS[..n])?;
            count -= n as u64;
        }
        Ok(())
    }

    fn lost(&mut self, path: &[u8], work: Work) -> Result<()> {
        let Work::Lost { kind, reason } = work else { return Ok(()) };
        self.note(kind, path, &reason);
        self.missing(path, kind)
    }

    /// The names of what could not be read stand in the index.
    fn missing(&mut self, path: &[u8], kind: NoteKind) -> Result<()> {
        if kind != NoteKind::Unreadable || path.is_empty() {
            return Ok(());
        }
        self.no_member(path, EntryState::Missing)
    }

    fn no_member(&mut self, path: &[u8], state: EntryState) -> Result<()> {
        self.sink.entry(&IndexEntry { path: path.to_vec(), state, ..IndexEntry::default() })
    }

    fn note(&mut self, kind: NoteKind, path: &[u8], reason: &str) {
        self.report.note(kind, format!("/{}", fsx::show(path)), reason);
    }
}

/// Where the content of the member under way ends, and what pads it.
struct Begun {
    content_end: u64,
    padding: usize,
}

fn replace(place: &mut Vec<u8>, bytes: &[u8]) {
    place.clear();
    place.extend_from_slice(bytes);
}

/// The stretches of data of a file; none if it has no holes worth telling of.
fn find_extents(file: &impl ReadFile, size_bytes: u64) -> Option<Vec<Extent>> {
    let found = file.extents(size_bytes)?;
    if found.len() > tar::sparse::MAX_EXTENTS {
        return None;
    }
    let mut extents: Vec<Extent> = found.into_iter().map(|(offset, len)| Extent { offset, len }).collect();
    tar::align_extents(&mut extents, size_bytes);
    Some(extents)
}

/// Takes the ACLs out of the attributes, as text. One that this program cannot read stays an attribute.
fn take_acls(xattrs: &mut Xattrs) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    if xattrs.is_empty() {
        return (None, None);
    }
    let mut take = |name: &[u8]| {
        let at = xattrs.iter().position(|(n, _)| n == name)?;
        let text = acl::decode(&xattrs[at].1).ok()?;
        xattrs.remove(at);
        Some(text)
    };
    (take(ACL_ACCESS), take(ACL_DEFAULT))
}

/// Names of users and groups, each asked for once.
struct Owners<'a> {
    users: &'a Users,
    user_names: HashMap<u32, Vec<u8>>,
    group_names: HashMap<u32, Vec<u8>>,
}

impl Owners<'_> {
    fn names(&mut self, uid: u32, gid: u32) -> (&[u8], &[u8]) {
        let users = self.users;
        let user = self
            .user_names
            .entry(uid)
            .or_insert_with(|| users.user_name(uid).unwrap_or_default().into_bytes());
        let group = self
            .group_names
            .entry(gid)
            .or_insert_with(|| users.group_name(gid).unwrap_or_default().into_bytes());
        (user, group)
    }
}

/// What a probe or a dump says of a target that cannot be opened.
pub(crate) fn cannot_open(path: &[u8], error: std::io::Error) -> Error {
    Error::io(format!("cannot open the target `{}`", fsx::show(path)), error)
}
