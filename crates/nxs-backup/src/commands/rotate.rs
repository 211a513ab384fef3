//! `rotate --dry-run`: what the retention would keep and drop, and why. Drops nothing: that is `start`'s, which knows
//! that the new copy arrived.

use std::collections::BTreeSet;
use std::path::Path;

use nxs_base::calendar::Period;
use nxs_base::record::BackupId;
use nxs_base::spec::{JobKind, JobSpec};
use nxs_engine::catalog::{ConfiguredGroup, GroupId};
use nxs_engine::incremental::chain::Chain;
use nxs_engine::incremental::level::{Link, next_step};
use nxs_engine::incremental::retention;
use nxs_engine::rotation::{self, Action, Policy, plan};

use crate::app::{self, Env};
use crate::cli::RotateArgs;
use crate::exit::{Ended, Exit};
use crate::messages::harmless;
use crate::shelf::{self, Reached, Shelf};

pub(crate) fn run(env: &Env, config: &Path, args: &RotateArgs) -> Ended {
    if !args.dry_run {
        env.console.say_with_hint(
            "`rotate` shows what would go: say `--dry-run`",
            Some("Old backups are dropped by `start`, once the new copy is complete."),
        );
        return Err(Exit::Usage);
    }
    let spec = app::load(env, config)?;
    let jobs = app::select(env, &spec, &args.job)?;
    let groups = shelf::configured_groups(env, &spec, &spec.jobs);
    let mut reached = Reached::default();
    let mut text = String::new();
    for job in jobs {
        for shelf in shelf::read(env, job, &mut reached) {
            let of_job = groups_of(&shelf, &groups, shelf::server_name(env, &spec), &job.name);
            for group in of_job {
                text.push_str(&match job.kind {
                    JobKind::IncFiles => show_chain(env, job, &shelf, &group, &groups),
                    _ => show(env, &shelf, &group, &groups),
                });
            }
            let orphans = shelf.catalog.orphans.len();
            if orphans > 0 {
                text.push_str(&format!(
                    "job '{}', storage '{}': {orphans} without a record, never counted\n",
                    harmless(&job.name),
                    harmless(&shelf.spec.name)
                ));
            }
        }
    }
    Ok(app::said(env, env.console.data(&text), reached.exit()))
}

/// The groups of a job that have backups on this storage.
fn groups_of(shelf: &Shelf, groups: &[ConfiguredGroup], server: &str, job: &str) -> BTreeSet<GroupId> {
    let all = shelf.catalog.entries.iter().filter_map(|e| e.group(groups));
    all.filter(|g| g.server_name == server && g.job == job).collect()
}

/// What the next run would leave of the chains of a group, once its backup is complete.
fn show_chain(
    env: &Env,
    job: &JobSpec,
    shelf: &Shelf,
    group: &GroupId,
    groups: &[ConfiguredGroup],
) -> String {
    let chain = Chain::of_group(&shelf.catalog, group, groups);
    let now = env.clock.now();
    let step = next_step(now.date(), chain.links(), &mut |link| chain.ancestry(link.id).is_some());
    // No id is all zeros: it is a hash.
    let upcoming = Link {
        id: BackupId(0),
        parent: step.parent,
        level: step.level,
        place: step.place,
        at: now.datetime(),
    };
    let mut links = chain.links().to_vec();
    links.push(upcoming);
    let fates = retention::fates(now.date(), &links, job.months_to_store);
    let mut text = format!(
        "job '{}', storage '{}', {}, inc_months_to_store {} (the next backup is a {}):\n",
        harmless(&group.job),
        harmless(&shelf.spec.name),
        harmless(&group.root),
        job.months_to_store,
        step.level.name(),
    );
    for (link, fate) in links.iter().zip(fates) {
        let Some(entry) = chain.entry(link.id) else { continue };
        let verb = if fate.is_kept() { "keep" } else { "drop" };
        let parent = match link.parent.map(|parent| chain.entry(parent)) {
            None => String::new(),
            Some(Some(parent)) => format!(", after {}", harmless(parent.key.file_name())),
            Some(None) => ", its parent is missing".to_owned(),
        };
        let key = harmless(entry.key.as_str());
        text.push_str(&format!("  {verb}  {:<6}  {key}  ({fate}{parent})\n", link.level.name()));
    }
    let others = shelf.catalog.of_group(group, groups).iter().filter(|e| e.increment.is_none()).count();
    if others > 0 {
        text.push_str(&format!("  {others} backups of another type of job stay\n"));
    }
    text
}

fn show(env: &Env, shelf: &Shelf, group: &GroupId, groups: &[ConfiguredGroup]) -> String {
    let zone = env.clock.now().time_zone().clone();
    let entries = shelf.catalog.of_group(group, groups);
    let items = rotation::items(&entries, &zone);
    let policy = Policy {
        retention: shelf.spec.retention,
        now: env.clock.now().timestamp(),
        upcoming: None,
        allow_last: false,
    };
    let mut text = format!(
        "job '{}', storage '{}', {}:\n",
        harmless(&group.job),
        harmless(&shelf.spec.name),
        harmless(&group.root)
    );
    for decision in plan(&items, &policy) {
        let (verb, periods) = match decision.action {
            Action::Keep => ("keep", decision.keep.iter().map(Period::name).collect::<Vec<_>>().join(",")),
            Action::Drop => ("drop", "-".to_owned()),
        };
        let key = harmless(decision.key.as_str());
        text.push_str(&format!("  {verb}  {periods:<22}  {key}  ({})\n", decision.reason));
    }
    text
}
