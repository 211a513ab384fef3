//! Which backups a restore or a verification means: candidates of a job on all its storages, narrowed by source,
//! target and time. Pure over catalogs that were read before.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nxs_base::error::{Error, ErrorKind, Result};
use nxs_base::layout::discrete;
use nxs_base::ports::storage::{ObjectKey, Storage};
use nxs_base::spec::{JobKind, JobSpec, StorageKind, StorageSpec};

use crate::catalog::{self, Catalog, CatalogEntry, Origin};
use crate::incremental::by_log::Copies;
use crate::incremental::chain::Chain;
use crate::incremental::level::Level;

/// A storage and what lies on it.
pub struct Shelf {
    pub spec: StorageSpec,
    pub storage: Arc<dyn Storage>,
    pub catalog: Catalog,
}

/// One copy that can be read.
#[derive(Clone)]
pub struct Copy {
    pub storage: Arc<dyn Storage>,
    pub storage_name: String,
    pub entry: CatalogEntry,
    /// For an increment, what else is needed, nearest first; empty for a full; none if a parent is missing.
    pub parents: Option<Vec<CatalogEntry>>,
    /// The name of the parent that is missing, where that is known.
    pub lacks: Option<String>,
}

impl Copy {
    /// This copy and what it needs on its storage, the nearest parent first; itself alone if a parent is missing.
    pub(crate) fn with_parents(&self) -> Vec<Self> {
        let parents = self.parents.as_deref().unwrap_or_default();
        let entries = std::iter::once(&self.entry).chain(parents);
        let made = entries.enumerate().map(|(number, entry)| Self {
            entry: entry.clone(),
            parents: self.parents.as_ref().map(|all| all[number.min(all.len())..].to_vec()),
            ..self.clone()
        });
        made.collect()
    }

    /// Says what is missing. For a copy of which a parent is.
    pub(crate) fn broken(&self) -> Error {
        let (key, storage) = (&self.entry.key, &self.storage_name);
        let text = match &self.lacks {
            Some(lacks) => format!("`{key}` on {storage} needs `{}`, which is missing", lacks.escape_debug()),
            None => format!("a parent of `{key}` is missing on {storage}"),
        };
        Error::new(ErrorKind::NotFound, text)
    }
}

/// One backup with all its copies, the best to read first.
pub struct Candidate {
    pub source: Option<usize>,
    pub target: String,
    /// The target, exactly; empty where nobody knows.
    pub root: String,
    pub started: Timestamp,
    pub complete: bool,
    /// Whether it is one stream for a program of its own, and no tree of files.
    pub is_dump: bool,
    pub copies: Vec<Copy>,
}

impl Candidate {
    /// Whether it can be given away as one stream: whatever is no tree of files of ours.
    pub fn is_stream(&self, job: JobKind) -> bool {
        job == JobKind::External || self.is_dump
    }

    /// Whether a storage has all that a restore needs.
    pub fn is_whole(&self) -> bool {
        self.copies.iter().any(|copy| copy.parents.is_some())
    }

    /// [`ErrorKind::Invalid`] for a dump, in which there are no paths.
    pub fn check_tree(&self) -> Result<()> {
        if !self.is_dump {
            return Ok(());
        }
        let text = format!("`{}` is a dump of a database, and no tree of files", self.target);
        Err(Error::new(ErrorKind::Invalid, text)
            .with_hint("Restore it with --stdout, --as NAME or --into ADDRESS."))
    }
}

/// Reads all storages, the local ones first; those that cannot be read are returned as problems.
pub fn shelves(storages: &[(StorageSpec, Arc<dyn Storage>)]) -> (Vec<Shelf>, Vec<Error>) {
    let mut shelves = Vec::new();
    let mut problems = Vec::new();
    let mut order: Vec<_> = storages.iter().collect();
    order.sort_by_key(|(spec, _)| spec.kind() != StorageKind::Local);
    for (spec, storage) in order {
        match catalog::scan(storage.as_ref()) {
            Ok(catalog) => {
                shelves.push(Shelf { spec: spec.clone(), storage: Arc::clone(storage), catalog });
            }
            Err(error) => problems.push(error),
        }
    }
    (shelves, problems)
}

/// Narrows down.
#[derive(Debug, Clone, Default)]
pub struct Wanted<'a> {
    pub source: Option<usize>,
    /// A target's name, its part, or its exact path.
    pub target: Option<&'a str>,
    /// Only backups that started at or before this.
    pub at: Option<Timestamp>,
    pub from: Option<&'a str>,
    /// Archives without a record count too.
    pub adopt: bool,
}

/// All backups of the job that fit, newest first, each with its copies.
pub fn candidates(
    job: &JobSpec,
    server_name: &str,
    shelves: &[Shelf],
    wanted: &Wanted<'_>,
    zone: &TimeZone,
) -> Vec<Candidate> {
    let mut found: Vec<(String, Candidate)> = Vec::new();
    for shelf in shelves {
        if wanted.from.is_some_and(|from| from != shelf.spec.name) {
            continue;
        }
        let orphans = shelf.catalog.orphans.iter().filter(|_| wanted.adopt).map(|o| CatalogEntry {
            key: o.key.clone(),
            size_bytes: o.size_bytes,
            mtime: o.mtime,
            name: discrete::parse(&o.key).map(|p| p.name),
            increment: None,
            origin: Origin::Adopted,
            index: None,
            links: Vec::new(),
            stand_ins: Vec::new(),
        });
        let chains = chains(&shelf.catalog);
        for entry in shelf.catalog.entries.iter().cloned().chain(orphans) {
            let Some((id, mut candidate)) = candidate(job, server_name, &entry, zone) else { continue };
            let copy = Copy {
                storage: Arc::clone(&shelf.storage),
                storage_name: shelf.spec.name.clone(),
                parents: parents_of(&chains, &entry),
                lacks: chains.by_log.ancestry(&entry).err(),
                entry: entry.clone(),
            };
            match found.iter_mut().find(|(known, _)| *known == id) {
                Some((_, known)) => known.copies.push(copy),
                None => {
                    candidate.copies.push(copy);
                    found.push((id, candidate));
                }
            }
        }
    }
    let mut fitting: Vec<Candidate> = found.into_iter().map(|(_, c)| c).filter(|c| fits(c, wanted)).collect();
    fitting.sort_by(|a, b| {
        b.started.cmp(&a.started).then_with(|| b.copies[0].entry.key.cmp(&a.copies[0].entry.key))
    });
    fitting
}

/// The chains of the incremental backups of a catalog.
pub struct Chains<'a> {
    /// Of files, by part and stem.
    trees: BTreeMap<(String, String), Chain<'a>>,
    by_log: Copies<'a>,
}

impl<'a> Chains<'a> {
    fn of(&self, entry: &CatalogEntry) -> Option<&Chain<'a>> {
        let name = entry.increment.as_ref()?;
        self.trees.get(&(name.part.clone(), name.stem.clone()))
    }

    /// Where version 2's state file of a backup lies.
    pub(crate) fn state_key(&self, entry: &CatalogEntry) -> Option<ObjectKey> {
        let chain = self.of(entry)?;
        chain.state_key(chain.id_of(&entry.key)?)
    }

    /// The rank of an incremental backup; none for all others.
    pub fn level_of(&self, entry: &CatalogEntry) -> Option<Level> {
        let chain = self.of(entry)?;
        chain.link(chain.id_of(&entry.key)?).map(|link| link.level)
    }
}

/// Reads the chains of a catalog: who is whose parent goes by the records, without those by part and stem of a name.
pub fn chains(catalog: &Catalog) -> Chains<'_> {
    let mut members: BTreeMap<(String, String), Vec<&CatalogEntry>> = BTreeMap::new();
    for entry in &catalog.entries {
        if let Some(name) = &entry.increment {
            members.entry((name.part.clone(), name.stem.clone())).or_default().push(entry);
        }
    }
    Chains {
        trees: members.into_iter().map(|(name, entries)| (name, Chain::new(entries))).collect(),
        by_log: Copies::new(&catalog.entries),
    }
}

/// What else a restore of the backup needs, the nearest first; none for all that is no increment. `None` if one of
/// them is missing.
pub fn parents_of(chains: &Chains<'_>, entry: &CatalogEntry) -> Option<Vec<CatalogEntry>> {
    if entry.increment.is_none() {
        let ancestry = chains.by_log.ancestry(entry).ok()?;
        return Some(ancestry.into_iter().skip(1).cloned().collect());
    }
    let chain = chains.of(entry)?;
    let ancestry = chain.ancestry(chain.id_of(&entry.key)?)?;
    Some(ancestry.into_iter().skip(1).cloned().collect())
}

/// The newest one of every target, or what is missing in words.
pub fn newest(candidates: Vec<Candidate>, job: &JobSpec, wanted: &Wanted<'_>) -> Result<Vec<Candidate>> {
    let mut newest: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let name =
            |c: &Candidate| c.copies[0].entry.part_and_stem().map(|(p, s)| (p.to_owned(), s.to_owned()));
        let same = |n: &Candidate| {
            let is_adopted = n.source.is_none() || candidate.source.is_none();
            (n.source == candidate.source && n.root == candidate.root && n.target == candidate.target)
                // What version 2 left of a target that has records by now.
                || (is_adopted && name(n) == name(&candidate))
        };
        if !newest.iter().any(same) {
            newest.push(candidate);
        }
    }
    if newest.is_empty() {
        let target = wanted.target.map_or_else(String::new, |t| format!(" of target `{t}`"));
        let at = wanted.at.map_or_else(String::new, |at| format!(" from {at} or before"));
        return Err(Error::new(ErrorKind::NotFound, format!("job `{}` has no backup{target}{at}", job.name))
            .with_hint("`nxs-backup ls` shows what there is."));
    }
    newest.sort_by(|a, b| (a.source, &a.target).cmp(&(b.source, &b.target)));
    Ok(newest)
}

fn candidate(
    job: &JobSpec,
    server: &str,
    entry: &CatalogEntry,
    zone: &TimeZone,
) -> Option<(String, Candidate)> {
    let started = entry.started(zone);
    let complete = entry.is_complete();
    // A physical copy of MySQL is a dump in any form: its tar, too, has to be prepared.
    let is_dump = matches!(job.kind, JobKind::MysqlXtrabackup | JobKind::MariadbBackup)
        || entry.name.as_ref().is_some_and(|name| name.extension != "tar");
    if let Some(record) = entry.record() {
        let ours = record.job == job.name && record.server_name == server;
        return ours.then(|| {
            let candidate = Candidate {
                source: Some(record.source),
                target: record.target.clone(),
                root: record.root.clone(),
                started,
                complete,
                is_dump,
                copies: Vec::new(),
            };
            (record.id.to_string(), candidate)
        });
    }
    let (part, stem) = entry.part_and_stem()?;
    let fits = entry.name.as_ref().is_none_or(|n| job.kind.extensions().contains(&n.extension.as_str()));
    if !fits || entry.increment.is_some() != (job.kind == JobKind::IncFiles) {
        return None;
    }
    let target = if part.is_empty() { stem.to_owned() } else { part.to_owned() };
    let candidate = Candidate {
        source: None,
        target,
        root: String::new(),
        started,
        complete,
        is_dump,
        copies: Vec::new(),
    };
    Some((format!("{part}/{}", entry.key.file_name()), candidate))
}

fn fits(candidate: &Candidate, wanted: &Wanted<'_>) -> bool {
    wanted.source.is_none_or(|s| candidate.source == Some(s))
        && wanted.at.is_none_or(|at| candidate.started <= at)
        && wanted.target.is_none_or(|t| {
            let part = candidate.copies[0].entry.part_and_stem().map_or("", |(part, _)| part);
            candidate.target == t
                || part == t
                // All collections of a database.
                || candidate.is_dump && part.strip_prefix(t).is_some_and(|rest| rest.starts_with('/'))
                || candidate.root.trim_end_matches('/') == t.trim_end_matches('/')
        })
}
