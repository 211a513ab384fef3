//! `restore` of a dump: to standard output, or into a database. Which copy and whether it is whole is the engine's,
//! the client of the server that of the sources.

use std::collections::BTreeSet;

use nxs_base::ports::source::Receiver;
use nxs_base::record::Tool;
use nxs_base::spec::{JobKind, JobSpec, RunSpec, SourceEntry};
use nxs_base::units::human_bytes;
use nxs_base::{Error, ErrorKind, Result};
use nxs_engine::restore::dump::{self, Given, Outlet};
use nxs_engine::restore::select::{Candidate, Wanted};
use nxs_sources::registry::{self, Destination};

use crate::app::{self, Env};
use crate::cli::RestoreArgs;
use crate::exit::Exit;
use crate::messages::harmless;
use crate::shelf::{self, Reached};

/// Whether a dump is restored by these arguments. What a module made goes to its own command, if nothing else is said.
pub(super) fn is_meant(job: &JobSpec, args: &RestoreArgs) -> bool {
    let is_physical = matches!(job.kind, JobKind::MysqlXtrabackup | JobKind::MariadbBackup);
    let is_module = job.kind == JobKind::External && args.to.is_none() && !args.in_place;
    args.stdout || args.into.is_some() || args.name.is_some() || is_physical || is_module
}

/// Lists what could be restored, one copy in a line: start, target, storage, key.
pub(super) fn list(env: &Env, spec: &RunSpec, job: &JobSpec, wanted: &Wanted<'_>) -> Exit {
    let mut reached = Reached::default();
    let storages = shelf::open(env, job, wanted.from, &mut reached);
    let found = dump::find(&app::reading(env, spec), job, &storages, wanted);
    found.problems.iter().for_each(|p| env.console.say_with_hint(&p.message, p.hint.as_deref()));
    let zone = env.clock.now().time_zone().clone();
    let mut text = String::new();
    for candidate in &found.candidates {
        let started = candidate.started.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
        for copy in &candidate.copies {
            let (target, key) = (harmless(&candidate.target), harmless(copy.entry.key.as_str()));
            text.push_str(&format!("{started}\t{target}\t{}\t{key}\n", copy.storage_name));
        }
    }
    let exit = if found.problems.is_empty() { reached.exit() } else { Exit::Partial };
    app::said(env, env.console.data(&text), exit)
}

pub(super) fn run(env: &Env, spec: &RunSpec, job: &JobSpec, wanted: &Wanted<'_>, args: &RestoreArgs) -> Exit {
    let mut reached = Reached::default();
    let storages = shelf::open(env, job, wanted.from, &mut reached);
    let ctx = app::reading(env, spec);
    let found = dump::find(&ctx, job, &storages, wanted);
    found.problems.iter().for_each(|p| env.console.say_with_hint(&p.message, p.hint.as_deref()));
    let given = match args.stdout {
        true => dump::one(found.candidates, job, wanted).map(|candidate| vec![(candidate, None)]),
        false => {
            dump::meant(found.candidates, job, wanted).and_then(|all| with_receivers(spec, job, all, args))
        }
    };
    let given = given.and_then(|all| {
        for (candidate, receiver) in &all {
            let place = receiver.as_ref().map_or_else(|| "standard output".to_owned(), |r| r.place());
            if args.dry_run {
                env.console.say(&format!("would restore {} to {place}", shown(env, candidate)));
                continue;
            }
            let mut out = env.console.stream();
            let outlet = match receiver {
                Some(receiver) => Outlet::Receiver(receiver.as_ref()),
                None => Outlet::Writer(&mut out),
            };
            let given = dump::give(&ctx, job, candidate, outlet)?;
            say(env, &given, &shown(env, candidate), &place);
            receiver.iter().flat_map(|r| r.notes()).for_each(|note| env.console.say(&note));
        }
        Ok(())
    });
    match given {
        Ok(()) => Exit::Complete,
        Err(error) => {
            env.console.say_error(&error);
            match error.kind() {
                ErrorKind::Cancelled => Exit::Cancelled,
                ErrorKind::Invalid => Exit::Usage,
                _ => Exit::Failed,
            }
        }
    }
}

/// A dump, and who takes it; standard output if nobody does.
type Way = (Candidate, Option<Box<dyn Receiver>>);

/// With the receiver of each, all of which are ready.
fn with_receivers(
    spec: &RunSpec,
    job: &JobSpec,
    candidates: Vec<Candidate>,
    args: &RestoreArgs,
) -> Result<Vec<Way>> {
    let mut places = BTreeSet::new();
    let mut all = Vec::new();
    for candidate in candidates {
        let receiver = open_receiver(spec, job, &candidate, args)?;
        let place = receiver.place();
        if places.contains(&place) {
            let text = format!("more than one backup would go to {place}");
            return Err(Error::new(ErrorKind::Invalid, text).with_hint("Name a database with --as."));
        }
        places.insert(place);
        receiver.check()?;
        all.push((candidate, Some(receiver)));
    }
    Ok(all)
}

fn open_receiver(
    spec: &RunSpec,
    job: &JobSpec,
    candidate: &Candidate,
    args: &RestoreArgs,
) -> Result<Box<dyn Receiver>> {
    let index = candidate.source.or(args.source).unwrap_or(0);
    let entry: &SourceEntry = job.sources.iter().find(|entry| entry.index == index).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("job `{}` has no source {index} any more", job.name))
            .with_hint("Take the dump with --stdout.")
    })?;
    let root = if candidate.root.is_empty() { &candidate.target } else { &candidate.root };
    let to = Destination {
        dsn: args.into.clone(),
        name: args.name.clone(),
        dir: args.to.clone(),
        root: root.clone(),
        made_by: made_by(candidate),
        may_replace: args.overwrite,
    };
    registry::open_receiver(entry, job.kind, &to, &app::surroundings(spec))
}

/// The programs that a record names.
fn made_by(candidate: &Candidate) -> Vec<Tool> {
    candidate.copies.iter().find_map(|copy| copy.entry.record()).map_or_else(Vec::new, |r| r.tools.clone())
}

fn shown(env: &Env, candidate: &Candidate) -> String {
    let zone = env.clock.now().time_zone().clone();
    let started = candidate.started.to_zoned(zone).strftime("%Y-%m-%d %H:%M");
    format!("'{}' of {started}", candidate.target)
}

fn say(env: &Env, given: &Given, backup: &str, place: &str) {
    given.problems.iter().for_each(|p| env.console.say_with_hint(&p.message, p.hint.as_deref()));
    env.console.say(&format!(
        "restored {backup} ('{}' on '{}') to {place}: {}",
        given.key,
        given.storage,
        human_bytes(given.plain_bytes)
    ));
}
