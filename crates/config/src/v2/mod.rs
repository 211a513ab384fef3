//! What a v2 configuration means: the top level and `main`. Jobs, sources and storages have their own files.
//!
//! Readers go on after every problem and fill in defaults; the caller drops the result if there was an error.
//! Aliases and types of values stand in [`crate::keys`].

use nxs_base::spec::{Compression, IoNice, MainSpec, Rotation, RunSpec};

use crate::keys::{Section, What};
use crate::read::{self, Fields, Form, Reader};
use crate::tree::{Node, Value};

mod database;
mod job;
mod source;
mod storage;

pub use job::job_kind;

/// Top-level keys that only v3 has.
const V3_KEYS: &[&str] = &[
    "server_name",
    "project_name",
    "storage_connects",
    "include_jobs_configs",
    "include_job_configs",
    "notifications",
];

/// What jobs take over from `main`.
#[derive(Debug, Clone, Copy, Default)]
struct Inherited {
    compression: Option<Compression>,
    rotation: Rotation,
}

/// Reads the whole tree; meaningful only if `reader` has no errors afterwards.
pub(crate) fn read(reader: &mut Reader, root: &Node) -> Option<RunSpec> {
    if root.is_unset() {
        reader.diags.error(&root.at, "the configuration is empty; it needs `main` and `jobs`");
        return None;
    }
    if is_v3(reader, root) {
        return None;
    }
    if !matches!(root.value, Value::Map(_) | Value::Broken) {
        let message = format!("the main file needs a mapping with `main` and `jobs`, found {}", root.what());
        reader.diags.error(&root.at, message);
        return None;
    }
    let form = Form { section: Section::Top, what: What::Any, strict: true };
    let top = Fields::open(reader, root, String::new(), form)?;
    let (main, inherited) = match top.node("main") {
        Some(node) => read_main(reader, node),
        None => None,
    }
    .unzip();
    let inherited = inherited.unwrap_or_default();
    let mut jobs = Vec::new();
    if let Some(node) = top.node("jobs") {
        let list = read::items(reader, node, "jobs");
        let mut names = job::Names::default();
        for (i, item) in list.iter().enumerate() {
            jobs.extend(job::read(reader, item, format!("jobs[{i}]"), inherited, &mut names));
        }
        if list.is_empty() && !matches!(node.value, Value::Broken) && !reader.diags.has_errors() {
            reader.diags.warn(&node.at, "jobs: there are none; nothing is backed up");
        }
    }
    Some(RunSpec { main: main?, jobs })
}

fn is_v3(reader: &mut Reader, root: &Node) -> bool {
    let Value::Map(entries) = &root.value else { return false };
    if entries.iter().any(|e| e.key == "main") {
        return false;
    }
    let Some(entry) = entries.iter().find(|e| V3_KEYS.contains(&&*e.key)) else { return false };
    reader.diags.error_hint(
        &entry.key_at,
        format!("`{}` belongs to nxs-backup v3, whose configuration this build does not read", entry.key),
        "A configuration has the top-level keys `main` and `jobs`; `nxs-backup generate` writes job files.",
    );
    true
}

fn read_main(reader: &mut Reader, node: &Node) -> Option<(MainSpec, Inherited)> {
    if node.is_unset() {
        // The table of the top level has said that `main` needs a value.
        return None;
    }
    let form = Form { section: Section::Main, what: What::Any, strict: true };
    let main = Fields::open(reader, node, "main".to_owned(), form)?;
    let text = |name: &str, default: &str| main.text(name).unwrap_or(default).to_owned();
    let seconds = |name: &str| main.number(name).and_then(|n| u64::try_from(n).ok());
    let spec = MainSpec {
        server_name: text("server_name", ""),
        log_file: text("log_file", "/var/log/nxs-backup/nxs-backup.log"),
        state_dir: text("state_dir", "/var/lib/nxs-backup"),
        lock_file: main.text("lock_file").map(str::to_owned),
        loop_timeout_secs: seconds("loop_timeout"),
        loop_interval_secs: seconds("loop_interval").unwrap_or(30),
        legacy_exit_codes: main.flag("legacy_exit_codes").unwrap_or(false),
        nice: main.number("nice").and_then(|n| i8::try_from(n).ok()).unwrap_or(19),
        ionice: main.io_nice("ionice").unwrap_or(IoNice::Idle),
    };
    let inherited = Inherited {
        compression: main.compression("compression"),
        rotation: rotation(&main).unwrap_or_default(),
    };
    Some((spec, inherited))
}

fn rotation(fields: &Fields<'_>) -> Option<Rotation> {
    match fields.text("rotation")? {
        "before" => Some(Rotation::Before),
        "after" => Some(Rotation::After),
        _ => Some(Rotation::Auto),
    }
}
