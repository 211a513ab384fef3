//! `test` and `-t`: judges the whole configuration and shows what it means. Reads nothing but that and reaches no
//! server; of a local storage it sees whether its directory can be one.

use std::path::Path;

use nxs_base::spec::{JobSpec, RunSpec};
use nxs_base::{Error, ErrorKind};
use nxs_config::Commands;

use crate::app::{self, Env, GROUPS};
use crate::exit::Exit;

pub(crate) fn run(env: &Env, config: &Path) -> Exit {
    let loaded = nxs_config::load(config, Commands::Leave);
    loaded.diagnostics.iter().for_each(|d| env.console.say_diagnostic(d));
    let path = config.display();
    let good = loaded.spec.filter(|spec| opens(env, spec));
    let Some(spec) = good else {
        env.console.say(&format!("The configuration file '{path}' cannot be used!"));
        return Exit::Configuration;
    };
    env.console.say(&format!("The configuration file '{path}' syntax is correct!"));
    show_plan(env, &spec);
    Exit::Complete
}

/// Whether every source and storage of a type that this build has can be made sense of; says what cannot.
fn opens(env: &Env, spec: &RunSpec) -> bool {
    let mut good = true;
    let mut judge = |job: &JobSpec, what: String, error: Option<Error>| {
        if let Some(error) = error.filter(|e| e.kind() != ErrorKind::Unsupported) {
            good = false;
            let text = format!("job '{}', {what}: error: {}", job.name, error.chain());
            env.console.say_with_hint(&text, error.hint());
        }
    };
    for job in &spec.jobs {
        for source in &job.sources {
            let what = format!("source {}", source.index);
            judge(job, what, app::open_source(env, spec, source, job.kind).err());
        }
        for storage in job.storages.iter().filter(|s| s.enable) {
            judge(job, format!("storage '{}'", storage.name), (env.open_storage)(storage).err());
        }
    }
    good
}

fn show_plan(env: &Env, spec: &RunSpec) {
    for group in GROUPS {
        for job in spec.jobs.iter().filter(|j| j.kind.group() == group) {
            let storages: Vec<&str> =
                job.storages.iter().filter(|s| s.enable).map(|s| s.name.as_str()).collect();
            env.console.say(&format!(
                "job '{}' ({}): {} to {}",
                job.name,
                job.kind.name(),
                plural(job.sources.len(), "source"),
                if storages.is_empty() { "no storage".into() } else { storages.join(", ") },
            ));
            for note in notes(env, spec, job) {
                env.console.say(&format!("job '{}': note: {note}", job.name));
            }
        }
    }
}

/// What this build cannot run yet. Nothing but the types is asked: a server that is down is no fault of the file.
fn notes(env: &Env, spec: &RunSpec, job: &JobSpec) -> Vec<String> {
    let mut notes = Vec::new();
    for storage in job.storages.iter().filter(|s| s.enable) {
        if let Err(error) = (env.open_storage)(storage)
            && error.kind() == ErrorKind::Unsupported
        {
            notes.push(error.chain());
        }
    }
    for source in &job.sources {
        if let Err(error) = app::open_source(env, spec, source, job.kind)
            && error.kind() == ErrorKind::Unsupported
        {
            notes.push(error.chain());
        }
    }
    if !job.storages.iter().any(|s| s.enable) {
        notes.push("no storage has `enable: yes`".into());
    }
    notes.dedup();
    notes
}

fn plural(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
