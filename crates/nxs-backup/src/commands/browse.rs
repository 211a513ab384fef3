//! `ls JOB --at TIME [PATH…]`: what lies in a restore point, like `ls -l`, or as JSON. Written line by line as it is
//! read, so that a listing of any length takes no memory. The reading is the engine's.

use std::os::unix::ffi::OsStrExt as _;

use jiff::tz::TimeZone;
use nxs_base::entry::{EntryKind, EntryState, FileTime, IndexEntry};
use nxs_base::spec::{JobSpec, RunSpec};
use nxs_base::{ErrorKind, Result};
use nxs_engine::restore::browse::{self, Listing, Point, Request, Told};
use nxs_engine::restore::select::Wanted;
use nxs_sys::fsx;
use serde::Serialize;

use super::when;
use crate::app::{self, Env};
use crate::cli::LsArgs;
use crate::exit::{Ended, Exit};
use crate::messages::harmless;
use crate::shelf::{self, Reached};
use crate::wire;

pub(super) fn run(env: &Env, spec: &RunSpec, jobs: &[&JobSpec], args: &LsArgs) -> Ended {
    let at = when::parse(env, args.at.as_deref())?;
    shelf::check_name(env, jobs, args.from.as_deref())?;
    let paths: Vec<Vec<u8>> = args.paths.iter().map(|p| p.as_os_str().as_bytes().to_vec()).collect();
    let wanted = Wanted {
        source: args.source,
        target: args.target.as_deref(),
        at,
        from: args.from.as_deref(),
        adopt: false,
    };
    let request = Request { wanted, paths: &paths, recursive: args.recursive };
    let ctx = app::reading(env, spec);
    let zone = env.clock.now().time_zone().clone();
    let mut reached = Reached::default();
    let mut page: Box<dyn Page> =
        if args.json { Box::new(Json::default()) } else { Box::new(Text { zone, lines: 0 }) };
    let mut written = write(env, &page.begin());
    let (mut good, mut bad) = (0, 0);
    for job in jobs {
        let storages = shelf::open(env, job, args.from.as_deref(), &mut reached);
        let mut out = |told: Told<'_>| {
            let text = page.told(&job.name, &told);
            write(env, &text)
        };
        match browse::list(&ctx, job, &storages, &request, &mut out) {
            Ok(listing) => {
                say(env, &listing);
                let is_empty = !listing.missing.is_empty() && listing.missing.len() == paths.len();
                if listing.points > 0 && !is_empty {
                    good += 1;
                }
                bad += usize::from(listing.failed || !listing.missing.is_empty());
            }
            Err(error) => {
                env.console.say_error(&error);
                bad += 1;
                if error.kind() == ErrorKind::Cancelled {
                    return Err(Exit::Cancelled);
                }
            }
        }
    }
    if written.is_ok() {
        written = write(env, &page.end());
    }
    let exit = match (good, bad, reached.exit()) {
        (0, _, _) => Exit::Failed,
        (_, 0, Exit::Complete) => Exit::Complete,
        _ => Exit::Partial,
    };
    Ok(app::said(env, written, exit))
}

fn write(env: &Env, text: &str) -> Result<()> {
    if text.is_empty() { Ok(()) } else { env.console.data(text) }
}

fn say(env: &Env, listing: &Listing) {
    for problem in &listing.problems {
        env.console.say_with_hint(&problem.message, problem.hint.as_deref());
    }
    for path in &listing.missing {
        env.console.say(&format!("there is no `{}` in it", fsx::show(path)));
    }
}

/// How a listing looks.
trait Page {
    fn begin(&self) -> String;
    fn told(&mut self, job: &str, told: &Told<'_>) -> String;
    fn end(&self) -> String;
}

/// For people.
struct Text {
    zone: TimeZone,
    lines: u64,
}

impl Page for Text {
    fn begin(&self) -> String {
        String::new()
    }

    fn told(&mut self, job: &str, told: &Told<'_>) -> String {
        self.lines += 1;
        match told {
            Told::Point(point) => {
                let gap = if self.lines > 1 { "\n" } else { "" };
                let started = point.started.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S");
                let gaps = if point.complete { "" } else { ", made with gaps" };
                format!(
                    "{gap}job '{}', {} of {started}{gaps} ({} on '{}')\n",
                    harmless(job),
                    harmless(&point.target),
                    harmless(&point.key),
                    harmless(&point.storage)
                )
            }
            Told::Path(path) => format!("/{}:\n", harmless(&fsx::show(path))),
            Told::Entry { entry, name, size_bytes, .. } => line(entry, name, *size_bytes, &self.zone),
        }
    }

    fn end(&self) -> String {
        String::new()
    }
}

/// Like `ls -ln`, with all of the time.
fn line(entry: &IndexEntry, name: &[u8], size_bytes: Option<u64>, zone: &TimeZone) -> String {
    let meta = &entry.meta;
    let size = match meta.kind {
        EntryKind::CharDevice | EntryKind::BlockDevice => {
            format!("{}, {}", meta.rdev_major, meta.rdev_minor)
        }
        _ => size_bytes.map_or_else(|| "-".to_owned(), |n| n.to_string()),
    };
    let arrow = match meta.kind {
        EntryKind::Symlink => format!(" -> {}", harmless(&fsx::show(&entry.link))),
        EntryKind::HardLink => format!(" link to /{}", harmless(&fsx::show(&entry.link))),
        _ => String::new(),
    };
    let state = match entry.state {
        EntryState::Sound | EntryState::Removed | EntryState::Missing => "",
        EntryState::Racy => "  (changed as it was saved)",
        EntryState::Gap => "  (damaged: parts could not be read)",
    };
    let owner = format!("{}:{}", meta.uid, meta.gid);
    format!(
        "{} {owner:<11} {size:>13} {} {}{arrow}{state}\n",
        mode(meta.kind, meta.mode),
        time(meta.mtime, zone),
        harmless(&fsx::show(name))
    )
}

/// As `ls` shows it.
fn mode(kind: EntryKind, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(match kind {
        EntryKind::File => '-',
        EntryKind::Dir => 'd',
        EntryKind::Symlink => 'l',
        EntryKind::HardLink => 'h',
        EntryKind::Fifo => 'p',
        EntryKind::CharDevice => 'c',
        EntryKind::BlockDevice => 'b',
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Local, to the second; what no calendar has as seconds since 1970.
pub(super) fn time(at: FileTime, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_second(at.sec) {
        Ok(stamp) => stamp.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("@{}", at.sec),
    }
}

/// RFC 3339 in UTC with all digits; null for what no calendar has.
pub(super) fn utc(at: FileTime) -> Option<String> {
    let stamp = jiff::Timestamp::new(at.sec, 0).ok()?;
    let nanos = jiff::SignedDuration::from_nanos(i64::from(at.nsec));
    stamp.checked_add(nanos).ok().map(|stamp| stamp.to_string())
}

/// A path as JSON has it: the text itself, or, where it is none, as messages show it, and all its bytes in hex.
pub(super) fn path_wire(path: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(path) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (fsx::show(path), Some(path.iter().map(|b| format!("{b:02x}")).collect())),
    }
}

/// What `ls` calls it.
pub(super) fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Dir => "dir",
        EntryKind::Symlink => "symlink",
        EntryKind::HardLink => "hard_link",
        EntryKind::Fifo => "fifo",
        EntryKind::CharDevice => "char_device",
        EntryKind::BlockDevice => "block_device",
    }
}

/// One object, an entry a line.
#[derive(Default)]
struct Json {
    points: u64,
    paths: u64,
    entries: u64,
}

#[derive(Serialize)]
struct PointWire<'a> {
    job: &'a str,
    source: Option<usize>,
    target: &'a str,
    root: Option<&'a str>,
    started: String,
    complete: bool,
    storage: &'a str,
    key: &'a str,
}

#[derive(Serialize)]
struct PathWire {
    path: String,
    path_hex: Option<String>,
}

#[derive(Serialize)]
struct EntryWire<'a> {
    path: String,
    path_hex: Option<String>,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size_bytes: Option<u64>,
    mtime: Option<String>,
    link: Option<String>,
    link_hex: Option<String>,
    state: &'static str,
    key: &'a str,
}

impl Json {
    /// Ends the lists that are open below the level.
    fn close(&mut self, paths_too: bool) -> String {
        let mut text = String::new();
        if std::mem::take(&mut self.entries) > 0 || self.paths > 0 {
            text.push_str("\n]}");
        }
        if paths_too && self.points > 0 {
            text.push_str("\n]}");
            self.paths = 0;
        }
        text
    }

    /// An object that stays open for a list.
    fn open(value: &impl Serialize, list: &str) -> String {
        let text = one_line(value);
        format!("{},\"{list}\":[\n", text.strip_suffix('}').unwrap_or(&text))
    }
}

fn one_line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("maps have text keys and nothing can fail")
}

impl Page for Json {
    fn begin(&self) -> String {
        format!("{{\"version\":{},\"points\":[\n", wire::VERSION)
    }

    fn told(&mut self, job: &str, told: &Told<'_>) -> String {
        match told {
            Told::Point(point) => {
                let mut text = if self.points > 0 { self.close(true) + ",\n" } else { String::new() };
                self.points += 1;
                text.push_str(&Self::open(&point_wire(job, point), "paths"));
                text
            }
            Told::Path(path) => {
                let mut text = if self.paths > 0 { self.close(false) + ",\n" } else { String::new() };
                self.paths += 1;
                let (path, path_hex) = path_wire(path);
                text.push_str(&Self::open(&PathWire { path, path_hex }, "entries"));
                text
            }
            Told::Entry { entry, key, size_bytes, .. } => {
                let gap = if self.entries > 0 { ",\n" } else { "" };
                self.entries += 1;
                format!("{gap}{}", one_line(&entry_wire(entry, *size_bytes, key)))
            }
        }
    }

    fn end(&self) -> String {
        let mut open = Self { points: self.points, paths: self.paths, entries: self.entries };
        let text = if self.points > 0 { open.close(true) } else { String::new() };
        text + "\n]}\n"
    }
}

fn point_wire<'a>(job: &'a str, point: &'a Point) -> PointWire<'a> {
    PointWire {
        job,
        source: point.source,
        target: &point.target,
        root: Some(point.root.as_str()).filter(|root| !root.is_empty()),
        started: point.started.to_string(),
        complete: point.complete,
        storage: &point.storage,
        key: &point.key,
    }
}

fn entry_wire<'a>(entry: &IndexEntry, size_bytes: Option<u64>, key: &'a str) -> EntryWire<'a> {
    let (path, path_hex) = path_wire(&entry.path);
    let is_link = matches!(entry.meta.kind, EntryKind::Symlink | EntryKind::HardLink);
    let link = is_link.then(|| path_wire(&entry.link));
    let (link, link_hex) = link.map_or((None, None), |(text, hex)| (Some(text), hex));
    EntryWire {
        path,
        path_hex,
        kind: kind_name(entry.meta.kind),
        mode: format!("{:04o}", entry.meta.mode),
        uid: entry.meta.uid,
        gid: entry.meta.gid,
        size_bytes,
        mtime: utc(entry.meta.mtime),
        link,
        link_hex,
        state: match entry.state {
            EntryState::Sound | EntryState::Removed | EntryState::Missing => "sound",
            EntryState::Racy => "racy",
            EntryState::Gap => "gap",
        },
        key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_in_ls() {
        let table = [
            (EntryKind::File, 0o644, "-rw-r--r--"),
            (EntryKind::Dir, 0o1777, "drwxrwxrwt"),
            (EntryKind::File, 0o4755, "-rwsr-xr-x"),
            (EntryKind::File, 0o6644, "-rwSr-Sr--"),
            (EntryKind::Symlink, 0o777, "lrwxrwxrwx"),
        ];
        for (kind, bits, shown) in table {
            assert_eq!(mode(kind, bits), shown);
        }
    }

    #[test]
    fn times_that_no_calendar_has_are_shown_all_the_same() {
        let far = FileTime { sec: i64::MAX, nsec: 0 };
        assert_eq!((time(far, &TimeZone::UTC), utc(far)), (format!("@{}", i64::MAX), None));
        let half = FileTime { sec: -1, nsec: 500_000_000 };
        assert_eq!(utc(half).as_deref(), Some("1969-12-31T23:59:59.5Z"));
    }
}
