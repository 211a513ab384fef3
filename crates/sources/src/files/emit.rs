//! Writes entries as members of archives and lines of their indexes, in the order in which they come: one archive, or
//! several that one walk makes, where each entry goes into those that want it and is read once.
//!
//! Streams big and sparse files itself; small ones come loaded (`super::batch`). Decides what an error means for the
//! backup: a note, a gap filled with zeros, or (sink and cancellation only) the end. The bytes of headers are
//! `nxs_archive::tar`'s affair.

use std::collections::HashMap;

use nxs_archive::tar::{self, Extent, Member, acl};
use nxs_base::entry::{EntryKind, EntryState, FileTime, IndexEntry, Meta};
use nxs_base::ports::source::{Artefact, Cancel, DumpReport, NoteKind, Sink};
use nxs_base::{Error, ErrorKind, Result};
use nxs_sys::fsx;
use nxs_sys::users::Users;

use super::batch::{self, Batch, Item, Use, Work};
use super::open::{ACL_ACCESS, ACL_DEFAULT, OpenFiles, ReadFile, Xattrs};

/// Bytes of one read of a streamed file.
const BLOCK_BYTES: usize = 512 << 10;

/// Bytes that are given up after a read error before reading goes on.
const SKIP_BYTES: usize = 4 << 10;

/// Read errors in one file after which the rest of it is given up.
const MAX_BAD_SPOTS: u32 = 256;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes the archives of one walk.
pub(crate) struct Emitter<'a, O> {
    lanes: Vec<Lane<'a>>,
    opener: &'a O,
    cancel: &'a Cancel,
    owners: Owners<'a>,
    root_bytes: usize,
    header: Vec<u8>,
    block: Vec<u8>,
    line: IndexEntry,
    /// What changed since then may change again without a trace: the next increment saves it anew.
    racy_since: Option<FileTime>,
}

/// One archive. An error of its sink ends it and leaves the others alone.
struct Lane<'a> {
    sink: &'a mut dyn Sink,
    failed: Option<Error>,
    /// Bytes so far.
    offset: u64,
    /// Where the member under way begins, and where its content ends.
    start: u64,
    content_end: u64,
    /// First names of what has several, by device and inode.
    first_names: HashMap<(u64, u64), Vec<u8>>,
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
}

impl<'a, O: OpenFiles> Emitter<'a, O> {
    /// Begins an archive in each sink. `root_bytes` is the length of the root's member path.
    pub(crate) fn new(
        sinks: Vec<&'a mut dyn Sink>,
        opener: &'a O,
        cancel: &'a Cancel,
        users: &'a Users,
        root_bytes: usize,
    ) -> Self {
        Self {
            lanes: sinks.into_iter().map(Lane::begin).collect(),
            opener,
            cancel,
            owners: Owners { users, user_names: HashMap::new(), group_names: HashMap::new() },
            root_bytes,
            header: Vec::with_capacity(4096),
            block: Vec::new(),
            line: IndexEntry::default(),
            racy_since: None,
        }
    }

    /// Marks entries that changed since `moment` (by the clock of their file system) as racy, for the sake of later
    /// increments.
    pub(crate) fn racy_since(self, moment: Option<FileTime>) -> Self {
        Self { racy_since: moment, ..self }
    }

    /// Writes all entries of a batch. Fails when cancelled, and when no archive is left.
    pub(crate) fn batch(&mut self, batch: &mut Batch) -> Result<()> {
        let mut items = std::mem::take(&mut batch.items);
        for item in &mut items {
            self.check()?;
            self.item(batch, item)?;
        }
        batch.items = items;
        Ok(())
    }

    /// Ends the archives and gives their reports.
    pub(crate) fn finish(self) -> Vec<Result<DumpReport>> {
        self.lanes.into_iter().map(Lane::finish).collect()
    }

    fn check(&mut self) -> Result<()> {
        self.cancel.check()?;
        if self.lanes.iter().any(|lane| lane.failed.is_none()) {
            return Ok(());
        }
        self.lanes.iter_mut().find_map(|lane| lane.failed.take()).map_or(Ok(()), Err)
    }

    fn item(&mut self, batch: &Batch, item: &mut Item) -> Result<()> {
        let (path, link, uses) = (batch.path(item), batch.link(item), batch.uses(item));
        if let Some((kind, reason)) = item.note.take() {
            self.note(uses, kind, path, &reason);
        }
        match &item.work {
            Work::Lost { kind, reason } => {
                self.note(uses, *kind, path, reason);
                self.missing(uses, path, *kind);
            }
            Work::Loaded { data, state } => {
                match state {
                    EntryState::Sound | EntryState::Removed | EntryState::Missing => {}
                    EntryState::Racy => self.note(uses, NoteKind::Racy, path, "changed while it was read"),
                    EntryState::Gap => {
                        self.note(uses, NoteKind::Gap, path, "became shorter while it was read");
                    }
                }
                let (meta, xattrs, state) = (item.meta, &mut item.xattrs, *state);
                let head = Head { path, link, meta, xattrs, extents: None, state };
                self.loaded(uses, head, batch.data(data));
            }
            Work::HeaderOnly => self.without_content(uses, path, link, item),
            Work::Removed => self.no_member(uses, path, EntryState::Removed),
            Work::FurtherName => return self.further_name(uses, path, link, item),
            Work::Unread | Work::Stream => return self.stream(uses, path, item),
        }
        Ok(())
    }

    fn without_content(&mut self, uses: &[Use], path: &[u8], link: &[u8], item: &mut Item) {
        let (meta, xattrs, state) = (item.meta, &mut item.xattrs, EntryState::Sound);
        self.loaded(uses, Head { path, link, meta, xattrs, extents: None, state }, &[]);
    }

    /// A link to the first name, in archives that have it; the entry itself in the others.
    fn further_name(&mut self, uses: &[Use], path: &[u8], link: &[u8], item: &mut Item) -> Result<()> {
        let id = (item.meta.dev, item.meta.ino);
        let mut without = Vec::new();
        for of_lane in uses {
            let lane = of_lane.lane;
            let Some(first) = self.lanes[lane].first_names.remove(&id) else {
                without.push(Use { lane, dumpdir: None });
                continue;
            };
            let meta = Meta { kind: EntryKind::HardLink, size_bytes: 0, ..item.meta };
            let (xattrs, state) = (&mut item.xattrs, EntryState::Sound);
            let head = Head { path, link: &first, meta, xattrs, extents: None, state };
            self.loaded(std::slice::from_ref(of_lane), head, &[]);
            self.lanes[lane].first_names.insert(id, first);
        }
        match item.meta.kind {
            _ if without.is_empty() => {}
            EntryKind::File => return self.stream(&without, path, item),
            _ => self.without_content(&without, path, link, item),
        }
        Ok(())
    }

    /// Writes a member whose content is at hand.
    fn loaded(&mut self, uses: &[Use], head: Head<'_>, data: &[u8]) {
        if self.begin(uses, head) {
            if !data.is_empty() {
                self.write(uses, data);
            }
            self.end(uses);
        }
    }

    /// Reads a file while it is written.
    fn stream(&mut self, uses: &[Use], path: &[u8], item: &mut Item) -> Result<()> {
        let file = match self.opener.open(batch::below_root(path, self.root_bytes)) {
            Ok(file) => file,
            Err(error) => {
                self.lost(uses, path, batch::lost("cannot open", &error));
                return Ok(());
            }
        };
        let before = match file.stat() {
            Ok(stat) if stat.is_regular => stat,
            Ok(_) => {
                self.lost(uses, path, batch::replaced());
                return Ok(());
            }
            Err(error) => {
                self.lost(uses, path, batch::lost("cannot stat", &error));
                return Ok(());
            }
        };
        let size_bytes = before.meta.size_bytes;
        file.advise_sequential();
        match file.xattrs() {
            Ok(xattrs) => item.xattrs = xattrs,
            Err(error) => {
                let (kind, reason) = batch::no_attributes(&error);
                self.note(uses, kind, path, &reason);
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
        };
        if !self.begin(uses, head) {
            return Ok(());
        }
        let mut damage = None;
        for extent in extents.as_deref().unwrap_or(&whole) {
            self.copy(uses, &file, *extent, &mut damage)?;
        }
        let is_unchanged = file.stat().is_ok_and(|after| batch::is_unchanged(&before.meta, &after.meta));
        if let Some(reason) = damage {
            self.line.state = EntryState::Gap;
            self.note(uses, NoteKind::Gap, path, &reason);
        } else if !is_unchanged {
            self.line.state = EntryState::Racy;
            self.note(uses, NoteKind::Racy, path, "changed while it was read");
        }
        self.end(uses);
        Ok(())
    }

    /// Copies one stretch of a file; what cannot be read is zeros, and `damage` says why.
    fn copy(
        &mut self,
        uses: &[Use],
        file: &impl ReadFile,
        extent: Extent,
        damage: &mut Option<String>,
    ) -> Result<()> {
        let mut block = std::mem::take(&mut self.block);
        block.resize(BLOCK_BYTES, 0);
        let (mut at, end) = (extent.offset, extent.offset + extent.len);
        let (mut bad_spots, mut step) = (0, BLOCK_BYTES);
        while at < end {
            self.check()?;
            let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(step);
            match file.read_at(&mut block[..length], at) {
                Ok(0) => {
                    damage.get_or_insert_with(|| {
                        format!("became shorter while it was read, by {} bytes", end - at)
                    });
                    self.write_zeros(uses, end - at)?;
                    at = end;
                }
                Ok(n) => {
                    self.write(uses, &block[..n]);
                    at += n as u64;
                    step = BLOCK_BYTES.min(2 * step);
                }
                Err(error) if length > SKIP_BYTES => {
                    // Once more in small steps, to lose no more than is bad; they grow again while all is well.
                    step = SKIP_BYTES;
                    damage.get_or_insert_with(|| format!("cannot read at byte {at}: {error}"));
                }
                Err(error) => {
                    bad_spots += 1;
                    damage.get_or_insert_with(|| format!("cannot read at byte {at}: {error}"));
                    let skipped = if bad_spots > MAX_BAD_SPOTS { end - at } else { length as u64 };
                    self.write_zeros(uses, skipped)?;
                    at += skipped;
                    step = SKIP_BYTES;
                }
            }
        }
        self.block = block;
        Ok(())
    }

    /// Writes the header and prepares the line of the index. False if the entry cannot be put into a tar at all.
    fn begin(&mut self, uses: &[Use], head: Head<'_>) -> bool {
        let (access, default) = take_acls(head.xattrs);
        let meta = &head.meta;
        let is_link = meta.kind == EntryKind::HardLink;
        // The archive tells it too, so that its index can be made anew.
        let state = match head.state {
            EntryState::Sound if self.racy_since.is_some_and(|r| meta.ctime >= r) => EntryState::Racy,
            state => state,
        };
        replace(&mut self.line.path, head.path);
        replace(&mut self.line.link, head.link);
        self.line.meta = head.meta;
        self.line.state = state;
        let (user, group) = self.owners.names(meta.uid, meta.gid);
        let mut made = None;
        let mut listing = None;
        for of_lane in uses {
            let (content_bytes, note) = match &made {
                // The same in all archives, but for listings.
                Some(made) if of_lane.dumpdir.as_deref() == listing => made,
                _ => made.insert(make_header(
                    &mut self.header,
                    Member {
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
                        dumpdir: of_lane.dumpdir.as_deref(),
                    },
                )),
            };
            listing = of_lane.dumpdir.as_deref();
            let lane = &mut self.lanes[of_lane.lane];
            if let Some(note) = note {
                lane.note(NoteKind::Unreadable, head.path, note);
            }
            match content_bytes {
                Some(content_bytes) => lane.begin_member(&self.header, *content_bytes, &self.line),
                None => lane.no_member(head.path, EntryState::Missing),
            }
        }
        made.is_some_and(|(content_bytes, _)| content_bytes.is_some())
    }

    fn end(&mut self, uses: &[Use]) {
        for of_lane in uses {
            self.lanes[of_lane.lane].end_member(&mut self.line);
        }
    }

    fn write(&mut self, uses: &[Use], bytes: &[u8]) {
        for of_lane in uses {
            self.lanes[of_lane.lane].write(bytes);
        }
    }

    fn write_zeros(&mut self, uses: &[Use], mut count: u64) -> Result<()> {
        while count > 0 {
            self.check()?;
            let n = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
            self.write(uses, &ZEROS[..n]);
            count -= n as u64;
        }
        Ok(())
    }

    fn lost(&mut self, uses: &[Use], path: &[u8], work: Work) {
        if let Work::Lost { kind, reason } = work {
            self.note(uses, kind, path, &reason);
            self.missing(uses, path, kind);
        }
    }

    /// The names of what could not be read stand in the index.
    fn missing(&mut self, uses: &[Use], path: &[u8], kind: NoteKind) {
        if kind == NoteKind::Unreadable && !path.is_empty() {
            self.no_member(uses, path, EntryState::Missing);
        }
    }

    fn no_member(&mut self, uses: &[Use], path: &[u8], state: EntryState) {
        for of_lane in uses {
            self.lanes[of_lane.lane].no_member(path, state);
        }
    }

    fn note(&mut self, uses: &[Use], kind: NoteKind, path: &[u8], reason: &str) {
        for of_lane in uses {
            self.lanes[of_lane.lane].note(kind, path, reason);
        }
    }
}

impl<'a> Lane<'a> {
    fn begin(sink: &'a mut dyn Sink) -> Self {
        let failed = sink.begin(Artefact { has_index: true, expected_bytes: None }).err();
        Self {
            sink,
            failed,
            offset: 0,
            start: 0,
            content_end: 0,
            first_names: HashMap::new(),
            report: DumpReport::default(),
        }
    }

    fn finish(mut self) -> Result<DumpReport> {
        self.write(&tar::TRAILER);
        self.failed.map_or(Ok(self.report), Err)
    }

    /// Does something with the sink, if it did not fail yet.
    fn with_sink(&mut self, act: impl FnOnce(&mut dyn Sink) -> Result<()>) {
        if self.failed.is_none() {
            self.failed = act(self.sink).err();
        }
    }

    fn begin_member(&mut self, header: &[u8], content_bytes: u64, line: &IndexEntry) {
        let meta = &line.meta;
        match meta.kind {
            EntryKind::Dir => self.report.dirs += 1,
            _ => self.report.files += 1,
        }
        if !matches!(meta.kind, EntryKind::Dir | EntryKind::HardLink) && meta.nlink > 1 {
            self.first_names.entry((meta.dev, meta.ino)).or_insert_with(|| line.path.clone());
        }
        self.start = self.offset;
        self.with_sink(|sink| sink.cut_here());
        self.write(header);
        self.content_end = self.offset + content_bytes;
    }

    /// Pads the content and tells the index of the member.
    fn end_member(&mut self, line: &mut IndexEntry) {
        debug_assert_eq!(self.offset, self.content_end, "content of `{}`", fsx::show(&line.path));
        let padding = self.offset.next_multiple_of(tar::BLOCK as u64) - self.offset;
        if padding > 0 {
            self.write(&ZEROS[..usize::try_from(padding).unwrap_or_default()]);
        }
        line.offset = self.start;
        line.stored_bytes = self.offset - self.start;
        self.with_sink(|sink| sink.entry(line));
    }

    fn write(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        self.with_sink(|sink| sink.write(bytes));
    }

    fn no_member(&mut self, path: &[u8], state: EntryState) {
        let line = IndexEntry { path: path.to_vec(), state, ..IndexEntry::default() };
        self.with_sink(|sink| sink.entry(&line));
    }

    fn note(&mut self, kind: NoteKind, path: &[u8], reason: &str) {
        self.report.note(kind, format!("/{}", fsx::show(path)), reason);
    }
}

/// Makes the header of a member: without its attributes, if no archive can hold them; they must not cost the content.
/// Returns the bytes of its content, none if there can be no header at all, and what is to be said of it.
fn make_header(header: &mut Vec<u8>, member: Member<'_>) -> (Option<u64>, Option<String>) {
    let has_attributes =
        !member.xattrs.is_empty() || member.acl_access.is_some() || member.acl_default.is_some();
    header.clear();
    match tar::header(header, &member) {
        Ok(plan) => (Some(plan.data_bytes), None),
        Err(error) => {
            header.clear();
            let bare = Member { xattrs: &[], acl_access: None, acl_default: None, ..member };
            let second = has_attributes.then(|| tar::header(header, &bare).ok()).flatten();
            let what = if second.is_some() { "saved without its attributes: " } else { "" };
            (second.map(|plan| plan.data_bytes), Some(format!("{what}{}", error.chain())))
        }
    }
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
    let error = Error::io(format!("cannot open the target `{}`", fsx::show(path)), error);
    match error.kind() {
        ErrorKind::Denied => error.with_hint("Run as root, or as a user that may read all of it."),
        _ => error,
    }
}
