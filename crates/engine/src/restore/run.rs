//! `restore`: finds the backups, reads each needed byte once from the best copy, falls back to the next copy on
//! damage, and extracts beneath the target directory.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use jiff::Timestamp;
use nxs_archive::index::{IndexReader, ReadAt};
use nxs_archive::tar::{EntryHeader, TarReader, safe_path};
use nxs_base::entry::{EntryKind, IndexEntry, path_order};
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::event::Event;
use nxs_base::ports::storage::Storage;
use nxs_base::report::Problem;
use nxs_base::spec::{JobSpec, StorageSpec};
use nxs_sys::fsx;

use super::extract::{Extracted, Extractor, Options};
use super::fetch::{self, Members};
use super::select::{self, Candidate, Copy, Wanted};
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
    /// With `in_place`: remove what the backup does not have.
    pub delete: bool,
    /// Leave out the target's own path: its content lands in `to`.
    pub strip: bool,
    pub dry_run: bool,
    /// Archives without a record may be restored too.
    pub adopt: bool,
}

/// One restored target.
#[derive(Debug, Clone)]
pub struct Restored {
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
    if request.delete {
        return Err(Error::new(ErrorKind::Unsupported, "--delete: this build does not have it yet"));
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
    for candidate in chosen {
        ctx.cancel.check()?;
        match restore_candidate(ctx, request, &globs, &candidate, &mut report.problems) {
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

fn restore_candidate(
    ctx: &RunContext<'_>,
    request: &Request,
    globs: &Selection,
    candidate: &Candidate,
    problems: &mut Vec<Problem>,
) -> Result<Restored> {
    let mut last = None;
    for (attempt, copy) in candidate.copies.iter().enumerate() {
        let mut restored = Restored::new(candidate, copy);
        // After a damaged copy, what it left is replaced.
        let in_place = request.in_place || attempt > 0;
        match restore_copy(ctx, request, globs, copy, in_place, &mut restored) {
            Ok(()) => return Ok(restored),
            Err(error)
                if matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Full | ErrorKind::Invalid) =>
            {
                return Err(error);
            }
            Err(error) => {
                let text = format!("cannot read `{}` on {}", copy.entry.key, copy.storage_name);
                let error = Error::new(error.kind(), text).with_source(error);
                if attempt + 1 < candidate.copies.len() {
                    problems.push(Problem::from(&error));
                }
                last = Some(error);
            }
        }
    }
    let error = last.unwrap_or_else(|| Error::new(ErrorKind::NotFound, "there is no copy to read"));
    if error.kind() == ErrorKind::Corrupt
        && let Some(restored) = salvage(ctx, request, globs, candidate, problems)
    {
        problems.push(Problem::from(&error));
        return Ok(restored);
    }
    Err(error)
}

/// No copy is whole: takes what can be read from the first copy whose index can be, member by member. The members
/// that are lost are among the problems of the extraction.
fn salvage(
    ctx: &RunContext<'_>,
    request: &Request,
    globs: &Selection,
    candidate: &Candidate,
    problems: &mut Vec<Problem>,
) -> Option<Restored> {
    for copy in &candidate.copies {
        let mut restored = Restored { is_salvaged: true, ..Restored::new(candidate, copy) };
        let taken = match fetch::open_index(copy) {
            Ok(Some(index)) => by_index(ctx, request, globs, copy, &index, true, &mut restored),
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        match taken {
            Ok(()) => return Some(restored),
            Err(error) => problems.push(Problem::from(&error)),
        }
    }
    None
}

fn restore_copy(
    ctx: &RunContext<'_>,
    request: &Request,
    globs: &Selection,
    copy: &Copy,
    in_place: bool,
    restored: &mut Restored,
) -> Result<()> {
    if globs.is_everything() && !request.dry_run {
        return whole(ctx, request, copy, in_place, restored);
    }
    match fetch::open_index(copy)? {
        Some(index) => by_index(ctx, request, globs, copy, &index, in_place, restored),
        None => by_stream(ctx, request, globs, copy, in_place, restored),
    }
}

fn options(request: &Request, in_place: bool, root: &[u8]) -> Options {
    let strip = request.strip.then(|| root.strip_prefix(b"/").unwrap_or(root).to_vec());
    Options { replace: in_place, strip, ..Options::default() }
}

fn whole(
    ctx: &RunContext<'_>,
    request: &Request,
    copy: &Copy,
    in_place: bool,
    restored: &mut Restored,
) -> Result<()> {
    let index = fetch::load_index(copy)?;
    let (frames, root) = match &index {
        Some(index) => (Some(index.all_frames()?), Some(index.header().root.clone())),
        None => (None, None),
    };
    drop(index);
    let plain = fetch::open_plain(copy, frames, ctx.workers)?;
    let mut tar = TarReader::new(io::BufReader::with_capacity(128 << 10, plain));
    let mut first = true;
    let mut extractor = None;
    while let Some(header) = tar.next()? {
        let path = header.path.clone();
        if first {
            first = false;
            let root = root.clone().map_or_else(|| safe_path(&path), Ok)?;
            extractor =
                Some(Extractor::open(&request.to, options(request, in_place, &unescape(&root)), ctx.cancel)?);
        }
        if let Some(extractor) = &mut extractor {
            extractor.entry(header, &path, &mut tar)?;
        }
    }
    drain(tar)?;
    if let Some(extractor) = extractor {
        restored.extracted = extractor.finish()?;
    }
    Ok(())
}

/// Reads what follows the end mark, so that damage and truncation behind it show.
fn drain(tar: TarReader<impl Read>) -> Result<()> {
    io::copy(&mut tar.into_inner(), &mut io::sink())
        .map(|_| ())
        .map_err(|e| Error::from_io("cannot read the end of the archive", e))
}

fn by_stream(
    ctx: &RunContext<'_>,
    request: &Request,
    globs: &Selection,
    copy: &Copy,
    in_place: bool,
    restored: &mut Restored,
) -> Result<()> {
    let plain = fetch::open_plain(copy, None, ctx.workers)?;
    let mut tar = TarReader::new(io::BufReader::with_capacity(128 << 10, plain));
    let mut root = None;
    let mut extractor: Option<Extractor<'_>> = None;
    while let Some(header) = tar.next()? {
        let path = header.path.clone();
        let safe = safe_path(&path)?;
        let root = root.get_or_insert_with(|| safe.clone()).clone();
        if !globs.is_match(&safe, &root) {
            tar.skip_data()?;
            continue;
        }
        if request.dry_run {
            restored.listed.push(fsx::show(&safe));
            tar.skip_data()?;
            continue;
        }
        let extractor = match &mut extractor {
            Some(extractor) => extractor,
            none => none.insert(Extractor::open(&request.to, options(request, in_place, &root), ctx.cancel)?),
        };
        extractor.entry(header, &path, &mut tar)?;
    }
    drain(tar)?;
    if let Some(extractor) = extractor {
        restored.extracted = extractor.finish()?;
    }
    Ok(())
}

fn by_index(
    ctx: &RunContext<'_>,
    request: &Request,
    globs: &Selection,
    copy: &Copy,
    index: &IndexReader<fetch::RangedObject>,
    in_place: bool,
    restored: &mut Restored,
) -> Result<()> {
    let root = unescape(&index.header().root);
    let root = root.strip_prefix(b"/").unwrap_or(&root);
    let chosen = choose(index, globs, root)?;
    if request.dry_run {
        restored.listed = chosen.iter().map(|e| fsx::show(&e.path)).collect();
        restored.read_bytes = Some(index.source().read_bytes());
        return Ok(());
    }
    let members = Members::new(copy, index);
    let mut extractor = Extractor::open(&request.to, options(request, in_place, root), ctx.cancel)?;
    for ancestor in ancestors(index, &chosen)? {
        extractor.dir(&ancestor.path, &ancestor.meta)?;
    }
    let paths: BTreeSet<&[u8]> = chosen.iter().map(|e| e.path.as_slice()).collect();
    let mut stand_ins: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for entry in &chosen {
        let mut source = entry.clone();
        let mut link = None;
        if entry.meta.kind == EntryKind::HardLink && !paths.contains(entry.link.as_slice()) {
            // Its first name is not asked for: the first of its other names takes the bytes, the rest link to that.
            match stand_ins.iter().find(|(first, _)| *first == entry.link) {
                Some((_, stand_in)) => link = Some(stand_in.clone()),
                None => {
                    source = index.find(&entry.link)?.ok_or_else(|| {
                        Error::new(
                            ErrorKind::Corrupt,
                            format!("`{}` links to nothing", fsx::show(&entry.path)),
                        )
                    })?;
                    stand_ins.push((entry.link.clone(), entry.path.clone()));
                }
            }
        }
        let taken = take(&members, &source, entry, link, &mut extractor);
        match taken {
            Err(error) if restored.is_salvaged && error.kind() == ErrorKind::Corrupt => {
                // The index knows enough of a directory to make it, without its attributes.
                if entry.meta.kind == EntryKind::Dir {
                    extractor.dir(&entry.path, &entry.meta)?;
                }
                extractor.problem(&entry.path, error);
            }
            other => other?,
        }
    }
    restored.extracted = extractor.finish()?;
    restored.read_bytes = Some(members.read_bytes() + index.source().read_bytes());
    Ok(())
}

/// Reads one member at its place and puts it at the path of `entry`; `link` replaces what it links to.
fn take(
    members: &Members<'_>,
    source: &IndexEntry,
    entry: &IndexEntry,
    link: Option<Vec<u8>>,
    extractor: &mut Extractor<'_>,
) -> Result<()> {
    let mut tar = TarReader::new(members.open(source)?);
    let header: EntryHeader = tar.next()?.filter(|h| h.path == source.path).ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, format!("the index misplaces `{}`", fsx::show(&source.path)))
    })?;
    let header = EntryHeader { link: link.unwrap_or_else(|| header.link.clone()), ..header };
    extractor.entry(header, &entry.path, &mut tar)
}

/// The wanted entries, in the order of the archive.
fn choose<R: ReadAt>(index: &IndexReader<R>, globs: &Selection, root: &[u8]) -> Result<Vec<IndexEntry>> {
    let mut chosen = Vec::new();
    if let Some(literals) = globs.literals(root) {
        for literal in literals {
            for entry in index.entries_under(&literal) {
                chosen.push(entry?);
            }
        }
        chosen.sort_by(|a, b| path_order(&a.path, &b.path));
        chosen.dedup_by(|a, b| a.path == b.path);
    } else {
        for entry in index.entries() {
            let entry = entry?;
            if globs.is_match(&entry.path, root) {
                chosen.push(entry);
            }
        }
    }
    Ok(chosen)
}

/// Directories above the chosen entries that the index knows and that are not chosen themselves.
fn ancestors<R: ReadAt>(index: &IndexReader<R>, chosen: &[IndexEntry]) -> Result<Vec<IndexEntry>> {
    let have: BTreeSet<&[u8]> = chosen.iter().map(|e| e.path.as_slice()).collect();
    let mut wanted: BTreeSet<&[u8]> = BTreeSet::new();
    for entry in chosen {
        let mut path = entry.path.as_slice();
        while let Some(i) = path.iter().rposition(|b| *b == b'/') {
            path = &path[..i];
            if have.contains(path) || !wanted.insert(path) {
                break;
            }
        }
    }
    let mut found = Vec::new();
    for path in wanted {
        if let Some(entry) = index.find(path)?.filter(|e| e.meta.kind == EntryKind::Dir) {
            found.push(entry);
        }
    }
    Ok(found)
}

/// Undoes the percent-escapes of a target's path.
fn unescape(root: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(root) {
        Ok(text) => nxs_base::naming::unescape_component(text),
        Err(_) => root.to_vec(),
    }
}

/// The globs of a request.
struct Selection {
    globs: GlobSet,
    /// Without a leading or trailing `/`; none if one of them is a pattern.
    plain: Option<Vec<Vec<u8>>>,
    is_empty: bool,
}

impl Selection {
    fn new(paths: &[String]) -> Result<Self> {
        let mut builder = GlobSetBuilder::new();
        let mut plain = Some(Vec::new());
        for path in paths {
            let path = path.trim_start_matches("./").trim_matches('/');
            let bad = |e: globset::Error| {
                Error::new(ErrorKind::Invalid, format!("`{path}` is not a pattern: {}", e.kind()))
            };
            for pattern in [path.to_owned(), format!("{path}/**")] {
                builder.add(GlobBuilder::new(&pattern).literal_separator(true).build().map_err(bad)?);
            }
            if path.contains(['*', '?', '[', ']', '{', '}', '\\']) {
                plain = None;
            } else if let Some(plain) = &mut plain {
                plain.push(path.as_bytes().to_vec());
            }
        }
        let globs =
            builder.build().map_err(|e| Error::new(ErrorKind::Invalid, format!("bad pattern: {e}")))?;
        Ok(Self { globs, plain, is_empty: paths.is_empty() })
    }

    fn is_everything(&self) -> bool {
        self.is_empty
    }

    fn is_match(&self, path: &[u8], root: &[u8]) -> bool {
        use std::os::unix::ffi::OsStrExt as _;
        let fits = |p: &[u8]| self.globs.is_match(std::path::Path::new(std::ffi::OsStr::from_bytes(p)));
        self.is_empty || fits(path) || below(path, root).is_some_and(fits)
    }

    /// The paths themselves, each as written and below the target, where none is a pattern.
    fn literals(&self, root: &[u8]) -> Option<Vec<Vec<u8>>> {
        let plain = self.plain.as_ref().filter(|_| !self.is_empty)?;
        Some(plain.iter().flat_map(|p| [p.clone(), [root, b"/", p].concat()]).collect())
    }
}

/// The path below `root`, if it lies there.
fn below<'p>(path: &'p [u8], root: &[u8]) -> Option<&'p [u8]> {
    path.strip_prefix(root)?.strip_prefix(b"/")
}
