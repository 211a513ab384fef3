//! `rotate --dry-run`: what the retention would keep and drop, and why. Drops nothing: that is `start`'s, which knows
//! that the new copy arrived.

use std::collections::BTreeSet;
use std::path::Path;

use nxs_base::calendar::Period;
use nxs_engine::catalog::{ConfiguredGroup, GroupId};
use nxs_engine::rotation::{Action, Policy, RotationItem, plan};

use crate::app::{self, Env};
use crate::cli::RotateArgs;
use crate::exit::Exit;
use crate::messages::harmless;
use crate::shelf::{self, Reached, Shelf};

pub(crate) fn run(env: &Env, config: &Path, args: &RotateArgs) -> Exit {
    if !args.dry_run {
        env.console.say_with_hint(
            "`rotate` shows what would go: say `--dry-run`",
            Some("Old backups are dropped by `start`, once the new copy is complete."),
        );
        return Exit::Usage;
    }
    let spec = match app::load(env, config) {
        Ok(spec) => spec,
        Err(exit) => return exit,
    };
    let jobs = match app::select(env, &spec, &args.job) {
        Ok(jobs) => jobs,
        Err(exit) => return exit,
    };
    let groups = shelf::configured_groups(env, &spec, &spec.jobs);
    let mut reached = Reached::default();
    let mut text = String::new();
    for job in jobs {
        for shelf in shelf::read(env, job, &mut reached) {
            let of_job = groups_of(&shelf, &groups, shelf::server_name(env, &spec), &job.name);
            for group in of_job {
                text.push_str(&show(env, &shelf, &group, &groups));
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
    app::said(env, env.console.data(&text), reached.exit())
}

/// The groups of a job that have backups on this storage.
fn groups_of(shelf: &Shelf, groups: &[ConfiguredGroup], server: &str, job: &str) -> BTreeSet<GroupId> {
    let all = shelf.catalog.entries.iter().filter_map(|e| e.group(groups));
    all.filter(|g| g.server_name == server && g.job == job).collect()
}

fn show(env: &Env, shelf: &Shelf, group: &GroupId, groups: &[ConfiguredGroup]) -> String {
    let zone = env.clock.now().time_zone().clone();
    let entries = shelf.catalog.of_group(group, groups);
    let items: Vec<RotationItem> = entries.iter().map(|e| RotationItem::from_entry(e, &zone)).collect();
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
