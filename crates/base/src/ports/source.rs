//! The source port: what a job saves. A source expands to targets; a target yields one or more artefacts, pushed
//! into a [`Sink`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::entry::IndexEntry;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{LogOrigin, LogSpan, Tool};

/// Set when the run is to end early. Checked between blocks.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn from_flag(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails with [`ErrorKind::Cancelled`] once cancelled.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(Error::new(ErrorKind::Cancelled, "the run was cancelled"))
        } else {
            Ok(())
        }
    }
}

/// One path or one database that a source expands to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Short name for messages and selection (`site1`, `x___y`), safe text.
    pub name: String,
    /// Directory below `backup_dir` (`site1`, `x/y`); may be empty. Made safe.
    pub part: String,
    /// First part of the file name. Made safe.
    pub file_stem: String,
    /// Extension without compression suffix: `tar`, `sql`.
    pub extension: String,
    /// What it is, exactly: the absolute path (percent-escaped where not UTF-8) or the database.
    pub root: String,
}

/// One stored object of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artefact {
    /// Whether index entries will come.
    pub has_index: bool,
    /// Upper guess of the plain size, if there is one.
    pub expected_bytes: Option<u64>,
}

/// Takes the bytes of one target.
pub trait Sink {
    /// Begins an artefact; the one before, if any, is complete.
    fn begin(&mut self, artefact: Artefact) -> Result<()>;

    /// Appends plain bytes. Fails when nobody takes them any more.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Says that here is a good place to end a compression frame.
    fn cut_here(&mut self) -> Result<()>;

    /// Adds a line to the index; entries come in the order of [`crate::entry::path_order`].
    fn entry(&mut self, entry: &IndexEntry) -> Result<()>;
}

/// Why something is missing from a backup, or is worth a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoteKind {
    /// Could not be read at all; not in the backup.
    Unreadable,
    /// Became shorter or failed while read; filled with zeros.
    Gap,
    /// Changed while read.
    Racy,
    /// Was gone when it was to be read.
    Vanished,
    /// A socket.
    Socket,
    /// On another file system, or a cache directory, left out because the configuration says so.
    LeftOut,
}

impl NoteKind {
    /// Whether the backup is incomplete because of it.
    pub fn is_gap(self) -> bool {
        matches!(self, Self::Unreadable | Self::Gap)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Gap => "gap",
            Self::Racy => "racy",
            Self::Vanished => "vanished",
            Self::Socket => "socket",
            Self::LeftOut => "left_out",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub kind: NoteKind,
    /// Printable, escaped path.
    pub path: String,
    pub reason: String,
}

/// What a dump says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpReport {
    /// Counts per kind; complete even where `notes` was cut.
    pub counts: std::collections::BTreeMap<NoteKind, u64>,
    /// The first notes, at most [`DumpReport::MAX_NOTES`].
    pub notes: Vec<Note>,
    pub files: u64,
    pub dirs: u64,
    /// Child programs that took part.
    pub tools: Vec<Tool>,
    /// What stands in the [`crate::tail::Tail`] of the plain bytes if they are whole; none where the format itself tells.
    pub end_marker: Option<String>,
    /// How it was done, as far as somebody may want to know.
    pub info: Vec<String>,
    /// What a person should look at; the artefact is whole all the same.
    pub warnings: Vec<String>,
    /// Where the copy lies in the log of its server, if increments can follow it; its parent is not named.
    pub log: Option<Box<LogSpan>>,
}

impl DumpReport {
    pub const MAX_NOTES: usize = 200;

    pub fn note(&mut self, kind: NoteKind, path: impl Into<String>, reason: impl Into<String>) {
        *self.counts.entry(kind).or_default() += 1;
        if self.notes.len() < Self::MAX_NOTES {
            self.notes.push(Note { kind, path: path.into(), reason: reason.into() });
        }
    }

    /// Number of entries that are missing or damaged.
    pub fn gaps(&self) -> u64 {
        self.counts.iter().filter(|(k, _)| k.is_gap()).map(|(_, n)| n).sum()
    }
}

/// The state that an increment is the difference to: entries in the order of [`crate::entry::path_order`]. A further
/// name of a file has the kind of a hard link. Entries of v2's archives have no inode and no `ctime`.
pub type Baseline<'a> = Box<dyn Iterator<Item = Result<IndexEntry>> + Send + 'a>;

/// One of the archives that one walk makes.
pub struct Lane<'a> {
    /// None for a full.
    pub baseline: Option<Baseline<'a>>,
    pub sink: &'a mut dyn Sink,
}

/// Where a server is in the log of its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    pub origin: LogOrigin,
    /// The position; none where the server does not tell.
    pub at: Option<u64>,
}

/// What is to be stored of a target, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// What [`Source::targets`] said.
    AsPlanned,
    /// Only the making of it told its name.
    Named {
        /// First part of the file name, made safe.
        file_stem: String,
        /// What follows the time stamp, with what tells how its bytes are compressed already: `db`, `tar.gz`.
        extensions: String,
    },
    /// All was done, and nothing of it goes to a storage.
    Nothing(DumpReport),
}

/// A state of the source that holds from before its first dump until after its last one.
pub trait Snapshot {
    /// Lets go of it. Dropping does the same, but then nobody hears of what went wrong.
    fn close(self: Box<Self>) -> Result<()>;
}

/// The snapshot of a source that needs none.
pub struct NoSnapshot;

impl Snapshot for NoSnapshot {
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// Where a dump can be put back: one database of one server.
pub trait Receiver {
    /// What it is, for messages: `mysql://127.0.0.1:3306/shop`, without secrets.
    fn place(&self) -> String;

    /// Rehearses what [`Receiver::receive`] needs, changing nothing. [`ErrorKind::Exists`] if there is something
    /// already and it may not be replaced.
    fn check(&self) -> Result<()>;

    /// Feeds a whole plain dump to the server; what was there before goes. Fails if the server's client does, and with
    /// what reading fails with; what got in until then stays in. May be called again after that.
    fn receive(&self, plain: &mut dyn std::io::Read, cancel: &Cancel) -> Result<()>;

    /// The same with a full copy and the increments that follow it, `parts` in all, which `open` opens by their number: in
    /// this order, each read to its end before the next is opened. [`ErrorKind::Unsupported`] where there are no increments.
    fn receive_chain<'a>(
        &self,
        parts: usize,
        open: &mut dyn FnMut(usize) -> Result<Box<dyn std::io::Read + 'a>>,
        cancel: &Cancel,
    ) -> Result<()> {
        if parts == 1 {
            return self.receive(&mut open(0)?, cancel);
        }
        Err(Error::new(ErrorKind::Unsupported, format!("{} takes no increments", self.place())))
    }

    /// What a person should know of what was received: what was there already, and was left as it is.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What a job saves: one entry of `sources`.
pub trait Source: Send {
    /// Expands to targets, in configuration order. A pattern without a match is an `Err` in the list.
    fn targets(&self) -> Result<Vec<Result<Target>>>;

    /// The targets as far as they are known without asking a server; for commands that only look at storages.
    fn named_targets(&self) -> Result<Vec<Result<Target>>> {
        self.targets()
    }

    /// Mends what a run that died left behind in the server (replication that is still stopped); changes nothing else.
    /// Says what was done.
    fn recover(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Brings the source into the state in which all its targets are dumped.
    fn snapshot(&self, _cancel: &Cancel) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(NoSnapshot))
    }

    /// Rehearses what the dump needs (the directory opens, the server answers), changing nothing.
    fn probe(&self, target: &Target) -> Result<()>;

    /// Begins what has to be begun before a backup of the target can be named. [`Source::settle`] follows.
    fn begin(&self, _target: &Target, _cancel: &Cancel) -> Result<Prepared> {
        Ok(Prepared::AsPlanned)
    }

    /// Ends what [`Source::begin`] began, however it went. `kept` says whether a storage has a complete copy.
    fn settle(&self, _target: &Target, _kept: bool) -> Result<()> {
        Ok(())
    }

    /// Saves the target. What single entries suffered is in the report; `Err` means that the artefact is torn.
    fn dump(&self, target: &Target, sink: &mut dyn Sink, cancel: &Cancel) -> Result<DumpReport>;

    /// Where the log of the target is now, if what changed since a position in it can be saved.
    fn log(&self, _target: &Target) -> Result<Option<LogState>> {
        Ok(None)
    }

    /// As [`Source::dump`], but only what changed since this position in the log. [`ErrorKind::Unsupported`] for sources
    /// whose log is not known.
    fn dump_after(
        &self,
        target: &Target,
        _position: u64,
        _sink: &mut dyn Sink,
        _cancel: &Cancel,
    ) -> Result<DumpReport> {
        Err(Error::new(ErrorKind::Unsupported, format!("`{}` cannot be saved as an increment", target.name)))
    }

    /// Saves what differs from the baseline of each lane, looking at the target once. One report per lane, in order.
    /// [`ErrorKind::Unsupported`] for sources without increments.
    fn dump_since(
        &self,
        target: &Target,
        _lanes: &mut [Lane<'_>],
        _cancel: &Cancel,
    ) -> Result<Vec<Result<DumpReport>>> {
        Err(Error::new(ErrorKind::Unsupported, format!("`{}` cannot be saved as an increment", target.name)))
    }
}
