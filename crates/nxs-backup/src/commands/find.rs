//! `find JOB GLOB`: every version of a file over all restore points and storages. The search is the engine's.

use std::path::Path;

use jiff::tz::TimeZone;
use nxs_engine::restore::select::Wanted;
use nxs_engine::restore::versions::{self, Change, Version};
use nxs_sys::fsx;
use serde::Serialize;

use super::browse::{kind_name, path_wire, time, utc};
use super::when;
use crate::app::{self, Env};
use crate::cli::FindArgs;
use crate::exit::{Ended, Exit};
use crate::messages::harmless;
use crate::shelf::{self, Reached};
use crate::wire;

/// The wire form of `--json`.
#[derive(Serialize)]
struct Row {
    job: String,
    source: Option<usize>,
    target: String,
    root: Option<String>,
    path: String,
    path_hex: Option<String>,
    /// RFC 3339, UTC.
    started: String,
    state: &'static str,
    kind: Option<&'static str>,
    size_bytes: Option<u64>,
    mtime: Option<String>,
    link: Option<String>,
    link_hex: Option<String>,
    key: String,
    storages: Vec<String>,
}

#[derive(Serialize)]
struct FoundWire<'a> {
    version: u32,
    versions: &'a [Row],
}

pub(crate) fn run(env: &Env, config: &Path, args: &FindArgs) -> Ended {
    let spec = app::load(env, config)?;
    let jobs = app::select(env, &spec, &args.job)?;
    let at = when::parse(env, args.at.as_deref())?;
    shelf::check_name(env, &jobs, args.from.as_deref())?;
    let wanted =
        Wanted { target: args.target.as_deref(), at, from: args.from.as_deref(), ..Wanted::default() };
    let ctx = app::reading(env, &spec);
    let zone = env.clock.now().time_zone().clone();
    let mut reached = Reached::default();
    let (mut rows, mut text) = (Vec::new(), String::new());
    let (mut points, mut unread, mut without_index) = (0, 0, 0);
    for job in jobs {
        let storages = shelf::open(env, job, args.from.as_deref(), &mut reached);
        match versions::find(&ctx, job, &storages, &args.pattern, &wanted) {
            Ok(found) => {
                for problem in &found.problems {
                    env.console.say_with_hint(&problem.message, problem.hint.as_deref());
                }
                points += found.points;
                unread += found.unread;
                without_index += found.without_index;
                for version in &found.versions {
                    if args.json {
                        rows.push(row(&job.name, version));
                    } else {
                        text.push_str(&line(version, &zone));
                    }
                }
            }
            Err(error) => return Err(app::failed(env, &error)),
        }
    }
    if without_index > 0 {
        env.console.say_with_hint(
            &format!("{without_index} backups of version 2 have no index and were not looked into"),
            Some("`nxs-backup ls JOB --at TIME PATH` reads through one of them."),
        );
    }
    if args.json {
        text = wire::json(&FoundWire { version: wire::VERSION, versions: &rows });
    } else if text.is_empty() {
        env.console.say(&format!("no file fits `{}` in {points} restore points", args.pattern));
    }
    let exit = match (reached.exit(), points, unread + without_index) {
        (Exit::Complete, _, 0) => Exit::Complete,
        (_, 0, _) => Exit::Failed,
        _ => Exit::Partial,
    };
    Ok(app::said(env, env.console.data(&text), exit))
}

/// Time of the point, state, size, time of the file, its path, and where it is.
fn line(version: &Version, zone: &TimeZone) -> String {
    let started = version.started.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S");
    let state = state_of(version.change);
    let size = version.size_bytes.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let mtime = version.meta.map_or_else(|| "-".to_owned(), |m| time(m.mtime, zone));
    format!(
        "{started}  {state:<7}  {size:>13}  {mtime:<19}  /{}  ({} on {})\n",
        harmless(&fsx::show(&version.path)),
        harmless(&version.key),
        version.storages.iter().map(|s| harmless(s)).collect::<Vec<_>>().join(", ")
    )
}

fn state_of(change: Change) -> &'static str {
    match change {
        Change::Changed => "changed",
        Change::Removed => "removed",
    }
}

fn row(job: &str, version: &Version) -> Row {
    let (path, path_hex) = path_wire(&version.path);
    let link = (!version.link.is_empty()).then(|| path_wire(&version.link));
    let (link, link_hex) = link.map_or((None, None), |(text, hex)| (Some(text), hex));
    Row {
        job: job.to_owned(),
        source: version.source,
        target: version.target.clone(),
        root: Some(version.root.clone()).filter(|root| !root.is_empty()),
        path,
        path_hex,
        started: version.started.to_string(),
        state: state_of(version.change),
        kind: version.meta.map(|m| kind_name(m.kind)),
        size_bytes: version.size_bytes,
        mtime: version.meta.and_then(|m| utc(m.mtime)),
        link,
        link_hex,
        key: version.key.clone(),
        storages: version.storages.clone(),
    }
}
