//! A history on two storages whose chains differ, and for each level a day on which it is due.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use jiff::civil::{Date, date};
use nxs_testkit::rng::Rng;

use crate::scene::{Setup, World};
use crate::shelf::{self, Shelf};

/// The level that is due, and when. With the last one, a month goes.
pub(crate) const DAYS: [(&str, Date); 4] = [
    ("day", date(2026, 11, 14)),
    ("decade", date(2026, 11, 21)),
    ("month", date(2026, 12, 2)),
    ("year", date(2027, 1, 3)),
];

/// A world with a history that is laid out anew for each fault.
pub(crate) struct Levels {
    pub(crate) world: World,
    pub(crate) before: [Shelf; 2],
    rng: Rng,
}

impl Levels {
    /// With the history that the level wants.
    pub(crate) fn new(rotation: &'static str, level: &str) -> Self {
        let setup = Setup { storages: vec!["left", "right"], rotation, months: 1, ..Setup::default() };
        let mut world = World::new(setup, date(2026, 10, 3));
        let mut rng = Rng::new(77);
        // The right storage misses the decade and makes one of its own a day later.
        let days = [
            (date(2026, 10, 3), 0),
            (date(2026, 11, 1), 0),
            (date(2026, 11, 11), 3),
            (date(2026, 11, 12), 0),
            (date(2026, 12, 4), 0),
        ];
        for (day, code) in &days[..if level == "year" { 5 } else { 4 }] {
            world.set_day(*day);
            touch(&world, &mut rng);
            world.set_down(1, *code == 3);
            assert_eq!(world.attempt().code, *code, "{}", world.house.log());
        }
        for dir in ["left", "right"] {
            fs::rename(world.house.path(dir), world.house.path(&format!("{dir}.history"))).unwrap();
        }
        let before = ["left.history", "right.history"]
            .map(|dir| shelf::read(&world.house.path(dir), true, "the history"));
        Self { world, before, rng }
    }

    fn history(&self, storage: usize) -> PathBuf {
        self.world.house.path(&format!("{}.history", self.world.setup.storages[storage]))
    }

    /// Puts the history of a storage into its directory, which is empty or not there.
    pub(crate) fn lay_out(&self, storage: usize) {
        let dir = self.world.dir(storage);
        fs::create_dir_all(&dir).unwrap();
        let from = self.history(storage).join(".");
        assert!(Command::new("cp").arg("-a").args([&from, &dir]).status().unwrap().success());
    }

    /// The same in place of what is there; the machine knows nothing of it.
    pub(crate) fn lay_out_anew(&self, storages: &[usize]) {
        for storage in storages {
            if self.world.dir(*storage).exists() {
                fs::remove_dir_all(self.world.dir(*storage)).unwrap();
            }
            self.lay_out(*storage);
        }
        self.world.forget();
        self.world.reopen();
    }

    /// The tree as no earlier run had it.
    pub(crate) fn touch(&mut self) {
        touch(&self.world, &mut self.rng);
    }

    /// What a run on this day leaves when nothing goes wrong.
    pub(crate) fn clean(&mut self, level: &str, day: Date) -> [Shelf; 2] {
        self.lay_out_anew(&[0, 1]);
        self.world.set_day(day);
        self.touch();
        self.world.backup();
        let now = self.world.house.now;
        for storage in [0, 1] {
            assert_eq!(self.world.record(storage, now).1["level"], level);
        }
        let clean = [0, 1].map(|storage| shelf::read(&self.world.dir(storage), true, level));
        let is_dropped = self.before[0].keys().any(|id| !clean[0].contains_key(id));
        assert_eq!(is_dropped, level == "year", "a month goes with the year");
        clean
    }

    /// The day after a fault: a complete run, and all in order on both. `by_tar` looks at it by GNU tar, too.
    #[track_caller]
    pub(crate) fn next_day(&mut self, clean: &[Shelf; 2], by_tar: bool, what: &str) {
        self.world.name = format!("{what}, the next day:");
        self.world.pass(1);
        self.touch();
        self.world.backup();
        let now = self.world.house.now;
        for storage in [0, 1] {
            let what = self.world.name.clone();
            let after = shelf::read(&self.world.dir(storage), true, &what);
            shelf::assert_kept(&self.before[storage], &clean[storage], &after, &what);
            self.world.listing(storage);
            self.world.check_ours(storage, now);
            if by_tar {
                for at in self.world.kept(storage) {
                    self.world.check(storage, at);
                }
                self.world.verify(storage);
            }
        }
    }
}

fn touch(world: &World, rng: &mut Rng) {
    let mut noise = vec![0; 24 << 10];
    rng.fill(&mut noise);
    fs::create_dir_all(world.tree().join("dir/deep")).unwrap();
    fs::write(world.tree().join("dir/noise"), &noise).unwrap();
    let n = rng.below(1000);
    fs::write(world.tree().join(format!("dir/deep/{n}")), n.to_string()).unwrap();
    fs::remove_file(world.tree().join("short-lived")).unwrap_or_default();
    if n.is_multiple_of(2) {
        fs::write(world.tree().join("short-lived"), "x").unwrap();
    }
}
