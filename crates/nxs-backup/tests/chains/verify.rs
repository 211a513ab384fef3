//! What `verify` says of each object of a chain of four levels: which points can no longer be restored, and what can be
//! put right.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::civil::{Date, date};

use crate::world::{JOB, World, files};

const DAYS: [Date; 4] = [date(2026, 2, 3), date(2026, 3, 1), date(2026, 3, 11), date(2026, 3, 12)];
const LEVELS: [&str; 4] = ["year", "month", "decade", "day"];

/// A year, a month, a decade and a day, of each of which something is left in the last point.
fn all_levels() -> World {
    let mut world = World::new(JOB, DAYS[0]);
    for day in DAYS {
        world.house.now = day.at(3, 0, 0, 0);
        fs::write(world.tree().join("changing"), day.to_string()).unwrap();
        fs::write(world.tree().join(day.to_string()), day.to_string().repeat(400)).unwrap();
        world.backup();
    }
    world
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Object {
    Archive,
    Index,
    Record,
}

impl Object {
    fn of(self, world: &World, level: usize) -> PathBuf {
        let end = match self {
            Self::Archive => "",
            Self::Index => ".nxs.idx",
            Self::Record => ".nxs.json",
        };
        let all = files(&world.backups());
        let found = all.iter().find(|p| {
            let file = p.file_name().unwrap().to_str().unwrap();
            file.contains(&DAYS[level].to_string()) && file.ends_with(&format!(".tar.gz{end}"))
        });
        found.unwrap_or_else(|| panic!("no {self:?} of {} in {all:?}", DAYS[level])).clone()
    }
}

type Harm = fn(&Path);

const HARMS: [(&str, Harm); 3] = [
    ("spoilt", |path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        fs::write(path, bytes).unwrap();
    }),
    ("cut", |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() * 2 / 3]).unwrap();
    }),
    ("gone", |path| fs::remove_file(path).unwrap()),
];

/// The line of a level, if it has one.
fn line(out: &str, level: usize) -> Option<&str> {
    let name = format!("_{}_03-00.tar.gz ", DAYS[level]);
    out.lines().find(|line| line.contains(&name))
}

#[test]
fn damage_of_any_object_of_a_chain_is_told_with_the_points_that_it_costs() {
    let mut world = all_levels();
    let answer = world.run(&["verify"]);
    assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{}", answer.out);
    for (at, should) in world.points.clone() {
        should.assert_same(&world.restored(at), &at.to_string());
    }
    for (level, name) in LEVELS.iter().enumerate() {
        for object in [Object::Archive, Object::Index, Object::Record] {
            for (harm, damage) in HARMS {
                // A byte of a record may say another, just as good thing: what it says is held against the archive.
                if object == Object::Record && harm == "spoilt" {
                    continue;
                }
                let what = format!("{object:?} of the {name} {harm}");
                let path = object.of(&world, level);
                let whole = fs::read(&path).unwrap();
                damage(&path);
                check(&mut world, level, object, &what);
                fs::write(&path, whole).unwrap();
            }
        }
    }
    assert_eq!(world.run(&["verify"]).code, 0);
}

fn check(world: &mut World, level: usize, object: Object, what: &str) {
    let answer = world.run(&["verify"]);
    assert_eq!(answer.code, 3, "{what}: {}{}", answer.out, answer.err);
    for (number, day) in DAYS.iter().enumerate() {
        let is_lost = object != Object::Index && number >= level;
        let state = line(&answer.out, number).and_then(|line| line.split_once(": ")).map(|(state, _)| state);
        let expected: &[Option<&str>] = match (object, number == level) {
            (Object::Index, true) => &[Some("INDEX DAMAGED")],
            // Without a record that tells of it there is no backup.
            (_, true) => &[Some("DAMAGED"), None],
            (_, false) if is_lost => &[Some("BROKEN CHAIN")],
            (_, false) => &[Some("ok")],
        };
        assert!(expected.contains(&state), "{what}: {state:?} for the {}\n{}", LEVELS[number], answer.out);
        if is_lost || number == level {
            assert!(answer.err.contains(&day.to_string()), "{what}: {}", answer.err);
        }
        // What is said is so.
        let moment = day.at(3, 0, 0, 0);
        let (found, restored) = world.restore(moment);
        let is_back = restored.code == 0 && found.nodes == world.points[&moment].nodes;
        assert_eq!(is_back, !is_lost, "{what}: the {}: {}", LEVELS[number], restored.err);
        // A point is as good as its chain, however it is asked for.
        let one = world.run(&["verify", "--at", &day.to_string()]);
        let is_touched = number >= level && state.is_some();
        assert!(one.code == 3 || !is_touched, "{what}: --at {day}: {}{}", one.out, one.err);
    }
    if object == Object::Index {
        assert!(answer.err.contains("`nxs-backup index rebuild uploads`"), "{what}: {}", answer.err);
        let rebuilt = world.run(&["index", "rebuild", "uploads"]);
        assert_eq!(rebuilt.code, 0, "{what}: {}", rebuilt.err);
        let answer = world.run(&["verify"]);
        assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{what}: {}", answer.out);
    }
}
