//! Damage on the storage, changed excludes, huge directories, and the real process killed at any moment: what is said,
//! which parent is taken, and that nothing is made against a guess.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::civil::{Date, date};
use nxs_testkit::history::History;
use nxs_testkit::rng::Rng;
use nxs_testkit::snapshot::Snapshot;

use crate::scene::{Setup, World, files, members};

/// A year, a month, a decade and a day, each with changes of its own.
fn all_levels() -> World {
    let mut world = World::new(Setup::default(), date(2026, 2, 3));
    for day in [date(2026, 2, 3), date(2026, 3, 1), date(2026, 3, 11), date(2026, 3, 12)] {
        world.set_day(day);
        fs::create_dir_all(world.tree().join("dir")).unwrap();
        fs::write(world.tree().join("dir/f"), day.to_string()).unwrap();
        fs::write(world.tree().join(format!("dir/{day}")), "x").unwrap();
        world.backup();
    }
    world.set_day(date(2026, 3, 13));
    fs::write(world.tree().join("dir/f"), "the last").unwrap();
    world
}

fn at(day: Date) -> jiff::civil::DateTime {
    day.at(3, 0, 0, 0)
}

fn beside(archive: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", archive.display()))
}

fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_or_missing_index_or_record_is_said_and_an_older_parent_taken() {
    let (year, month, decade) = (date(2026, 2, 3), date(2026, 3, 1), date(2026, 3, 11));
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 6] = [
        ("index spoilt", |a| spoil(&beside(a, ".nxs.idx"))),
        ("index cut", |a| fs::write(beside(a, ".nxs.idx"), "short").unwrap()),
        ("index gone", |a| fs::remove_file(beside(a, ".nxs.idx")).unwrap()),
        ("record spoilt", |a| fs::write(beside(a, ".nxs.json"), "{\"format\": 1").unwrap()),
        ("record gone", |a| fs::remove_file(beside(a, ".nxs.json")).unwrap()),
        ("archive gone", |a| fs::remove_file(a).unwrap()),
    ];
    // What is damaged, and what the next run makes for it.
    let cases = [(decade, "decade", 2), (month, "month", 1), (year, "year", 0)];
    for (name, harm) in harms {
        for (day, level, sound) in cases {
            let mut world = all_levels();
            world.name = format!("{name} of the {level}:");
            harm(&world.record(0, at(day)).0);
            world.forget();
            let before = world.house.log().len();
            world.backup();
            let log = world.house.log()[before..].to_owned();
            let warned = log.lines().any(|l| l.starts_with("WARN") && l.contains(&format!("shop_{day}")));
            assert!(warned, "{} {log}", world.name);
            let now = world.house.now;
            assert_eq!(world.record(0, now).1["level"], level, "{} {log}", world.name);
            world.check(0, now);
            // No link leads to what is gone.
            world.listing(0);
            for day in [year, month, decade].into_iter().take(sound) {
                world.check_ours(0, at(day));
            }
            // The next day goes on from there and has nothing to say any more about parents.
            world.pass(1);
            fs::write(world.tree().join("after"), "x").unwrap();
            let before = world.house.log().len();
            world.backup();
            let now = world.house.now;
            assert_eq!(world.record(0, now).1["level"], "day", "{}", world.name);
            assert!(!world.house.log()[before..].contains("parent"), "{}", &world.house.log()[before..]);
            world.check_ours(0, now);
        }
    }
}

#[test]
fn a_spoilt_index_on_the_storage_does_no_harm_to_a_host_that_has_its_own_copy() {
    for day in [date(2026, 3, 11), date(2026, 3, 1), date(2026, 2, 3)] {
        let mut world = all_levels();
        world.name = format!("index of {day}:");
        spoil(&beside(&world.record(0, at(day)).0, ".nxs.idx"));
        world.backup();
        let now = world.house.now;
        assert_eq!(world.record(0, now).1["level"], "day");
        world.check(0, now);
        assert_eq!(world.run_on(0, &["verify"]).code, 3, "verify finds it");
    }
}

#[test]
fn an_index_or_a_record_that_is_gone_is_missed_though_the_host_has_its_own_copy() {
    for end in [".nxs.idx", ".nxs.json"] {
        let mut world = all_levels();
        fs::remove_file(beside(&world.record(0, at(date(2026, 3, 11))).0, end)).unwrap();
        world.backup();
        let now = world.house.now;
        assert_eq!(world.record(0, now).1["level"], "decade", "{end}");
        world.check(0, now);
    }
}

#[test]
fn an_archive_is_the_same_byte_for_byte_whether_the_state_dir_was_there_or_not() {
    let setup = Setup { storages: vec!["left", "right"], ..Setup::default() };
    let mut world = World::new(setup, date(2026, 9, 28));
    let mut history = History::new(&world.tree(), 41);
    history.change(120).unwrap();
    let copy = |world: &World, from: &str, to: &str| {
        for dir in ["left", "right", "state"] {
            let (from, to) =
                (world.house.path(&format!("{dir}{from}")), world.house.path(&format!("{dir}{to}")));
            if to.exists() {
                fs::remove_dir_all(&to).unwrap();
            }
            if from.exists() {
                let status = Command::new("cp").arg("-a").args([&from, &to]).status().unwrap();
                assert!(status.success());
            }
        }
    };
    let stored = |world: &World| {
        let all = [0, 1].map(|n| files(&world.dir(n))).concat();
        let all = all.into_iter().filter(|path| !path.ends_with("RESTORE.md"));
        all.map(|path| (path.clone(), fs::read(path).unwrap())).collect::<Vec<_>>()
    };
    for (n, day) in
        [(9, 28), (9, 29), (10, 1), (10, 2), (10, 11), (10, 12), (10, 13), (11, 2)].iter().enumerate()
    {
        world.set_day(date(2026, day.0, day.1));
        // From the third run on the storages have different parents.
        world.set_down(1, n == 2);
        copy(&world, "", ".before");
        assert_eq!(world.start_by(None).code, if n == 2 { 3 } else { 0 }, "{}", world.house.log());
        let with = stored(&world);
        copy(&world, "", ".with");
        copy(&world, ".before", "");
        world.forget();
        world.run_anew();
        assert_eq!(world.start_by(None).code, if n == 2 { 3 } else { 0 });
        let without = stored(&world);
        assert!(with == without, "{day:?}: not the same");
        copy(&world, ".with", "");
        history.change(6).unwrap();
    }
    assert!(files(&world.house.path("state")).len() >= 2, "there was something in it");
}

#[test]
fn damage_on_one_storage_leaves_the_other_its_parents() {
    let mut world =
        World::new(Setup { storages: vec!["left", "right"], ..Setup::default() }, date(2026, 2, 3));
    fs::write(world.tree().join("f"), "1").unwrap();
    world.backup();
    spoil(&beside(&world.record(0, at(date(2026, 2, 3))).0, ".nxs.idx"));
    world.forget();
    world.pass(1);
    fs::write(world.tree().join("f"), "2").unwrap();
    world.backup();
    let now = world.house.now;
    assert_eq!(world.record(0, now).1["level"], "year");
    assert_eq!(world.record(1, now).1["level"], "day");
    [0, 1].into_iter().for_each(|s| world.check(s, now));
    world.check_all(1);
}

#[test]
fn a_second_full_of_a_year_begins_a_chain_of_its_own_and_both_go_by_chain() {
    let mut world = all_levels();
    let lost = world.record(0, at(date(2026, 2, 3))).0;
    let kept_aside = world.house.path("aside");
    fs::rename(beside(&lost, ".nxs.idx"), &kept_aside).unwrap();
    world.backup();
    world.pass(1);
    world.backup();
    // The index is found again: both chains are whole, and the newer goes on.
    fs::rename(&kept_aside, beside(&lost, ".nxs.idx")).unwrap();
    for day in [date(2026, 3, 21), date(2026, 4, 2), date(2026, 4, 3)] {
        world.set_day(day);
        fs::write(world.tree().join("f"), day.to_string()).unwrap();
        world.backup();
    }
    let second = world.record(0, at(date(2026, 3, 13))).1["id"].clone();
    let now = world.house.now;
    let parents = world.record(0, now).1["parents"].clone();
    assert_eq!(parents.as_array().unwrap().last(), Some(&second));
    let years = world.records(0).values().filter(|(_, r)| r["level"] == "year").count();
    assert_eq!(years, 2);
    world.check_all(0);
    // A year later both are gone, each with its children.
    for month in 1..=12 {
        world.set_day(date(2027, month, 5));
        fs::write(world.tree().join("f"), month.to_string()).unwrap();
        world.backup();
        world.listing(0);
        world.verify(0);
    }
    assert!(world.kept(0).iter().all(|at| at.year() == 2027), "{:?}", world.kept(0));
}

#[test]
fn what_is_newly_excluded_stays_in_older_points_and_what_is_newly_included_is_saved_whole() {
    let mut world = World::new(Setup::default(), date(2026, 3, 1));
    for (name, text) in [("keep/a", "1"), ("cache/x", "2"), ("cache/deep/y", "3"), ("cache/z.tmp", "4")] {
        let path = world.tree().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    world.backup();
    let whole = world.house.now;
    let without =
        |world: &World, out: &[u8]| Snapshot::take_without(&world.tree(), |path, _| path.starts_with(out));
    // All of a directory goes out, in an increment; nothing in the tree changed.
    world.pass(1);
    world.configure(|s| s.excludes = "cache");
    world.backup();
    let (now, should) = (world.house.now, without(&world, b"cache"));
    should.assert_same(&world.restored(0, now), "excluded");
    should.assert_same(&world.untarred(0, now), "excluded, by GNU tar");
    world.check(0, whole);
    // Only some of it, from the next decade on.
    world.set_day(date(2026, 3, 11));
    world.configure(|s| s.excludes = "'**/*.tmp'");
    world.backup();
    let (now, should) = (world.house.now, without(&world, b"cache/z.tmp"));
    should.assert_same(&world.restored(0, now), "partly");
    should.assert_same(&world.untarred(0, now), "partly, by GNU tar");
    // Nothing is excluded any more, and nothing in the tree changed: what was left out is there again.
    world.pass(1);
    world.configure(|s| s.excludes = "");
    world.backup();
    let now = world.house.now;
    world.check(0, now);
    // A full without, and then with: it is saved whole.
    world.set_day(date(2027, 1, 1));
    world.configure(|s| s.excludes = "cache");
    world.backup();
    world.pass(1);
    world.configure(|s| s.excludes = "");
    world.backup();
    let now = world.house.now;
    world.check(0, now);
    let archive = world.record(0, now).0;
    let saved = members(&archive);
    for name in ["cache/x", "cache/deep/y", "cache/z.tmp"] {
        assert!(saved.iter().any(|m| m.ends_with(name)), "{name}: {saved:?}");
    }
    assert!(!saved.iter().any(|m| m.ends_with("keep/a")), "{saved:?}");
    world.verify(0);
}

#[test]
fn one_name_less_in_a_directory_of_twenty_thousand_is_a_small_archive() {
    let mut world = World::new(Setup::default(), date(2026, 3, 1));
    let big = world.tree().join("big");
    fs::create_dir(&big).unwrap();
    for n in 0..20_000 {
        fs::write(big.join(format!("{n:05}")), []).unwrap();
    }
    world.backup();
    world.pass(1);
    fs::remove_file(big.join("12345")).unwrap();
    world.backup();
    let now = world.house.now;
    let archive = world.record(0, now).0;
    assert_eq!(members(&archive).len(), 1, "the directory alone");
    assert!(fs::metadata(&archive).unwrap().len() < 200_000);
    assert!(fs::metadata(beside(&archive, ".nxs.idx")).unwrap().len() < 4_000);
    world.check(0, now);
}

/// The real program on a house, with the clock and the rules of the machine.
fn program(world: &World) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nxs-backup"));
    command.arg("-c").arg(world.house.path("nxs.conf")).arg("start");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn an_increment_that_is_killed_at_any_of_thirty_moments_leaves_nothing_half_and_the_next_goes_on() {
    let mut world = World::new(Setup::default(), date(2026, 3, 1));
    let mut history = History::new(&world.tree(), 30);
    history.change(150).unwrap();
    let mut rng = Rng::new(31);
    let begin = Instant::now();
    assert!(program(&world).status().unwrap().success());
    let takes = begin.elapsed();
    let mut died = 0;
    for n in 0..30 {
        history.change(5).unwrap();
        fs::write(world.tree().join("noise"), vec![n; 200_000]).unwrap();
        let before = world.records(0);
        let mut child = program(&world).spawn().unwrap();
        let end = Instant::now() + takes.mul_f64(rng.unit() * 1.1) + Duration::from_micros(200);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        died += u32::from(child.wait().unwrap().code().is_none());
        let after = world.records(0);
        assert!(
            before.iter().all(|(id, old)| after.get(id) == Some(old)),
            "run {n}: older ones are untouched"
        );
        for (archive, record) in after.values() {
            let bytes = fs::read(archive).unwrap();
            assert_eq!(record["archive"]["bytes"], bytes.len() as u64, "run {n}: {}", archive.display());
        }
        if n % 3 == 2 {
            assert!(program(&world).status().unwrap().success(), "run {n}: {}", world.house.log());
            world.listing(0);
            let should = Snapshot::take(&world.tree());
            let root = world.tree();
            should.assert_same(&world.restored_of(0, &root, "9999-01-01"), &format!("run {n}"));
        }
    }
    assert!(died >= 5, "only {died} of 30 runs were killed");
    assert!(files(&world.dir(0)).iter().all(|f| !f.to_str().unwrap().ends_with(".nxs-part")));
    world.verify(0);
}

#[test]
fn what_changed_just_before_a_run_is_saved_by_the_next_one_too() {
    // The real source, with the racy rule.
    let world = World::new(Setup::default(), date(2026, 3, 1));
    fs::write(world.tree().join("f"), "1").unwrap();
    let start = |world: &World| {
        assert!(program(world).status().unwrap().success());
        let records = world.records(0);
        let newest = records.values().max_by_key(|(_, r)| r["started"].as_str().unwrap().to_owned()).unwrap();
        (newest.0.clone(), newest.1["level"].as_str().unwrap().to_owned())
    };
    assert_eq!(start(&world).1, "year");
    let (archive, level) = start(&world);
    assert_ne!(level, "year");
    let saved = members(&archive);
    assert!(saved.iter().any(|m| m.ends_with("upload/f")), "{saved:?}");
}
