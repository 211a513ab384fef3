//! Random histories over simulated months: runs that are missed, that die, storages that are down, full or lose
//! answers. After each run the newest point and two others are brought back, at the end every one that is kept.
//!
//! `NXS_MODEL_SEEDS=100..200` (or `40`, for 1 to 40) lives through other histories than the suite does, by hand.

use std::ops::Range;

use jiff::civil::date;
use nxs_base::ErrorKind;
use nxs_testkit::history::History;
use nxs_testkit::rng::Rng;

use crate::scene::{Setup, World};

/// Seeds of the suite, or those that the environment names.
fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("NXS_MODEL_SEEDS") else { return usual };
    let number = |t: &str| t.trim().parse().unwrap_or_else(|_| panic!("NXS_MODEL_SEEDS: `{text}`"));
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 1..number(&text) + 1,
    }
}

/// What goes wrong in this run, if anything. True if something may.
fn trouble(world: &World, rng: &mut Rng, runs: u32) -> bool {
    for storage in 0..world.setup.storages.len() {
        world.set_down(storage, false);
    }
    if runs == 0 || rng.percent(60) {
        return false;
    }
    let storage = rng.below(world.setup.storages.len() as u64) as usize;
    let at = 1 + rng.below(30 + 3 * u64::from(runs));
    match rng.below(6) {
        0 => world.set_down(storage, true),
        1 => world.plan(storage, |f| f.fail_op(at, ErrorKind::Full)),
        2 => world.plan(storage, |f| f.fail_after(at, ErrorKind::Timeout)),
        3 => world.plan(storage, |f| f.kill_in_stream(at, 700)),
        4 => world.plan(storage, |f| f.kill_before(at)),
        _ => world.plan(storage, |f| f.kill_after(at)),
    }
    true
}

/// Lives through one history.
fn live(seed: u64, runs: u32, storages: &[&'static str]) {
    let mut rng = Rng::new(seed ^ 0x5eed);
    let months = [12, 12, 1, 0][rng.below(4) as usize];
    let rotation = ["auto", "before", "after"][rng.below(3) as usize];
    let setup = Setup { storages: storages.to_vec(), months, rotation, ..Setup::default() };
    let mut world = World::new(setup, date(2025, 11, 3 + (seed % 20) as i8));
    world.name = format!("seed {seed} of {storages:?},");
    let mut history = History::new(&world.tree(), seed);
    let change = |history: &mut History, changes| {
        history.change(changes).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    };
    change(&mut history, 60);
    for run in 0..=runs {
        // The last run is a sound one.
        let is_troubled = run < runs && trouble(&world, &mut rng, run);
        if is_troubled {
            let answer = world.attempt();
            assert!([0, 1, 3].contains(&answer.code), "{} {answer:?}", world.name);
        } else {
            (0..storages.len()).for_each(|s| world.set_down(s, false));
            world.backup();
        }
        for storage in 0..storages.len() {
            let kept = world.kept(storage);
            let Some(newest) = kept.last() else { continue };
            if rng.percent(50) {
                world.check(storage, *newest);
            } else {
                world.check_ours(storage, *newest);
            }
            for _ in 0..2 {
                let at = kept[rng.below(kept.len() as u64) as usize];
                if rng.percent(80) {
                    world.check_ours(storage, at);
                } else {
                    world.check(storage, at);
                }
            }
        }
        change(&mut history, rng.below(40));
        world.pass(1 + if rng.percent(30) { rng.below(14) as i32 } else { 0 });
    }
    for storage in 0..storages.len() {
        world.listing(storage);
        world.check_all(storage);
    }
}

#[test]
fn every_kept_point_of_a_random_history_comes_back() {
    for seed in seeds(1..7) {
        live(seed, 30, &["backup"]);
    }
}

#[test]
fn every_kept_point_of_two_storages_with_histories_of_their_own_comes_back() {
    for seed in seeds(11..15) {
        live(seed, 24, &["left", "right"]);
    }
}
