//! What happens in a run, as a closed set of events. The program renders them: log line, progress, metrics.

use crate::ports::source::Note;
use crate::report::Problem;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    RunStarted,
    RunFinished,
    /// `files`, `databases`, `external`.
    BlockStarted {
        group: &'a str,
    },
    BlockFinished {
        group: &'a str,
    },
    JobStarted {
        job: &'a str,
    },
    JobFinished {
        job: &'a str,
    },
    NoBackupDay {
        job: &'a str,
    },
    TargetStarted {
        job: &'a str,
        target: &'a str,
    },
    /// Plain bytes so far.
    Progress {
        target: &'a str,
        plain_bytes: u64,
    },
    /// All bytes of the artefact were made. `path` is the planned final name.
    ArtefactMade {
        job: &'a str,
        target: &'a str,
        path: &'a str,
    },
    /// A copy is committed. `period` is `daily`, `weekly` or `monthly`.
    CopyMade {
        job: &'a str,
        period: &'a str,
        file: &'a str,
        dir: &'a str,
        storage: &'a str,
    },
    /// A copy of an incremental backup is committed.
    IncrementMade {
        job: &'a str,
        is_full: bool,
        file: &'a str,
        storage: &'a str,
    },
    /// Old backups of one directory went.
    DroppedOld {
        job: &'a str,
        period: &'a str,
        dir: &'a str,
        storage: &'a str,
    },
    /// Leftovers of a dead run were removed.
    Swept {
        job: &'a str,
        storage: &'a str,
        objects: usize,
    },
    Noted {
        job: &'a str,
        target: &'a str,
        note: &'a Note,
    },
    /// Someone must act.
    Failed {
        job: &'a str,
        problem: &'a Problem,
    },
    /// Degraded or worth knowing.
    Warned {
        job: &'a str,
        message: &'a str,
    },
    Info {
        job: &'a str,
        message: &'a str,
    },
}

/// Takes events; called from the thread of the run.
pub trait EventSink: Sync {
    fn emit(&self, event: &Event<'_>);
}

/// Takes everything and keeps nothing.
pub struct NoEvents;

impl EventSink for NoEvents {
    fn emit(&self, _: &Event<'_>) {}
}
