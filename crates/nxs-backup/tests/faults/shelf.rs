//! What lies in a `backup_dir`, read by the test's own rules (docs/format.md) and `sha256sum`, without the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// An archive with its record and its index.
#[derive(Debug, Clone)]
pub(crate) struct Backup {
    pub(crate) archive: PathBuf,
    pub(crate) record: Value,
    /// Of archive, index and record; what no later run may change.
    pub(crate) digests: [String; 3],
    /// The period directory it lies in.
    pub(crate) period: String,
    pub(crate) links: BTreeSet<String>,
}

impl Backup {
    pub(crate) fn is_complete(&self) -> bool {
        self.record["completeness"] == "complete"
    }
}

/// Whether a run may have been cut off here, or all must be in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Leftovers may lie around, if they can be told from backups.
    CutOff,
    /// Nothing but backups, their links, `RESTORE.md` and the adoption list.
    Settled,
}

/// Backups by part and file name, which stay when rotation moves one.
pub(crate) type Shelf = BTreeMap<String, Backup>;

struct Listing {
    /// Relative path to size.
    files: BTreeMap<String, u64>,
    /// Relative path to the text of the link.
    links: BTreeMap<String, PathBuf>,
}

/// Reads the directory. Panics where something is neither a sound backup nor allowed to be there.
#[track_caller]
pub(crate) fn read(dir: &Path, order: Order) -> Shelf {
    let mut listing = Listing { files: BTreeMap::new(), links: BTreeMap::new() };
    if dir.exists() {
        list(dir, "", &mut listing);
    }
    let sums = sha256(dir, listing.files.keys().filter(|k| !is_partial(k)));
    let mut shelf = Shelf::new();
    let mut known: BTreeSet<String> = listing.files.keys().filter(|k| is_house_file(k)).cloned().collect();
    for path in listing.files.keys().filter(|k| is_archive(k)) {
        let settled_record = format!("{path}.nxs.json");
        let settled_index = format!("{path}.nxs.idx");
        let record = companion(&listing, path, ".nxs.json", order);
        let Some(record) = record else {
            assert!(
                order == Order::CutOff && has_partial_record(&listing, path),
                "{path} is no backup, and nothing says so: {:#?}",
                listing.files.keys()
            );
            continue;
        };
        let index = companion(&listing, path, ".nxs.idx", order)
            .unwrap_or_else(|| panic!("{path} has a record and no index: {:#?}", listing.files.keys()));
        if order == Order::Settled {
            assert_eq!((&record, &index), (&settled_record, &settled_index), "a move was not finished");
        }
        let text = fs::read_to_string(dir.join(&record)).unwrap();
        let parsed: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(parsed["archive"]["sha256"], sums[path].as_str(), "{path}");
        assert_eq!(parsed["archive"]["bytes"], listing.files[path], "{path}");
        assert_eq!(parsed["index"]["sha256"], sums[&index].as_str(), "{index}");
        assert_eq!(parsed["index"]["bytes"], listing.files[&index], "{index}");
        let (family, period) = family(path);
        let backup = Backup {
            archive: dir.join(path),
            digests: [sums[path].clone(), sums[&index].clone(), sums[&record].clone()],
            record: parsed,
            period,
            links: links_to(dir, &listing, path),
        };
        assert!(shelf.insert(family.clone(), backup).is_none(), "{family} is there twice");
        known.extend([path.clone(), record, index]);
    }
    if order == Order::Settled {
        let stray: Vec<_> = listing.files.keys().filter(|k| !known.contains(*k)).collect();
        assert!(stray.is_empty(), "left over: {stray:#?}");
        for (link, target) in &listing.links {
            assert!(!is_partial(link), "left over: {link}");
            assert!(dir.join(link).is_file(), "the link {link} to {} dangles", target.display());
        }
    }
    shelf
}

fn list(dir: &Path, below: &str, listing: &mut Listing) {
    for entry in fs::read_dir(dir.join(below)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            list(dir, &path, listing);
        } else if kind.is_symlink() {
            listing.links.insert(path, fs::read_link(entry.path()).unwrap());
        } else {
            listing.files.insert(path, entry.metadata().unwrap().len());
        }
    }
}

fn sha256<'a>(dir: &Path, paths: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
    let paths: Vec<&String> = paths.collect();
    if paths.is_empty() {
        return BTreeMap::new();
    }
    let out = Command::new("sha256sum").current_dir(dir).arg("--").args(&paths).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().map(|l| l.split_once("  ").unwrap()).map(|(sum, p)| (p.to_owned(), sum.to_owned())).collect()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

fn is_partial(path: &str) -> bool {
    file_name(path).starts_with('.') && path.ends_with(".nxs-part")
}

fn is_house_file(path: &str) -> bool {
    path == "RESTORE.md" || path == ".nxs-adopted.json"
}

fn is_archive(path: &str) -> bool {
    !is_partial(path) && !is_house_file(path) && !path.ends_with(".nxs.json") && !path.ends_with(".nxs.idx")
}

/// Part and file name, and the period.
fn family(path: &str) -> (String, String) {
    let parts: Vec<&str> = path.split('/').collect();
    let [part @ .., period, name] = &parts[..] else { panic!("{path} lies in no period") };
    assert!(["daily", "weekly", "monthly"].contains(period), "{path} lies in no period");
    (format!("{}/{name}", part.join("/")), (*period).to_owned())
}

fn in_all_periods(path: &str) -> impl Iterator<Item = String> {
    let (family, _) = family(path);
    let (part, name) = family.rsplit_once('/').map(|(p, n)| (p.to_owned(), n.to_owned())).unwrap();
    ["daily", "weekly", "monthly"].into_iter().map(move |period| format!("{part}/{period}/{name}"))
}

/// Beside the archive; after a cut in any period directory.
fn companion(listing: &Listing, path: &str, suffix: &str, order: Order) -> Option<String> {
    let beside = format!("{path}{suffix}");
    if listing.files.contains_key(&beside) || order == Order::Settled {
        return listing.files.contains_key(&beside).then_some(beside);
    }
    in_all_periods(path).map(|p| format!("{p}{suffix}")).find(|p| listing.files.contains_key(p))
}

fn has_partial_record(listing: &Listing, path: &str) -> bool {
    let begins = format!(".{}.nxs.json.", file_name(path));
    listing.files.keys().any(|k| is_partial(k) && file_name(k).starts_with(&begins))
}

fn links_to(dir: &Path, listing: &Listing, path: &str) -> BTreeSet<String> {
    let leads_there = |link: &String| {
        listing.links.contains_key(link)
            && dir.join(link).canonicalize().ok() == dir.join(path).canonicalize().ok()
    };
    in_all_periods(path).filter(leads_there).map(|link| family(&link).1).collect()
}
