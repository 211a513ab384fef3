//! `restore`: finds the backups, reads each needed byte once from the best copy, falls back to the next copy on
//! damage, and extracts beneath the target directory.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::event::Event;
use nxs_base::ports::source::NoteKind;
use nxs_base::ports::storage::Storage;
use nxs_base::report::Problem;
use nxs_base::spec::job::SourceSpec;
use nxs_base::spec::{JobSpec, StorageSpec};
use nxs_sys::fsx;

use super::extract::Extracted;
use super::leased::leased;
use super::passes::Passage;
use super::select::{self, Candidate, Copy, Wanted};
use super::selection::Selection;
use crate::job::RunContext;

/// What to restore, and where to.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub source: Option<usize>,
    pub target: Option<String>,
    /// The newest backup that started at or before this; none = the newest.
    pub at: Option<Timestamp>,
    /// Name of the only storage to read from.
    pub from: Option<String>,
    /// Globs over the paths in the archive (a leading `/` does not matter) or below the target; a directory means
    /// all below it. Empty = everything.
    pub paths: Vec<String>,
    pub to: PathBuf,
    pub in_place: bool,
    /// With `in_place`: remove what the backup does not have, below the restored directories.
    pub delete: bool,
    /// With `delete`: what the job's configuration leaves out of backups, which therefore stays. Needed where it
    /// leaves out anything.
    pub excludes: Option<Excludes>,
    /// Leave out the target's own path: its content lands in `to`.
    pub strip: bool,
    pub dry_run: bool,
    /// Archives without a record may be restored too.
    pub adopt: bool,
}

type IsExcluded = dyn Fn(usize, &[u8], &[u8], bool) -> bool + Send + Sync;

/// Tells what the sources of a job leave out.
#[derive(Clone)]
pub struct Excludes(pub(super) Arc<IsExcluded>);

impl Excludes {
    /// `is_excluded` is asked with the number of a source, the path of its target, a path below that (both absolute,
    /// without the leading `/`) and whether this is a directory; the directories above were asked before.
    pub fn new(is_excluded: impl Fn(usize, &[u8], &[u8], bool) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_excluded))
    }
}

impl fmt::Debug for Excludes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Excludes")
    }
}

/// One restored target.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Place in `sources`, from 0; 0 where nobody knows.
    pub source: usize,
    pub target: String,
    pub root: String,
    pub storage: String,
    pub key: String,
    pub started: Timestamp,
    /// False if the backup has gaps: files that could not be read when it was made.
    pub complete: bool,
    pub extracted: Extracted,
    /// Bytes read from the storage where single members were fetched; none for whole archives.
    pub read_bytes: Option<u64>,
    /// No copy is whole: what could not be read is among the problems of `extracted`.
    pub is_salvaged: bool,
    /// The paths that would be restored, with `dry_run`.
    pub listed: Vec<String>,
}

impl Restored {
    fn new(candidate: &Candidate, copy: &Copy) -> Self {
        Self {
            source: candidate.source.unwrap_or(0),
            target: candidate.target.clone(),
            root: candidate.root.clone(),
            storage: copy.storage_name.clone(),
            key: copy.entry.key.to_string(),
            started: candidate.started,
            complete: candidate.complete,
            extracted: Extracted::default(),
            read_bytes: None,
            is_salvaged: false,
            listed: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct RestoreReport {
    pub restored: Vec<Restored>,
    /// Copies and storages that could not be used, and targets that failed.
    pub problems: Vec<Problem>,
    /// At least one target could not be restored from any copy.
    pub failed: bool,
}

/// Restores. `Err` if nothing fits the request or the place cannot be used; what happened to single targets,
/// copies and entries is in the report.
pub fn run(
    ctx: &RunContext<'_>,
    job: &JobSpec,
    storages: &[(StorageSpec, Arc<dyn Storage>)],
    request: &Request,
) -> Result<RestoreReport> {
    if request.delete && !request.in_place {
        return Err(Error::new(ErrorKind::Invalid, "--delete is for --in-place alone"));
    }
    let globs = Selection::new(&request.paths)?;
    let (shelves, problems) = select::shelves(storages);
    let wanted = Wanted {
        source: request.source,
        target: request.target.as_deref(),
        at: request.at,
        from: request.from.as_deref(),
        adopt: request.adopt,
    };
    let zone = ctx.clock.now().time_zone().clone();
    let candidates = select::candidates(job, ctx.server_name, &shelves, &wanted, &zone);
    let chosen = select::newest(candidates, job, &wanted)?;
    if request.strip && chosen.len() > 1 {
        return Err(Error::new(ErrorKind::Invalid, format!("--strip would mix {} targets", chosen.len()))
            .with_hint("Name one with --target."));
    }
    if !request.dry_run {
        fsx::create_dir_all(&request.to, 0o755)?;
        if !request.in_place && !fsx::list_dir(&request.to)?.is_empty() {
            return Err(Error::new(ErrorKind::Exists, format!("`{}` is not empty", request.to.display()))
                .with_hint("Restore into an empty directory, or say --in-place to replace files there."));
        }
    }
    let mut report =
        RestoreReport { problems: problems.iter().map(Problem::from).collect(), ..Default::default() };
    let mut matched = false;
    leased(ctx, job, &chosen, || -> Result<()> {
        for (number, candidate) in chosen.iter().enumerate() {
            ctx.cancel.check()?;
            // Targets may overlap: the later one wins.
            let way = Way { ctx, request, globs: &globs, candidate, replace: request.in_place || number > 0 };
            let made = may_be_used(job, request, candidate).and_then(|()| way.restore(&mut report.problems));
            match made {
                Ok(restored) => {
                    matched |=
                        restored.extracted.files + restored.extracted.dirs > 0 || !restored.listed.is_empty();
                    report.restored.push(restored);
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    report.failed = true;
                    let problem = Problem::from(&error);
                    ctx.events.emit(&Event::Failed { job: &job.name, problem: &problem });
                    report.problems.push(problem);
                }
            }
        }
        Ok(())
    })?;
    if !matched && !report.failed && !request.paths.is_empty() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("no path fits `{}`", request.paths.join("`, `")),
        )
        .with_hint(
            "Paths are those inside the archive, such as `var/www/site1/index.php`; --dry-run lists them.",
        ));
    }
    Ok(report)
}

/// Refuses what could do harm with this backup.
fn may_be_used(job: &JobSpec, request: &Request, candidate: &Candidate) -> Result<()> {
    let refuse = |text: String, hint: &str| Err(Error::new(ErrorKind::Invalid, text).with_hint(hint));
    candidate.check_tree()?;
    let record = candidate.copies.first().and_then(|copy| copy.entry.record());
    if request.in_place && record.is_none() && request.target.is_none() {
        let text = format!("`{}` has no record that says which job made it", candidate.target);
        return refuse(text, "Name it with --target, or restore it with --to into a directory of its own.");
    }
    if !request.delete {
        return Ok(());
    }
    let Some(record) = record else {
        let text =
            format!("--delete: nobody knows what was left out of `{}`, it has no record", candidate.target);
        return refuse(text, "Restore it without --delete.");
    };
    for (reason, what) in [
        (NoteKind::Unreadable, "could not be read"),
        (NoteKind::LeftOut, "were left out by the configuration"),
    ] {
        let count = record.counts.get(reason.name()).copied().unwrap_or(0);
        if count > 0 {
            let text = format!(
                "--delete: {count} entries of `{}` {what} when it was saved, and would be removed",
                candidate.target
            );
            return refuse(text, "Restore it without --delete.");
        }
    }
    let leaves_out = job.sources.iter().filter(|s| s.index == record.source).any(|s| match &s.spec {
        SourceSpec::Files(files) => {
            !files.excludes.is_empty() || files.exclude_caches || !files.exclude_if_present.is_empty()
        }
        _ => false,
    });
    if leaves_out && request.excludes.is_none() {
        let text =
            format!("--delete: what the excludes of `{}` leave out would be removed", candidate.target);
        return refuse(text, "Restore it without --delete.");
    }
    Ok(())
}

/// One backup on its way back.
struct Way<'a> {
    ctx: &'a RunContext<'a>,
    request: &'a Request,
    globs: &'a Selection,
    candidate: &'a Candidate,
    replace: bool,
}

impl<'a> Way<'a> {
    fn passage(&self, copy: &'a Copy, replace: bool) -> Passage<'a> {
        Passage {
            ctx: self.ctx,
            request: self.request,
            globs: self.globs,
            copy,
            replace,
            salvage: false,
            index_failed: false.into(),
        }
    }

    /// From the first copy that can be read whole, by its index; then without the index, where that was what
    /// failed; then what single members give.
    fn restore(&self, problems: &mut Vec<Problem>) -> Result<Restored> {
        let mut last = None;
        let mut without_index = Vec::new();
        for (attempt, copy) in self.candidate.copies.iter().enumerate() {
            let mut restored = Restored::new(self.candidate, copy);
            // After a damaged copy, what it left is replaced.
            let passage = self.passage(copy, self.replace || attempt > 0);
            let Err(error) = passage.run(&mut restored) else {
                problems.extend(last.as_ref().map(Problem::from));
                return Ok(restored);
            };
            self.keep(copy, error, &mut last, problems)?;
            if passage.index_failed.get() {
                without_index.push(copy);
            }
        }
        for copy in without_index.into_iter().filter(|_| !self.request.delete) {
            let mut restored = Restored::new(self.candidate, copy);
            let Err(error) = self.passage(copy, true).stream(&mut restored) else {
                problems.extend(last.as_ref().map(Problem::from));
                return Ok(restored);
            };
            self.keep(copy, error, &mut last, problems)?;
        }
        let error = last.unwrap_or_else(|| Error::new(ErrorKind::NotFound, "there is no copy to read"));
        if error.kind() == ErrorKind::Corrupt
            && let Some(restored) = self.salvage(problems)
        {
            problems.push(Problem::from(&error));
            return Ok(restored);
        }
        Err(error)
    }

    /// Keeps the error of a copy for the report; hands on what no other copy would mend.
    fn keep(
        &self,
        copy: &Copy,
        error: Error,
        last: &mut Option<Error>,
        problems: &mut Vec<Problem>,
    ) -> Result<()> {
        if matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Full | ErrorKind::Invalid) {
            return Err(error);
        }
        let text = format!("cannot read `{}` on {}", copy.entry.key, copy.storage_name);
        let error = Error::new(error.kind(), text).with_source(error);
        problems.extend(last.replace(error).as_ref().map(Problem::from));
        Ok(())
    }

    /// No copy is whole: takes what can be read from the first copy whose index can be, member by member. The
    /// members that are lost are among the problems of the extraction.
    fn salvage(&self, problems: &mut Vec<Problem>) -> Option<Restored> {
        for copy in self.candidate.copies.iter().filter(|c| c.entry.index.is_some()) {
            let mut restored = Restored { is_salvaged: true, ..Restored::new(self.candidate, copy) };
            let passage = Passage { salvage: true, ..self.passage(copy, true) };
            match passage.run(&mut restored) {
                Ok(()) if restored.extracted.files > 0 || self.request.dry_run => return Some(restored),
                Ok(()) => {}
                Err(error) => problems.push(Problem::from(&error)),
            }
        }
        None
    }
}
