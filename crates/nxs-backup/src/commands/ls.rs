//! `ls`: the backups that can be restored, oldest first, as a table or as JSON; and what lies there beside them.
//! What is in one of them is shown by `browse`.

use std::path::Path;

use jiff::tz::TimeZone;
use nxs_base::calendar::{Period, Periods};
use nxs_base::record::Record;
use nxs_base::spec::JobSpec;
use nxs_base::units::human_bytes;
use nxs_engine::catalog::{CatalogEntry, ConfiguredGroup};
use nxs_engine::incremental::level::Level;
use nxs_engine::restore::select::{self, Chains};
use serde::Serialize;

use super::browse;
use crate::app::{self, Env};
use crate::cli::LsArgs;
use crate::exit::{Ended, Exit};
use crate::messages::harmless;
use crate::shelf::{self, Reached, Shelf};
use crate::wire;

/// One line of the table; the wire form of `--json`.
#[derive(Serialize)]
struct Row {
    job: String,
    source: Option<usize>,
    target: String,
    root: Option<String>,
    /// RFC 3339, UTC.
    started: Option<String>,
    /// Local start, as in the name.
    local: Option<String>,
    periods: Vec<&'static str>,
    size_bytes: u64,
    plain_bytes: Option<u64>,
    files: Option<u64>,
    /// Of an incremental backup: `year`, `month`, `decade`, `day`. Of a physical copy: `full`, `increment`.
    level: Option<&'static str>,
    /// Its directory below that of the target.
    place: Option<String>,
    /// What a restore needs before it, the nearest first.
    parents: Vec<String>,
    state: &'static str,
    storage: String,
    key: String,
    id: Option<String>,
    server_name: Option<String>,
    problem: Option<String>,
}

#[derive(Serialize)]
struct ListWire<'a> {
    version: u32,
    backups: &'a [Row],
}

pub(crate) fn run(env: &Env, config: &Path, args: &LsArgs) -> Ended {
    let spec = app::load(env, config)?;
    let jobs = app::select(env, &spec, &args.job)?;
    if args.at.is_some() || !args.paths.is_empty() {
        return browse::run(env, &spec, &jobs, args);
    }
    if args.recursive || args.source.is_some() || args.target.is_some() || args.from.is_some() {
        env.console.say_with_hint(
            "these flags are for what is in a backup",
            Some("Say which one with `--at TIME`, or where with PATH."),
        );
        return Err(Exit::Usage);
    }
    let groups = shelf::configured_groups(env, &spec, &spec.jobs);
    let zone = env.clock.now().time_zone().clone();
    let mut reached = Reached::default();
    let mut rows = Vec::new();
    for job in jobs {
        for shelf in shelf::read(env, job, &mut reached) {
            let shared = spec.jobs.iter().filter(|j| shelf::uses(j, &shelf.spec)).count() > 1;
            rows_of(job, &shelf, &groups, &zone, shared, &mut rows);
        }
    }
    rows.sort_by(|a, b| {
        (&a.job, &a.target, &a.local, &a.storage).cmp(&(&b.job, &b.target, &b.local, &b.storage))
    });
    let text = if args.json {
        wire::json(&ListWire { version: wire::VERSION, backups: &rows })
    } else {
        table(&rows)
    };
    Ok(app::said(env, env.console.data(&text), reached.exit()))
}

/// The rows of one storage. What has no owner (orphans, damage) is shown with the job whose directory it is in.
fn rows_of(
    job: &JobSpec,
    shelf: &Shelf,
    groups: &[ConfiguredGroup],
    zone: &TimeZone,
    shared: bool,
    rows: &mut Vec<Row>,
) {
    let bare = |key: &str, size_bytes, state, problem| Row {
        job: job.name.clone(),
        source: None,
        target: String::new(),
        root: None,
        started: None,
        local: None,
        periods: Vec::new(),
        size_bytes,
        plain_bytes: None,
        files: None,
        level: None,
        place: None,
        parents: Vec::new(),
        state,
        storage: shelf.spec.name.clone(),
        key: key.to_owned(),
        id: None,
        server_name: None,
        problem,
    };
    let chains = select::chains(&shelf.catalog);
    for entry in &shelf.catalog.entries {
        let owner = entry.group(groups).map(|g| g.job);
        if owner.as_deref() == Some(&job.name) || (owner.is_none() && !shared) {
            rows.push(row(job, shelf, entry, &chains, zone));
        }
    }
    for orphan in &shelf.catalog.orphans {
        rows.push(bare(orphan.key.as_str(), orphan.size_bytes, "orphan", None));
    }
    for damage in &shelf.catalog.damaged {
        rows.push(bare(damage.key.as_str(), 0, "damaged", Some(damage.problem.chain())));
    }
}

fn row(job: &JobSpec, shelf: &Shelf, entry: &CatalogEntry, chains: &Chains<'_>, zone: &TimeZone) -> Row {
    let record = entry.record();
    let parents = select::parents_of(chains, entry);
    Row {
        job: job.name.clone(),
        source: record.map(|r| r.source),
        target: record
            .map(|r| r.target.clone())
            .or_else(|| entry.part_and_stem().map(|(_, stem)| stem.to_owned()))
            .unwrap_or_default(),
        root: record.map(|r| r.root.clone()),
        started: Some(entry.started(zone).to_string()),
        local: entry.local().map(|l| l.strftime("%Y-%m-%d %H:%M:%S").to_string()),
        periods: names(entry.periods_present()),
        size_bytes: entry.size_bytes,
        plain_bytes: record.map(|r| r.plain_bytes),
        files: record.map(|r| r.files),
        level: chains.level_of(entry).map(Level::name).or_else(|| level_by_log(record)),
        place: entry.increment.as_ref().map(|n| n.place.dir()),
        state: match (record, &parents) {
            (_, None) => "broken chain",
            (None, _) => "adopted",
            (Some(r), _) if r.is_complete() => "complete",
            (Some(_), _) => "gaps",
        },
        parents: parents.into_iter().flatten().map(|e| e.key.to_string()).collect(),
        storage: shelf.spec.name.clone(),
        key: entry.key.as_str().to_owned(),
        id: record.map(|r| r.id.to_string()),
        server_name: record.map(|r| r.server_name.clone()),
        problem: None,
    }
}

/// Of copies that follow the log of a server.
fn level_by_log(record: Option<&Record>) -> Option<&'static str> {
    let log = record?.log.as_ref()?;
    Some(if log.parent.is_some() { Record::INCREMENT } else { Record::FULL })
}

fn names(periods: Periods) -> Vec<&'static str> {
    periods.iter().map(Period::name).collect()
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut cells =
        vec![["JOB", "TARGET", "TIME", "PERIODS", "SIZE", "STATE", "STORAGE", "KEY"].map(str::to_owned)];
    cells.extend(rows.iter().map(|row| {
        let time = row.local.as_deref().map_or("-", |l| l.get(..16).unwrap_or(l));
        let periods = match (row.level, row.periods.as_slice()) {
            // These have no place of their own. The number is that of its parents.
            (Some(level), periods) if row.place.is_none() => match row.parents.len() {
                0 => format!("{} ({level})", periods.join(",")),
                n => format!("{} ({level} {n})", periods.join(",")),
            },
            (Some(level), _) => level.to_owned(),
            (None, []) => "-".to_owned(),
            (None, periods) => periods.join(","),
        };
        let target = if row.target.is_empty() { "-" } else { &row.target };
        [
            harmless(&row.job),
            harmless(target),
            time.to_owned(),
            periods,
            human_bytes(row.size_bytes),
            row.state.to_owned(),
            harmless(&row.storage),
            harmless(&row.key),
        ]
    }));
    let widths: Vec<usize> =
        (0..8).map(|i| cells.iter().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &cells {
        let padded: Vec<String> = row.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}
