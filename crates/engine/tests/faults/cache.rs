//! The cache of indexes in `state_dir`: two worlds that differ in it alone, and in nothing that is stored.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nxs_testkit::{FlakyStorage, OpKind};

use crate::increments::{Living, get};
use crate::scene::Scene;

/// Days, a decade, a full, a day, a decade, a month and a day; on the right, where chains differ, others.
const DAYS: [&str; 9] = [
    "2026-12-14",
    "2026-12-21",
    "2026-12-22",
    "2027-01-03",
    "2027-01-04",
    "2027-01-11",
    "2027-01-12",
    "2027-02-01",
    "2027-02-02",
];

/// All objects of both storages with their bytes.
fn stored(scene: &Scene<Living>) -> Vec<(String, Vec<u8>)> {
    let of_storage = |storage: &nxs_testkit::MemoryStorage| {
        let tree = storage.tree();
        let bytes = |line: &str| if line.contains(" -> ") { Vec::new() } else { get(storage, line) };
        tree.lines().map(|line| (line.to_owned(), bytes(line))).collect::<Vec<_>>()
    };
    scene.memory.iter().flat_map(of_storage).collect()
}

/// Indexes read from the storage since the first `before` operations.
fn indexes_read(flaky: &FlakyStorage, before: u64) -> usize {
    let is_read = |kind: OpKind, key: &str| kind == OpKind::Get && key.ends_with(".nxs.idx");
    flaky.ops().iter().skip(before as usize).filter(|op| is_read(op.kind, &op.key)).count()
}

fn kept(dir: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(dir.join("indexes")) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = listing.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Runs a world with a cache beside one without; before each run `harm` has its way with the cache. Returns how many
/// indexes were read from the storages of the first and of the second after the first run, which finds no cache in any
/// case; and all warnings.
fn beside_one_without(state_dir: &Path, mut harm: impl FnMut(&Path)) -> ([usize; 2], Vec<String>) {
    let history = Scene::<Living>::with_history();
    let (mut with, mut without) = (history.fork(), history.fork());
    with.state_dir = Some(state_dir.to_owned());
    let (mut read, mut read_without, mut warnings) = (0, 0, Vec::new());
    for day in DAYS {
        harm(state_dir);
        for scene in [&mut with, &mut without] {
            scene.clock.set(&format!("{day}T03:00"));
        }
        let before = [&with, &without].map(|scene| [0, 1].map(|n| scene.flaky[n].op_count()));
        let said = with.run();
        assert!(said.report.is_complete(), "{day}: {:#?}", said.report);
        warnings.extend(said.warnings);
        assert!(without.run().report.is_complete());
        for n in [0, 1] {
            if day != DAYS[0] {
                read += indexes_read(&with.flaky[n], before[0][n]);
                read_without += indexes_read(&without.flaky[n], before[1][n]);
            }
        }
        let (is, should) = (stored(&with), stored(&without));
        let differ = is.iter().zip(&should).find(|(a, b)| a != b).map(|(a, _)| &a.0);
        assert!(is == should, "{day}: {differ:?} is not the same");
    }
    assert!(read_without > 10, "there is something to read: {read_without}");
    ([read, read_without], warnings)
}

#[test]
fn with_a_cache_no_index_is_read_from_a_storage_and_all_is_the_same() {
    let state = tempfile::tempdir().unwrap();
    let ([read, _], warnings) = beside_one_without(state.path(), |_| ());
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(read, 0);
    let paths = kept(state.path());
    // The full and the month, the same on both.
    assert_eq!(paths.len(), 2, "what can be no parent is gone: {paths:?}");
    for path in paths {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600, "{path:?}");
    }
    let dir = fs::metadata(state.path().join("indexes")).unwrap();
    assert_eq!(dir.permissions().mode() & 0o7777, 0o700);
}

#[test]
fn a_cache_that_is_gone_or_damaged_or_another_s_costs_time_alone() {
    fn each(dir: &Path, harm: impl Fn(&Path)) {
        kept(dir).iter().for_each(|path| harm(path));
    }
    fn spoil(path: &Path, part: f64) {
        let mut bytes = fs::read(path).unwrap();
        let at = ((bytes.len() - 1) as f64 * part) as usize;
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 10] = [
        ("gone", |dir| fs::remove_dir_all(dir).unwrap_or_default()),
        ("cut", |dir| each(dir, |path| fs::write(path, &fs::read(path).unwrap()[..40]).unwrap())),
        ("empty", |dir| each(dir, |path| fs::write(path, "").unwrap())),
        ("one byte more", |dir| {
            each(dir, |path| fs::write(path, [fs::read(path).unwrap(), vec![0]].concat()).unwrap());
        }),
        ("one turned into the other", |dir| {
            let paths = kept(dir);
            let bytes: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
            paths.iter().zip(bytes.iter().cycle().skip(1)).for_each(|(path, b)| fs::write(path, b).unwrap());
        }),
        ("a directory", |dir| {
            each(dir, |path| {
                if !path.is_dir() {
                    fs::remove_file(path).unwrap();
                    fs::create_dir(path).unwrap();
                }
            });
        }),
        ("a pipe", |dir| {
            each(dir, |path| {
                fs::remove_file(path).unwrap();
                rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR).unwrap();
            });
        }),
        ("a link to nowhere", |dir| {
            each(dir, |path| {
                fs::remove_file(path).unwrap();
                std::os::unix::fs::symlink("nowhere", path).unwrap();
            });
        }),
        ("leftovers of a dead run", |dir| {
            each(dir, |path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                fs::rename(path, path.with_file_name(format!(".{name}.0badcafe.tmp"))).unwrap();
            });
        }),
        ("made by another job", |dir| {
            each(dir, |path| {
                let other = Scene::<Living>::with_history();
                let name = other.memory[0].tree();
                let index = name.lines().find(|line| line.ends_with(".nxs.idx")).unwrap();
                fs::write(path, get(&other.memory[0], index)).unwrap();
            });
        }),
    ];
    for (name, harm) in harms {
        let state = tempfile::tempdir().unwrap();
        let ([read, all], warnings) = beside_one_without(state.path(), harm);
        // A single copy cannot be turned into another.
        let is_used = name == "one turned into the other";
        assert!(if is_used { read > 0 } else { read == all }, "{name}: {read} of {all} were read");
        // A directory in the way of a copy is told, once in a run.
        let is_told = name == "a directory";
        assert_eq!(!warnings.is_empty(), is_told, "{name}: {warnings:?}");
        if !is_told {
            let paths = kept(state.path());
            assert_eq!(paths.len(), 2, "{name}: {paths:?}");
        }
    }
    for part in 0..=40 {
        let state = tempfile::tempdir().unwrap();
        let part = f64::from(part) / 40.0;
        let ([read, all], warnings) =
            beside_one_without(state.path(), |dir| each(dir, |path| spoil(path, part)));
        assert_eq!(read, all, "spoilt at {part}: it was used");
        assert_eq!(warnings, Vec::<String>::new(), "spoilt at {part}");
    }
}

#[test]
fn a_state_dir_that_cannot_be_written_is_a_warning_and_no_more() {
    let place = tempfile::tempdir().unwrap();
    let state = place.path().join("state");
    fs::write(&state, "a file").unwrap();
    let ([read, all], warnings) = beside_one_without(&state, |_| ());
    assert_eq!(read, all);
    assert_eq!(warnings.len(), DAYS.len(), "once in a run: {warnings:?}");
    let says = "cannot keep copies of indexes in `";
    assert!(warnings.iter().all(|w| w.starts_with(says)), "{warnings:?}");
}

#[test]
fn what_a_storage_that_was_away_needs_stays_in_the_cache() {
    let state = tempfile::tempdir().unwrap();
    let mut scene = Scene::<Living>::with_history();
    scene.state_dir = Some(state.path().to_owned());
    scene.clock.set("2026-12-14T03:00");
    assert!(scene.run().report.is_complete());
    let all = kept(state.path());
    scene.clock.set("2026-12-15T03:00");
    scene.flaky[1].revive();
    scene.flaky[1].kill_before(1);
    assert!(!scene.run().report.is_complete());
    assert_eq!(kept(state.path()), all);
    scene.flaky[1].revive();
    // In January nothing of December can be a parent, whoever was away.
    scene.clock.set("2027-01-02T03:00");
    scene.flaky[1].kill_before(1);
    assert!(!scene.run().report.is_complete());
    let names: Vec<String> =
        kept(state.path()).iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert!(names.len() == 1 && names[0].starts_with("2027."), "{names:?}");
}
