//! SIGKILL at any moment of a run: while it reads, while it publishes, while it rotates.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::civil::date;
use nxs_testkit::Rng;

use crate::house::House;
use crate::judge::{Case, judge};
use crate::mounts::sh;
use crate::shelf::{self, Order, Shelf};
use crate::tree::Tree;
use crate::wait;

/// A house whose next run makes a backup, drops old ones, moves some to a lower period and sets links right.
struct Scene {
    house: House,
    tree: Tree,
    history: Shelf,
    /// What the next run drops.
    may_go: BTreeSet<String>,
    /// How long that takes.
    takes: Duration,
}

impl Scene {
    fn new() -> Self {
        let mut house = House::new(400 << 10);
        house.store = "{days: 9, weeks: 9, month: 9}";
        // The first of March and the first of November 2020 are Sundays.
        for (month, day) in [(2, 29), (3, 1), (10, 31), (11, 1), (11, 2), (11, 8), (11, 9)] {
            house.touch(&format!("{month} {day}"));
            assert_eq!(house.start_at(date(2020, month, day).at(3, 0, 0, 0)).code, Some(0));
        }
        let history = shelf::read(&house.storages[0], Order::Settled);
        sh("mv", &[house.path("backup").to_str().unwrap(), house.path("history").to_str().unwrap()]);
        house.store = "{days: 3, weeks: 2, month: 0}";
        house.touch("now");
        let tree = house.tree();
        let mut scene = Self { house, tree, history, may_go: BTreeSet::new(), takes: Duration::MAX };
        for _ in 0..3 {
            scene.lay_out();
            let begin = Instant::now();
            assert_eq!(scene.house.start().code, Some(0));
            scene.takes = scene.takes.min(begin.elapsed());
        }
        let after = shelf::read(&scene.dir(), Order::Settled);
        scene.may_go = scene.history.keys().filter(|k| !after.contains_key(*k)).cloned().collect();
        assert!(scene.may_go.len() >= 2, "the run is to drop something: {after:#?}");
        let moved = after.iter().filter(|(k, b)| scene.history.get(*k).is_some_and(|o| o.period != b.period));
        assert!(moved.count() >= 1, "the run is to move something: {after:#?}");
        scene
    }

    fn dir(&self) -> std::path::PathBuf {
        self.house.storages[0].clone()
    }

    /// Puts the history back as it was.
    fn lay_out(&self) {
        let dir = self.dir();
        if dir.exists() {
            std::fs::remove_dir_all(&dir).unwrap();
        }
        sh("cp", &["-al", self.house.path("history").to_str().unwrap(), dir.to_str().unwrap()]);
    }

    /// One run that is killed as soon as `done` says so, and what the next one makes of it. Returns whether it died.
    fn kill_when(&self, what: &str, mut done: impl FnMut(&Path) -> bool) -> bool {
        self.lay_out();
        let dir = self.dir();
        let said = self.house.watch(&mut self.house.command(), |child| {
            let ended = wait::while_alive(child, || done(&dir));
            if ended.is_none() {
                child.kill().unwrap();
            }
            ended
        });
        let died = said.code.is_none();
        println!("{what}: {}", if died { "killed" } else { "too late" });
        let mut case = Case {
            house: &self.house,
            dir: &dir,
            before: &self.history,
            tree: Some(&self.tree),
            may_go: &self.may_go,
            order: if died { Order::CutOff } else { Order::Settled },
        };
        let after = judge(&case, (!died).then_some(&said));
        case.before = &after;
        case.order = Order::Settled;
        // Three days are kept: today's two, and one of the old.
        let mut may_go = self.may_go.clone();
        may_go.extend(after.keys().filter(|k| k.contains("2020-11-08") || k.contains("2020-11-09")).cloned());
        case.may_go = &may_go;
        let next = self.house.start();
        assert_eq!(next.code, Some(0), "{next:?}");
        let settled = judge(&case, None);
        crate::judge::judge_words(&next);
        let new = settled.keys().filter(|k| !self.history.contains_key(*k)).count();
        assert!(new > 0, "{settled:#?}");
        died
    }
}

#[test]
fn a_kill_at_any_of_a_hundred_random_moments_leaves_nothing_half_and_all_that_is_older() {
    let scene = Scene::new();
    let mut rng = Rng::new(20);
    let mut died = 0;
    for n in 0..100 {
        // Half of them late: commit and rotation are short.
        let share = if n % 2 == 0 { rng.unit() } else { 0.7 + 0.3 * rng.unit() };
        let after = scene.takes.mul_f64(share);
        let begin = Instant::now();
        if scene.kill_when(&format!("run {n}, after {after:?}"), |_| begin.elapsed() >= after) {
            died += 1;
        }
    }
    assert!(died >= 30, "only {died} of 100 runs were killed");
}

/// Looks at a `backup_dir` for the moment to kill.
type Sign<'a> = &'a dyn Fn(&Path) -> bool;

/// Whether the directory below `dir` has an entry of which `fits` holds.
fn has(dir: &Path, period: &str, fits: impl Fn(&str) -> bool) -> bool {
    let Ok(entries) = std::fs::read_dir(dir.join("shop").join(period)) else { return false };
    entries.filter_map(Result::ok).any(|e| fits(&e.file_name().to_string_lossy()))
}

#[test]
fn a_kill_at_each_step_of_publishing_and_rotating_is_undone_or_ended_by_the_next_run() {
    let scene = Scene::new();
    let any = |dir: &Path, fits: &dyn Fn(&str) -> bool| {
        ["daily", "weekly", "monthly"].iter().any(|period| has(dir, period, fits))
    };
    let is_part = |n: &str, of: &str| n.ends_with(".nxs-part") && n.contains(of);
    let is_new = |n: &str, end: &str| !n.starts_with('.') && !n.contains("_2020-") && n.ends_with(end);
    let lacks = |dir: &Path, name: &str| !any(dir, &|n: &str| n == name);
    let signs: [(&str, Sign<'_>); 9] = [
        ("the archive begins", &|d| any(d, &|n| is_part(n, ".tar.gz."))),
        ("the index begins", &|d| any(d, &|n| is_part(n, ".nxs.idx."))),
        ("the record begins", &|d| any(d, &|n| is_part(n, ".nxs.json."))),
        ("the archive is published", &|d| any(d, &|n| is_new(n, ".tar.gz"))),
        ("the index is published", &|d| any(d, &|n| is_new(n, ".nxs.idx"))),
        ("the record is published", &|d| any(d, &|n| is_new(n, ".nxs.json"))),
        ("the first drop began", &|d| any(d, &|n| is_part(n, "_2020-"))),
        ("an archive moved", &|d| has(d, "weekly", |n| n == "shop_2020-11-01_03-00.tar.gz.nxs.idx")),
        ("an old archive is gone", &|d| lacks(d, "shop_2020-02-29_03-00.tar.gz")),
    ];
    let mut died = 0;
    for round in 0..3 {
        for (sign, done) in &signs {
            if scene.kill_when(&format!("{sign}, round {round}"), |dir| done(dir)) {
                died += 1;
            }
        }
    }
    assert!(died >= 9, "only {died} of 27 runs were killed");
}

#[test]
fn a_link_that_a_killed_run_was_just_replacing_is_cleared_away_by_the_next() {
    let house = House::new(64 << 10);
    assert_eq!(house.start_at(date(2020, 11, 9).at(3, 0, 0, 0)).code, Some(0));
    let before = shelf::read(&house.storages[0], Order::Settled);
    let host: String = sh("uname", &["-n"])
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
        .collect();
    let name = format!(".shop_2020-11-09_03-00.tar.gz.{host}.4f2a-0.nxs-part");
    let temp = house.storages[0].join("shop/daily").join(name);
    std::os::unix::fs::symlink("../monthly/shop_2020-11-09_03-00.tar.gz", &temp).unwrap();
    let tree = house.tree();
    let said = house.start();
    assert_eq!(said.code, Some(0), "{said:?}");
    let (dir, may_go) = (house.storages[0].as_path(), BTreeSet::new());
    let case = Case {
        house: &house,
        dir,
        before: &before,
        tree: Some(&tree),
        may_go: &may_go,
        order: Order::Settled,
    };
    assert_eq!(judge(&case, Some(&said)).len(), 2);
}
