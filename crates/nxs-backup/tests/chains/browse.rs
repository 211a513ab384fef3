//! What administrators see of chains: listings of points, versions of files, what retention does, the page for
//! people without the program, and how little is read for one file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::civil::{DateTime, date};
use nxs_base::ports::storage::{Caps, ObjectInfo, ObjectKey, PartTag, Pending, Storage};
use nxs_base::spec::StorageSpec;
use nxs_base::{Error, ErrorKind, Result};
use nxs_testkit::history::History;
use nxs_testkit::rng::Rng;
use nxs_testkit::snapshot::Snapshot;
use serde_json::Value;

use crate::listings::{json, listed, path_of, shown};
use crate::world::{JOB, World, files};

fn at(moment: DateTime) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Paths that are no directories, with what tells one version from another.
fn idents(dir: &Path, below: &[u8], all: &mut BTreeMap<Vec<u8>, (u64, [i64; 4], u64)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let slash: &[u8] = if below.is_empty() { b"" } else { b"/" };
        let path = [below, slash, entry.file_name().as_bytes()].concat();
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        if meta.is_dir() {
            idents(&entry.path(), &path, all);
        } else if !meta.file_type().is_socket() {
            let size = if meta.is_file() { meta.size() } else { 0 };
            let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
            all.insert(path, (size, times, meta.ino()));
        }
    }
}

#[test]
fn listings_and_versions_of_random_histories_are_what_there_was() {
    for seed in [11, 12, 13] {
        let mut world = World::new(JOB, date(2025, 11, 3 + seed as i8));
        let (mut rng, mut history) = (Rng::new(seed), History::new(&world.tree(), seed));
        history.change(60).unwrap();
        // By path the versions so far, each with the point that first has it.
        let mut versions: BTreeMap<Vec<u8>, Vec<(DateTime, Option<u64>)>> = BTreeMap::new();
        let mut before: BTreeMap<Vec<u8>, _> = BTreeMap::new();
        for _ in 0..22 {
            world.backup();
            let mut now = BTreeMap::new();
            idents(&world.tree(), b"", &mut now);
            for (path, ident) in &now {
                if before.get(path) != Some(ident) {
                    versions.entry(path.clone()).or_default().push((world.house.now, Some(ident.0)));
                }
            }
            for path in before.keys().filter(|path| !now.contains_key(*path)) {
                versions.entry(path.clone()).or_default().push((world.house.now, None));
            }
            before = now;
            history.change(rng.below(9)).unwrap();
            world.pass(1 + if rng.percent(25) { rng.below(9) as i32 } else { 0 });
        }
        let tree = world.tree();
        let kept = world.kept();
        assert_eq!(kept.len(), 22);
        for point in &kept {
            let answer = world.run(&["ls", "uploads", "--at", &at(*point), "--recursive", "--json"]);
            assert_eq!(listed(&json(&answer), &tree), shown(&world.points[point]), "seed {seed}, {point}");
        }
        let last = *kept.last().unwrap();
        let all = shown(&world.points[&last]);
        let dirs: Vec<&Vec<u8>> = all.iter().filter(|(_, t)| t.starts_with("dir")).map(|(p, _)| p).collect();
        for dir in dirs.into_iter().filter(|d| std::str::from_utf8(d).is_ok()) {
            let path = std::str::from_utf8(dir).unwrap();
            let answer = world.run(&["ls", "uploads", "--at", &at(last), "--json", "--", path]);
            let found: BTreeSet<Vec<u8>> = listed_names(&json(&answer), &tree);
            let in_it = |p: &&Vec<u8>| {
                p.strip_prefix(dir.as_slice())
                    .and_then(|p| p.strip_prefix(b"/"))
                    .is_some_and(|rest| !rest.contains(&b'/'))
            };
            assert_eq!(found, all.keys().filter(in_it).cloned().collect(), "seed {seed}: {path}");
        }
        let found = json(&world.run(&["find", "uploads", "*", "--json"]));
        let mut told: BTreeMap<Vec<u8>, Vec<(DateTime, Option<u64>)>> = BTreeMap::new();
        for version in found["versions"].as_array().unwrap() {
            let started: jiff::Timestamp = version["started"].as_str().unwrap().parse().unwrap();
            let size = match (version["state"].as_str().unwrap(), version["kind"].as_str()) {
                ("removed", None) => None,
                ("changed", Some(_)) => Some(version["size_bytes"].as_u64().unwrap_or(0)),
                other => panic!("{other:?}"),
            };
            let moment = started.to_zoned(jiff::tz::TimeZone::UTC).datetime();
            told.entry(path_of(version, &tree)).or_default().push((moment, size));
        }
        assert_eq!(told, versions, "seed {seed}");
    }
}

fn listed_names(listing: &Value, root: &Path) -> BTreeSet<Vec<u8>> {
    let entries = listing["points"][0]["paths"][0]["entries"].as_array().unwrap();
    entries.iter().map(|e| path_of(e, root)).collect()
}

/// A few days over three months.
fn some_days(job: &str) -> World {
    let mut world = World::new(job, date(2026, 3, 30));
    fs::create_dir(world.tree().join("img")).unwrap();
    fs::write(world.tree().join("index.php"), "one").unwrap();
    fs::write(world.tree().join("img/a b.png"), "picture").unwrap();
    world.backup();
    world.pass(2);
    fs::write(world.tree().join("index.php"), "two!").unwrap();
    world.backup();
    world.pass(11);
    fs::remove_file(world.tree().join("img/a b.png")).unwrap();
    fs::write(world.tree().join("evil\n\u{1b}[31m\u{202e}name"), "x").unwrap();
    world.backup();
    world.pass(1);
    std::os::unix::fs::symlink("index.php", world.tree().join("link")).unwrap();
    world.backup();
    world
}

#[test]
fn ls_shows_the_chain_and_what_is_in_it() {
    let mut world = some_days(JOB);
    let answer = world.run(&["ls"]);
    assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{}", answer.out);
    let rows: Vec<Vec<&str>> = answer.out.lines().skip(1).map(|l| l.split_whitespace().collect()).collect();
    let levels: Vec<(&str, &str)> = rows.iter().map(|r| (r[2], r[4])).collect();
    assert_eq!(
        levels,
        [("2026-03-30", "year"), ("2026-04-01", "month"), ("2026-04-12", "decade"), ("2026-04-13", "day")]
    );
    let all = json(&world.run(&["ls", "--json"]));
    let day = &all["backups"][3];
    assert_eq!(day["place"], "2026/month_04/daily/day_11");
    assert_eq!((day["level"].as_str(), day["state"].as_str()), (Some("day"), Some("complete")));
    let keys: Vec<&Value> = (0..3).rev().map(|n| &all["backups"][n]["key"]).collect();
    assert_eq!(day["parents"].as_array().unwrap().iter().collect::<Vec<_>>(), keys);

    let answer = world.run(&["ls", "uploads", "--at", "2026-04-13"]);
    assert_eq!((answer.code, answer.err.as_str()), (0, ""));
    assert!(!answer.out.contains('\u{1b}') && !answer.out.contains('\u{202e}'), "{:?}", answer.out);
    let names: Vec<String> = answer
        .out
        .lines()
        .skip(2)
        .map(|l| l.split_whitespace().skip(5).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(names, ["evil%0A%1B[31m\\u{202e}name", "img", "index.php", "link -> index.php"]);
    assert!(answer.out.lines().nth(1).unwrap().ends_with("/www/shop/upload:"), "{}", answer.out);
    let file = answer.out.lines().find(|l| l.contains(" index.php")).unwrap();
    assert!(file.starts_with("-rw-r--r-- 0:0") && file.contains(" 4 "), "{file}");

    // Several paths, one of which is not there, and one of another day.
    let answer = world.run(&["ls", "uploads", "img", "no", "index.php"]);
    assert_eq!(answer.code, 3, "{answer:?}");
    assert_eq!(answer.err, "nxs-backup: there is no `no` in it\n");
    assert_eq!(answer.out.lines().count(), 4, "{}", answer.out);
    let answer = world.run(&["ls", "uploads", "--at", "2026-04-11", "img"]);
    assert!(answer.out.ends_with(" a b.png\n"), "{answer:?}");
    assert_eq!(world.run(&["ls", "uploads", "no"]).code, 1);
    assert_eq!(world.run(&["ls", "uploads", "--at", "2025-01-01"]).code, 1);
    assert_eq!(world.run(&["ls", "uploads", "--recursive"]).code, 2);
}

#[test]
fn find_tells_every_version_and_which_archive_has_it() {
    let mut world = some_days(JOB);
    let found = json(&world.run(&["find", "uploads", "index.php", "--json"]));
    let told: Vec<(&str, &Value, &str)> = found["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| (v["state"].as_str().unwrap(), &v["size_bytes"], v["key"].as_str().unwrap()))
        .collect();
    assert_eq!(told.len(), 2, "{found}");
    assert_eq!((told[0].0, told[0].1.as_u64(), told[1].1.as_u64()), ("changed", Some(3), Some(4)));
    assert!(told[0].2.contains("/year/") && told[1].2.contains("/monthly/"), "{told:?}");

    let answer = world.run(&["find", "uploads", "img/*.png"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let states: Vec<&str> = answer.out.lines().map(|l| l.split_whitespace().nth(2).unwrap()).collect();
    assert_eq!(states, ["changed", "removed"], "{}", answer.out);
    let answer = world.run(&["find", "uploads", "evil*"]);
    assert!(answer.out.lines().count() == 1 && !answer.out.contains('\u{1b}'), "{:?}", answer.out);

    let answer = world.run(&["find", "uploads", "nothing"]);
    assert_eq!((answer.code, answer.out.as_str()), (0, ""));
    assert_eq!(world.run(&["find", "uploads", "a{"]).code, 2);
}

#[test]
fn the_same_file_in_many_full_backups_is_one_version() {
    let job = JOB
        .replace("inc_files", "desc_files")
        .replace("~/backup}", "~/backup, store: {days: 9, weeks: 0, month: 0}}");
    let mut world = World::new(&job, date(2026, 3, 3));
    fs::write(world.tree().join("same"), "x").unwrap();
    fs::write(world.tree().join("other"), "x").unwrap();
    for day in 0..4 {
        if day == 2 {
            fs::write(world.tree().join("other"), "xy").unwrap();
            fs::remove_file(world.tree().join("same")).unwrap();
        }
        world.backup();
        world.pass(1);
    }
    let answer = world.run(&["find", "uploads", "*"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let told: Vec<String> = answer
        .out
        .lines()
        .map(|l| {
            let words: Vec<&str> = l.split_whitespace().collect();
            let name = l.rsplit_once("/upload/").map_or("", |(_, rest)| rest.split(' ').next().unwrap());
            format!("{} {} {name}", words[0], words[2])
        })
        .collect();
    assert_eq!(
        told,
        [
            "2026-03-03 changed other",
            "2026-03-05 changed other",
            "2026-03-03 changed same",
            "2026-03-05 removed same"
        ]
    );
}

#[test]
fn a_chain_that_lost_a_parent_is_shown_as_broken() {
    let mut world = some_days(JOB);
    let month = files(&world.backups())
        .into_iter()
        .find(|p| p.to_str().unwrap().contains("/monthly/") && p.to_str().unwrap().ends_with(".tar.gz"));
    fs::remove_file(month.unwrap()).unwrap();
    let all: Value = serde_json::from_str(&world.run(&["ls", "--json"]).out).unwrap();
    let states: Vec<&str> =
        all["backups"].as_array().unwrap().iter().filter_map(|b| b["state"].as_str()).collect();
    assert_eq!(states.iter().filter(|s| **s == "broken chain").count(), 2, "{states:?}");
    assert!(states.contains(&"complete") && states.contains(&"damaged"), "{states:?}");
    assert!(world.run(&["ls"]).out.contains("broken chain"));
    let answer = world.run(&["ls", "uploads", "--at", "2026-04-13"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.err.contains("a parent of"), "{}", answer.err);
    let answer = world.run(&["ls", "uploads", "--at", "2026-03-31"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let answer = world.run(&["find", "uploads", "index.php"]);
    assert_eq!((answer.code, answer.out.lines().count()), (3, 1), "{answer:?}");
}

fn open_first(spec: &StorageSpec) -> Result<Arc<dyn Storage>> {
    match spec.backup_dir.ends_with("second") {
        true => Err(Error::new(ErrorKind::Timeout, "it is down")),
        false => nxs_storages::registry::open(spec, nxs_config::secrets::resolve),
    }
}

#[test]
fn a_storage_that_is_down_leaves_the_other_ones_listing() {
    let job = format!("{JOB}  - {{storage: local, enable: yes, backup_dir: ~/second}}\n");
    let mut world = some_days(&job);
    for args in [&["ls"][..], &["ls", "uploads", "--at", "2026-04-13"], &["find", "uploads", "index.php"]] {
        let answer = world.house.run_with(args, |env| env.open_storage = open_first);
        assert_eq!(answer.code, 3, "{args:?}: {answer:?}");
        assert!(answer.out.lines().count() >= 2 && answer.err.contains("is down"), "{args:?}: {answer:?}");
        let both = world.run(args);
        assert_eq!((both.code, both.err.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn rotate_tells_what_the_next_run_drops() {
    for months in [0, 1, 2, 12] {
        let job = JOB.replace("  sources:", &format!("  inc_months_to_store: {months}\n  sources:"));
        let mut world = World::new(&job, date(2025, 11, 25));
        for n in 0..20 {
            fs::write(world.tree().join("f"), format!("{n}")).unwrap();
            if n > 0 {
                let text = world.run(&["rotate", "--dry-run"]);
                assert_eq!((text.code, text.err.as_str()), (0, ""));
                let of = |verb: &str| -> BTreeSet<String> {
                    let lines = text.out.lines().filter(|l| l.trim_start().starts_with(verb));
                    lines.map(|l| l.split_whitespace().nth(2).unwrap().to_owned()).collect()
                };
                let (keep, drop) = (of("keep"), of("drop"));
                let there = |world: &World| -> BTreeSet<String> {
                    let root = world.backups();
                    let all = files(&root);
                    let archives = all.iter().filter(|p| p.extension().is_some_and(|e| e == "gz"));
                    archives.map(|p| p.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()).collect()
                };
                assert_eq!(keep.union(&drop).cloned().collect::<BTreeSet<_>>(), there(&world));
                world.backup();
                let after = there(&world);
                assert!(keep.is_subset(&after), "{months} {}: {}", world.house.now, text.out);
                assert!(drop.is_disjoint(&after), "{months} {}: {}", world.house.now, text.out);
            } else {
                world.backup();
            }
            world.pass(if n % 3 == 0 { 25 } else { 8 });
        }
    }
}

#[test]
fn the_commands_of_restore_md_make_the_newest_point_of_a_chain() {
    for compression in ["none", "gzip", "{zstd: 3}"] {
        let job = JOB.replace("gzip: yes", &format!("compression: {compression}"));
        let mut world = some_days(&job.replace("www/*/upload/", "www/*/*/"));
        let odd = world.house.path("www/it's $(touch x)/`b`");
        fs::create_dir_all(&odd).unwrap();
        fs::write(odd.join("f"), "odd").unwrap();
        world.pass(1);
        world.backup();
        let (should, odd_should) = (Snapshot::take(&world.tree()), Snapshot::take(&odd));
        let page = fs::read_to_string(world.backups().join("RESTORE.md")).unwrap();
        let blocks: Vec<&str> =
            page.split("```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
        assert_eq!(blocks.len(), 2, "{page}");
        let chain = blocks.iter().find(|b| b.contains("/monthly/")).unwrap();
        assert_eq!((chain.matches("-xpf ").count(), chain.matches("-xpGf ").count()), (1, 3), "{chain}");
        assert!(page.contains("deletes everything that the archive does\nnot know"), "{page}");
        for block in &blocks {
            let place = tempfile::tempdir().unwrap();
            let to = place.path().join("here");
            let script = block.replace("/tmp/restore", to.to_str().unwrap());
            let sh =
                || Command::new("sh").arg("-c").arg(&script).current_dir(world.backups()).output().unwrap();
            let done = sh();
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(done.status.success() && said.is_empty(), "{script}\n{said}");
            let (tree, should) =
                if block == chain { (world.tree(), &should) } else { (odd.clone(), &odd_should) };
            let found = to.join(tree.strip_prefix("/").unwrap());
            should.assert_same(&Snapshot::take(&found), &script);
            if block == chain {
                // Where something is already, nothing is touched.
                fs::write(found.join("mine"), "x").unwrap();
                assert!(!sh().status.success());
                assert!(found.join("mine").exists());
            }
        }
    }
}

#[test]
fn restore_md_says_what_belongs_together_where_a_year_has_two_fulls() {
    let mut world = some_days(JOB);
    let page = |world: &World| fs::read_to_string(world.backups().join("RESTORE.md")).unwrap();
    assert!(!page(&world).contains("more than one full"));
    let index = files(&world.backups())
        .into_iter()
        .find(|p| p.to_str().unwrap().contains("/year/") && p.to_str().unwrap().ends_with(".nxs.idx"));
    fs::write(index.unwrap(), "cut").unwrap();
    world.pass(1);
    let answer = world.run(&["start"]);
    assert!(matches!(answer.code, 0 | 3), "{answer:?}");
    world.pass(1);
    fs::write(world.tree().join("late"), "x").unwrap();
    let answer = world.run(&["start"]);
    assert!(matches!(answer.code, 0 | 3), "{answer:?}");
    let page = page(&world);
    let listed: Vec<&str> = page.lines().filter(|l| l.trim_start().starts_with("- ")).collect();
    let fulls: Vec<&&str> = listed.iter().filter(|l| l.starts_with("- the full ")).collect();
    assert_eq!((fulls.len(), listed.len()), (2, 6), "{page}");
    assert!(listed[0].contains("2026-03-30") && listed[4].contains("2026-04-14"), "{page}");
    let block = page.split("```sh\n").nth(1).unwrap().split("\n```").next().unwrap();
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("here");
    let script = block.replace("/tmp/restore", to.to_str().unwrap());
    let done = Command::new("sh").arg("-c").arg(&script).current_dir(world.backups()).output().unwrap();
    assert!(done.status.success(), "{script}\n{}", String::from_utf8_lossy(&done.stderr));
    let tree = world.tree();
    Snapshot::take(&tree).assert_same(&Snapshot::take(&to.join(tree.strip_prefix("/").unwrap())), &script);
}

thread_local! {
    /// Bytes that were read from the storages of this test.
    static READ: Arc<AtomicU64> = Arc::default();
}

/// Counts what is read.
struct Counting {
    inner: Arc<dyn Storage>,
    read: Arc<AtomicU64>,
}

struct CountingReader(Box<dyn std::io::Read + Send>, Arc<AtomicU64>);

impl std::io::Read for CountingReader {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.0.read(buf)?;
        self.1.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl Storage for Counting {
    fn label(&self) -> &str {
        self.inner.label()
    }
    fn caps(&self) -> Caps {
        self.inner.caps()
    }
    fn stage(
        &self,
        key: &ObjectKey,
        tag: &PartTag,
        data: &mut dyn std::io::Read,
    ) -> Result<Box<dyn Pending>> {
        self.inner.stage(key, tag, data)
    }
    fn put_replace(&self, key: &ObjectKey, tag: &PartTag, data: &[u8]) -> Result<()> {
        self.inner.put_replace(key, tag, data)
    }
    fn get(
        &self,
        key: &ObjectKey,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<Box<dyn std::io::Read + Send>> {
        Ok(Box::new(CountingReader(self.inner.get(key, range)?, Arc::clone(&self.read))))
    }
    fn list(&self, dir: &str, each: &mut dyn FnMut(ObjectInfo) -> Result<()>) -> Result<()> {
        self.inner.list(dir, each)
    }
    fn stat(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.inner.stat(key)
    }
    fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.inner.delete(key)
    }
    fn rename(&self, from: &ObjectKey, to: &ObjectKey) -> Result<()> {
        self.inner.rename(from, to)
    }
    fn link(&self, key: &ObjectKey, target: &ObjectKey) -> Result<()> {
        self.inner.link(key, target)
    }
    fn is_dangling(&self, key: &ObjectKey) -> Result<bool> {
        self.inner.is_dangling(key)
    }
    fn is_part_live(&self, key: &ObjectKey) -> bool {
        self.inner.is_part_live(key)
    }
    fn free_bytes(&self) -> Result<Option<u64>> {
        self.inner.free_bytes()
    }
}

fn open_counting(spec: &StorageSpec) -> Result<Arc<dyn Storage>> {
    let inner = nxs_storages::registry::open(spec, nxs_config::secrets::resolve)?;
    Ok(Arc::new(Counting { inner, read: READ.with(Arc::clone) }))
}

#[test]
fn one_file_of_any_day_of_a_large_tree_costs_little() {
    let mut world = World::new(JOB, date(2026, 3, 30));
    let tree = world.tree();
    let mut rng = Rng::new(5);
    let mut names = Vec::new();
    for dir in 0..20 {
        fs::create_dir(tree.join(format!("d{dir:02}"))).unwrap();
        for _ in 0..2500 {
            let long: String = (0..8).map(|_| format!("{:016x}", rng.next_u64())).collect();
            let name = format!("d{dir:02}/{long}");
            fs::write(tree.join(&name), &name).unwrap();
            names.push(name);
        }
    }
    let mut days = Vec::new();
    for (n, pass) in [0, 2, 11, 1].into_iter().enumerate() {
        world.pass(pass);
        for name in names.iter().skip(n).step_by(50) {
            fs::write(tree.join(name), format!("{n} {name}")).unwrap();
        }
        let answer = world.run(&["start"]);
        assert_eq!(answer.code, 0, "{}", answer.err);
        let content: Vec<Vec<u8>> = names[..2].iter().map(|n| fs::read(tree.join(n)).unwrap()).collect();
        days.push((world.house.now, content));
    }
    let index_bytes: u64 = files(&world.backups())
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "idx"))
        .map(|p| fs::metadata(p).unwrap().len())
        .sum();
    assert!(index_bytes > 2 << 20, "{index_bytes}");
    let count = |world: &World, args: &[&str]| {
        READ.with(|read| read.store(0, Ordering::Relaxed));
        let answer = world.house.run_with(args, |env| env.open_storage = open_counting);
        assert_eq!(answer.code, 0, "{args:?}: {}", answer.err);
        (READ.with(|read| read.load(Ordering::Relaxed)), answer)
    };
    for (moment, content) in &days {
        for (name, content) in names.iter().zip(content) {
            let place = tempfile::tempdir().unwrap();
            let to = place.path().join("to");
            let args = [
                "restore",
                "uploads",
                "--at",
                &at(*moment),
                "--path",
                name,
                "--to",
                to.to_str().unwrap(),
                "--strip",
            ];
            let (read, _) = count(&world, &args);
            assert!(read > 0 && read <= 8 << 20, "{moment}: {read}");
            // No index is read whole.
            assert!(read < index_bytes, "{moment}: {read} of {index_bytes}");
            assert_eq!(fs::read(to.join(name)).unwrap(), *content, "{moment} {name}");
        }
        let dir = tree.join("d07");
        let (read, answer) = count(&world, &["ls", "uploads", "--at", &at(*moment), dir.to_str().unwrap()]);
        assert_eq!(answer.out.lines().count(), 2502);
        assert!(read < index_bytes / 3, "{moment}: {read} of {index_bytes}");
        // The top is twenty names; what is below them is passed over.
        let (read, answer) = count(&world, &["ls", "uploads", "--at", &at(*moment)]);
        assert_eq!(answer.out.lines().count(), 22);
        assert!(read < index_bytes / 3, "{moment}: {read} of {index_bytes}");
    }
    let moment = at(days[3].0);
    let answer = world.run(&["restore", "uploads", "--at", &moment, "--path", "d07", "--dry-run"]);
    assert_eq!((answer.code, answer.out.lines().count()), (0, 2501), "{}", answer.err);
}
