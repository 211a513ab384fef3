//! What a run did, as data: run → job → target → copy. The exit code is computed from it in one place.
//!
//! A failed target is data, a broken run is an error. Nothing here is serialised; consumers own their wire form.

use jiff::Timestamp;

use crate::error::{Error, ErrorKind};
use crate::ports::source::DumpReport;
use crate::spec::JobKind;

/// An error, flattened for reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub kind: ErrorKind,
    /// One line, whole chain, secrets never.
    pub message: String,
    pub hint: Option<String>,
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), message: error.chain(), hint: error.hint().map(Into::into) }
    }
}

/// A backup that rotation removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedBackup {
    pub key: String,
    pub reason: String,
}

/// One target on one storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOutcome {
    pub storage: String,
    /// Where the backup is, or was to be.
    pub key: String,
    pub problem: Option<Problem>,
    pub dropped: Vec<DroppedBackup>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetReport {
    pub source: usize,
    pub target: String,
    pub root: String,
    /// The source failed: there is no artefact.
    pub problem: Option<Problem>,
    pub dump: DumpReport,
    pub plain_bytes: u64,
    pub stored_bytes: u64,
    pub started: Timestamp,
    pub finished: Timestamp,
    pub copies: Vec<CopyOutcome>,
}

impl TargetReport {
    /// Number of storages that hold a complete copy.
    pub fn copies_made(&self) -> usize {
        self.copies.iter().filter(|c| self.has_copy(c)).count()
    }

    /// Whether a copy of this target was made: without an artefact there is none, whatever the storage did.
    pub fn has_copy(&self, copy: &CopyOutcome) -> bool {
        self.problem.is_none() && copy.problem.is_none()
    }

    pub fn is_complete(&self) -> bool {
        self.problem.is_none() && self.dump.gaps() == 0 && self.copies.iter().all(|c| c.problem.is_none())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobReport {
    pub job: String,
    pub kind: JobKind,
    /// Today is no backup day for any storage.
    pub no_backup_day: bool,
    /// What concerns the job as a whole: a storage that cannot be used, a glob without a match.
    pub problems: Vec<Problem>,
    pub targets: Vec<TargetReport>,
}

impl JobReport {
    pub fn is_complete(&self) -> bool {
        self.problems.is_empty() && self.targets.iter().all(TargetReport::is_complete)
    }

    pub fn made_something(&self) -> bool {
        self.targets.iter().any(|t| t.copies_made() > 0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    pub run_id: String,
    pub started: Timestamp,
    pub finished: Timestamp,
    pub jobs: Vec<JobReport>,
    pub cancelled: bool,
}

/// How a run ended, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOutcome {
    Complete,
    /// Something was asked for and nothing usable was made.
    Failed,
    Partial,
    Cancelled,
}

impl RunReport {
    pub fn outcome(&self) -> RunOutcome {
        if self.cancelled {
            RunOutcome::Cancelled
        } else if self.jobs.iter().all(JobReport::is_complete) {
            RunOutcome::Complete
        } else if self.jobs.iter().any(|j| j.made_something() || (j.is_complete() && !j.no_backup_day)) {
            RunOutcome::Partial
        } else {
            RunOutcome::Failed
        }
    }
}
