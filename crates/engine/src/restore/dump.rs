//! Dumps on their way back: one stored stream, decoded and compared with its record, to a writer or to a server.
//!
//! Which client takes it is behind [`Receiver`]; trees of files go another way ([`super::run`]).

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::ports::source::Receiver;
use nxs_base::ports::storage::{ObjectKey, Storage};
use nxs_base::record::Record;
use nxs_base::report::Problem;
use nxs_base::spec::{JobSpec, StorageSpec};
use nxs_base::tail::Tail;

use super::fetch::{self, StoredCheck};
use super::leased;
use super::select::{self, Candidate, Copy, Wanted};
use crate::job::RunContext;

/// What is passed on at once.
const BLOCK_BYTES: usize = 256 << 10;

/// What was found, and the storages that could not be read.
pub struct Found {
    /// Newest first.
    pub candidates: Vec<Candidate>,
    pub problems: Vec<Problem>,
}

/// All backups of the job that fit.
pub fn find(
    ctx: &RunContext<'_>,
    job: &JobSpec,
    storages: &[(StorageSpec, Arc<dyn Storage>)],
    wanted: &Wanted<'_>,
) -> Found {
    let (shelves, problems) = select::shelves(storages);
    let zone = ctx.clock.now().time_zone().clone();
    Found {
        candidates: select::candidates(job, ctx.server_name, &shelves, wanted, &zone),
        problems: problems.iter().map(Problem::from).collect(),
    }
}

/// The dumps that are meant: one, or all that lie below the part that was named, as the collections of a database do.
/// [`ErrorKind::NotFound`] for one that needs another that is missing; then the newest one that is whole is named.
pub fn meant(found: Vec<Candidate>, job: &JobSpec, wanted: &Wanted<'_>) -> Result<Vec<Candidate>> {
    let whole: Vec<Point> = found.iter().filter(|candidate| candidate.is_whole()).map(Point::of).collect();
    let meant = meant_at_all(found, job, wanted)?;
    match meant.iter().find(|candidate| !candidate.is_whole()) {
        Some(broken) => Err(lacking(broken, &whole)),
        None => Ok(meant),
    }
}

/// Of which target, and when.
struct Point {
    of: (Option<usize>, String, String),
    started: Timestamp,
    local: Option<DateTime>,
}

impl Point {
    fn of(candidate: &Candidate) -> Self {
        Self {
            of: (candidate.source, candidate.target.clone(), candidate.root.clone()),
            started: candidate.started,
            local: candidate.copies.first().and_then(|copy| copy.entry.local()),
        }
    }
}

fn lacking(broken: &Candidate, whole: &[Point]) -> Error {
    let this = Point::of(broken);
    let error = broken.copies[0].broken();
    let text = format!("`{}` cannot be restored", broken.target);
    let before = whole.iter().filter(|point| point.of == this.of).max_by_key(|point| point.started);
    let hint = match before.and_then(|point| point.local) {
        Some(at) => format!("The newest point that is whole: --at '{}'.", at.strftime("%Y-%m-%d %H:%M:%S")),
        None => "No point before it is whole; `nxs-backup ls` shows what there is.".to_owned(),
    };
    Error::new(error.kind(), text).with_source(error).with_hint(hint)
}

fn meant_at_all(found: Vec<Candidate>, job: &JobSpec, wanted: &Wanted<'_>) -> Result<Vec<Candidate>> {
    let newest = select::newest(found, job, wanted)?;
    let is_below = |candidate: &Candidate| {
        let part = candidate.copies[0].entry.part_and_stem().map_or("", |(part, _)| part);
        let rest = wanted.target.and_then(|target| part.strip_prefix(target));
        candidate.is_dump && rest.is_some_and(|rest| rest.starts_with('/'))
    };
    if newest.len() > 1 && newest.iter().all(is_below) { Ok(newest) } else { Ok(vec![single(newest, job)?]) }
}

/// The one dump that is meant. [`ErrorKind::Invalid`] if several targets fit, or what fits is no dump that is whole by itself.
pub fn one(found: Vec<Candidate>, job: &JobSpec, wanted: &Wanted<'_>) -> Result<Candidate> {
    let one = single(select::newest(found, job, wanted)?, job)?;
    if one.copies.iter().any(|copy| copy.entry.record().is_some_and(|r| r.level == Record::INCREMENT)) {
        let text = format!("`{}` is an increment, which alone is no backup", one.copies[0].entry.key);
        return Err(Error::new(ErrorKind::Invalid, text).with_hint(
            "Restore it with --to DIR; RESTORE.md beside it has the commands for all its parts.",
        ));
    }
    Ok(one)
}

fn single(mut newest: Vec<Candidate>, job: &JobSpec) -> Result<Candidate> {
    let Some(candidate) = newest.pop() else {
        return Err(Error::new(ErrorKind::NotFound, format!("job `{}` has no backup", job.name)));
    };
    if !newest.is_empty() {
        let names: Vec<&str> = newest.iter().chain([&candidate]).map(|c| c.target.as_str()).collect();
        let text = format!("this means {} targets: `{}`", names.len(), names.join("`, `"));
        return Err(Error::new(ErrorKind::Invalid, text).with_hint("Name one with --target, and --source."));
    }
    if !candidate.is_stream(job.kind) {
        let text = format!("`{}` is a tree of files", candidate.target);
        return Err(Error::new(ErrorKind::Invalid, text).with_hint("Restore it with --to DIR."));
    }
    Ok(candidate)
}

/// Who takes the plain bytes.
pub enum Outlet<'a> {
    Writer(&'a mut dyn Write),
    Receiver(&'a dyn Receiver),
}

/// A dump that was given away whole.
#[derive(Debug, Clone)]
pub struct Given {
    pub target: String,
    pub storage: String,
    pub key: String,
    pub started: Timestamp,
    pub plain_bytes: u64,
    /// Copies that could not be read before this one.
    pub problems: Vec<Problem>,
}

/// Gives one dump away, with what it needs, from the best copy; from the next one if that is damaged. A writer that has got bytes of a
/// damaged copy gets no others: then this fails. So it does if the stream does not end as its record says.
pub fn give(
    ctx: &RunContext<'_>,
    job: &JobSpec,
    candidate: &Candidate,
    mut outlet: Outlet<'_>,
) -> Result<Given> {
    let mut problems = Vec::new();
    leased(ctx, job, std::slice::from_ref(candidate), || {
        for copy in &candidate.copies {
            if copy.parents.is_none() {
                problems.push(Problem::from(&copy.broken()));
                continue;
            }
            let progress = Progress::default();
            match give_copy(ctx, copy, &mut outlet, &progress) {
                Ok(()) => {
                    return Ok(Given {
                        target: candidate.target.clone(),
                        storage: copy.storage_name.clone(),
                        key: copy.entry.key.to_string(),
                        started: candidate.started,
                        plain_bytes: progress.bytes.get(),
                        problems: std::mem::take(&mut problems),
                    });
                }
                // Who takes it may see damage before the digests at the end do.
                Err(error) if !progress.read_failed.get() && error.kind() != ErrorKind::Corrupt => {
                    return Err(error);
                }
                Err(error) => {
                    let part = progress.part.take().unwrap_or_else(|| copy.entry.key.clone());
                    let text = format!("cannot read `{part}` on {}", copy.storage_name);
                    let error = Error::new(error.kind(), text).with_source(error);
                    if matches!(outlet, Outlet::Writer(_)) && progress.bytes.get() > 0 {
                        return Err(error.with_hint(
                            "What came out until then is not the whole dump; take another copy with --from.",
                        ));
                    }
                    problems.push(Problem::from(&error));
                }
            }
        }
        let last = problems.pop();
        let text = last.map_or_else(|| "there is no copy to read".to_owned(), |problem| problem.message);
        Err(Error::new(ErrorKind::Corrupt, text))
    })
}

/// What happened on the way of one copy.
#[derive(Default)]
struct Progress {
    bytes: Cell<u64>,
    /// The storage or the stream was at fault, not who takes it.
    read_failed: Cell<bool>,
    /// The archive that was opened last.
    part: RefCell<Option<ObjectKey>>,
}

fn give_copy(ctx: &RunContext<'_>, copy: &Copy, outlet: &mut Outlet<'_>, progress: &Progress) -> Result<()> {
    match outlet {
        Outlet::Receiver(receiver) => {
            let mut parts = copy.with_parents();
            parts.reverse();
            let mut open = |n: usize| -> Result<Box<dyn Read + '_>> {
                let part = parts.get(n).ok_or_else(|| {
                    Error::new(ErrorKind::Other, format!("`{}` has no part {n}", copy.entry.key))
                })?;
                Ok(Box::new(open_whole(ctx, part, progress)?))
            };
            receiver.receive_chain(parts.len(), &mut open, ctx.cancel)
        }
        Outlet::Writer(writer) => {
            let mut plain = open_whole(ctx, copy, progress)?;
            let mut block = vec![0; BLOCK_BYTES];
            loop {
                ctx.cancel.check()?;
                let n = match plain.read(&mut block) {
                    Ok(0) => break,
                    Ok(n) => n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(e) => return Err(Error::from_io("cannot read the dump", e)),
                };
                writer.write_all(&block[..n]).map_err(|e| Error::io("cannot write the dump", e))?;
            }
            writer.flush().map_err(|e| Error::io("cannot write the dump", e))
        }
    }
}

fn open_whole<'p>(ctx: &RunContext<'_>, copy: &Copy, progress: &'p Progress) -> Result<Whole<'p>> {
    progress.part.replace(Some(copy.entry.key.clone()));
    let opened = fetch::open_checked(copy, None, ctx.workers);
    let (plain, check) = opened.inspect_err(|_| progress.read_failed.set(true))?;
    let marker = copy.entry.record().and_then(|record| record.end_marker.clone());
    Ok(Whole { plain, check: Some(check), marker, tail: Tail::default(), progress })
}

/// The plain bytes of a copy; its end comes only if all of it was as recorded.
struct Whole<'a> {
    plain: Box<dyn Read>,
    check: Option<StoredCheck>,
    marker: Option<String>,
    tail: Tail,
    progress: &'a Progress,
}

impl Whole<'_> {
    fn judge_end(&mut self) -> Result<()> {
        if let Some(check) = self.check.take() {
            check.finish()?;
        }
        match &self.marker {
            Some(marker) if !self.tail.holds(marker) => {
                Err(Error::new(ErrorKind::Corrupt, format!("the dump does not end with `{marker}`")))
            }
            _ => Ok(()),
        }
    }
}

impl Read for Whole<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let failed = |e: io::Error| {
            if e.kind() != io::ErrorKind::Interrupted {
                self.progress.read_failed.set(true);
            }
            e
        };
        let n = self.plain.read(buf).map_err(failed)?;
        if n == 0 && !buf.is_empty() {
            let judged = self.judge_end();
            judged.map_err(|e| {
                self.progress.read_failed.set(true);
                e.into_io()
            })?;
            return Ok(0);
        }
        self.tail.push(&buf[..n]);
        self.progress.bytes.set(self.progress.bytes.get() + n as u64);
        Ok(n)
    }
}
