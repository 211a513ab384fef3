//! What must be left of the runs by the rule of the article, worked out a second time and in another way than the
//! program does: by lists of dates, and by names.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jiff::civil::{Date, date};

/// The Sundays of the simulated time.
const SUNDAYS: [Date; 6] = [
    date(2026, 9, 27),
    date(2026, 10, 4),
    date(2026, 10, 11),
    date(2026, 10, 18),
    date(2026, 10, 25),
    date(2026, 11, 1),
];
/// The firsts of months in it.
const FIRSTS: [Date; 2] = [date(2026, 10, 1), date(2026, 11, 1)];
/// `store: {days: 6, weeks: 4, month: 6}`.
const DAYS: usize = 6;
const WEEKS: usize = 4;
const MONTHS: usize = 6;

/// A file, or a link and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Object {
    File,
    Link(String),
}

/// A backup that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Place in the list of runs.
    pub(crate) run: usize,
    /// The archive itself, below `backup_dir`.
    pub(crate) key: String,
    /// Names of all periods under which it is found.
    pub(crate) periods: Vec<&'static str>,
}

/// What is left of a site's runs: their dates and the names of their archives, oldest first.
pub(crate) fn kept(site: &str, runs: &[(Date, String)]) -> Vec<Kept> {
    let last = |n: usize, fits: &dyn Fn(&Date) -> bool| -> Vec<usize> {
        let mut all: Vec<usize> = (0..runs.len()).filter(|i| fits(&runs[*i].0)).collect();
        all.split_off(all.len().saturating_sub(n))
    };
    let daily = last(DAYS, &|_| true);
    let weekly = last(WEEKS, &|date| SUNDAYS.contains(date));
    let monthly = last(MONTHS, &|date| FIRSTS.contains(date));
    let mut left = Vec::new();
    for (run, (date, name)) in runs.iter().enumerate() {
        let periods: Vec<_> = [("daily", &daily), ("weekly", &weekly), ("monthly", &monthly)]
            .into_iter()
            .filter_map(|(period, list)| list.contains(&run).then_some(period))
            .collect();
        if periods.is_empty() {
            continue;
        }
        let home = match (FIRSTS.contains(date), SUNDAYS.contains(date)) {
            (true, _) => "monthly",
            (_, true) => "weekly",
            _ => "daily",
        };
        assert!(periods.contains(&home), "with these counts no higher period ends before a lower one");
        left.push(Kept { run, key: format!("{site}/{home}/{name}"), periods });
    }
    left
}

/// The objects of kept backups below `backup_dir`.
pub(crate) fn objects(kept: &[Kept]) -> BTreeMap<String, Object> {
    let mut objects = BTreeMap::new();
    for backup in kept {
        for suffix in ["", ".nxs.idx", ".nxs.json"] {
            objects.insert(format!("{}{suffix}", backup.key), Object::File);
        }
        let [site, home, name] = backup.key.split('/').collect::<Vec<_>>()[..] else { panic!("{backup:?}") };
        for period in backup.periods.iter().filter(|p| **p != home) {
            objects.insert(format!("{site}/{period}/{name}"), Object::Link(format!("../{home}/{name}")));
        }
    }
    objects
}

/// All files and links below `backup_dir` but for what belongs to the whole of it.
pub(crate) fn listing(backup_dir: &Path) -> BTreeMap<String, Object> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![backup_dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let key = path.strip_prefix(backup_dir).unwrap().to_str().unwrap().to_owned();
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).unwrap().to_str().unwrap().to_owned();
                assert!(path.is_file(), "`{key}` leads nowhere: {target}");
                found.insert(key, Object::Link(target));
            } else {
                found.insert(key, Object::File);
            }
        }
    }
    for whole in ["RESTORE.md", ".nxs-adopted.json"] {
        assert_eq!(found.remove(whole), Some(Object::File), "{whole}");
    }
    found
}
