//! What lies on the storages of a job, for the commands that read: one catalog per storage, and who owns what.
//!
//! Reading and grouping are the engine's; this only opens and asks.

use std::collections::BTreeSet;
use std::sync::Arc;

use nxs_base::ports::storage::Storage;
use nxs_base::spec::{JobSpec, RunSpec, StorageSpec};
use nxs_engine::catalog::{self, Catalog, ConfiguredGroup, GroupId};

use crate::app::{self, Env};
use crate::exit::Exit;

/// One storage of a job, read.
pub(crate) struct Shelf {
    pub(crate) spec: StorageSpec,
    pub(crate) catalog: Catalog,
}

/// How many storages answered and how many did not.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    good: usize,
    bad: usize,
}

impl Reached {
    /// Complete if all answered, failed if none did.
    pub(crate) fn exit(&self) -> Exit {
        match (self.good, self.bad) {
            (_, 0) => Exit::Complete,
            (0, _) => Exit::Failed,
            _ => Exit::Partial,
        }
    }
}

/// Whether any of the jobs has a storage of that name, if one is named. Says which there are.
pub(crate) fn check_name(env: &Env, jobs: &[&JobSpec], name: Option<&str>) -> Result<(), Exit> {
    let Some(name) = name else { return Ok(()) };
    let known: BTreeSet<&str> = jobs.iter().flat_map(|j| &j.storages).map(|s| s.name.as_str()).collect();
    if known.contains(name) {
        return Ok(());
    }
    let known: Vec<&str> = known.into_iter().collect();
    env.console.say(&format!("there is no storage `{name}`, only: {}", known.join(", ")));
    Err(Exit::Usage)
}

/// Opens the enabled storages of a job, or that of one name. What cannot be opened is said on stderr and counted as not
/// reached.
pub(crate) fn open(
    env: &Env,
    job: &JobSpec,
    name: Option<&str>,
    reached: &mut Reached,
) -> Vec<(StorageSpec, Arc<dyn Storage>)> {
    let mut opened = Vec::new();
    let wanted = |s: &&StorageSpec| s.enable && name.is_none_or(|name| s.name == name);
    for spec in job.storages.iter().filter(wanted) {
        match (env.open_storage)(spec) {
            Ok(storage) => {
                reached.good += 1;
                opened.push((spec.clone(), storage));
            }
            Err(error) => complain(env, job, spec, &error, reached),
        }
    }
    opened
}

/// Reads the enabled storages of a job. What cannot be read is said on stderr and counted as not reached.
pub(crate) fn read(env: &Env, job: &JobSpec, reached: &mut Reached) -> Vec<Shelf> {
    let mut shelves = Vec::new();
    for (spec, storage) in open(env, job, None, reached) {
        match catalog::scan(&*storage) {
            Ok(catalog) => shelves.push(Shelf { spec, catalog }),
            Err(error) => {
                reached.good -= 1;
                complain(env, job, &spec, &error, reached);
            }
        }
    }
    shelves
}

fn complain(env: &Env, job: &JobSpec, spec: &StorageSpec, error: &nxs_base::Error, reached: &mut Reached) {
    reached.bad += 1;
    let text = format!("job '{}', storage '{}': {}", job.name, spec.name, error.chain());
    env.console.say_with_hint(&text, error.hint());
}

/// The groups that the configuration names now: every target of every job, as far as no server has to be asked. Needed to know whose a backup without a
/// record is. Sources that cannot be opened, and patterns without a match, have none: `start` reports those.
pub(crate) fn configured_groups<'a>(
    env: &Env,
    spec: &RunSpec,
    jobs: impl IntoIterator<Item = &'a JobSpec>,
) -> Vec<ConfiguredGroup> {
    let mut groups = Vec::new();
    for job in jobs {
        for entry in &job.sources {
            let opened = app::open_source(env, spec, entry, job.kind);
            let targets = opened.and_then(|source| source.named_targets()).unwrap_or_default();
            groups.extend(targets.into_iter().flatten().map(|target| ConfiguredGroup {
                id: GroupId {
                    server_name: server_name(env, spec).to_owned(),
                    job: job.name.clone(),
                    source: entry.index,
                    root: target.root,
                    part: target.part.clone(),
                },
                part: target.part,
                stem: target.file_stem,
            }));
        }
    }
    groups
}

/// The other jobs with a storage that leads to the same place as one of this job's.
pub(crate) fn neighbours<'a>(spec: &'a RunSpec, job: &JobSpec) -> Vec<&'a JobSpec> {
    let shares = |other: &JobSpec| job.storages.iter().any(|s| uses(other, s));
    spec.jobs.iter().filter(|other| other.name != job.name && shares(other)).collect()
}

/// Whether the job has a storage that leads to the same place.
pub(crate) fn uses(job: &JobSpec, storage: &StorageSpec) -> bool {
    let place = |s: &StorageSpec| {
        (s.kind(), s.host().map(str::to_owned), s.backup_dir.trim_end_matches('/').to_owned())
    };
    job.storages.iter().any(|s| place(s) == place(storage))
}

/// The configured name of this server, else that of the host.
pub(crate) fn server_name<'a>(env: &'a Env, spec: &'a RunSpec) -> &'a str {
    if spec.main.server_name.is_empty() { &env.host } else { &spec.main.server_name }
}
