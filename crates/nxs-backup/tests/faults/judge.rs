//! The one judge of all faults. [`judge`] looks at one storage after a run, [`judge_words`] at what the run said.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::house::{House, Said};
use crate::shelf::{self, Backup, Order, Shelf};
use crate::tree::{self, Tree};

/// What is known about one storage before a run, and what may become of it.
pub(crate) struct Case<'a> {
    pub(crate) house: &'a House,
    pub(crate) dir: &'a Path,
    pub(crate) before: &'a Shelf,
    /// What a new backup must unpack to; none if there may be no new one.
    pub(crate) tree: Option<&'a Tree>,
    /// Earlier backups that the policy does not keep. All others must stay.
    pub(crate) may_go: &'a BTreeSet<String>,
    pub(crate) order: Order,
}

/// Judges a storage after a run, and, if the run was not killed, what it said. Returns what lies there now.
///
/// (a) Every object under a final archive name has its record and index, its digest is the record's, and it is an
/// earlier backup, byte for byte, or unpacks with GNU tar to the tree. (b) Every earlier backup that the policy
/// keeps is there, unchanged. (c) In [`Order::Settled`] nothing else is there. (d) Exit code, report and log agree
/// with it and with each other.
#[track_caller]
pub(crate) fn judge(case: &Case<'_>, said: Option<&Said>) -> Shelf {
    let after = shelf::read(case.dir, case.order);
    for (name, backup) in &after {
        match case.before.get(name) {
            Some(old) => {
                assert_eq!(backup.digests, old.digests, "{name} was changed");
                if case.order == Order::Settled {
                    let new: Vec<_> = backup.links.difference(&old.links).collect();
                    assert!(new.is_empty() || backup.period != old.period, "{name} got links: {new:?}");
                }
            }
            None => {
                let tree = case.tree.unwrap_or_else(|| panic!("{name} is new, and there is nothing to save"));
                assert_unpacks(backup, &case.house.shop(), tree);
            }
        }
    }
    let gone: BTreeSet<&String> = case.before.keys().filter(|k| !after.contains_key(*k)).collect();
    let wrongly: Vec<_> = gone.iter().filter(|k| !case.may_go.contains(**k)).collect();
    assert!(wrongly.is_empty(), "gone, though the policy keeps them: {wrongly:?}");
    if let Some(said) = said {
        judge_words(said);
        judge_copies(case, said, &after, &gone);
    }
    after
}

/// The copies that the report names against what lies there.
#[track_caller]
fn judge_copies(case: &Case<'_>, said: &Said, after: &Shelf, gone: &BTreeSet<&String>) {
    let place = case.house.storages.iter().position(|d| d == case.dir).unwrap();
    let storage = if place == 0 { "local".to_owned() } else { format!("local-{}", place + 1) };
    let copies: Vec<&Value> = all(&said.report, &["jobs", "targets", "copies"])
        .filter(|c| c["storage"] == storage.as_str())
        .collect();
    let new: BTreeSet<String> = after.keys().filter(|k| !case.before.contains_key(*k)).cloned().collect();
    let told: BTreeSet<String> =
        copies.iter().filter(|c| c["complete"] == true).map(|c| family(c["key"].as_str().unwrap())).collect();
    let unknown: Vec<_> = told.difference(&new).collect();
    assert!(unknown.is_empty(), "told, and not there: {unknown:?} in {}", said.report);
    if said.code == Some(0) {
        assert_eq!(told, new, "there, and not told");
    }
    let dropped: BTreeSet<String> = copies
        .iter()
        .flat_map(|c| all(c, &["dropped"]))
        .map(|d| family(d["key"].as_str().unwrap()))
        .collect();
    let silent: Vec<_> = gone.iter().filter(|k| !dropped.contains(**k)).collect();
    assert!(silent.is_empty(), "gone without a word: {silent:?} in {}", said.report);
    let had_complete = case.before.values().any(Backup::is_complete);
    if had_complete && !after.values().any(Backup::is_complete) {
        assert!(said.log.contains("no complete copy exists"), "the last copy went silently: {}", said.log);
    }
}

/// Exit code, report, log and stderr say the same.
#[track_caller]
pub(crate) fn judge_words(said: &Said) {
    let code = said.code.expect("it ended by itself");
    let has_error = said.log.lines().any(|l| l.starts_with("ERROR"));
    assert_eq!(has_error, code != 0, "exit code {code}, and the log says: {}", said.log);
    assert_eq!(said.err.is_empty(), code == 0, "exit code {code}, and stderr says: {}", said.err);
    if said.report.is_null() {
        assert!([2, 10, 11].contains(&code) || code == 1 && said.report.is_null(), "no report: {said:?}");
        return;
    }
    assert_eq!(said.report["exit_code"], code, "{}", said.report);
    let complete = all(&said.report, &["jobs"]).all(|j| j["complete"] == true);
    match code {
        0 => assert!(complete, "{}", said.report),
        130 => assert_eq!(said.report["outcome"], "cancelled"),
        _ => assert!(!complete, "{}", said.report),
    }
    let made = all(&said.report, &["jobs", "targets", "copies"]).filter(|c| c["complete"] == true).count();
    match code {
        1 => assert_eq!(made, 0, "something usable was made: {}", said.report),
        3 => assert_ne!(made, 0, "nothing usable was made: {}", said.report),
        _ => {}
    }
    for problem in problems(&said.report) {
        // The log begins sentences with a capital letter.
        let tail = &problem[problem.chars().next().map_or(0, char::len_utf8)..];
        assert!(said.log.contains(tail), "`{problem}` is not in the log: {}", said.log);
        assert!(said.err.contains(tail), "`{problem}` is not on stderr: {}", said.err);
    }
}

/// The messages of all problems of a report.
pub(crate) fn problems(report: &Value) -> Vec<String> {
    let of_jobs = all(report, &["jobs", "problems"]);
    let of_targets = all(report, &["jobs", "targets"]).map(|t| &t["problem"]);
    let of_copies = all(report, &["jobs", "targets", "copies"]).map(|c| &c["problem"]);
    of_jobs
        .chain(of_targets)
        .chain(of_copies)
        .filter_map(|p| p["message"].as_str())
        .map(ToOwned::to_owned)
        .collect()
}

/// All values that are reached through these lists, one after another.
pub(crate) fn all<'v>(value: &'v Value, path: &[&str]) -> Box<dyn Iterator<Item = &'v Value> + 'v> {
    let Some((first, rest)) = path.split_first() else { return Box::new(std::iter::once(value)) };
    let rest: Vec<String> = rest.iter().map(ToString::to_string).collect();
    let list = value[*first].as_array().map(Vec::as_slice).unwrap_or_default();
    Box::new(list.iter().flat_map(move |v| {
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        all(v, &rest).collect::<Vec<_>>()
    }))
}

/// `shop/daily/shop_….tar.gz` as `shop/shop_….tar.gz`.
fn family(key: &str) -> String {
    let parts: Vec<&str> = key.split('/').collect();
    let [part @ .., _, name] = &parts[..] else { panic!("{key} is no key of an archive") };
    format!("{}/{name}", part.join("/"))
}

/// Unpacks with GNU tar into an empty directory and compares.
#[track_caller]
pub(crate) fn assert_unpacks(backup: &Backup, root: &Path, tree: &Tree) {
    let dir = tempfile::tempdir().unwrap();
    let out = Command::new("tar")
        .args(["--extract", "--gzip", "--preserve-permissions", "--file"])
        .arg(&backup.archive)
        .arg("--directory")
        .arg(dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && text.is_empty(), "tar says {text}");
    let unpacked = tree::read(&dir.path().join(root.strip_prefix("/").unwrap()));
    tree::assert_same(&unpacked, tree, &backup.archive.display().to_string());
}
