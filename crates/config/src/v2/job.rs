//! One entry of `jobs`: name, type, and what its keys say together. Values of single keys: [`crate::read`].

use std::collections::HashMap;

use nxs_base::spec::{
    Compression, ExternalSource, Floor, JobKind, JobSpec, Rotation, SourceEntry, SourceSpec, StorageKind,
    StorageSpec,
};

use super::{Inherited, database, rotation, source, storage};
use crate::keys::{Section, What};
use crate::read::{self, Fields, Form, Reader, show};
use crate::tree::{At, Node, Value};

/// Words that `start` understands as groups of jobs.
const RESERVED: &[&str] = &["all", "files", "databases", "external"];

/// Older names of types.
const OLD_TYPES: &[(&str, JobKind)] = &[
    ("mysql_xtradb", JobKind::MysqlXtrabackup),
    ("postgresql_hot", JobKind::PostgresqlBasebackup),
    ("files", JobKind::DescFiles),
    ("incr_files", JobKind::IncFiles),
];

/// The type of a job by any name that it has or had.
pub fn job_kind(name: &str) -> Option<JobKind> {
    let old = OLD_TYPES.iter().find(|(old, _)| *old == name).map(|(_, kind)| *kind);
    old.or_else(|| JobKind::ALL.into_iter().find(|k| k.name() == name))
}

/// Names of the jobs read so far, and where they stand.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, At>);

pub(super) fn read(
    reader: &mut Reader,
    node: &Node,
    path: String,
    inherited: Inherited,
    names: &mut Names,
) -> Option<JobSpec> {
    let kind = kind(reader, node, &path);
    let form = Form { section: Section::Job, what: kind.map_or(What::Any, What::Job), strict: true };
    let job = Fields::open(reader, node, path, form)?;
    let name = job.text("job").unwrap_or_default().to_owned();
    check_name(reader, &job, &name, names);
    let inherited = Inherited {
        compression: job.compression("compression").or(inherited.compression),
        rotation: job_rotation(reader, &job, inherited.rotation),
    };
    let mut sources = kind.map(|kind| read_sources(reader, &job, kind, inherited)).unwrap_or_default();
    database::place_prepared(reader, &job, &mut sources);
    let storages = read_storages(reader, &job, kind);
    let kind = kind?;
    Some(JobSpec {
        name,
        kind,
        tmp_dir: job.text("tmp_dir").map(str::to_owned),
        sources,
        storages,
        rotation: inherited.rotation,
        months_to_store: job.number("inc_months_to_store").and_then(|n| u32::try_from(n).ok()).unwrap_or(12),
        require: job.require("require").unwrap_or_default(),
        floor: floor(&job, kind),
    })
}

/// Only what is dumped can come out short without anybody noticing.
fn floor(job: &Fields<'_>, kind: JobKind) -> Option<Floor> {
    let percent = |name: &str, default| {
        job.number(name).and_then(|percent| u8::try_from(percent).ok()).unwrap_or(default)
    };
    let Floor { warn_percent, fail_percent } = Floor::default();
    (kind.group() == "databases").then(|| Floor {
        warn_percent: percent("shrink_warning", warn_percent),
        fail_percent: percent("shrink_error", fail_percent),
    })
}

fn kind(reader: &mut Reader, node: &Node, path: &str) -> Option<JobKind> {
    let Value::Map(entries) = &node.value else { return None };
    let value = &entries.iter().find(|e| e.key == "type")?.value;
    let Value::Scalar { text, .. } = &value.value else { return None };
    let kind = job_kind(text);
    if kind.is_none() && !value.is_unset() {
        let message = format!("{path}.type: `{}` is not a job type", show(text));
        let all = JobKind::ALL.map(JobKind::name);
        let hint = match read::meant(text, all.into_iter()) {
            Some(name) => format!("Did you mean `{name}`?"),
            None => format!("Known are {}.", read::backticked(&all)),
        };
        reader.diags.error_hint(&value.at, message, hint);
    }
    kind
}

fn check_name(reader: &mut Reader, job: &Fields<'_>, name: &str, names: &mut Names) {
    if name.is_empty() {
        return;
    }
    let (at, path) = (job.at_of("job"), job.path_of("job"));
    if RESERVED.contains(&name) {
        let message = format!("{path}: `{name}` is reserved; `start {name}` means a group of jobs");
        reader.diags.error(at, message);
    } else if name.chars().any(char::is_control) {
        reader.diags.error(at, format!("{path}: `{}` holds control characters", show(name)));
    } else if let Some(first) = names.0.get(name) {
        let place = first.place();
        let message =
            format!("{path}: a job named `{}` stands already at {}:{}", show(name), place.file, place.line);
        reader.diags.error(at, message);
    } else {
        names.0.insert(name.to_owned(), at.clone());
    }
}

/// `safety_backup: yes` is `rotation: after`; both may stand there if they agree.
fn job_rotation(reader: &mut Reader, job: &Fields<'_>, inherited: Rotation) -> Rotation {
    let own = rotation(job);
    if job.flag("safety_backup") != Some(true) {
        return own.unwrap_or(inherited);
    }
    if let Some(Rotation::Before | Rotation::Auto) = own {
        let message = format!("{}: contradicts `safety_backup: yes`", job.path_of("rotation"));
        reader.diags.error_hint(
            job.at_of("rotation"),
            message,
            "`safety_backup: yes` means `rotation: after`.",
        );
    }
    Rotation::After
}

fn read_sources(
    reader: &mut Reader,
    job: &Fields<'_>,
    kind: JobKind,
    inherited: Inherited,
) -> Vec<SourceEntry> {
    if kind == JobKind::External {
        return vec![external(job)];
    }
    let Some(node) = job.node("sources") else { return Vec::new() };
    let path = job.path_of("sources");
    let items = read::items(reader, node, &path);
    if items.is_empty() && matches!(node.value, Value::Seq(_)) {
        reader.diags.error(&node.at, format!("{path}: is empty; there is nothing to back up"));
    }
    let each = items.iter().enumerate();
    each.filter_map(|(i, item)| source::read(reader, item, format!("{path}[{i}]"), (kind, i), inherited))
        .collect()
}

/// A job of this type is its own source. What its command makes is compressed only if the job itself says so: `main`
/// does not know whether it is compressed already.
fn external(job: &Fields<'_>) -> SourceEntry {
    let text = |name: &str| job.text(name).map(str::to_owned);
    let spec = ExternalSource {
        job: text("job").unwrap_or_default(),
        dump_cmd: text("dump_cmd").unwrap_or_default(),
        restore_cmd: text("restore_cmd"),
        tmp_dir: text("tmp_dir"),
        stream: job.flag("stream").unwrap_or(false),
        only_run: job.flag("skip_backup_rotate").unwrap_or(false),
        strict_stderr: job.flag("strict_stderr").unwrap_or(false),
    };
    let compression = job.compression("compression").unwrap_or(Compression::None);
    SourceEntry { index: 0, spec: SourceSpec::External(Box::new(spec)), compression, full_every: None }
}

fn read_storages(reader: &mut Reader, job: &Fields<'_>, kind: Option<JobKind>) -> Vec<StorageSpec> {
    let Some(node) = job.node("storages") else { return Vec::new() };
    let path = job.path_of("storages");
    let items = read::items(reader, node, &path);
    let mut storages: Vec<StorageSpec> = Vec::new();
    let mut counts: HashMap<StorageKind, usize> = HashMap::new();
    for (i, item) in items.iter().enumerate() {
        let Some(mut spec) = storage::read(reader, item, format!("{path}[{i}]"), kind) else { continue };
        let count = counts.entry(spec.kind()).or_default();
        *count += 1;
        if *count > 1 {
            spec.name = format!("{}-{count}", spec.name);
        }
        storages.push(spec);
    }
    let all_read = storages.len() == items.len();
    if all_read
        && !node.is_unset()
        && !matches!(node.value, Value::Broken)
        && !storages.iter().any(|s| s.enable)
    {
        reader.diags.warn(&node.at, format!("{path}: no storage is enabled; this job will be skipped"));
    }
    // Others get copies before the local one.
    storages.sort_by_key(|s| s.kind() == StorageKind::Local);
    storages
}
