//! What a storage in memory holds, judged by the rules of docs/format.md and without the catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use nxs_base::ports::storage::{ObjectKey, Storage};
use nxs_base::record::Record;
use nxs_testkit::MemoryStorage;
use sha2::Digest;

/// A backup: its archive's bytes, and what no later run may change.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Backup {
    pub(crate) archive: Vec<u8>,
    pub(crate) index: Vec<u8>,
    pub(crate) record: Vec<u8>,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |bytes: &[u8]| sha256(bytes)[..8].to_owned();
        write!(f, "{} {} {}", show(&self.archive), show(&self.index), show(&self.record))
    }
}

/// By part and file name.
pub(crate) type Shelf = BTreeMap<String, Backup>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The process died: leftovers that can be told from backups are no harm.
    CutOff,
    /// The process lives, but an operation failed: what it could not remove or move may lie about as after a death.
    Failed,
    /// All is in its place.
    Settled,
}

/// Reads a storage. Panics where something is neither a sound backup nor allowed to be there.
#[track_caller]
pub(crate) fn read(storage: &MemoryStorage, order: Order) -> Shelf {
    let tree = storage.tree();
    let mut files = BTreeSet::new();
    let mut links = BTreeMap::new();
    for line in tree.lines() {
        match line.split_once(" -> ") {
            Some((key, to)) => drop(links.insert(key.to_owned(), to.to_owned())),
            None => drop(files.insert(line.to_owned())),
        }
    }
    let mut known: BTreeSet<String> = files.iter().filter(|k| is_house_file(k)).cloned().collect();
    let mut shelf = Shelf::new();
    for key in files.iter().filter(|k| is_archive(k)) {
        let Some(record) = companion(&files, key, ".nxs.json", order) else {
            assert!(
                order != Order::Settled && has_partial_record(&files, key),
                "`{key}` is no backup, and nothing says so:\n{tree}"
            );
            continue;
        };
        let index = companion(&files, key, ".nxs.idx", order)
            .unwrap_or_else(|| panic!("`{key}` has a record and no index:\n{tree}"));
        let backup = Backup {
            archive: bytes(storage, key),
            index: bytes(storage, &index),
            record: bytes(storage, &record),
        };
        let parsed = Record::parse(&backup.record).unwrap();
        assert_eq!(parsed.archive.sha256, sha256(&backup.archive), "{key}");
        assert_eq!(parsed.index.unwrap().stored.sha256, sha256(&backup.index), "{index}");
        assert!(shelf.insert(family(key), backup).is_none(), "`{key}` is there twice:\n{tree}");
        known.extend([key.clone(), record, index]);
    }
    if order == Order::Settled {
        let stray: Vec<_> = files.iter().filter(|k| !known.contains(*k)).collect();
        assert!(stray.is_empty(), "left over: {stray:#?}\n{tree}");
        for (link, to) in &links {
            assert!(files.contains(to), "the link `{link}` dangles:\n{tree}");
            assert_eq!(family(link), family(to), "the link `{link}` leads astray:\n{tree}");
        }
    }
    shelf
}

/// A storage of its own with the same objects.
pub(crate) fn copy(storage: &MemoryStorage) -> MemoryStorage {
    let copy = MemoryStorage::new(storage.label());
    for line in storage.tree().lines() {
        match line.split_once(" -> ") {
            Some((key, to)) => copy.link(&of(key), &of(to)).unwrap(),
            None => copy.insert(line, &bytes(storage, line)),
        }
    }
    copy
}

fn of(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn bytes(storage: &MemoryStorage, key: &str) -> Vec<u8> {
    let mut data = Vec::new();
    storage.get(&of(key), None).unwrap().read_to_end(&mut data).unwrap();
    data
}

fn sha256(bytes: &[u8]) -> String {
    nxs_engine::pipeline::digest::hex(&sha2::Sha256::digest(bytes))
}

fn file_name(key: &str) -> &str {
    key.rsplit('/').next().unwrap()
}

fn is_partial(key: &str) -> bool {
    file_name(key).starts_with('.') && key.ends_with(".nxs-part")
}

fn is_house_file(key: &str) -> bool {
    key == "RESTORE.md" || key == ".nxs-adopted.json"
}

fn is_archive(key: &str) -> bool {
    !is_partial(key) && !is_house_file(key) && !key.ends_with(".nxs.json") && !key.ends_with(".nxs.idx")
}

/// `a/daily/x` as `a/x`.
pub(crate) fn family(key: &str) -> String {
    let parts: Vec<&str> = key.split('/').collect();
    let [part @ .., period, name] = &parts[..] else { panic!("`{key}` lies in no period") };
    assert!(["daily", "weekly", "monthly"].contains(period), "`{key}` lies in no period");
    format!("{}/{name}", part.join("/"))
}

fn companion(files: &BTreeSet<String>, key: &str, suffix: &str, order: Order) -> Option<String> {
    let beside = format!("{key}{suffix}");
    if files.contains(&beside) || order == Order::Settled {
        return files.contains(&beside).then_some(beside);
    }
    let family = family(key);
    let (part, name) = family.rsplit_once('/').unwrap();
    ["daily", "weekly", "monthly"]
        .into_iter()
        .map(|period| format!("{part}/{period}/{name}{suffix}"))
        .find(|k| files.contains(k))
}

fn has_partial_record(files: &BTreeSet<String>, key: &str) -> bool {
    let begins = format!(".{}.nxs.json.", file_name(key));
    files.iter().any(|k| is_partial(k) && file_name(k).starts_with(&begins))
}
