//! What lies in a `backup_dir` of an incremental job, by the documented rules and without the program: sound backups
//! with all their parents, and nothing that looks like one and is none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use nxs_engine::pipeline::digest::{Digest, Digests};
use serde_json::Value;

use crate::scene::files;

/// Digests of archive, index and record by the id of the backup.
pub(crate) type Shelf = BTreeMap<String, [Digests; 3]>;

fn digests(path: &Path) -> Digests {
    let mut digest = Digest::default();
    digest.update(&fs::read(path).unwrap());
    digest.finish()
}

/// Reads the directory. Panics where something is neither a sound backup nor allowed to be there: leftovers only where
/// it is not `settled`, and only such as cannot be taken for a backup.
#[track_caller]
pub(crate) fn read(dir: &Path, settled: bool, what: &str) -> Shelf {
    let all: BTreeSet<PathBuf> = files(dir).into_iter().collect();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let is_house = |path: &PathBuf| ["RESTORE.md", ".nxs-adopted.json"].contains(&name(path).as_str());
    let mut known: BTreeSet<PathBuf> = all.iter().filter(|path| is_house(path)).cloned().collect();
    let (mut shelf, mut parents) = (Shelf::new(), Vec::new());
    for archive in all.iter().filter(|path| name(path).ends_with(".tar.gz")) {
        let [index, record] =
            [".nxs.idx", ".nxs.json"].map(|end| archive.with_file_name(name(archive) + end));
        if !all.contains(&record) {
            let begins = format!(".{}.nxs.json.", name(archive));
            let is_told =
                |path: &PathBuf| path.parent() == archive.parent() && name(path).starts_with(&begins);
            let is_told = all.iter().any(is_told);
            assert!(!settled && is_told, "{what}: `{}` is no backup, and nothing says so", archive.display());
            continue;
        }
        let line = fs::read_to_string(&record).unwrap();
        let parsed: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
        let found = [digests(archive), digests(&index), digests(&record)];
        for (part, is) in [("archive", &found[0]), ("index", &found[1])] {
            let told = (&parsed[part]["bytes"], &parsed[part]["sha256"]);
            assert_eq!(told, (&is.bytes.into(), &is.sha256.clone().into()), "{what}: {}", archive.display());
        }
        parents
            .extend(parsed["parents"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
        let id = parsed["id"].as_str().unwrap().to_owned();
        assert!(shelf.insert(id, found).is_none(), "{what}: `{}` is there twice", archive.display());
        known.extend([archive.clone(), index, record]);
    }
    let lost: Vec<_> = parents.iter().filter(|id| !shelf.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{what}: parents are gone: {lost:?}");
    let stray: Vec<_> = all.difference(&known).collect();
    assert!(!settled || stray.is_empty(), "{what}: left over: {stray:#?}");
    shelf
}

/// Of `before`, all is there unchanged but what `clean`, after a run without faults, has no more.
#[track_caller]
pub(crate) fn assert_kept(before: &Shelf, clean: &Shelf, after: &Shelf, what: &str) {
    for (id, was) in before.iter().filter(|(id, _)| clean.contains_key(*id)) {
        assert_eq!(after.get(id), Some(was), "{what}: backup {id} is to be kept as it was");
    }
}
