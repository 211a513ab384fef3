//! Every sentence that the log shows, in v2's line format and with v2's milestones, which monitoring may look for.
//!
//! Turns events into lines; writes nothing (that is `logfile` and `app`). Text that others chose (file names, answers
//! of servers) is made harmless here: one event is one line, without control bytes.

use std::collections::{HashMap, HashSet};

use jiff::Zoned;
use nxs_base::event::Event;
use nxs_base::ports::source::{Note, NoteKind};
use nxs_base::report::Problem;
use nxs_base::spec::{JobKind, JobSpec, StorageKind};

/// Shown in front of everything that goes to stderr.
pub const PREFIX: &str = "nxs-backup: ";

/// v2's sentence for a held lock.
pub const ALREADY_RUNNING: &str = "Script already is running!";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Info,
    Warning,
    Error,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// What is to be logged, without the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    pub level: Level,
    pub job: Option<&'a str>,
    pub text: String,
}

impl<'a> Entry<'a> {
    pub fn new(level: Level, job: Option<&'a str>, text: impl Into<String>) -> Self {
        Self { level, job, text: text.into() }
    }

    /// `LEVEL [job] [YYYY-MM-DD HH:MM:SS]: message`, with a line end. `Starting script.` has a blank line after it.
    pub fn line(&self, now: &Zoned) -> String {
        let time = now.strftime("%Y-%m-%d %H:%M:%S");
        let level = self.level.name();
        let text = harmless(&self.text);
        let blank = if self.text == STARTING { "\n" } else { "" };
        match self.job {
            Some(job) => format!("{level} [{}] [{time}]: {text}\n{blank}", harmless(job)),
            None => format!("{level} [{time}]: {text}\n{blank}"),
        }
    }
}

const STARTING: &str = "Starting script.";

/// What the sentences say of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    kind: StorageKind,
    host: Option<String>,
}

/// Renders events. Knows which storage of a job is of which type.
#[derive(Debug, Default)]
pub struct Messages {
    storages: HashMap<(String, String), Known>,
    /// Jobs whose dumps v2 named by their databases.
    databases: HashSet<String>,
}

impl Messages {
    pub fn new(jobs: &[JobSpec]) -> Self {
        let storages = jobs.iter().flat_map(|job| {
            job.storages.iter().map(|s| {
                (
                    (job.name.clone(), s.name.clone()),
                    Known { kind: s.kind(), host: s.host().map(str::to_owned) },
                )
            })
        });
        let by_database = |job: &&JobSpec| matches!(job.kind, JobKind::Mysql | JobKind::Postgresql);
        let databases = jobs.iter().filter(by_database).map(|job| job.name.clone()).collect();
        Self { storages: storages.collect(), databases }
    }

    /// The log line of an event; none for what the log does not show.
    pub fn entry<'a>(&self, event: &Event<'a>) -> Option<Entry<'a>> {
        let info = |job, text: String| Some(Entry { level: Level::Info, job, text });
        match event {
            Event::RunStarted => info(None, STARTING.into()),
            Event::RunFinished => info(None, "Stopping script.".into()),
            Event::BlockStarted { group } => info(None, format!("Starting {group} block backup.")),
            Event::BlockFinished { group } => info(None, format!("Finishing {group} block backup.")),
            Event::JobStarted { job } => info(Some(job), format!("Starting backup for job '{job}'.")),
            Event::JobFinished { job } => info(Some(job), format!("Finishing backup for job '{job}'.")),
            Event::NoBackupDay { job } => info(
                Some(job),
                "According to the backup plan today new backups are not created in this job.".into(),
            ),
            Event::TargetStarted { .. } | Event::Progress { .. } => None,
            Event::ArtefactMade { job, target, .. } if self.databases.contains(*job) => {
                info(Some(job), format!("Successfully created '{target}' database dump in tmp directory."))
            }
            Event::ArtefactMade { job, path, .. } => {
                info(Some(job), format!("Successfully created '{path}' file in tmp directory."))
            }
            Event::CopyMade { job, period, file, dir, storage } => {
                let text = match self.storage(job, storage) {
                    (true, place) => {
                        format!("Successfully moved '{period}' file '{file}' -> '{dir}' on {place}.")
                    }
                    (false, place) => {
                        format!(
                            "Successfully copied '{period}' file '{file}' -> '{dir}' directory on {place}."
                        )
                    }
                };
                info(Some(job), text)
            }
            Event::IncrementMade { job, is_full, file, storage } => {
                let what = if *is_full { "full-backup" } else { "incremental" };
                let (_, place) = self.storage(job, storage);
                info(Some(job), format!("Successfully created {what} '{file}' archive on {place}."))
            }
            Event::DroppedOld { job, period, dir, storage } => {
                let (_, place) = self.storage(job, storage);
                info(
                    Some(job),
                    format!("Successfully deleted old '{period}' files in directory '{dir}' on {place}."),
                )
            }
            Event::Swept { job, storage, objects } => {
                let (_, place) = self.storage(job, storage);
                info(Some(job), format!("Removed {objects} leftovers of interrupted runs on {place}."))
            }
            Event::Noted { job, target, note } => {
                Some(Entry { level: note_level(note), job: Some(job), text: note_text(target, note) })
            }
            Event::Failed { job, problem } => {
                Some(Entry { level: Level::Error, job: Some(job), text: problem_text(problem) })
            }
            Event::Warned { job, message } => {
                Some(Entry { level: Level::Warning, job: Some(job), text: sentence(message) })
            }
            Event::Info { job, message } => info(Some(job), sentence(message)),
        }
    }

    /// Whether the storage is the local one, and how v2 calls it. `storage` is its name in the job, or its label.
    fn storage(&self, job: &str, storage: &str) -> (bool, String) {
        if let Some(known) = self.storages.get(&(job.to_owned(), storage.to_owned())) {
            let host = known.host.as_deref().map(|h| format!("({h})")).unwrap_or_default();
            return (known.kind == StorageKind::Local, format!("'{}' storage{host}", known.kind.name()));
        }
        match storage.split_once(" storage(") {
            Some((kind, host)) => (false, format!("'{kind}' storage({host}")),
            None => (storage == StorageKind::Local.name(), format!("'{storage}' storage")),
        }
    }
}

fn note_level(note: &Note) -> Level {
    if note.kind.is_gap() { Level::Error } else { Level::Info }
}

fn note_text(target: &str, note: &Note) -> String {
    let what = match note.kind {
        NoteKind::Unreadable => "Can't read",
        NoteKind::Gap => "Filled with zeros where it could not be read",
        NoteKind::Racy => "Changed while it was read",
        NoteKind::Vanished => "Vanished before it was read",
        NoteKind::Socket => "Skipped socket",
        NoteKind::LeftOut => "Left out",
    };
    let reason = if note.reason.is_empty() { String::new() } else { format!(": {}", note.reason) };
    format!("{what}: '{}' of target '{target}'{reason}.", note.path)
}

/// A problem in one line, with its hint.
pub fn problem_text(problem: &Problem) -> String {
    match &problem.hint {
        Some(hint) => format!("{} hint: {hint}", sentence(&problem.message)),
        None => sentence(&problem.message),
    }
}

/// With a capital and a full stop, as v2's lines have them.
pub fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let mut out: String = match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    };
    if !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}

/// The same text without control bytes, line ends and characters that turn the direction of writing: escaped as in
/// Rust (`\n`, `\u{1b}`). Everything else stays.
pub fn harmless(text: &str) -> String {
    if !text.chars().any(is_harmful) {
        return text.to_owned();
    }
    text.chars().map(|c| if is_harmful(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{feff}')
}

/// Sentences that have no event.
pub mod run {
    /// While `loop_timeout` runs. `holder` is empty or ` (…)`.
    pub fn waiting_for_lock(holder: &str, seconds: u64) -> String {
        format!("Another run holds the lock{holder}; waiting for up to {seconds} s.")
    }

    /// v2's sentence, and who holds the lock.
    pub fn already_running(holder: &str) -> String {
        format!("{}{holder}", super::ALREADY_RUNNING)
    }

    /// For a job in which the program itself failed.
    pub fn bug(panic: &str) -> String {
        format!("the program broke one of its own rules in this job (a bug, please report it): {panic}")
    }

    /// A run that backs up nothing must not look well.
    pub fn no_jobs() -> &'static str {
        "The configuration has no jobs: nothing is backed up."
    }

    pub fn cancelled() -> &'static str {
        "The run was cancelled by a signal."
    }
}

#[cfg(test)]
mod tests;
